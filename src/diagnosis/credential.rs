//! Tokens that were not issued, or not to us (A6, C5 at the token endpoint, D1, D2, D3, D9).

use super::case::{Case, Draft, Impact, list};
use crate::model::{
    Answer, AuthScheme, BackendName, Confidence, Family, FindingName, Flow, Reason, Route, Step,
};

/// Harbor sleeps this long after a wrong secret; a database that is down answers at once
/// (captures/harbor-2.15.2/04-token-robot.http and 70-database-down.http).
const WRONG_SECRET_SECONDS: f64 = 1.4;

pub(super) fn examine(case: &mut Case<'_>) {
    let refused: Vec<(usize, &Flow)> =
        case.open_flows().into_iter().filter(|(_, flow)| refused(flow)).collect();
    if refused.is_empty() {
        return;
    }
    // Only routes that came as far as the token endpoint can be compared.
    let asked: Vec<&Flow> =
        case.round.flows.iter().filter(|flow| flow.step(Step::Token).is_some()).collect();
    let backends: Vec<BackendName> =
        refused.iter().filter_map(|(_, flow)| flow.route.backend().cloned()).collect();
    let asked_backends = asked.iter().filter(|flow| flow.route.backend().is_some()).count();
    let indexes: Vec<usize> = refused.iter().map(|(index, _)| *index).collect();
    let draft = if backends.is_empty() && asked_backends > 0 {
        lost_on_the_way(&refused)
    } else if backends.len() == asked_backends {
        everywhere(case, &refused)
    } else {
        at_some(case, &refused, backends)
    };
    case.add(draft, &[], &indexes);
}

fn refused(flow: &Flow) -> bool {
    flow.failure().is_some_and(|(step, failure)| {
        step == Step::Token
            && matches!(
                failure.reason,
                Reason::Unauthorized
                    | Reason::Forbidden
                    | Reason::AnonymousToken
                    | Reason::WrongSubject
            )
    })
}

fn evidence(flows: &[(usize, &Flow)]) -> Vec<String> {
    let line = |flow: &Flow| {
        let (_, failure) = flow.failure()?;
        Some(format!("{}: token endpoint, {failure}, after {:.2} s", flow.route, wait(flow)))
    };
    flows.iter().filter_map(|(_, flow)| line(flow)).collect()
}

fn wait(flow: &Flow) -> f64 {
    flow.step(Step::Token).map_or(0.0, |report| report.timeline.total().as_secs_f64())
}

/// The credential is good at every backend, and not through the balancer: it does not arrive.
fn lost_on_the_way(flows: &[(usize, &Flow)]) -> Draft {
    let mut evidence = evidence(flows);
    evidence.push("the same credential is accepted by every backend directly".to_owned());
    Draft {
        name: FindingName::AuthorizationHeaderDropped,
        confidence: Confidence::Suspected,
        impact: Impact::Balancer,
        backends: Vec::new(),
        summary: "Through the load balancer the credential does not arrive at the token endpoint."
            .to_owned(),
        evidence,
        alternatives: vec![FindingName::AnonymousDowngrade, FindingName::UnknownBackend],
    }
}

fn everywhere(case: &Case<'_>, flows: &[(usize, &Flow)]) -> Draft {
    let harbor = case.common_family() == Family::Harbor2;
    let (name, confidence, alternatives, summary);
    if harbor && flows.iter().all(|(_, flow)| wait(flow) >= WRONG_SECRET_SECONDS) {
        name = FindingName::BadOrDisabledCredential;
        confidence = Confidence::Proved;
        alternatives = Vec::new();
        summary = "The credential is refused everywhere, after the delay that Harbor adds to a \
                   wrong secret."
            .to_owned();
    } else if harbor {
        // At once and everywhere: core could not look the account up, or knows it is disabled.
        name = if database_speaks(case) {
            FindingName::DbOutageOrPoolExhaustion
        } else {
            FindingName::BadOrDisabledCredential
        };
        confidence = Confidence::Suspected;
        alternatives = [
            FindingName::DbOutageOrPoolExhaustion,
            FindingName::BadOrDisabledCredential,
            FindingName::RobotJwtBoundToKey,
            FindingName::LoginLockoutCollateral,
        ]
        .into_iter()
        .filter(|other| *other != name)
        .collect();
        summary = "The token endpoint refuses the credential everywhere, and at once.".to_owned();
    } else {
        name = FindingName::BadOrDisabledCredential;
        confidence = Confidence::Proved;
        alternatives = Vec::new();
        summary = "The token endpoint refuses the credential on every route.".to_owned();
    }
    Draft {
        name,
        confidence,
        impact: Impact::Balancer,
        backends: Vec::new(),
        summary,
        evidence: evidence(flows),
        alternatives,
    }
}

/// Some nodes accept the credential and some do not.
fn at_some(case: &Case<'_>, flows: &[(usize, &Flow)], backends: Vec<BackendName>) -> Draft {
    let good: Vec<&Route> = case
        .round
        .flows
        .iter()
        .filter(|flow| flow.passed(Step::Token) == Some(true))
        .map(|flow| &flow.route)
        .collect();
    let mut evidence = evidence(flows);
    evidence.push(format!("the same credential is accepted by {}", list(&good)));
    Draft {
        name: FindingName::AnonymousDowngrade,
        confidence: Confidence::Suspected,
        impact: Impact::BackendLoss,
        summary: format!(
            "{} does not know the credential that other nodes accept, and treats it as anonymous.",
            list(&backends)
        ),
        backends,
        evidence,
        alternatives: vec![
            FindingName::ReplicationLagSplitContent,
            FindingName::DbOutageOrPoolExhaustion,
            FindingName::LoginLockoutCollateral,
            FindingName::RobotJwtBoundToKey,
        ],
    }
}

/// Whether some answer carries the database's own words.
fn database_speaks(case: &Case<'_>) -> bool {
    let answers = case.round.flows.iter().flat_map(|flow| &flow.steps);
    answers.filter_map(|report| report.answer.as_ref()).any(is_database_error)
}

/// An empty challenge whose message is not about a missing project: the database's driver speaks.
pub(super) fn is_database_error(answer: &Answer) -> bool {
    let empty = answer.challenge.as_ref().is_some_and(|c| c.scheme == AuthScheme::Empty);
    let message = answer.error_message.as_deref().unwrap_or_default().to_ascii_lowercase();
    empty
        && !message.contains("not found")
        && ["tcp", "sql", "connection", "too many clients", "database", "pq:", "fatal"]
            .iter()
            .any(|word| message.contains(word))
}
