//! What earlier rounds of a registry left behind for the judgement of the next.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{BackendName, BalancerRun, Confidence, FindingName, KeyId, Neighbour};

/// The memory between the rounds of one registry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Earlier {
    /// The signing key of each backend, as last seen.
    pub keys: BTreeMap<BackendName, KeySeen>,
    /// The findings of the round before.
    pub open: BTreeMap<FindingName, OpenFinding>,
    /// The other registries, by their newest rounds.
    pub neighbours: Vec<Neighbour>,
    /// What was sampled through the load balancer over the last [`WINDOW_SECONDS`], oldest first.
    pub window: Vec<Sampled>,
}

impl Earlier {
    /// Since when a finding at these backends lasts; `None` if the round before was free of it.
    pub fn since(&self, name: FindingName, _backends: &[BackendName]) -> Option<DateTime<Utc>> {
        self.open.get(&name).map(|open| open.since)
    }

    /// What is known of a finding at these backends, if the round before had it.
    pub fn open_with(&self, name: FindingName, _backends: &[BackendName]) -> Option<OpenFinding> {
        self.open.get(&name).copied()
    }
}

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
}
