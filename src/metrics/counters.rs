//! What lives on from round to round: counters, histograms and the last signing keys.
//!
//! Plain numbers in typed maps, so that leaving out a backend is leaving out its entry, and every
//! series that can be known in advance is there with 0.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::histogram::Histogram;
use super::names::{self, Kind};
use crate::model::{
    BackendName, Flow, Issuer, Judged, KeyId, Outcome, Phase, Reason, RegistryName, RegistryState,
    Round, Route, Snapshot, Step,
};

/// Above this many routes the pairs of the matrix are not all tried each round, and their
/// counters appear with the first verdict instead of all at once.
const FULL_MATRIX_ROUTES: usize = 13;
/// Separate token servers remembered for one registry. Their names come from the wire, so a
/// registry that invents a new one each round must not grow the page for ever.
const MAX_TOKEN_SERVERS: usize = 8;
/// Statuses whose counters exist from the start.
const KNOWN_CODES: [u16; 2] = [200, 401];

/// The counters of every registry.
#[derive(Debug, Default)]
pub struct Counters {
    tallies: Mutex<Tallies>,
}

/// The counters by registry.
pub(super) type Tallies = BTreeMap<RegistryName, Tally>;

impl Counters {
    /// Adds a finished round.
    pub fn observe(&self, judged: &Judged) {
        self.with(|tallies| {
            tallies.entry(judged.round.registry.clone()).or_default().observe(&judged.round);
        });
    }

    /// Adds a round that was left out because the one before was still running.
    pub fn overrun(&self, registry: &RegistryName) {
        self.with(|tallies| tallies.entry(registry.clone()).or_default().overruns += 1);
    }

    /// Drops what the snapshot no longer has and creates, at 0, what it will have. The counters
    /// of registries and routes that stay are kept. Rendering does this too, so that no series
    /// can outlive its backend.
    pub fn retain(&self, snapshot: &Snapshot) {
        self.synchronised(snapshot, |_| ());
    }

    /// Reads the counters after [`Self::retain`], with nothing between the two.
    pub(super) fn synchronised<R>(
        &self,
        snapshot: &Snapshot,
        read: impl FnOnce(&Tallies) -> R,
    ) -> R {
        self.with(|tallies| {
            tallies.retain(|name, _| snapshot.registries.contains_key(name));
            for (name, state) in &snapshot.registries {
                tallies.entry(name.clone()).or_default().fit(state);
            }
            read(tallies)
        })
    }

    fn with<R>(&self, work: impl FnOnce(&mut Tallies) -> R) -> R {
        // Numbers cannot be left half-written in a harmful way, so a panic elsewhere is no reason
        // to stop counting.
        work(&mut self.tallies.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The counters of one registry.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) routes: BTreeMap<Route, RouteTally>,
    pub(super) pairs: BTreeMap<(Issuer, Route), PairTally>,
    pub(super) keys: BTreeMap<BackendName, KeyMemory>,
    pub(super) rounds: u64,
    pub(super) overruns: u64,
    /// Rounds in which the prober's own clock was set.
    pub(super) clock_steps: u64,
    pub(super) duration: Histogram,
}

/// The counters of one route.
#[derive(Debug)]
pub(super) struct RouteTally {
    pub(super) flows: u64,
    pub(super) failures: BTreeMap<(Step, Reason), u64>,
    pub(super) duration: Histogram,
    pub(super) phases: BTreeMap<Phase, f64>,
    pub(super) steps: BTreeMap<Step, StepTally>,
}

/// The counters of one step on one route.
#[derive(Debug)]
pub(super) struct StepTally {
    pub(super) duration: Histogram,
    pub(super) responses: BTreeMap<u16, u64>,
    pub(super) authenticated: BTreeMap<u16, u64>,
}

/// The counters of one pair of the matrix.
#[derive(Debug, Default)]
pub(super) struct PairTally {
    pub(super) checks: u64,
    pub(super) refusals: u64,
}

/// The key that a backend last signed with.
#[derive(Debug)]
pub(super) struct KeyMemory {
    key: KeyId,
    /// When it was seen to differ from the one before.
    pub(super) changed: Option<DateTime<Utc>>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            routes: BTreeMap::new(),
            pairs: BTreeMap::new(),
            keys: BTreeMap::new(),
            rounds: 0,
            overruns: 0,
            clock_steps: 0,
            duration: empty(names::ROUND_DURATION.kind),
        }
    }
}

impl Tally {
    fn fit(&mut self, state: &RegistryState) {
        let routes = &state.routes;
        self.routes.retain(|route, _| routes.contains(route));
        self.keys.retain(|backend, _| routes.iter().any(|r| r.backend() == Some(backend)));
        self.pairs.retain(|(issuer, verifier), _| {
            let known = match issuer {
                Issuer::Route(route) => routes.contains(route),
                Issuer::Server(_) => true,
            };
            known && routes.contains(verifier)
        });
        let scope = state.latest.as_ref().is_none_or(|judged| judged.round.scope.is_some());
        for route in routes {
            self.routes.entry(route.clone()).or_insert_with(|| RouteTally::new(scope));
        }
        if routes.len() > FULL_MATRIX_ROUTES || self.pairs.keys().any(|(i, _)| is_server(i)) {
            return;
        }
        for issuer in routes {
            for verifier in routes {
                let pair = (Issuer::Route(issuer.clone()), verifier.clone());
                self.pairs.entry(pair).or_default();
            }
        }
    }

