//! What the rules look at: a round, what earlier rounds left, the observations from both, and
//! what follows from the measurements alone. Nothing here knows a cause.

use std::collections::BTreeMap;

use super::{clients, observe, signers, statistics};
use crate::model::{
    Answer, BackendFacts, BackendName, BalancerRun, Cell, Check, ClientView, Earlier, Family, Flow,
    Issuer, KeyId, Observation, ObservationKind, OfPair, OfRoute, Place, Reason, Refusal, Round,
    Route, Share, Step,
};

/// The number of an observation within its round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObservationId(pub(super) usize);

/// Everything that a rule may look at.
pub(super) struct Facts<'a> {
    /// The round that is judged.
    pub(super) round: &'a Round,
    /// What earlier rounds left behind.
    pub(super) earlier: &'a Earlier,
    /// Everything unexpected in the round.
    pub(super) observations: Vec<Observation>,
    /// How the balancer divides requests among the backends.
    pub(super) shares: Vec<Share>,
    /// What each kind of client feels.
    pub(super) clients: Vec<ClientView>,
    /// The keys that each backend was seen to sign with.
    pub(super) keys: BTreeMap<&'a BackendName, signers::Counted>,
    /// What became of each backend's token at itself.
    own: BTreeMap<&'a BackendName, &'a Cell>,
    flows: BTreeMap<Route, ObservationId>,
    pairs: BTreeMap<Place, ObservationId>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(round: &'a Round, earlier: &'a Earlier) -> Self {
        let observations = observe::observe(round, earlier);
        let of_kind = |kind: ObservationKind| {
            let all = observations.iter().enumerate();
            all.filter(move |(_, observed)| observed.kind == kind)
                .map(|(id, observed)| (ObservationId(id), &observed.place))
        };
        let flows = of_kind(ObservationKind::FlowFailed)
            .map(|(id, place)| (place.answering().clone(), id))
            .collect();
        let pairs = of_kind(ObservationKind::PairRefused)
            .chain(of_kind(ObservationKind::PairFailed))
            .map(|(id, place)| (place.clone(), id))
            .collect();
        let shares = statistics::shares(round);
        let clients = clients::views(round, &shares);
        let own = round.matrix.cells.iter().filter_map(|cell| {
            let issuer = cell.issuer.backend()?;
            (cell.verifier.backend() == Some(issuer)).then_some((issuer, cell))
        });
        let (keys, own) = (signers::of_all(round), own.collect());
        Self { round, earlier, observations, shares, clients, keys, own, flows, pairs }
    }

    /// An observation by its number.
    pub(super) fn observation(&self, id: ObservationId) -> &Observation {
        &self.observations[id.0]
    }

    /// The observations that fit.
    pub(super) fn observed(
        &self,
        fits: impl Fn(&Observation) -> bool,
    ) -> impl Iterator<Item = (ObservationId, &Observation)> {
        let all = self.observations.iter().enumerate();
        all.filter(move |(_, observed)| fits(observed)).map(|(id, o)| (ObservationId(id), o))
    }

    /// What a check met.
    pub(super) fn of_check(
        &self,
        check: Check,
    ) -> impl Iterator<Item = (ObservationId, &Observation)> {
        self.observed(move |observed| observed.check == Some(check))
    }

    /// What nodes answered that were asked for the canary's manifest and blobs themselves.
    pub(super) fn of_content(&self) -> impl Iterator<Item = (ObservationId, &Observation)> {
        self.observed(|seen| {
            let by_node = match seen.check {
                Some(Check::Content) => true,
                // Else it is the blob store that answered.
                Some(Check::BlobRedirect) => seen.kind == ObservationKind::CheckFailed,
                _ => false,
            };
            by_node && seen.place.backend().is_some()
        })
    }

    /// Whether a request through the load balancer met for content what a node answers itself.
    pub(super) fn is_of_content_at_nodes(&self, met: &Observation) -> bool {
        let of_pulls = match met.kind {
            // Logins and pulls are counted together.
            ObservationKind::ClientRefused => true,
            ObservationKind::ClientFailed => met.step == Some(Step::Repository),
            _ => false,
        };
        of_pulls && self.of_content().any(|(_, seen)| seen.reason() == met.reason())
    }

    /// What a check met at a place.
    pub(super) fn met(&self, check: Check, place: &Place) -> Vec<ObservationId> {
        self.of_check(check).filter(|(_, seen)| seen.place == *place).map(|(id, _)| id).collect()
    }

    /// What a check met on the routes whose result fits.
    pub(super) fn met_on<T>(
        &self,
        check: Check,
        of: &[OfRoute<T>],
        fits: impl Fn(&OfRoute<T>) -> bool,
    ) -> Vec<ObservationId> {
        let routes = of.iter().filter(|at| fits(at));
        routes.flat_map(|at| self.met(check, &Place::route(&at.route))).collect()
    }

    /// What a check met between the backends whose result fits.
    pub(super) fn met_between<T>(
        &self,
        check: Check,
        of: &[OfPair<T>],
        fits: impl Fn(&OfPair<T>) -> bool,
    ) -> Vec<ObservationId> {
        let pairs = of.iter().filter(|pair| fits(pair));
        let place = |pair: &OfPair<T>| Place::between(&pair.issuer, &pair.verifier);
        pairs.flat_map(|pair| self.met(check, &place(pair))).collect()
    }

    /// Pairs whose token was refused, without those where core accepted the token and the registry
    /// behind core then refused core's own password.
    pub(super) fn refused_pairs(&self) -> Vec<(ObservationId, &'a Cell, &'a Refusal)> {
        let refused = |cell: &'a Cell| {
            // First, for most cells of many nodes are no refusals.
            let refusal = cell.refusal().filter(|refusal| !behind_core(&refusal.answer))?;
            let (issuer, verifier) = (cell.issuer.clone(), cell.verifier.clone());
            let id = self.pairs.get(&Place::Pair { issuer, verifier })?;
            Some((*id, cell, refusal))
        };
        self.round.matrix.cells.iter().filter_map(refused).collect()
    }

    /// Failed flows, without those that ended by the prober's own limits.
    pub(super) fn failed_flows(&self) -> Vec<(ObservationId, &'a Flow)> {
        let failed = |flow: &'a Flow| Some((*self.flows.get(&flow.route)?, flow));
        self.round.flows.iter().filter_map(failed).collect()
    }

    /// What requests through the load balancer met outside the checks, as far as it fits.
    pub(super) fn through_balancer(
        &self,
        fits: impl Fn(&Observation) -> bool,
    ) -> Vec<ObservationId> {
        let seen = self
            .observed(|seen| seen.check.is_none() && seen.place.involves_balancer() && fits(seen));
        seen.map(|(id, _)| id).collect()
    }

    /// Whether a login of some kind of client passed through the load balancer.
    pub(super) fn some_logins_pass(&self) -> bool {
        self.clients.iter().any(|view| view.run.logins.events < view.run.logins.trials)
    }

    /// The backends that call a component of theirs unhealthy.
    pub(super) fn calls_unhealthy(&self, component: &str) -> Vec<BackendName> {
        let told = self.round.checks.components();
        let sick = told.filter(|(_, told)| told.component == component && !told.healthy);
        sick.map(|(backend, _)| backend.clone()).collect()
    }

    /// Failed flows whose step and reason fit.
    pub(super) fn flows_that(
        &self,
        fits: impl Fn(&Flow, Step, Reason) -> bool,
    ) -> Vec<(ObservationId, &'a Flow)> {
        let mut failed = self.failed_flows();
        failed.retain(|(_, flow)| flow.failure().is_some_and(|(s, f)| fits(flow, s, f.reason)));
        failed
    }

    /// The sampling through the balancer, if there was one.
    pub(super) fn sampling(&self) -> Option<&'a BalancerRun> {
        self.round.balancer.measured()
    }

    /// The signing key of the token that a backend issued.
    pub(super) fn key_of(&self, backend: &BackendName) -> Option<&'a KeyId> {
        self.round.backend_flow(backend)?.token.measured()?.kid.as_ref()
    }

    /// The key that a backend is known to verify with: the one that it signs with, or if it issued
    /// no token that of a token which it accepted.
    pub(super) fn verifies(&self, backend: &BackendName) -> Option<&'a KeyId> {
        let took = |cell: &&Cell| {
            cell.verifier.backend() == Some(backend) && cell.accepted() == Some(true)
        };
        let shown = || self.round.matrix.cells.iter().find(took)?.key.as_ref();
        self.key_of(backend).or_else(shown)
    }

    /// What is known of the backend of a route.
    pub(super) fn facts_of(&self, route: &Route) -> Option<&'a BackendFacts> {
        self.round.backend(route.backend()?)
    }

    /// The family of a route: the backend's, or for the balancer that of all.
    pub(super) fn family_of(&self, route: &Route) -> Family {
        self.facts_of(route).map_or_else(|| self.common_family(), |facts| facts.family)
    }

    /// The family that the backends share, if they do.
    pub(super) fn common_family(&self) -> Family {
        let mut known =
            self.round.backends.iter().map(|b| b.family).filter(|f| *f != Family::Unknown);
        match known.next() {
            Some(first) if known.all(|family| family == first) => first,
            _ => Family::Unknown,
        }
    }

    /// The share of the balancer's requests that a backend gets, where it is known.
    pub(super) fn share_of(&self, backend: &BackendName) -> Option<f64> {
        let mut shares = self.shares.iter();
        shares.find(|share| share.backend.as_ref() == Some(backend)).map(|share| share.share)
    }

    /// Whether the balancer may lead users to one of these, as far as is known.
    pub(super) fn may_lead_users_to(&self, backends: &[BackendName]) -> bool {
        backends.is_empty()
            || self.shares.is_empty()
            || backends.iter().any(|name| self.share_of(name).is_none_or(|share| share > 0.0))
    }

    /// Whether the balancer's own flow fails.
    pub(super) fn lb_fails(&self) -> bool {
        self.round.balancer_flow().is_some_and(|flow| !flow.succeeded())
    }

    /// Backends whose own flow and own pair contradict each other: something began or ended there
    /// while the round was measured, so that nothing about them is proved by it.
    pub(super) fn changed_meanwhile(&self, backend: &BackendName) -> bool {
        let Some(flow) = self.round.backend_flow(backend) else { return false };
        let own = self.own.get(backend).and_then(|cell| cell.accepted());
        let passed = flow.passed(Step::Access);
        match (passed, own) {
            (Some(passed), Some(accepted)) => passed != accepted,
            _ => false,
        }
    }
}

