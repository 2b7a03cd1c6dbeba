//! Clocks of other machines as intervals, and the one place that asks what time it is.
//!
//! [`Clock`] reads the prober's own wall clock together with the monotonic one, once; every later
//! instant is placed on the wall by the monotonic clock, so that a step of the prober's clock in
//! mid-round cannot bend a sample. [`estimate`] is pure: samples in, interval out.

mod estimate;

pub use estimate::{Sample, estimate};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// The wall clock, anchored to the monotonic one at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: DateTime<Utc>,
    instant: Instant,
}

impl Clock {
    /// Reads both clocks now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn read() -> Self {
        Self { wall: Utc::now(), instant: Instant::now() }
    }

    /// A clock that showed `wall` at `instant`: for simulated time.
    pub fn anchored(wall: DateTime<Utc>, instant: Instant) -> Self {
        Self { wall, instant }
    }

    /// The wall time at an instant.
    pub fn at(&self, instant: Instant) -> DateTime<Utc> {
        let (forward, back) = (
            instant.saturating_duration_since(self.instant),
            self.instant.saturating_duration_since(instant),
        );
        self.wall + TimeDelta::from_std(forward).unwrap_or(TimeDelta::MAX)
            - TimeDelta::from_std(back).unwrap_or(TimeDelta::zero())
    }

    /// The wall time now.
    pub fn now(&self) -> DateTime<Utc> {
        self.at(Instant::now())
    }
}
