//! Tokens that were not issued, or not to us (A6, C5 at the token endpoint, D1, D2, D3, D9).

use super::case::{Case, Draft, Impact, list};
use crate::model::{
    Account, Answer, AuthScheme, BackendFacts, BackendName, Confidence, Family, FindingName, Flow,
    Reason, Route, Step,
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
    // Core locks for 1.5 s after a wrong password, so that only the first of several tries waits.
    let waited = flows.iter().any(|(_, flow)| wait(flow) >= WRONG_SECRET_SECONDS);
    let mut evidence = evidence(flows);
    let (name, alternatives, summary) = if harbor && unhealthy(case, "database") {
        evidence.push("/api/v2.0/health calls the database unhealthy".to_owned());
        (
            FindingName::DbOutageOrPoolExhaustion,
            Vec::new(),
            "Core cannot reach the database: accounts cannot be looked up, and everybody is \
             anonymous.",
        )
    } else if case.round.account == Account::JwtRobot {
        evidence.push("the robot's secret is itself a token, as Harbor 2.1 made them".to_owned());
        (
            FindingName::RobotJwtBoundToKey,
            vec![FindingName::BadOrDisabledCredential],
            "The robot's secret is a token of a key that the nodes no longer have.",
        )
    } else if !harbor || waited {
        (
            FindingName::BadOrDisabledCredential,
            Vec::new(),
            "The credential is refused on every route: wrong, expired, disabled or deleted.",
        )
    } else {
        // At once and everywhere: core did not even compare the secret.
        (
            FindingName::BadOrDisabledCredential,
            vec![FindingName::DbOutageOrPoolExhaustion, FindingName::LoginLockoutCollateral],
            "The token endpoint refuses the credential everywhere, and at once.",
        )
    };
    Draft {
        name,
        confidence: if alternatives.is_empty() {
            Confidence::Proved
        } else {
            Confidence::Suspected
        },
        impact: Impact::Balancer,
        backends: Vec::new(),
        summary: summary.to_owned(),
        evidence,
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
    let names = list(&backends);
    let at_backends = || flows.iter().filter(|(_, flow)| flow.route.backend().is_some());
    let waited = at_backends().any(|(_, flow)| wait(flow) >= WRONG_SECRET_SECONDS);
    let database = case
        .round
        .backends
        .iter()
        .any(|facts| backends.contains(&facts.name) && component_fails(facts, "database"));
    let project_missing = case.round.borrowed.iter().any(|borrowed| {
        backends.contains(&borrowed.backend)
            && borrowed.answer.measured().is_some_and(is_project_missing)
    });
    let (name, confidence, alternatives, summary);
    if database {
        evidence.push(format!("/api/v2.0/health at {names} calls the database unhealthy"));
        name = FindingName::DbOutageOrPoolExhaustion;
        (confidence, alternatives) = (Confidence::Proved, Vec::new());
        summary = format!("{names} cannot reach the database and treats everybody as anonymous.");
    } else if project_missing {
        evidence.push(format!("a good token of another node finds no such project at {names}"));
        name = FindingName::ReplicationLagSplitContent;
        confidence = Confidence::Suspected;
        alternatives = vec![FindingName::AnonymousDowngrade];
        summary =
            format!("{names} has neither the account nor the project: its database is its own.");
    } else if !waited && case.round.account == Account::User {
        name = FindingName::LoginLockoutCollateral;
        confidence = Confidence::Suspected;
        alternatives = vec![FindingName::AnonymousDowngrade, FindingName::DbOutageOrPoolExhaustion];
        summary =
            format!("{names} refuses the account at once: locked by somebody's wrong password.");
    } else {
        name = FindingName::AnonymousDowngrade;
        (confidence, alternatives) = (Confidence::Proved, Vec::new());
        summary = format!(
            "{names} does not accept the credential that other nodes accept, and treats it as \
             anonymous."
        );
    }
    Draft {
        name,
        confidence,
        impact: Impact::BackendLoss,
        backends,
        summary,
        evidence,
        alternatives,
    }
}

fn component_fails(facts: &BackendFacts, component: &str) -> bool {
    let components = facts.health.measured();
    components.is_some_and(|all| all.iter().any(|c| c.component == component && !c.healthy))
}

fn unhealthy(case: &Case<'_>, component: &str) -> bool {
    case.round.backends.iter().any(|facts| component_fails(facts, component))
}

/// Harbor's answer where a project does not exist: an empty challenge that names it
/// (captures/harbor-2.15.2/77-database-split.http).
fn is_project_missing(answer: &Answer) -> bool {
    let empty = answer.challenge.as_ref().is_some_and(|c| c.scheme == AuthScheme::Empty);
    let message = answer.error_message.as_deref().unwrap_or_default();
    empty && message.contains("not found")
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
