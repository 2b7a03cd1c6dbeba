//! A credential that some nodes accept and some do not, each for a reason of its own.

use std::collections::BTreeMap;

use super::content_differs::is_project_missing;
use super::credential_refused::{Refusals, compared, is_harbor, lines};
use crate::diagnosis::facts::{Facts, ObservationId, backends_of};
use crate::diagnosis::hypothesis::Hypothesis;
use crate::diagnosis::observe::header_is_dropped;
use crate::diagnosis::wording::{list, verb};
use crate::model::{Account, BackendName, FindingName, Flow, Reason, Route, Step};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let refusals = Refusals::of(facts);
    if !refusals.are_at_some() {
        return Vec::new();
    }
    // What a dropped header or a database explains has its cause.
    let unhealthy = facts.calls_unhealthy("database");
    let mut causes: BTreeMap<FindingName, Vec<(ObservationId, &Flow)>> = BTreeMap::new();
    for (id, flow) in refusals.flows {
        let Some(backend) = flow.route.backend() else { continue };
        if !unhealthy.contains(backend) && !header_is_dropped(facts.round, &flow.route) {
            causes.entry(cause(facts, flow, backend)).or_default().push((id, flow));
        }
    }
    causes.into_iter().map(|(name, flows)| refused_at(facts, name, &flows)).collect()
}

/// Why this backend refuses a credential that others accept.
fn cause(facts: &Facts<'_>, flow: &Flow, backend: &BackendName) -> FindingName {
    let project_missing = facts.round.foreign_tokens.iter().any(|borrowed| {
        borrowed.backend == *backend && borrowed.answer.measured().is_some_and(is_project_missing)
    });
    if project_missing {
        FindingName::ContentDiffers
    } else if !compared(flow) && facts.round.account == Account::User && is_harbor(facts) {
        FindingName::LoginLocked
    } else if is_anonymous(flow) {
        FindingName::AnonymousDowngrade
    } else {
        FindingName::CredentialRefused
    }
}

/// Whether the credential was passed over instead of refused.
fn is_anonymous(flow: &Flow) -> bool {
    let passed_over = |reason| matches!(reason, Reason::AnonymousToken | Reason::WrongSubject);
    flow.failure().is_some_and(|(_, failure)| passed_over(failure.reason))
}

fn refused_at(
    facts: &Facts<'_>,
    name: FindingName,
    flows: &[(ObservationId, &Flow)],
) -> Hypothesis {
    let backends = backends_of(flows.iter().map(|(_, flow)| *flow));
    let names = list(&backends);
    let verb = |one, several| verb(backends.len(), one, several);
    let (summary, others): (String, &[FindingName]) = match name {
        FindingName::ContentDiffers => (
            format!(
                "{names} {} neither the account nor the project: the database is not shared.",
                verb("has", "have")
            ),
            &[FindingName::AnonymousDowngrade],
        ),
        FindingName::LoginLocked => (
            format!(
                "{names} {} the account immediately: it is locked after wrong passwords.",
                verb("refuses", "refuse")
            ),
            &[FindingName::AnonymousDowngrade, FindingName::DatabaseUnavailable],
        ),
        FindingName::CredentialRefused => (
            format!(
                "{names} {} the credential that other nodes accept. The accounts may differ there; \
                 the answer does not say why.",
                verb("refuses", "refuse")
            ),
            &[FindingName::ContentDiffers, FindingName::DatabaseUnavailable],
        ),
        _ => (
            format!(
                "{names} {} not accept the credential that other nodes accept, and {} it as \
                 anonymous.",
                verb("does", "do"),
                verb("treats", "treat")
            ),
            if may_be_split(facts, &backends) { &[FindingName::ContentDiffers] } else { &[] },
        ),
    };
    let good = facts.round.flows.iter().filter(|flow| flow.passed(Step::Token) == Some(true));
    let good: Vec<&Route> = good.map(|flow| &flow.route).collect();
    let missing = (name == FindingName::ContentDiffers)
        .then(|| format!("no such project is found at {names} with a good token of another node"));
    Hypothesis::new(name, backends, summary)
        .proved_if(others.is_empty(), others)
        .evidence(lines(flows))
        .evidence([format!("the same credential is accepted by {}", list(&good))])
        .evidence(missing)
        .flows(flows)
}

/// Without a look at the repository a database of its own is not excluded.
fn may_be_split(facts: &Facts<'_>, backends: &[BackendName]) -> bool {
    let looked = |name: &BackendName| {
        let mut borrowed = facts.round.foreign_tokens.iter();
        borrowed.any(|borrowed| borrowed.backend == *name && borrowed.answer.measured().is_some())
    };
    facts.round.scope.is_some() && !backends.iter().all(looked)
}
