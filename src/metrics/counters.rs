//! What lives on from round to round: counters, histograms and the last signing keys.
//!
//! Plain numbers in typed maps, so that leaving out a backend is leaving out its entry, and every
//! series that can be known in advance is there with 0.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::histogram::Histogram;
use super::names::{self, Kind};
use crate::model::{
    BackendName, ClientKind, Flow, Judged, KeyId, Outcome, Phase, Reason, RegistryName,
    RegistryState, Round, Route, Snapshot, Step,
};

/// Statuses whose counters exist from the start: alerts divide one by their sum.
const KNOWN_CODES: [u16; 2] = [200, 401];
/// The failure whose counter exists from the start, so that what sums over all of them is 0 and not
/// absent while there is none.
const USUAL_FAILURE: (Step, Reason) = (Step::Access, Reason::Unauthorized);

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

    /// Shows new failures at once, for a page that is written only once.
    pub(super) fn settle(&self) {
        self.with(|tallies| tallies.values_mut().for_each(Tally::settle));
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
    pub(super) keys: BTreeMap<BackendName, KeyMemory>,
    /// Logins as each kind of client makes them: all, and those that failed.
    pub(super) clients: BTreeMap<ClientKind, (u64, u64)>,
    pub(super) steps: BTreeMap<Step, Histogram>,
    pub(super) phases: BTreeMap<Phase, f64>,
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
    pub(super) seconds: f64,
    pub(super) failures: BTreeMap<(Step, Reason), Late>,
    pub(super) responses: BTreeMap<u16, u64>,
    pub(super) authenticated: BTreeMap<u16, u64>,
    /// Tokens shown to this route.
    pub(super) shown: PairTally,
}

/// A counter that appears with its first event: it is 0 until the next round, so that Prometheus sees
/// it grow.
#[derive(Debug, Default)]
pub(super) struct Late {
    value: u64,
    /// What a page has.
    pub(super) shown: u64,
}

/// The tokens that one verifier was shown.
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
        let empty = |step: Step| (step, empty(names::STEP_DURATION.kind));
        Self {
            routes: BTreeMap::new(),
            keys: BTreeMap::new(),
            clients: ClientKind::ALL.map(|kind| (kind, (0, 0))).into(),
            steps: Step::ALL.map(empty).into(),
            phases: Phase::ALL.map(|phase| (phase, 0.0)).into(),
            rounds: 0,
            overruns: 0,
            clock_steps: 0,
            duration: self::empty(names::ROUND_DURATION.kind),
        }
    }
}

impl Tally {
    fn fit(&mut self, state: &RegistryState) {
        let routes = &state.routes;
        self.routes.retain(|route, _| routes.contains(route));
        self.keys.retain(|backend, _| routes.iter().any(|r| r.backend() == Some(backend)));
        for route in routes {
            self.routes.entry(route.clone()).or_default();
        }
    }

    fn observe(&mut self, round: &Round) {
        self.settle();
        self.rounds += 1;
        self.clock_steps += u64::from(round.clock_step_seconds.is_some());
        self.duration.observe(round.seconds);
        // Without a scope the step cannot occur. That is known with the first round only.
        if round.scope.is_some() {
            self.step(Step::Repository);
        } else {
            self.steps.remove(&Step::Repository);
        }
        for flow in &round.flows {
            self.routes.entry(flow.route.clone()).or_default().observe(flow);
            self.time(flow);
            self.remember_key(flow, round.started);
        }
        for response in &round.responses {
            let route = self.routes.entry(response.route.clone()).or_default();
            *route.responses.entry(response.code).or_default() += response.count;
            if response.authenticated {
                *route.authenticated.entry(response.code).or_default() += response.count;
            }
        }
        for client in round.balancer.measured().into_iter().flat_map(|run| &run.clients) {
            let (flows, failures) = self.clients.entry(client.client).or_default();
            *flows += u64::from(client.logins.trials);
            *failures += u64::from(client.logins.events);
        }
        for cell in &round.matrix.cells {
            if let Some(accepted) = cell.accepted() {
                let shown = &mut self.routes.entry(cell.verifier.clone()).or_default().shown;
                shown.checks += 1;
                shown.refusals += u64::from(!accepted);
            }
        }
    }

    fn settle(&mut self) {
        for late in self.routes.values_mut().flat_map(|route| route.failures.values_mut()) {
            late.shown = late.value;
        }
    }

    fn step(&mut self, step: Step) -> &mut Histogram {
        self.steps.entry(step).or_insert_with(|| empty(names::STEP_DURATION.kind))
    }

    fn time(&mut self, flow: &Flow) {
        for report in &flow.steps {
            self.step(report.step).observe(report.timeline.total().as_secs_f64());
            for (phase, took) in report.timeline.phases() {
                *self.phases.entry(*phase).or_default() += took.as_secs_f64();
            }
        }
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
}

impl Default for RouteTally {
    fn default() -> Self {
        let zero = BTreeMap::from(KNOWN_CODES.map(|code| (code, 0)));
        Self {
            flows: 0,
            seconds: 0.0,
            failures: BTreeMap::from([(USUAL_FAILURE, Late::default())]),
            responses: zero.clone(),
            authenticated: zero,
            shown: PairTally::default(),
        }
    }
}

impl RouteTally {
    fn observe(&mut self, flow: &Flow) {
        self.flows += 1;
        self.seconds += flow.seconds();
        if let Some((step, failure)) = flow.failure() {
            let late = match self.failures.entry((step, failure.reason)) {
                Entry::Vacant(new) => new.insert(Late::default()),
                // A counter that was there before shows its events at once.
                Entry::Occupied(known) => {
                    let late = known.into_mut();
                    late.shown = late.value + 1;
                    late
                }
            };
            late.value += 1;
        }
    }
}

/// The backend whose key signed the token of a flow; none where a separate server issues.
pub(super) fn signing_backend(flow: &Flow) -> Option<&BackendName> {
    match &flow.issuer {
        Some(issuer) => issuer.backend(),
        None => flow.route.backend(),
    }
}

fn empty(kind: Kind) -> Histogram {
    Histogram::new(match kind {
        Kind::Histogram(bounds) => bounds,
        Kind::Counter | Kind::Gauge => &[],
    })
}
