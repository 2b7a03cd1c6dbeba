//! How long each phase of one request took.

use std::time::Duration;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::Phase;

/// The phases of one request in the order they ran. After the phase that failed there is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timeline {
    phases: Vec<(Phase, Duration)>,
    failed_in: Option<Phase>,
}

impl Timeline {
    /// Adds a finished phase. A phase out of order, or after the one that failed, is left out, so
    /// that a later duration can never stand next to an earlier failure.
    #[must_use]
    pub fn then(mut self, phase: Phase, took: Duration) -> Self {
        if self.failed_in.is_none() && self.phases.last().is_none_or(|(last, _)| *last < phase) {
            self.phases.push((phase, took));
        }
        self
    }

    /// Ends the timeline in a phase that failed after `took`.
    #[must_use]
    pub fn failed(self, phase: Phase, took: Duration) -> Self {
        let mut ended = self.then(phase, took);
        ended.failed_in.get_or_insert(phase);
        ended
    }

    /// The phase that failed, if one did.
    pub fn failed_in(&self) -> Option<Phase> {
        self.failed_in
    }

    /// The duration of a phase, if it ran.
    pub fn phase(&self, phase: Phase) -> Option<Duration> {
        self.phases.iter().find(|(p, _)| *p == phase).map(|(_, took)| *took)
    }

    /// Every phase that ran.
    pub fn phases(&self) -> &[(Phase, Duration)] {
        &self.phases
    }

    /// The sum of all phases.
    pub fn total(&self) -> Duration {
        self.phases.iter().map(|(_, took)| *took).sum()
    }
}

impl Serialize for Timeline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.phases.len()))?;
        for (phase, took) in &self.phases {
            map.serialize_entry(phase.as_str(), &took.as_secs_f64())?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_phase_follows_the_one_that_failed() {
        let ms = Duration::from_millis;
        let line = Timeline::default()
            .then(Phase::Dns, ms(1))
            .failed(Phase::Connect, ms(2))
            .then(Phase::Tls, ms(3))
            .then(Phase::Wait, ms(4));
        assert_eq!(line.failed_in(), Some(Phase::Connect));
        assert_eq!(line.phases(), [(Phase::Dns, ms(1)), (Phase::Connect, ms(2))]);
        assert_eq!(line.total(), ms(3));
    }
}
