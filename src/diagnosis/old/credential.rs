//! Tokens that were not issued, or not to us (A6, C5 at the token endpoint, D1, D2, D3, D9).

use std::collections::BTreeMap;

use super::case::{Case, Draft, Impact, list};
use super::components;
use crate::model::{
    Account, Answer, AuthScheme, BackendName, Confidence, Family, FindingName, Flow, Reason, Route,
    Step,
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
    let explained =
        case.round.flows.iter().any(|f| f.route.backend().is_some() && self::refused(f));
    if backends.is_empty() && explained {
        // The balancer met a backend whose refusal has its cause already.
        return;
    }
    if backends.len() != asked_backends && !backends.is_empty() {
        at_some(case, &refused);
        return;
    }
    let draft = if backends.is_empty() && asked_backends > 0 {
        lost_on_the_way(&refused)
    } else {
        everywhere(case, &refused)
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
    let (name, alternatives, summary) = if harbor && !components::fails(case, "database").is_empty()
    {
        evidence.push("/api/v2.0/health calls the database unhealthy".to_owned());
        (
            FindingName::DatabaseUnavailable,
            Vec::new(),
            "Core cannot reach the database: accounts cannot be looked up, and everybody is \
             anonymous.",
        )
    } else if case.round.account == Account::JwtRobot {
        evidence.push("the robot's secret is itself a token, as Harbor 2.1 made them".to_owned());
        (
            FindingName::RobotTokenOfOldKey,
            vec![FindingName::CredentialRefused],
            "The robot's secret is a token of a key that the nodes no longer have.",
        )
    } else if !harbor || waited {
        (
            FindingName::CredentialRefused,
            Vec::new(),
            "The credential is refused on every route: wrong, expired, disabled or deleted.",
        )
    } else {
        // At once and everywhere: core did not even compare the secret.
        (
            FindingName::CredentialRefused,
            vec![FindingName::DatabaseUnavailable, FindingName::LoginLocked],
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

/// Some nodes accept the credential and some do not, each for a reason of its own. What the
/// balancer met is one of them.
fn at_some(case: &mut Case<'_>, flows: &[(usize, &Flow)]) {
    let mut causes: BTreeMap<FindingName, Vec<(usize, &Flow)>> = BTreeMap::new();
    for (index, flow) in flows {
        if let Some(backend) = flow.route.backend() {
            causes.entry(cause(case, flow, backend)).or_default().push((*index, *flow));
        }
    }
    let mut by_balancer: Vec<usize> = flows
        .iter()
        .filter(|(_, flow)| flow.route == Route::Balancer)
        .map(|(index, _)| *index)
        .collect();
    for (name, flows) in causes {
        let mut indexes: Vec<usize> = flows.iter().map(|(index, _)| *index).collect();
        indexes.append(&mut by_balancer);
        let draft = refused_at(case, name, &flows);
        case.add(draft, &[], &indexes);
    }
}

/// Why this backend refuses a credential that others accept.
fn cause(case: &Case<'_>, flow: &Flow, backend: &BackendName) -> FindingName {
    let database = database_fails(case, backend);
    let project_missing = case.round.borrowed.iter().any(|borrowed| {
        borrowed.backend == *backend && borrowed.answer.measured().is_some_and(is_project_missing)
    });
    let waited = wait(flow) >= WRONG_SECRET_SECONDS;
    if database {
        FindingName::DatabaseUnavailable
    } else if project_missing {
        FindingName::ContentDiffers
    } else if !waited && case.round.account == Account::User {
        FindingName::LoginLocked
    } else {
        FindingName::AnonymousDowngrade
    }
}

fn refused_at(case: &Case<'_>, name: FindingName, flows: &[(usize, &Flow)]) -> Draft {
    let good: Vec<&Route> = case
        .round
        .flows
        .iter()
        .filter(|flow| flow.passed(Step::Token) == Some(true))
        .map(|flow| &flow.route)
        .collect();
    let backends: Vec<BackendName> =
        flows.iter().filter_map(|(_, flow)| flow.route.backend().cloned()).collect();
    let names = list(&backends);
    let mut evidence = evidence(flows);
    evidence.push(format!("the same credential is accepted by {}", list(&good)));
    let (summary, alternatives) = match name {
        FindingName::DatabaseUnavailable => {
            evidence.push(format!("/api/v2.0/health at {names} calls the database unhealthy"));
            let summary =
                format!("{names} cannot reach the database and treats everybody as anonymous.");
            (summary, Vec::new())
        }
        FindingName::ContentDiffers => {
            evidence.push(format!("a good token of another node finds no such project at {names}"));
            let summary = format!(
                "{names} has neither the account nor the project: its database is its own."
            );
            (summary, vec![FindingName::AnonymousDowngrade])
        }
        FindingName::LoginLocked => {
            let summary = format!(
                "{names} refuses the account at once: locked by somebody's wrong password."
            );
            (summary, vec![FindingName::AnonymousDowngrade, FindingName::DatabaseUnavailable])
        }
        _ => {
            let summary = format!(
                "{names} does not accept the credential that other nodes accept, and treats it as \
                 anonymous."
            );
            // Without a look at the repository a database of its own is not excluded.
            let looked = |name: &BackendName| {
                case.round.borrowed.iter().any(|borrowed| {
                    borrowed.backend == *name && borrowed.answer.measured().is_some()
                })
            };
            let split = case.round.scope.is_some() && !backends.iter().all(looked);
            let other = split.then_some(FindingName::ContentDiffers);
            (summary, other.into_iter().collect())
        }
    };
    let proved = alternatives.is_empty();
    Draft {
        name,
        confidence: if proved { Confidence::Proved } else { Confidence::Suspected },
        impact: Impact::BackendLoss,
        backends,
        summary,
        evidence,
        alternatives,
    }
}

/// Whether a backend calls its database unhealthy.
fn database_fails(case: &Case<'_>, backend: &BackendName) -> bool {
    components::fails(case, "database").contains(backend)
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
