//! What no cause explains is reported all the same, with its evidence.

use super::facts::{Facts, ObservationId};
use super::hypothesis::{Hits, Hypothesis};
use super::wording::list;
use crate::model::{
    BackendName, Check, Evidence, FindingName, Observation, ObservationKind as Kind, Place, Route,
};

/// The most lines of evidence.
const LINES: usize = 8;

/// Findings for these observations: one for refusals, one for losses.
pub(super) fn explain(
    facts: &Facts<'_>,
    open: &[ObservationId],
) -> Vec<(Hypothesis, Vec<ObservationId>)> {
    let (losses, refusals): (Vec<_>, Vec<_>) =
        open.iter().copied().partition(|id| facts.observation(*id).reason().is_network());
    [(FindingName::UnexplainedRefusal, refusals), (FindingName::UnexplainedLoss, losses)]
        .into_iter()
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(name, ids)| (hypothesis(facts, name, &ids), ids))
        .collect()
}

fn hypothesis(facts: &Facts<'_>, name: FindingName, ids: &[ObservationId]) -> Hypothesis {
    let seen: Vec<&Observation> = ids.iter().map(|id| facts.observation(*id)).collect();
    let mut backends: Vec<BackendName> =
        seen.iter().filter(|o| accuses(o)).filter_map(|o| o.place.backend().cloned()).collect();
    backends.sort();
    backends.dedup();
    let by_users: Vec<&&Observation> =
        seen.iter().filter(|o| o.place.involves_balancer()).collect();
    let only_users = by_users.len() == seen.len();
    let what =
        if name == FindingName::UnexplainedLoss { "are lost" } else { "are refused or fail" };
    let summary = if only_users {
        format!(
            "Requests through the load balancer {what}, and no node that was asked directly shows \
             it: another server may answer there, or the fault comes and goes."
        )
    } else {
        let at: Vec<String> = places(&seen);
        format!("Requests {what} at {}, and no known cause explains it.", list(&at))
    };
    let mut evidence: Vec<Evidence> = seen.iter().take(LINES).map(|o| line(o)).collect();
    if seen.len() > LINES {
        evidence.push(format!("and {} more observations", seen.len() - LINES).into());
    }
    evidence.push(log_ids(facts, &seen).into());
    evidence.extend(super::clocks::contradictions(facts.round).into_iter().map(Evidence::from));
    let hits = match (by_users.is_empty(), fails_everywhere(facts, &seen)) {
        (false, _) => Hits::Requests,
        (true, Some(what)) => Hits::Some(what),
        (true, None) => Hits::Later,
    };
    let backends = if only_users { Vec::new() } else { backends };
    Hypothesis::new(name, backends, summary).suspected(&[]).hits(hits).evidence(evidence)
}

/// What to look for in the nodes' logs: the ids of single requests where answers show them, else
/// how the ids of the round begin.
fn log_ids(facts: &Facts<'_>, seen: &[&Observation]) -> String {
    let known = seen.iter().filter_map(|o| o.answer.as_ref()?.log_id.as_deref());
    let mut ids: Vec<&str> = known.collect();
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(LINES);
    if ids.is_empty() {
        return format!("X-Request-Id of these requests: {}…", facts.round.request_ids);
    }
    format!("X-Request-Id of such requests: {}", ids.join(", "))
}

/// What fails at every node that was asked directly, so that users meet it wherever they are led;
/// none if it passes somewhere, or if users do not do it.
fn fails_everywhere(facts: &Facts<'_>, seen: &[&Observation]) -> Option<&'static str> {
    let fails = |checks: &[Check]| {
        let at = |name: &BackendName| {
            seen.iter().any(|o| {
                o.check.is_some_and(|check| checks.contains(&check))
                    && o.place.backend() == Some(name)
            })
        };
        !facts.round.backends.is_empty() && facts.round.backends.iter().all(|b| at(&b.name))
    };
    if fails(&[Check::Content, Check::BlobRedirect]) {
        return Some("Pulls");
    }
    fails(&[Check::Upload, Check::Push]).then_some("Pushes")
}

/// Whether an observation says something about the backend that answered: of a refused pair no one
/// knows which of the two is at fault.
fn accuses(observed: &Observation) -> bool {
    !matches!(observed.kind, Kind::PairRefused) && matches!(observed.place, Place::Route { .. })
}

fn places(seen: &[&Observation]) -> Vec<String> {
    let name = |route: &Route| match route.backend() {
        Some(name) => name.to_string(),
        None => "the load balancer".to_owned(),
    };
    let mut all: Vec<String> = seen.iter().map(|o| name(o.place.answering())).collect();
    all.sort();
    all.dedup();
    all
}

/// One observation in words.
fn line(observed: &Observation) -> Evidence {
    let place = match &observed.place {
        Place::Route { route } => route.to_string(),
        Place::Pair { issuer, verifier } => format!("{issuer} → {verifier}"),
    };
    let what = observed
        .check
        .map(crate::model::Check::as_str)
        .or_else(|| observed.step.map(crate::model::Step::as_str));
    let numbers = match what {
        Some(what) if observed.of > 1 => {
            format!("{} of {} {what} requests: ", observed.count, observed.of)
        }
        Some(what) => format!("{what}: "),
        None => format!("{} of {} requests: ", observed.count, observed.of),
    };
    Evidence::from(format!("{place}: {numbers}{}", observed.failure))
        .of_requests(observed.count, observed.of)
}
