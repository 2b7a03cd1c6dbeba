//! How often and how long: interval, timeout and rate, which a registry takes from `global` where
//! it says nothing itself.

use std::time::Duration;

use super::file::{Global, RegistryEntry};
use super::problem::{Mistake, Problems, quoted};
use super::read::{At, DurationText, good};

/// Time between rounds, if nothing else is said.
pub(super) const INTERVAL: Duration = Duration::from_secs(15);
/// Limit of each request, if nothing else is said.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// Requests per second to one backend, if nothing else is said.
pub(super) const MAX_REQUESTS_PER_SECOND: u32 = 50;

const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// Interval, timeout and rate of one level.
pub(super) struct Pace {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) max_requests_per_second: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            interval: INTERVAL,
            timeout: TIMEOUT,
            max_requests_per_second: MAX_REQUESTS_PER_SECOND,
        }
    }
}

impl Pace {
    /// What holds where a registry does not say otherwise.
    pub(super) fn of_global(entry: &Global, problems: &mut Problems) -> Self {
        let Global { interval, timeout, max_requests_per_second: rate } = entry;
        Self::default().with(interval.as_ref(), timeout.as_ref(), rate.as_ref(), problems)
    }

    /// What holds for one registry.
    pub(super) fn of_registry(
        entry: &RegistryEntry,
        global: &Self,
        problems: &mut Problems,
    ) -> Self {
        let rate = entry.max_requests_per_second.as_ref();
        global.with(entry.interval.as_ref(), entry.timeout.as_ref(), rate, problems)
    }

    /// This pace with what the next level says itself.
    fn with(
        &self,
        interval: Option<&At<DurationText>>,
        timeout: Option<&At<DurationText>>,
        rate: Option<&At<u32>>,
        problems: &mut Problems,
    ) -> Self {
        let mut read = |key: Option<&At<DurationText>>, low, expected| {
            let (text, place) = good(key)?;
            problems.note(place, duration(&text.0, low, expected))
        };
        let expected = "a duration from 1s to 1d, for instance 15s";
        let own_interval = read(interval, MIN_INTERVAL, expected);
        let expected = "a duration from 100ms to 1d, for instance 5s or 500ms";
        let own_timeout = read(timeout, MIN_TIMEOUT, expected);
        if let Some((0, place)) = good(rate) {
            let expected = "a whole number, 1 or greater";
            problems.add(place, Mistake::Expected { expected, found: "the number 0".to_owned() });
        }
        let pace = Self {
            interval: own_interval.unwrap_or(self.interval),
            timeout: own_timeout.unwrap_or(self.timeout),
            max_requests_per_second: good(rate)
                .map_or(self.max_requests_per_second, |(rate, _)| *rate),
        };

        // Reported at the level that causes the conflict, and only if all its values could be read.
        let readable = interval.is_some() == own_interval.is_some()
            && timeout.is_some() == own_timeout.is_some();
        if let Some(at) = timeout.or(interval)
            && readable
            && pace.timeout >= pace.interval
        {
            let text = |duration| humantime::format_duration(duration).to_string();
            let (timeout, interval) = (text(pace.timeout), text(pace.interval));
            problems.add(at.place, Mistake::TimeoutNotBelowInterval { timeout, interval });
        }
        pace
    }
}

/// A duration of at least `low` and at most a day.
pub(super) fn duration(
    text: &str,
    low: Duration,
    expected: &'static str,
) -> Result<Duration, Mistake> {
    match humantime::parse_duration(text) {
        Ok(value) if (low..=MAX_INTERVAL).contains(&value) => Ok(value),
        _ => Err(Mistake::Expected { expected, found: quoted(text) }),
    }
}
