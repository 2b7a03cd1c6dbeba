//! Redis cannot be reached (G2): requests wait for it, web sessions are lost and no job runs.

use super::super::facts::{Facts, ObservationId};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use super::components::{calls_unhealthy, health_of};
use crate::model::{
    BackendName, Check, FindingName, OfPair, Outcome, Phase, Reason, SessionVerdict,
};

const NAME: FindingName = FindingName::RedisUnavailable;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let told = calls_unhealthy(facts, "redis");
    let forgetful = forgetful(facts);
    if told.is_empty() && forgetful.is_empty() {
        return Vec::new();
    }
    let names = if told.is_empty() { forgetful.clone() } else { told.clone() };
    let mut evidence = Vec::new();
    if !told.is_empty() {
        evidence.push(format!(
            "/api/v2.0/health at {} {} redis as unhealthy",
            list(&told),
            verb(told.len(), "reports", "report")
        ));
    }
    if !forgetful.is_empty() {
        let does = verb(
            forgetful.len(),
            "does not know the session that it gave a moment ago",
            "do not know the sessions that they gave a moment ago",
        );
        evidence.push(format!("{} {does}", list(&forgetful)));
    }
    let all = names.len() == facts.round.backends.len();
    let backends = if all { Vec::new() } else { names.clone() };
    let found = Hypothesis::new(NAME, backends, summary(&names, !told.is_empty()))
        .proved_if(!told.is_empty(), &[FindingName::SessionStoreNotShared])
        .hits(if told.is_empty() { Hits::WebPages } else { Hits::Requests })
        .evidence(evidence)
        .explains(told.iter().flat_map(|name| health_of(facts, name)))
        .explains(sessions(facts, &names))
        .explains(waiting(facts, &told));
    vec![found]
}

fn summary(names: &[BackendName], told: bool) -> String {
    if told {
        return format!(
            "{} cannot reach Redis: requests wait for it, web sessions are lost and jobs stand \
             still.",
            list(names)
        );
    }
    let forget = verb(names.len(), "forgets", "forget");
    format!("{} {forget} web sessions at once: Redis keeps none.", list(names))
}

fn sessions_of<'a>(facts: &Facts<'a>) -> &'a [OfPair<SessionVerdict>] {
    facts.round.checks.session.measured().map_or(&[][..], Vec::as_slice)
}

fn is_unknown(pair: &OfPair<SessionVerdict>) -> bool {
    pair.value == Outcome::Measured(SessionVerdict::Unknown)
}

/// Backends that do not know their own sessions.
fn forgetful(facts: &Facts<'_>) -> Vec<BackendName> {
    let own = sessions_of(facts).iter().filter(|pair| pair.issuer == pair.verifier);
    own.filter(|pair| is_unknown(pair)).map(|pair| pair.verifier.clone()).collect()
}

/// Sessions that these nodes lost, or gave and did not keep.
fn sessions(facts: &Facts<'_>, names: &[BackendName]) -> Vec<ObservationId> {
    facts.met_between(Check::Session, sessions_of(facts), |pair| {
        is_unknown(pair) && (names.contains(&pair.verifier) || names.contains(&pair.issuer))
    })
}

/// Flows that got no answer there: core waits for Redis before it gives one.
fn waiting(facts: &Facts<'_>, names: &[BackendName]) -> Vec<ObservationId> {
    let late = |flow: &crate::model::Flow| {
        flow.failure().is_some_and(|(_, failure)| failure.phase == Some(Phase::Wait))
    };
    let found = facts.flows_that(|flow, _, reason| {
        reason == Reason::Timeout
            && late(flow)
            && flow.route.backend().is_some_and(|name| names.contains(name))
    });
    found.into_iter().map(|(id, _)| id).collect()
}
