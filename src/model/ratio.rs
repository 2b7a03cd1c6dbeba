//! How often something happened of the times that it could.

use serde::Serialize;

/// Events among trials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ratio {
    /// How often it happened.
    pub events: u32,
    /// How often it could have.
    pub trials: u32,
}

impl Ratio {
    /// Events over trials; `None` without trials.
    pub fn value(self) -> Option<f64> {
        (self.trials > 0).then(|| f64::from(self.events) / f64::from(self.trials))
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { events: self.events + other.events, trials: self.trials + other.trials }
    }
}
