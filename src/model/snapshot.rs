//! What every output reads: the newest judged round of every registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    BackendName, ClientView, Finding, Observation, RegistryName, Round, Route, Share, Status,
    TraceEntry, Unmeasured,
};

/// The clock difference that a verifier tolerates, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Leeway {
    /// Known from its family and version.
    Seconds(f64),
    /// The family or version is not known.
    Unknown,
}

/// What was concluded from a round, computed once with it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Assessment {
    /// The worst severity, or that too little was measured to say `ok`.
    pub status: Status,
    /// Every finding, worst first.
    pub findings: Vec<Finding>,
    /// Everything unexpected, each with the finding that explains it, as an index of `findings`.
    pub observations: Vec<(Observation, usize)>,
    /// What had to be measured and was not.
    pub unmeasured: Vec<Unmeasured>,
    /// What became of every hypothesis.
    pub trace: Vec<TraceEntry>,
    /// The balancer's shares; empty if it was not sampled.
    pub shares: Vec<Share>,
    /// The 401 ratio that the matrix and the shares predict for independent pairs.
    pub expected_unauthorized: Option<f64>,
    /// The interval of that prediction, from the 95 % intervals of the shares.
    pub expected_interval: Option<(f64, f64)>,
    /// The 95 % Wilson interval of the measured ratio.
    pub unauthorized_interval: Option<(f64, f64)>,
    /// What each kind of client feels; empty if no such flows ran.
    pub clients: Vec<ClientView>,
    /// What each backend tolerates.
    pub leeways: Vec<(BackendName, Leeway)>,
    /// The smallest leeway left over all pairs, in seconds; negative means refusals.
    pub clock_margin: Option<f64>,
    /// What the clocks mean for this family, in sentences.
    pub clock_words: Vec<String>,
}

/// A round with what was concluded from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// What was measured.
    pub round: Round,
    /// What it means.
    pub assessment: Assessment,
}

/// One registry as the outputs know it.
#[derive(Debug, Clone)]
pub struct RegistryState {
    /// Its public URL.
    pub url: String,
    /// Seconds between rounds.
    pub interval_seconds: f64,
    /// Its routes as configured or last resolved, backends first, so that series can exist before
    /// the first round ends.
    pub routes: Vec<Route>,
    /// The newest round; none before the first ends.
    pub latest: Option<Arc<Judged>>,
}

/// Facts about the program itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramFacts {
    /// Whether the newest reload was taken.
    pub reload_successful: bool,
    /// When a configuration was last taken.
    pub reload_success: DateTime<Utc>,
    /// Why the newest reload was refused.
    pub reload_error: Option<String>,
}

/// Everything that outputs read; published whole, never changed.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Every configured registry.
    pub registries: BTreeMap<RegistryName, RegistryState>,
    /// The program.
    pub program: ProgramFacts,
}

impl Snapshot {
    /// The worst status of all registries; `Unknown` without any round.
    pub fn status(&self) -> Status {
        self.registries
            .values()
            .map(|state| state.latest.as_ref().map_or(Status::Unknown, |j| j.assessment.status))
            .max()
            .unwrap_or(Status::Unknown)
    }
}
