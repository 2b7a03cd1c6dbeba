//! One clock from round to round. What is said of a round comes from that round's samples alone;
//! the rounds before say where to look, and whether the clock was moved in between.

use std::collections::VecDeque;

use super::aim::{Aim, Aimer, Expected};
use super::bounds::{Bounds, SECOND, Sample};
use super::cycle::{Cycle, Outcome};
use super::drift::Drift;
use crate::model::{BackendName, ClockInterval, ClockReading, ClockSource, ClockStatus};

/// Rounds in which clocks that differ are proof of several.
const WINDOW: usize = 20;
/// A clock that no one sets changes its rate by at most one part in this number, or has at most
/// this rate where it is not known yet: 100 ppm. What is faster counts as set.
const UNSTEADY: i64 = 10_000;
/// Steps whose directions are remembered.
const STEPS: usize = 6;

/// One clock, seen through one source, from round to round.
#[derive(Debug, Default)]
pub struct Tracker {
    aimer: Aimer,
    cycle: Cycle,
    /// What the last round's samples allowed, and when.
    last: Option<(i64, Bounds)>,
    /// How far the clock was off its expected place lately.
    off: i64,
    status: Option<ClockStatus>,
    window: VecDeque<(i64, Bounds)>,
    /// Directions of the last steps, forward or back.
    steps: VecDeque<bool>,
    drift: Drift,
}

impl Tracker {
    /// The next request that is worth its while, if one is; `None` ends the round's asking.
    /// Instants are nanoseconds since 1970 by the prober's clock.
    pub fn plan(&mut self, now: i64) -> Option<Aim> {
        self.aimer.plan(now, self.cycle.common(now), self.expected(now + SECOND / 2))
    }

    /// Takes in a stamp that came with any answer.
    pub fn observe(&mut self, sample: Sample) {
        self.cycle.add(sample);
    }

    /// Takes in the stamp of the request that was planned last.
    pub fn observe_planned(&mut self, sample: Sample) {
        if sample.kept {
            self.aimer.took(sample.round_trip());
        }
        self.aimer.asked(sample.shown);
        self.cycle.add(sample);
    }

    /// Takes in that the request which was planned last brought no stamp.
    pub fn lost(&mut self) {
        self.aimer.lost();
    }

    /// Takes in that an answer had no stamp that can be used.
    pub fn discard(&mut self) {
        self.cycle.discarded = self.cycle.discarded.saturating_add(1);
    }

    /// Ends the round, at an instant not before its last sample, and says what it brought.
    /// Offsets are given against a clock that is ahead of the prober's by this number of
    /// nanoseconds, with this uncertainty. `None` if there were no samples.
    pub fn end(
        &mut self,
        backend: &BackendName,
        source: ClockSource,
        now: i64,
        (ahead, uncertain): (i64, i64),
    ) -> Option<ClockReading> {
        let cycle = std::mem::take(&mut self.cycle);
        self.aimer.begin();
        let now = cycle.latest()?.max(now);
        let outcome = cycle.outcome(now)?;
        let (bounds, status, step) = self.compare(now, &cycle, outcome);
        let spread = outcome.spread.max(self.spread(now));
        let shown = bounds.shifted(ahead);
        Some(ClockReading {
            backend: backend.clone(),
            source,
            interval: interval(Bounds {
                lower: shown.lower.saturating_sub(uncertain),
                upper: shown.upper.saturating_add(uncertain),
            }),
            samples: u32::try_from(cycle.len()).unwrap_or(u32::MAX),
            discarded: cycle.discarded,
            contradiction: outcome.contradiction(),
            status,
            step: step.map(interval),
            spread_seconds: seconds(spread),
            round_trip_seconds: self.aimer.least().map(seconds),
            drift: self.drift.line(),
        })
    }

    /// Where the clock is expected.
    fn expected(&self, at: i64) -> Option<Expected> {
        let (then, bounds) = self.last?;
        let moved = self.moves(at.saturating_sub(then));
        Some(Expected { offset: bounds.middle().saturating_add(moved), off: self.off })
    }

