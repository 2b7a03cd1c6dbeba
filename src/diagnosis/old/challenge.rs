//! Challenges that send clients to the wrong place, or differ between nodes (C1).

use super::case::{Case, Draft, Impact, list};
use crate::model::{BackendName, Challenge, Confidence, FindingName, Flow, Reason, Route, Step};

pub(super) fn examine(case: &mut Case<'_>) {
    wrong_realm(case);
    bad_challenge(case);
}

fn realm_authority(challenge: &Challenge) -> &str {
    let realm = challenge.realm.as_deref().unwrap_or_default();
    let end = realm.find("://").map_or(0, |at| at + 3);
    let tail = realm.get(end..).unwrap_or_default();
    let length = tail.find(['/', '?', '#']).unwrap_or(tail.len());
    realm.get(..end + length).unwrap_or(realm)
}

fn wrong_realm(case: &mut Case<'_>) {
    let wrong: Vec<(usize, &Flow)> = case
        .open_flows()
        .into_iter()
        .filter(|(_, flow)| {
            flow.failure().is_some_and(|(_, failure)| failure.reason == Reason::RealmNotAllowed)
        })
        .collect();
    if wrong.is_empty() {
        return;
    }
    let backends: Vec<BackendName> =
        wrong.iter().filter_map(|(_, flow)| flow.route.backend().cloned()).collect();
    let lb = wrong.iter().any(|(_, flow)| flow.route == Route::Balancer);
    let everywhere = wrong.len() == case.round.flows.len();
    let mut evidence: Vec<String> = case
        .round
        .flows
        .iter()
        .filter_map(|flow| {
            let challenge = flow.challenge.measured()?;
            Some(format!("{}: realm at {}", flow.route, realm_authority(challenge)))
        })
        .collect();
    evidence.push(format!("expected {}, or an authority in allowed_realms", case.round.url));
    let summary = if backends.is_empty() {
        "Through the load balancer the challenge names another token endpoint than the nodes do: \
         it rewrites Host."
            .to_owned()
    } else if everywhere {
        "Every route sends clients to a token endpoint that is not the registry's.".to_owned()
    } else {
        format!("{} sends clients to a token endpoint that is not the registry's.", list(&backends))
    };
    let indexes: Vec<usize> = wrong.iter().map(|(index, _)| *index).collect();
    // Where the balancer leads to such a node only now and then, its own flow may have passed.
    let impact = if lb || everywhere { Impact::Balancer } else { Impact::BackendLoss };
    case.add(
        Draft {
            name: FindingName::RealmWrongEndpoint,
            confidence: Confidence::Proved,
            impact,
            backends: if everywhere { Vec::new() } else { backends },
            summary,
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &indexes,
    );
}

/// A node that asks for no token, or in a way that no client understands.
fn bad_challenge(case: &mut Case<'_>) {
    let bad: Vec<(usize, &Flow)> = case
        .open_flows()
        .into_iter()
        .filter(|(_, flow)| {
            flow.failure().is_some_and(|(step, failure)| {
                matches!(failure.reason, Reason::BadChallenge | Reason::NoChallenge)
                    || (step == Step::Challenge && failure.reason == Reason::Unauthorized)
            })
        })
        .collect();
    if bad.is_empty() {
        return;
    }
    let backends: Vec<BackendName> =
        bad.iter().filter_map(|(_, flow)| flow.route.backend().cloned()).collect();
    let whose = if backends.is_empty() { "the load balancer".to_owned() } else { list(&backends) };
    let evidence = bad
        .iter()
        .filter_map(|(_, flow)| Some(format!("{}: {}", flow.route, flow.failure()?.1)))
        .collect();
    let indexes: Vec<usize> = bad.iter().map(|(index, _)| *index).collect();
    let lb_only = backends.is_empty();
    case.add(
        Draft {
            name: FindingName::SettingsDiffer,
            confidence: Confidence::Suspected,
            impact: if lb_only { Impact::Balancer } else { Impact::BackendLoss },
            summary: format!("The challenge of {whose} is not one that leads to a token."),
            backends,
            evidence,
            alternatives: vec![FindingName::LbMisroutesApiPath],
        },
        &[],
        &indexes,
    );
}