/// The backends among routes of flows, in their order.
pub(super) fn backends_of<'f>(flows: impl IntoIterator<Item = &'f Flow>) -> Vec<BackendName> {
    flows.into_iter().filter_map(|flow| flow.route.backend().cloned()).collect()
}

/// One line of evidence for each failed flow.
pub(super) fn flow_lines(flows: &[(ObservationId, &Flow)]) -> Vec<String> {
    let line = |(_, flow): &(ObservationId, &Flow)| {
        let (step, failure) = flow.failure()?;
        Some(format!("{}: {} failed, {failure}", flow.route, step.as_str()))
    };
    flows.iter().filter_map(line).collect()
}

/// The token server of its own whose answer ended a flow, if one did: no node is at fault then.
pub(super) fn token_server(flow: &Flow) -> Option<&str> {
    match (flow.failure()?.0, &flow.issuer) {
        (Step::Token, Some(Issuer::Server(authority))) => Some(authority),
        _ => None,
    }
}

/// Whether the registry behind Harbor's core refused core's password (D7 in `deploy/modes.md`):
/// its realm is seen outside only then.
pub(super) fn behind_core(answer: &Answer) -> bool {
    let realm = answer.challenge.as_ref().and_then(|challenge| challenge.realm.as_deref());
    realm == Some(BEHIND_CORE)
}

/// The realm of the registry behind Harbor's core.
pub(super) const BEHIND_CORE: &str = "harbor-registry-basic-realm";

/// Those outside the majority, and whether there is one; all, if there is none.
pub(super) fn odd_ones<K: Ord>(
    groups: &BTreeMap<K, Vec<BackendName>>,
    total: usize,
) -> (Vec<BackendName>, bool) {
    let majority = groups.values().find(|names| names.len() * 2 > total);
    let odd = groups.values().filter(|names| majority != Some(names)).flatten().cloned();
    let mut odd: Vec<BackendName> = odd.collect();
    odd.sort();
    (odd, majority.is_some())
}

/// Whether the balancer takes part in a pair.
pub(super) fn is_lb(cell: &Cell) -> bool {
    cell.verifier == Route::Balancer || cell.issuer.as_str() == Route::Balancer.as_str()
}
