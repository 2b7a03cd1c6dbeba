//! What was seen through the load balancer.

use serde::Serialize;

use super::{Answer, BackendName, ClientRun, Failure, KeyId, Ratio, Reason, Step};

/// How often a signing key was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyCount {
    /// The key.
    pub key: KeyId,
    /// The tokens signed by it.
    pub tokens: u32,
}

/// The share of the balancer's answers that one backend gave. A backend whose answers cannot be
/// distinguished from others' has none: its share is unknown, not zero.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// The backend; none for answers of no backend that is configured.
    pub backend: Option<BackendName>,
    /// 0 to 1.
    pub share: f64,
    /// The 95 % interval of the share, from how many answers it was counted on.
    pub interval: Option<(f64, f64)>,
    /// Whether the share was seen (fingerprints tell this backend apart) or is an equal part of
    /// what several indistinguishable backends answered together.
    pub distinct: bool,
}

/// Which of the two kinds of sampled flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SampledFlow {
    /// Token and access on connections of their own.
    Pair,
    /// As a client makes it.
    Client,
}

/// How often a step was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StepCount {
    /// In which kind of flow.
    pub flow: SampledFlow,
    /// Which step.
    pub step: Step,
    /// How often.
    pub tried: u32,
}

/// Sampled requests that failed alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleFailure {
    /// In which kind of flow.
    pub flow: SampledFlow,
    /// At which step.
    pub step: Step,
    /// The first of these failures.
    pub failure: Failure,
    /// The answer to the first, if one arrived.
    pub answer: Option<Answer>,
    /// How many failed at this step for this reason.
    pub count: u32,
}

/// How many times as many samples the next round takes where this number of requests were lost or
/// wrong over the last minutes: rare failures need more of them than one round takes.
///
/// Doubling once finds a failure of 1 % of flows within five minutes in about 80 of 100 cases,
/// doubling with each in 95; six times as many still fit into a round and the requests that a
/// second allows.
pub fn more_samples(events: u32) -> u32 {
    const MOST: u32 = 6;
    1u32.checked_shl(events.min(8)).unwrap_or(MOST).min(MOST)
}

/// The sampling of one round. The two kinds of flow are never mixed in one figure.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BalancerRun {
    /// Independent pairs: token and access each on a fresh connection with a random number of
    /// challenges between. Events are tokens refused with 401.
    pub pairs: Ratio,
    /// Pairs with nothing between token and access. Events are those that failed, for whatever
    /// reason.
    pub adjacent_pairs: Ratio,
    /// The other pairs, likewise.
    pub distant_pairs: Ratio,
    /// Flows as clients of all kinds make them. Events are flows in which a token was refused with
    /// 401 at the first try.
    pub client_flows: Ratio,
    /// The same flows by kind of client, with what that kind does after a refusal.
    pub clients: Vec<ClientRun>,
    /// Challenges that name a token endpoint elsewhere than the registry and `allowed_realms`.
    pub foreign_realms: Ratio,
    /// How often each step was tried, in each kind of flow.
    pub tried: Vec<StepCount>,
    /// What failed in flows of either kind, but for tokens refused with 401 at the access step,
    /// which are the events of the two ratios above.
    pub failures: Vec<SampleFailure>,
    /// The answer to the first token that was refused.
    pub first_refusal: Option<Answer>,
    /// The signing keys of the tokens that were issued, most frequent first.
    pub keys: Vec<KeyCount>,
    /// The certificates that were presented (SHA-256 of the leaf), with how many connections.
    pub certificates: Vec<(String, u32)>,
    /// The cookie by which the balancer ties a client to a backend, if it sets one.
    pub affinity_cookie: Option<String>,
    /// Flows that the end of the round cut off, or for which it left no time.
    pub cut: u32,
    /// Requests through the balancer that were no samples, and how many of them the network lost.
    pub outside: Ratio,
    /// Tokens that a cache gave in place of the token endpoint.
    pub kept_tokens: u32,
}

impl BalancerRun {
    /// Requests that failed otherwise than by a refused token; they count in neither ratio.
    pub fn lost(&self) -> u32 {
        self.failures.iter().map(|failure| failure.count).sum()
    }

    /// The first of those failures.
    pub fn first_loss(&self) -> Option<&Failure> {
        self.failures.first().map(|failure| &failure.failure)
    }

    /// How often a step was tried in flows of a kind.
    pub fn tried(&self, flow: SampledFlow, step: Step) -> u32 {
        let counts = self.tried.iter().filter(|count| count.flow == flow && count.step == step);
        counts.map(|count| count.tried).sum()
    }

    /// Requests in all.
    pub fn requests(&self) -> u32 {
        self.tried.iter().map(|count| count.tried).sum()
    }

    /// Requests that the network lost, in flows of either kind.
    pub fn lost_to_network(&self) -> u32 {
        let lost = self.failures.iter().filter(|failed| failed.failure.reason.is_network());
        lost.map(|failed| failed.count).sum()
    }

    /// Requests that were lost on the way, or by a gateway without a live server, in flows of
    /// either kind.
    pub fn lost_on_the_way(&self) -> u32 {
        let lost = self.failures.iter().filter(|failed| {
            let reason = failed.failure.reason;
            reason.is_network() || reason.is_server_error()
        });
        lost.map(|failed| failed.count).sum()
    }

    /// The figures alone: what the judgement of later rounds needs of this one.
    #[must_use]
    pub fn counts(&self) -> Self {
        Self { keys: Vec::new(), certificates: Vec::new(), affinity_cookie: None, ..self.clone() }
    }

    /// Requests that were lost or wrong, if so few that more samples tell more. What fails often is
    /// seen without, and a registry in trouble is not asked more.
    pub fn rare_events(&self) -> u32 {
        const OFTEN: u32 = 10;
        let refused = self.pairs.events + self.client_flows.events + self.foreign_realms.events;
        let events = refused + self.lost();
        if events * OFTEN > self.requests() { 0 } else { events }
    }

    /// Counts a request.
    pub fn try_step(&mut self, flow: SampledFlow, step: Step, times: u32) {
        match self.tried.iter_mut().find(|count| count.flow == flow && count.step == step) {
            Some(count) => count.tried += times,
            None if times > 0 => self.tried.push(StepCount { flow, step, tried: times }),
            None => {}
        }
    }

    /// Counts a failure with those that are like it.
    pub fn fail(
        &mut self,
        flow: SampledFlow,
        step: Step,
        failure: Failure,
        answer: Option<Answer>,
    ) {
        let alike = |known: &&mut SampleFailure| {
            let same: Reason = known.failure.reason;
            (known.flow, known.step, same) == (flow, step, failure.reason)
        };
        match self.failures.iter_mut().find(alike) {
            Some(known) => known.count += 1,
            None => self.failures.push(SampleFailure { flow, step, failure, answer, count: 1 }),
        }
    }
}