    /// How far the clock drifts in this number of nanoseconds, as far as that is known.
    fn moves(&self, time: i64) -> i64 {
        let ppm = self.drift.line().map_or(0.0, |line| line.ppm);
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a guess")]
        let moved = (time as f64 * ppm / 1e6) as i64;
        moved
    }

    /// Where the clock can be now without having been set: drifting on as before, or nearly so.
    fn natural(&self, now: i64) -> Option<Bounds> {
        let (then, was) = self.last?;
        let since = now.saturating_sub(then);
        Some(was.shifted(-self.moves(since)).wider(since / UNSTEADY + 1))
    }

    /// Compares a round with the one before.
    fn compare(
        &mut self,
        now: i64,
        cycle: &Cycle,
        outcome: Outcome,
    ) -> (Bounds, ClockStatus, Option<Bounds>) {
        let before = self.status;
        let (mut bounds, mut own) = (outcome.bounds, outcome.bounds);
        let natural = self.natural(now);
        let (status, step) = match natural {
            _ if outcome.contradiction() => {
                self.drift.forget();
                let status = outcome.step.map_or(ClockStatus::Inconsistent, |_| ClockStatus::Step);
                (status, outcome.step)
            }
            None => (ClockStatus::New, None),
            Some(natural) if !bounds.and(natural).is_empty() => {
                let error = bounds.middle().saturating_sub(natural.middle()).saturating_abs();
                if bounds.width() < SECOND / 2 {
                    self.off = (3 * self.off + error) / 4;
                }
                (ClockStatus::Ok, None)
            }
            Some(natural) => {
                bounds = cycle.since(natural, now).unwrap_or(bounds);
                own = bounds;
                let step = bounds.minus(natural);
                let status = self.moved(bounds.middle() > natural.middle(), before);
                if status == ClockStatus::Slewing
                    && let Some((then, _)) = self.last
                {
                    bounds = widened(bounds, step, now.saturating_sub(then));
                }
                (status, Some(step))
            }
        };
        self.status = Some(status);
        self.last = None;
        if !outcome.contradiction() {
            self.last = Some((now, own));
            self.drift.add(now, own);
            if self.window.len() >= WINDOW {
                self.window.pop_front();
            }
            self.window.push_back((now, own));
        }
        (bounds, status, step)
    }

    /// The clock cannot have come here by drifting.
    fn moved(&mut self, forward: bool, before: Option<ClockStatus>) -> ClockStatus {
        let again = matches!(before, Some(ClockStatus::Step | ClockStatus::Slewing))
            && self.steps.back() == Some(&forward);
        self.off = 0;
        self.drift.forget();
        if self.steps.len() >= STEPS {
            self.steps.pop_front();
        }
        self.steps.push_back(forward);
        let turns = self.steps.iter().zip(self.steps.iter().skip(1)).filter(|(a, b)| a != b);
        if turns.count() >= 2 {
            // To and fro: several clocks answer behind one address.
            ClockStatus::Multiple
        } else if again {
            ClockStatus::Slewing
        } else {
            ClockStatus::Step
        }
    }

    /// How far the clocks behind this source were apart at least, over the last rounds.
    fn spread(&self, now: i64) -> i64 {
        let natural = |(at, bounds): &(i64, Bounds)| bounds.wider((now - at) / UNSTEADY + 1);
        self.window
            .iter()
            .map(natural)
            .reduce(Bounds::and)
            .map_or(0, |common| common.width().saturating_neg().max(0))
    }
}

/// A clock that is being moved moves on while it is measured: as fast as since the round before,
/// for as long as a round's samples may lie apart.
fn widened(bounds: Bounds, change: Bounds, since: i64) -> Bounds {
    let most = change.lower.saturating_abs().max(change.upper.saturating_abs());
    let a_second = 2 * most / (since / SECOND).max(1);
    bounds.wider(a_second.saturating_mul(4))
}

fn interval(bounds: Bounds) -> ClockInterval {
    ClockInterval::between(seconds(bounds.lower), seconds(bounds.upper))
}

#[expect(clippy::cast_precision_loss, reason = "the offset of a clock, rounded at its 16th digit")]
fn seconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / 1e9
}
