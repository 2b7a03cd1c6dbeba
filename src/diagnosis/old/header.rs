//! The `Authorization` header that does not arrive (C5). A token that is none, shown on every
//! route, tells it apart from everything else; without that check good tokens that look unseen do.

use super::case::{Case, Draft, Impact, list};
use crate::model::{
    Answer, AuthScheme, BackendName, Confidence, Family, FindingName, Flow, HeaderFate, Reason,
    Route, Step,
};

/// Routes on which the header is dropped, as the check shows it.
pub(super) fn examine(case: &mut Case<'_>) {
    let found = case.round.checks.authorization_header.measured().into_iter().flatten();
    let dropped: Vec<Route> = found
        .filter(|fate| fate.value.measured() == Some(&HeaderFate::Dropped))
        .map(|fate| fate.route.clone())
        .filter(|route| !takes_tokens(case, route))
        .collect();
    if dropped.is_empty() {
        return;
    }
    let backends: Vec<BackendName> =
        dropped.iter().filter_map(|route| route.backend().cloned()).collect();
    let arrived = case.round.checks.authorization_header.measured().into_iter().flatten();
    let arrived: Vec<&Route> = arrived
        .filter(|fate| fate.value.measured() == Some(&HeaderFate::Arrived))
        .map(|fate| &fate.route)
        .collect();
    let family = case.common_family();
    if arrived.is_empty() && family == Family::Unknown {
        // A server that nobody knows may answer a bad token and none alike.
        return;
    }
    let flows: Vec<usize> = case
        .open_flows()
        .into_iter()
        .filter(|(_, flow)| dropped.contains(&flow.route) && is_consequence(flow, family))
        .map(|(index, _)| index)
        .collect();
    let cells: Vec<usize> = case
        .open_cells()
        .into_iter()
        .filter(|(_, cell, refusal)| {
            dropped.contains(&cell.verifier) && looks_unseen(&refusal.answer, family)
        })
        .map(|(index, ..)| index)
        .collect();
    let mut evidence = vec![format!(
        "{}: a token that is none is answered as a request without one, twice",
        list(&dropped)
    )];
    evidence.extend((!arrived.is_empty()).then(|| format!("{}: it is seen", list(&arrived))));
    let whose = if backends.is_empty() {
        "The load balancer".to_owned()
    } else {
        format!("A proxy before {}", list(&backends))
    };
    case.add(
        Draft {
            name: FindingName::AuthorizationHeaderDropped,
            confidence: Confidence::Proved,
            impact: if backends.is_empty() { Impact::Balancer } else { Impact::BackendLoss },
            backends,
            summary: format!("{whose} drops the Authorization header."),
            evidence,
            alternatives: Vec::new(),
        },
        &cells,
        &flows,
    );
}

/// Whether a good token was accepted on a route: then the header arrives, whatever else is shown.
fn takes_tokens(case: &Case<'_>, route: &Route) -> bool {
    let flow = case.round.flow(route);
    flow.is_some_and(|flow| {
        flow.token.measured().is_some() && flow.passed(Step::Access) == Some(true)
    })
}

/// A flow that fails as one does whose password or token does not arrive.
fn is_consequence(flow: &Flow, family: Family) -> bool {
    let Some((step, failure)) = flow.failure() else { return false };
    let refused = matches!(
        failure.reason,
        Reason::Unauthorized | Reason::Forbidden | Reason::AnonymousToken | Reason::WrongSubject
    );
    match step {
        Step::Token => refused,
        // Nor is a route asked whose challenge failed.
        _ => flow.answer(step).is_some_and(|answer| looks_unseen(answer, family)),
    }
}

/// What the check says of a route.
fn fate(case: &Case<'_>, route: &Route) -> Option<HeaderFate> {
    let mut found = case.round.checks.authorization_header.measured()?.iter();
    found.find(|fate| fate.route == *route)?.value.measured().copied()
}

/// A good token is answered with the challenge of a first contact: the header did not arrive.
pub(super) fn looks_unseen(answer: &Answer, family: Family) -> bool {
    let Some(challenge) = &answer.challenge else { return false };
    let first_contact = challenge.scheme == AuthScheme::Bearer && challenge.error.is_none();
    first_contact && family != Family::Unknown
}

/// The same without a word from the check: good tokens through the balancer look unseen.
pub(super) fn deduced(case: &mut Case<'_>) {
    let family = case.common_family();
    let fate = fate(case, &Route::Balancer);
    // distribution 3 answers a bad signature of a known key in the same way
    // (captures/distribution-3.1.1/21-right-kid-wrong-signature.http): what arrives is not dropped.
    if fate == Some(HeaderFate::Arrived) && family == Family::Distribution3 {
        return;
    }
    let cells: Vec<usize> = case
        .open_cells()
        .into_iter()
        .filter(|(_, cell, refusal)| {
            cell.verifier == Route::Balancer && looks_unseen(&refusal.answer, family)
        })
        .map(|(index, ..)| index)
        .collect();
    let flows: Vec<usize> = case
        .open_flows()
        .into_iter()
        .filter(|(_, flow)| {
            flow.route == Route::Balancer
                && flow.failure().is_some_and(|(step, _)| {
                    step >= Step::Access
                        && flow.answer(step).is_some_and(|answer| looks_unseen(answer, family))
                })
        })
        .map(|(index, _)| index)
        .collect();
    if cells.is_empty() && flows.is_empty() {
        return;
    }
    // The token endpoint behind the same proxy lost its header too: one cause.
    let at_token = case
        .findings
        .iter()
        .position(|finding| finding.finding == FindingName::AuthorizationHeaderDropped);
    let line = format!(
        "{} good tokens and {} flows through the balancer got the challenge of a first contact, \
         without any sign of the token",
        cells.len(),
        flows.len()
    );
    if let Some(finding) = at_token {
        case.findings[finding].evidence.push(line);
        if family != Family::Distribution3 {
            case.findings[finding].confidence = Confidence::Proved;
            case.findings[finding].alternatives.clear();
        }
        case.explain(finding, &cells, &flows);
        return;
    }
    let proved = family != Family::Distribution3;
    case.add(
        Draft {
            name: FindingName::AuthorizationHeaderDropped,
            confidence: if proved { Confidence::Proved } else { Confidence::Suspected },
            impact: Impact::Balancer,
            backends: Vec::new(),
            summary: "The load balancer drops the Authorization header.".to_owned(),
            evidence: vec![line],
            alternatives: if proved { Vec::new() } else { vec![FindingName::TokenKeyMismatch] },
        },
        &cells,
        &flows,
    );
}
