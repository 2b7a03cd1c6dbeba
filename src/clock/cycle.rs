//! The samples of one round, and what they say together.

use super::bounds::{Bounds, SECOND, Sample};

/// Samples on each side that prove a step; fewer may be a stray answer.
const WITNESSES: usize = 3;

/// The samples of one clock in one round.
#[derive(Debug, Default)]
pub(super) struct Cycle {
    samples: Vec<Sample>,
    /// Stamps that could not be used: cached, missing or unreadable.
    pub(super) discarded: u32,
}

/// What a round's samples say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// What they allow at the instant asked for: if they exclude each other all that any allows.
    pub(super) bounds: Bounds,
    /// How far apart the clocks, or one moving clock, were at least. Above zero the samples
    /// exclude each other.
    pub(super) spread: i64,
    /// By how much the clock was stepped in mid-round, where the samples fit a single step.
    pub(super) step: Option<Bounds>,
}

impl Outcome {
    pub(super) fn contradiction(&self) -> bool {
        self.spread > 0
    }
}

impl Cycle {
    pub(super) fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }

    /// The instant of the latest answer.
    pub(super) fn latest(&self) -> Option<i64> {
        self.samples.iter().map(|sample| sample.answered).max()
    }

    /// What all samples allow, `now`; empty if they exclude each other. `None` without samples.
    pub(super) fn common(&self, now: i64) -> Option<Bounds> {
        self.samples.iter().map(|sample| sample.bounds_at(now)).reduce(Bounds::and)
    }

    /// What the samples say, `now`. A contradiction has no majority: one late cache may be right
    /// and ten early answers wrong, so the bounds are then all that any sample allows.
    pub(super) fn outcome(&self, now: i64) -> Option<Outcome> {
        let common = self.common(now)?;
        if !common.is_empty() {
            return Some(Outcome { bounds: common, spread: 0, step: None });
        }
        let hull = self.samples.iter().map(|sample| sample.bounds_at(now)).reduce(Bounds::hull)?;
        Some(Outcome { bounds: hull, spread: -common.width(), step: self.step(now) })
    }

    /// What the samples allow now if the clock was moved once since it was where `was` says,
    /// between the rounds or between any two of the samples: those before may still be of the old
    /// time, as far as they agree with it.
    pub(super) fn since(&self, was: Bounds, now: i64) -> Option<Bounds> {
        let mut samples: Vec<&Sample> = self.samples.iter().collect();
        samples.sort_by_key(|sample| sample.answered);
        let mut after = running(samples.iter().rev().copied(), now);
        after.reverse();
        let mut possible: Option<Bounds> = None;
        // Between the last two, a moment apart, is as good as after the round.
        let last = samples.len().saturating_sub(2).max(1);
        for (sample, then) in samples.iter().zip(after).take(last) {
            if !then.is_empty() {
                possible = Some(possible.map_or(then, |known| known.hull(then)));
            }
            if sample.bounds_at(now).and(was).is_empty() {
                break;
            }
        }
        possible
    }

    /// The size of a single step between two groups of samples that agree among themselves. After
    /// it the clock must have gone on: a stamp that merely repeats itself is frozen.
    fn step(&self, now: i64) -> Option<Bounds> {
        let mut samples: Vec<&Sample> = self.samples.iter().collect();
        samples.sort_by_key(|sample| sample.answered);
        let before = running(samples.iter().copied(), now);
        let mut after = running(samples.iter().rev().copied(), now);
        after.reverse();
        let last = samples.last()?.shown;
        let splits = WITNESSES..=samples.len().checked_sub(WITNESSES)?;
        splits
            .filter_map(|at| {
                let (first, then) = (before.get(at.checked_sub(1)?)?, after.get(at)?);
                let goes_on = samples.get(at)?.shown.abs_diff(last) >= SECOND.unsigned_abs();
                let fits = !first.is_empty() && !then.is_empty() && goes_on;
                fits.then(|| then.minus(*first))
            })
            .reduce(Bounds::hull)
    }
}

/// What the samples up to each of them allow.
fn running<'a>(samples: impl Iterator<Item = &'a Sample>, now: i64) -> Vec<Bounds> {
    let all = Bounds { lower: i64::MIN, upper: i64::MAX };
    let narrow = |bounds: &mut Bounds, sample: &Sample| {
        *bounds = bounds.and(sample.bounds_at(now));
        Some(*bounds)
    };
    samples.scan(all, narrow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// Samples at these instants in milliseconds, 1 ms under way, of a clock that is ahead.
    fn cycle(samples: &[(i64, i64)]) -> Cycle {
        let mut cycle = Cycle::default();
        for (at, ahead) in samples {
            let seconds = (at + ahead).div_euclid(1_000);
            let (sent, answered) = (at * MS, (at + 1) * MS);
            cycle.add(Sample::of_seconds(sent, answered, seconds, true).unwrap());
        }
        cycle
    }

    fn at(times: impl IntoIterator<Item = i64>, ahead: i64) -> Vec<(i64, i64)> {
        times.into_iter().map(|at| (at, ahead)).collect()
    }

    #[test]
    fn a_step_in_mid_round_is_said_with_its_size_and_excludes_neither_truth() {
        let times = |from: i64| (0..6).map(move |n| from + n * 370);
        for ahead in [1_000, -1_000, 5_000, -300_000] {
            let samples = [at(times(0), 0), at(times(2_300), ahead)].concat();
            let outcome = cycle(&samples).outcome(4_200 * MS).unwrap();
            assert!(outcome.contradiction());
            assert!(outcome.bounds.contains(0) && outcome.bounds.contains(ahead * MS), "{ahead}");
            assert!(outcome.step.expect("a step").contains(ahead * MS), "{ahead}: {outcome:?}");
        }
        let steady = [at(times(0), 5_000), at(times(2_300), 5_000)].concat();
        let outcome = cycle(&steady).outcome(4_200 * MS).unwrap();
        assert!(!outcome.contradiction() && outcome.step.is_none());
        assert!(outcome.bounds.contains(5_000 * MS));
    }

    #[test]
    fn what_fits_no_single_step_is_a_contradiction_without_one() {
        let to_and_fro: Vec<(i64, i64)> = (0..12).map(|n| (n * 370, (n % 2) * 5_000)).collect();
        let stray = [at((0..6).map(|n| n * 370), 0), at([2_300], -7_000)].concat();
        // The second stays where it is while the time passes.
        let frozen: Vec<(i64, i64)> = (0..12).map(|n| (n * 370, -n * 370)).collect();
        for samples in [to_and_fro, stray, frozen] {
            let outcome = cycle(&samples).outcome(4_500 * MS).unwrap();
            assert!(outcome.contradiction(), "{samples:?}");
            assert_eq!(outcome.step, None, "{samples:?}");
            assert!(outcome.bounds.contains(0), "{samples:?}");
        }
        assert_eq!(Cycle::default().outcome(0), None);
    }
}
