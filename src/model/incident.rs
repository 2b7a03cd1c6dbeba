//! An incident: a finding from its beginning to its end, as it is remembered.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{BalancerRun, Flow, Round, SampleFailure, SampledFlow, Severity, Step};

/// One cause at one registry, from the round that found it first to the first round free of it.
/// One that returns soon after its end is the same incident.
///
/// Names are text: a journal may be of another version than the program that reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its registry.
    pub registry: String,
    /// Its finding.
    pub finding: String,
    /// Every backend that was at fault in it; empty if the cause lies elsewhere.
    pub backends: Vec<String>,
    /// The worst that it was for users.
    pub severity: Severity,
    /// What was wrong, in one sentence, when it was worst.
    pub summary: String,
    /// What it did to users when it was worst.
    pub effect: String,
    /// The share of users that failed when it was worst, by kind; empty if it was not measured.
    pub users: Vec<UserShare>,
    /// When the first round began that found it.
    pub opened: DateTime<Utc>,
    /// When the first round began that was free of it; none while it lasts.
    pub closed: Option<DateTime<Utc>>,
    /// How often it came back within [`RETURNS_WITHIN_SECONDS`] of its end.
    pub returned: u32,
    /// Since when it lasts at each backend, while it does; the name is empty where there is none.
    pub lasting: Vec<(String, DateTime<Utc>)>,
    /// How many backends were at fault when it was worst.
    #[serde(default)]
    pub backends_at_worst: usize,
    /// The longest time in seconds that it lasted at one backend without a break, as far as that has
    /// ended.
    pub longest_seconds: i64,
    /// What it was in plain words, where its course tells: a restart.
    pub note: Option<String>,
    /// The rounds that are kept with it.
    pub rounds: KeptRounds,
}

impl Incident {
    /// Whether this is the same incident as another, at an earlier or later time.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.registry, &self.finding, self.opened)
            == (&other.registry, &other.finding, other.opened)
    }

    /// The same with the time until a moment, where it lasts.
    #[must_use]
    pub fn as_of(mut self, now: DateTime<Utc>) -> Self {
        let lasting = self.lasting.iter().map(|(_, since)| (now - *since).num_seconds());
        self.longest_seconds = lasting.fold(self.longest_seconds, i64::max);
        self
    }
}

/// The rounds of an incident, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRounds {
    /// The first that found it.
    pub opening: String,
    /// The one in which it was worst.
    pub worst: String,
    /// The first that was free of it.
    pub closing: Option<String>,
}

impl KeptRounds {
    /// Every id.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        [&self.opening, &self.worst].into_iter().chain(&self.closing).map(String::as_str)
    }
}

/// How soon after its end a cause that is met again is the same incident.
pub const RETURNS_WITHIN_SECONDS: i64 = 1800;

/// How many flows of one kind failed through the load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserShare {
    /// The kind of flow, in a word or two.
    pub kind: String,
    /// How many failed.
    pub failed: u32,
    /// Of how many.
    pub of: u32,
}

impl UserShare {
    /// What a round measured, for each kind; where nothing was sampled, of the prober's own flow.
    pub fn all(round: &Round) -> Vec<Self> {
        let sampled = round.balancer.measured().map(Self::sampled).unwrap_or_default();
        let own = |flow: &Flow| Self {
            kind: "flows of the prober".to_owned(),
            failed: u32::from(!flow.succeeded()),
            of: 1,
        };
        match round.balancer_flow().map(own) {
            Some(own) if sampled.is_empty() => vec![own],
            _ => sampled,
        }
    }

    fn sampled(run: &BalancerRun) -> Vec<Self> {
        // A flow that is lost before its token is shown is no trial of the ratio.
        let lost = lost(run, SampledFlow::Pair);
        let pairs = Self {
            kind: "independent flows".to_owned(),
            failed: run.pairs.events + lost,
            of: run.pairs.trials + lost,
        };
        let clients = run.clients.iter().map(|client| Self {
            kind: format!("{} logins", client.client.as_str()),
            failed: client.logins.events,
            of: client.logins.trials,
        });
        std::iter::once(pairs).chain(clients).filter(|share| share.of > 0).collect()
    }

    /// The failed part, 0 to 1.
    pub fn ratio(&self) -> f64 {
        if self.of == 0 { 0.0 } else { f64::from(self.failed) / f64::from(self.of) }
    }
}

/// Flows of a kind that ended otherwise than with an answer about the token. Of an independent pair
/// the challenges in between may fail, and it goes on.
fn lost(run: &BalancerRun, flow: SampledFlow) -> u32 {
    let ends = |failure: &&SampleFailure| failure.flow == flow && failure.step != Step::Challenge;
    let of_kind = run.failures.iter().filter(ends);
    of_kind.map(|failure| failure.count).sum()
}
