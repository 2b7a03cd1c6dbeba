//! What earlier rounds of a registry left behind for the judgement of the next.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    BackendName, BalancerRun, Confidence, FindingName, Judged, KeyId, Neighbour, Severity,
};

/// The memory between the rounds of one registry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Earlier {
    /// The signing key of each backend, as last seen.
    pub keys: BTreeMap<BackendName, KeySeen>,
    /// The findings of the round before, by subject.
    pub open: BTreeMap<Subject, OpenFinding>,
    /// The other registries, by their newest rounds.
    pub neighbours: Vec<Neighbour>,
    /// What was sampled through the load balancer over the last [`WINDOW_SECONDS`], oldest first.
    pub window: Vec<Sampled>,
}

impl Earlier {
    /// Since when a finding at these backends lasts: the earliest of its subjects. `None` if the
    /// round before was free of it at all of them.
    pub fn since(&self, name: FindingName, backends: &[BackendName]) -> Option<DateTime<Utc>> {
        self.open_with(name, backends).map(|open| open.since)
    }

    /// Since when a finding lasts at one backend.
    pub fn since_of(&self, name: FindingName, backend: &BackendName) -> Option<DateTime<Utc>> {
        self.since(name, std::slice::from_ref(backend))
    }

    /// What is known of a finding at these backends, if the round before had it at one of them:
    /// the earliest beginning, and the surest and worst that was said.
    pub fn open_with(&self, name: FindingName, backends: &[BackendName]) -> Option<OpenFinding> {
        let known = Subject::all(name, backends);
        let known = known.iter().filter_map(|subject| self.open.get(subject)).copied();
        known.reduce(|one, other| OpenFinding {
            since: one.since.min(other.since),
            confidence: one.confidence.max(other.confidence),
            severity: one.severity.max(other.severity),
        })
    }

    /// Keeps what a round sampled through the load balancer, and forgets what is older than
    /// [`WINDOW_SECONDS`].
    pub fn sampled(&mut self, judged: &Judged) {
        let now = judged.round.started;
        if let Some(run) = judged.round.balancer.measured() {
            self.window.push(Sampled { at: now, run: run.counts() });
        }
        // What lies ahead was measured before the prober's own clock was set back.
        self.window
            .retain(|sampled| (0..=WINDOW_SECONDS).contains(&(now - sampled.at).num_seconds()));
        let surplus = self.window.len().saturating_sub(WINDOW_ROUNDS);
        self.window.drain(..surplus);
    }
}

/// What a finding is about: its name, and one of the backends at fault. A finding with several has
/// as many subjects, each with a beginning of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The cause.
    pub finding: FindingName,
    /// The backend at fault; none where the cause lies elsewhere or cannot be placed.
    pub backend: Option<BackendName>,
}

impl Subject {
    /// The subjects of a finding at these backends.
    pub fn all(finding: FindingName, backends: &[BackendName]) -> Vec<Self> {
        if backends.is_empty() {
            return vec![Self { finding, backend: None }];
        }
        backends.iter().map(|name| Self { finding, backend: Some(name.clone()) }).collect()
    }
}

/// The most rounds of samples that are kept, however short the interval.
const WINDOW_ROUNDS: usize = 64;

/// For how long samples are kept: rare failures need more of them than one round takes.
pub const WINDOW_SECONDS: i64 = 300;

/// The sampling of an earlier round.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// When that round began.
    pub at: DateTime<Utc>,
    /// What it met.
    pub run: BalancerRun,
}

/// A signing key with its history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeySeen {
    /// The key.
    pub key: KeyId,
    /// When it was first seen.
    pub since: DateTime<Utc>,
    /// The key before it, if another was ever seen.
    pub previous: Option<KeyId>,
}

/// A finding that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFinding {
    /// When it was first found, without a round free of it since.
    pub since: DateTime<Utc>,
    /// How sure it was in the round before.
    pub confidence: Confidence,
    /// How bad it was in the round before.
    pub severity: Severity,
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::model::sample::{backend, judged, round, started};

    #[test]
    fn a_backend_that_joins_later_has_its_own_time_and_the_finding_the_earliest() {
        let name = FindingName::BackendUnreachable;
        let at = |minutes| OpenFinding {
            since: started() + TimeDelta::minutes(minutes),
            confidence: Confidence::Suspected,
            severity: Severity::Warning,
        };
        let of = |backend| Subject { finding: name, backend };
        let (a, b) = (backend("a"), backend("b"));
        let surer = OpenFinding { confidence: Confidence::Proved, ..at(5) };
        let open = [(of(Some(a.clone())), at(0)), (of(Some(b.clone())), surer)].into();
        let earlier = Earlier { open, ..Earlier::default() };
        assert_eq!(earlier.since_of(name, &a), Some(at(0).since));
        assert_eq!(earlier.since_of(name, &b), Some(at(5).since));
        let both = earlier.open_with(name, &[b.clone(), a.clone()]);
        assert_eq!(both, Some(OpenFinding { confidence: Confidence::Proved, ..at(0) }));
        assert_eq!(earlier.since(name, &[b, backend("c")]), Some(at(5).since));
        assert_eq!(earlier.since(name, &[backend("c")]), None, "it has just joined");
        assert_eq!(earlier.since(name, &[]), None, "no backend is another subject");
        assert_eq!(earlier.since(FindingName::ServerErrors, &[a]), None);
    }

    #[test]
    fn samples_are_kept_for_five_minutes_and_never_more_than_so_many() {
        let mut earlier = Earlier::default();
        let mut keep = |seconds: i64| {
            let mut round = round(&["a", "b"]);
            round.started += TimeDelta::seconds(seconds);
            earlier.sampled(&judged(round, Vec::new()));
            let ages = earlier.window.iter().map(|kept| (kept.at - started()).num_seconds());
            assert!(earlier.window.iter().all(|kept| kept.run.keys.is_empty()));
            ages.collect::<Vec<_>>()
        };
        assert_eq!(keep(0), [0]);
        assert_eq!(keep(15), [0, 15]);
        assert_eq!(keep(301), [15, 301]);
        assert_eq!(keep(100), [15, 100], "the clock was set back");
        let many = (400..500).map(keep).fold(Vec::new(), |_, ages| ages);
        assert_eq!(many, (500 - 64..500).collect::<Vec<_>>());
    }
}
