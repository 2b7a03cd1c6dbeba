//! What time it is: the wall clock, anchored to the monotonic one.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// How often the two clocks are read; the closest pair counts.
const READINGS: usize = 5;
/// The two clocks of one machine differ by no more without a step: this much at once …
const STEP: i64 = 1_000_000;
/// … and one part in this number over time.
const APART: i64 = 10_000;

/// The wall clock, anchored to the monotonic one at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Nanoseconds since 1970 at the instant.
    wall: i64,
    instant: Instant,
    /// By how many nanoseconds the pair may be off.
    uncertain: i64,
    source: Option<fn() -> DateTime<Utc>>,
}

impl Clock {
    /// Reads both clocks now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn read() -> Self {
        Self::of(Utc::now)
    }

    /// Reads a wall clock, and the monotonic one around it.
    pub fn of(wall: fn() -> DateTime<Utc>) -> Self {
        let pair = || {
            let before = Instant::now();
            let read = nanoseconds(wall());
            let between = Instant::now().saturating_duration_since(before);
            let uncertain = i64::try_from(between.as_nanos() / 2).unwrap_or(i64::MAX);
            Self { wall: read, instant: before + between / 2, uncertain, source: Some(wall) }
        };
        let first = pair();
        (1..READINGS)
            .map(|_| pair())
            .fold(first, |best, other| if other.uncertain < best.uncertain { other } else { best })
    }

    /// A clock that showed `wall` at `instant`, and is never read again: for simulated time.
    pub fn anchored(wall: DateTime<Utc>, instant: Instant) -> Self {
        Self { wall: nanoseconds(wall), instant, uncertain: 0, source: None }
    }

    /// The same clock, read again now.
    #[must_use]
    pub fn again(&self) -> Self {
        self.source.map_or(*self, Self::of)
    }

    /// The wall time at an instant.
    pub fn at(&self, instant: Instant) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(self.nanoseconds(instant))
    }

    /// The wall time now.
    pub fn now(&self) -> DateTime<Utc> {
        self.at(Instant::now())
    }

    /// The wall time at an instant, in nanoseconds since 1970.
    pub fn nanoseconds(&self, instant: Instant) -> i64 {
        let (forward, back) = (
            instant.saturating_duration_since(self.instant),
            self.instant.saturating_duration_since(instant),
        );
        let whole = |span: std::time::Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        self.wall.saturating_add(whole(forward)).saturating_sub(whole(back))
    }

    /// When it is that time.
    pub fn instant(&self, nanoseconds: i64) -> Option<Instant> {
        let ahead = nanoseconds.saturating_sub(self.wall);
        let span = std::time::Duration::from_nanos(ahead.unsigned_abs());
        if ahead < 0 { self.instant.checked_sub(span) } else { self.instant.checked_add(span) }
    }

    /// How many nanoseconds this reading is ahead of an earlier one carried on, and how many that
    /// may be off.
    pub fn ahead_of(&self, earlier: &Self) -> (i64, i64) {
        let ahead = self.wall.saturating_sub(earlier.nanoseconds(self.instant));
        (ahead, self.uncertain.saturating_add(earlier.uncertain))
    }

    /// By how much the wall clock was set since an earlier reading, if it was: more than the
    /// clocks of one machine drift apart. Waking from a suspended state looks the same.
    pub fn stepped_since(&self, earlier: &Self) -> Option<TimeDelta> {
        let (ahead, uncertain) = self.ahead_of(earlier);
        let since = self.instant.saturating_duration_since(earlier.instant).as_nanos();
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        let natural = STEP.saturating_add(since / APART).saturating_add(uncertain);
        (ahead.saturating_abs() > natural).then(|| TimeDelta::nanoseconds(ahead))
    }
}

fn nanoseconds(time: DateTime<Utc>) -> i64 {
    // Beyond the year 2262 no interval would be right anyway.
    time.timestamp_nanos_opt().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_is_told_from_the_drift_of_two_clocks() {
        let instant = Instant::now();
        let wall = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        let earlier = Clock::anchored(wall, instant);
        let later = |seconds: u64, ahead_ms: i64| {
            let span = Duration::from_secs(seconds);
            let shown = wall + span + TimeDelta::milliseconds(ahead_ms);
            Clock::anchored(shown, instant + span)
        };
        for (seconds, ahead_ms, stepped) in [
            (4, 0, false),
            (4, 1, false),
            (4, 2, true),
            (4, 2_000, true),
            (4, -2_000, true),
            (3_600, 300, false),
            (3_600, 400, true),
        ] {
            let found = later(seconds, ahead_ms).stepped_since(&earlier);
            let expected = stepped.then(|| TimeDelta::milliseconds(ahead_ms));
            assert_eq!(found, expected, "{ahead_ms} ms in {seconds} s");
        }
    }

    #[test]
    fn instants_and_times_lead_back_to_each_other() {
        let wall = DateTime::from_timestamp(1_795_000_000, 123_456_789).unwrap();
        let clock = Clock::anchored(wall, Instant::now());
        for off in [0, 1, -1, 5_000_000_000, -3_000_000] {
            let time = wall.timestamp_nanos_opt().unwrap() + off;
            assert_eq!(clock.nanoseconds(clock.instant(time).unwrap()), time);
        }
        assert_eq!(clock.ahead_of(&clock), (0, 0));
    }
}