    fn observe(&mut self, round: &Round) {
        self.rounds += 1;
        self.clock_steps += u64::from(round.clock_step_seconds.is_some());
        self.duration.observe(round.seconds);
        for flow in &round.flows {
            self.route(&flow.route, round).observe(flow);
            self.remember_key(flow, round.started);
        }
        for response in &round.responses {
            let step = self.route(&response.route, round).step(response.step);
            *step.responses.entry(response.code).or_default() += response.count;
            if response.authenticated {
                *step.authenticated.entry(response.code).or_default() += response.count;
            }
        }
        for cell in &round.matrix.cells {
            if let Some(accepted) = cell.accepted() {
                let pair = (cell.issuer.clone(), cell.verifier.clone());
                let tally = self.pairs.entry(pair).or_default();
                tally.checks += 1;
                tally.refusals += u64::from(!accepted);
            }
        }
        self.settle_issuers(round);
    }

    fn route(&mut self, route: &Route, round: &Round) -> &mut RouteTally {
        let scope = round.scope.is_some();
        let tally = self.routes.entry(route.clone()).or_insert_with(|| RouteTally::new(scope));
        if !scope {
            tally.forget_repository();
        }
        tally
    }

    fn remember_key(&mut self, flow: &Flow, now: DateTime<Utc>) {
        let Some(backend) = signing_backend(flow) else { return };
        let Outcome::Measured(token) = &flow.token else { return };
        let Some(key) = &token.kid else { return };
        match self.keys.get_mut(backend) {
            Some(memory) if memory.key == *key => {}
            Some(memory) => *memory = KeyMemory { key: key.clone(), changed: Some(now) },
            None => {
                self.keys.insert(backend.clone(), KeyMemory { key: key.clone(), changed: None });
            }
        }
    }

    /// Where a separate server issues the tokens, the pairs of routes that were never tried go,
    /// and the number of servers that are remembered has a limit.
    fn settle_issuers(&mut self, round: &Round) {
        let servers: BTreeSet<Issuer> =
            self.pairs.keys().map(|(issuer, _)| issuer).filter(|i| is_server(i)).cloned().collect();
        if servers.is_empty() {
            return;
        }
        self.pairs.retain(|(issuer, _), pair| is_server(issuer) || pair.checks > 0);
        if servers.len() > MAX_TOKEN_SERVERS {
            let present = round.matrix.issuers();
            self.pairs.retain(|(issuer, _), _| !is_server(issuer) || present.contains(&issuer));
        }
    }
}

impl RouteTally {
    fn new(scope: bool) -> Self {
        let mut tally = Self {
            flows: 0,
            failures: BTreeMap::new(),
            duration: empty(names::FLOW_DURATION.kind),
            phases: Phase::ALL.map(|phase| (phase, 0.0)).into(),
            steps: Step::ALL.map(|step| (step, StepTally::new(step))).into(),
        };
        for step in Step::ALL {
            for &reason in Reason::ALL.iter().filter(|&&reason| names::can_fail(step, reason)) {
                tally.failures.insert((step, reason), 0);
            }
        }
        if !scope {
            tally.forget_repository();
        }
        tally
    }

    /// Without a scope the step cannot occur. That is known for certain with the first round only;
    /// until then its series are there, for a failure must not be born at 1.
    fn forget_repository(&mut self) {
        if self.steps.remove(&Step::Repository).is_some() {
            self.failures.retain(|(step, _), _| *step != Step::Repository);
        }
    }

    fn step(&mut self, step: Step) -> &mut StepTally {
        self.steps.entry(step).or_insert_with(|| StepTally::new(step))
    }

    fn observe(&mut self, flow: &Flow) {
        self.flows += 1;
        self.duration.observe(flow.seconds());
        if let Some((step, failure)) = flow.failure() {
            *self.failures.entry((step, failure.reason)).or_default() += 1;
        }
        for report in &flow.steps {
            self.step(report.step).duration.observe(report.timeline.total().as_secs_f64());
            for (phase, took) in report.timeline.phases() {
                *self.phases.entry(*phase).or_default() += took.as_secs_f64();
            }
        }
    }
}

impl StepTally {
    fn new(step: Step) -> Self {
        let zero = BTreeMap::from(KNOWN_CODES.map(|code| (code, 0)));
        let authenticated = if names::carries_token(step) { zero.clone() } else { BTreeMap::new() };
        Self { duration: empty(names::STEP_DURATION.kind), responses: zero, authenticated }
    }
}

/// The backend whose key signed the token of a flow; none where a separate server issues.
pub(super) fn signing_backend(flow: &Flow) -> Option<&BackendName> {
    match &flow.issuer {
        Some(issuer) => issuer.backend(),
        None => flow.route.backend(),
    }
}

fn is_server(issuer: &Issuer) -> bool {
    matches!(issuer, Issuer::Server(_))
}

fn empty(kind: Kind) -> Histogram {
    Histogram::new(match kind {
        Kind::Histogram(bounds) => bounds,
        Kind::Counter | Kind::Gauge => &[],
    })
}
