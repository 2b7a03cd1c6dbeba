//! When the next round is due: evenly, a little irregularly, and never twice at once.

use std::time::Duration;

use tokio::time::Instant;

/// How far a round may start from its even time, as a part of the interval, so that many probers do
/// not ask at the same moment.
const JITTER: f64 = 0.05;
/// The part of an interval that lies between the end of a round and the start of the next.
const MARGIN: f64 = 0.02;
/// The first rounds of a few registries begin within this time.
const SPREAD: Duration = Duration::from_secs(3);
/// With more registries, their rounds begin this far apart: a hundred rounds at once take the
/// processor and the memory of a hundred, and then leave both idle.
const APART: Duration = Duration::from_millis(500);

/// The even times of one registry's rounds.
#[derive(Debug, Clone)]
pub(super) struct Timer {
    /// The even time of the round that is next or runs.
    even: Instant,
    interval: Duration,
    /// When the round that is next or runs begins.
    due: Instant,
}

impl Timer {
    /// A timer whose first round begins at `first`.
    pub(super) fn new(first: Instant, interval: Duration) -> Self {
        Self { even: first, interval, due: first }
    }

    /// When the next round begins.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Moves on to the round after this one, which has just begun, and says by when this one must
    /// have ended. `chance` is evenly distributed in `0..1`.
    pub(super) fn begin(&mut self, chance: f64) -> Instant {
        self.even += self.interval;
        let jitter = self.interval.mul_f64(JITTER);
        self.due = self.even - jitter + jitter.mul_f64(2.0 * chance.clamp(0.0, 1.0));
        self.due - self.interval.mul_f64(MARGIN)
    }

    /// Leaves out the rounds whose time has passed already, and says how many.
    pub(super) fn skip(&mut self, now: Instant) -> u32 {
        let mut skipped = 0;
        if now > self.due {
            let behind = now.saturating_duration_since(self.even);
            let whole = behind.as_nanos() / self.interval.as_nanos().max(1) + 1;
            // No machine runs long enough to miss more rounds than this.
            skipped = u32::try_from(whole).unwrap_or(u32::MAX);
            self.even += self.interval * skipped;
            self.due = self.even;
        }
        skipped
    }
}

/// How long after the start the first round of the `index`th of `count` registries begins.
pub(super) fn first_delay(index: usize, count: usize, interval: Duration) -> Duration {
    let [index, count] = [index, count.max(1)].map(|it| u32::try_from(it).unwrap_or(u32::MAX));
    let spread = SPREAD.max(APART.saturating_mul(count)).min(interval.mul_f64(0.9));
    spread.mul_f64((f64::from(index) / f64::from(count)).min(1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    proptest! {
        #[test]
        fn rounds_are_even_within_the_jitter_and_each_ends_before_the_next(
            interval in 1u64..3600,
            chances in proptest::collection::vec(0.0f64..1.0, 1..100),
        ) {
            let interval = S * u32::try_from(interval).unwrap();
            let began = Instant::now();
            let mut timer = Timer::new(began, interval);
            for (done, chance) in (1u32..).zip(chances) {
                let start = timer.due();
                let deadline = timer.begin(chance);
                prop_assert!(start < deadline && deadline < timer.due());
                let even = began + interval * done;
                let off = timer.due().max(even) - timer.due().min(even);
                prop_assert!(off <= interval.mul_f64(JITTER) + Duration::from_micros(1));
                prop_assert_eq!(timer.skip(deadline), 0);
            }
        }
    }

    #[test]
    fn rounds_that_were_missed_are_counted_and_never_made_up_for() {
        // A round began at 0 with an interval of 10 s; the next is due at 10 s.
        for (ended, skipped, next) in
            [(9, 0, 10), (10, 0, 10), (11, 1, 20), (19, 1, 20), (20, 2, 30), (65, 6, 70)]
        {
            let began = Instant::now();
            let mut timer = Timer::new(began, 10 * S);
            timer.begin(0.5);
            assert_eq!(timer.skip(began + ended * S), skipped, "ended after {ended} s");
            let due = (timer.due() - began).as_millis();
            assert_eq!(due, next * 1000, "ended after {ended} s");
            assert_eq!(timer.skip(began + ended * S), 0, "counted once");
        }
    }

    #[test]
    fn first_rounds_of_a_few_are_soon_and_those_of_many_are_spread() {
        // How many registries, the interval, and the delay of the last one, in seconds.
        for (count, interval, last) in
            [(1, 15, 0.0), (2, 15, 1.5), (6, 15, 2.5), (100, 60, 49.5), (100, 15, 13.365)]
        {
            let delay = first_delay(count - 1, count, S * interval).as_secs_f64();
            assert!((delay - last).abs() < 1e-6, "{count} registries every {interval} s: {delay}");
        }
    }
}
