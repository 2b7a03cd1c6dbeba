//! What Harbor says of its own components (D9, G2 and what depends on them). A word of its health
//! page is evidence, not proof of sickness for users, and its silence proves nothing: it does not
//! try passwords and keys.

use std::collections::{BTreeMap, BTreeSet};

use super::case::{Case, Draft, Impact, list};
use crate::model::{BackendName, Confidence, FindingName};

/// Causes by which a component is already accounted for at a backend.
const ACCOUNTED: [FindingName; 5] = [
    FindingName::DatabaseUnavailable,
    FindingName::ServerErrors,
    FindingName::CoreRegistryPasswordMismatch,
    FindingName::BackendUnreachable,
    FindingName::NotARegistry,
];

/// The backends that call a component unhealthy.
pub(super) fn fails(case: &Case<'_>, component: &str) -> Vec<BackendName> {
    let told = case.round.checks.components();
    let fails = told.filter(|(_, told)| told.component == component && !told.healthy);
    fails.map(|(backend, _)| backend.clone()).collect()
}

pub(super) fn examine(case: &mut Case<'_>) {
    database(case);
    redis(case);
    others(case);
}

/// The database is called unhealthy and nobody has met it yet.
fn database(case: &mut Case<'_>) {
    let names = fails(case, "database");
    let known = |f: &crate::model::Finding| f.finding == FindingName::DatabaseUnavailable;
    if names.is_empty() || case.findings.iter().any(known) {
        return;
    }
    case.add(
        Draft {
            name: FindingName::DatabaseUnavailable,
            confidence: Confidence::Suspected,
            impact: Impact::Latent,
            summary: format!("{} calls its database unhealthy.", list(&names)),
            evidence: vec![
                format!("/api/v2.0/health at {} calls the database unhealthy", list(&names)),
                "no flow of this round met it".to_owned(),
            ],
            backends: names,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

/// Redis is called unhealthy: requests wait for it, web sessions are gone and jobs stand still.
fn redis(case: &mut Case<'_>) {
    let names = fails(case, "redis");
    if names.is_empty() {
        return;
    }
    let all = names.len() == case.round.backends.len();
    let mut evidence = vec![format!("/api/v2.0/health at {} calls redis unhealthy", list(&names))];
    let lost = case.round.checks.session.measured().into_iter().flatten();
    let lost: BTreeSet<&BackendName> = lost
        .filter(|pair| {
            pair.issuer == pair.verifier
                && pair.value.measured() == Some(&crate::model::SessionVerdict::Unknown)
        })
        .map(|pair| &pair.verifier)
        .collect();
    evidence.extend((!lost.is_empty()).then(|| {
        let lost: Vec<&BackendName> = lost.into_iter().collect();
        format!("{} does not know the session that it gave a moment ago", list(&lost))
    }));
    // Tokens that come late because core waits for Redis first are no cause of their own.
    let slow = case.findings.iter().position(|finding| {
        finding.finding == FindingName::TokenEndpointSlow
            && finding.backends.iter().all(|name| names.contains(name))
    });
    let summary = format!(
        "{} cannot reach Redis: requests wait for it, web sessions are lost and jobs stand still.",
        list(&names)
    );
    let index = case.add(
        Draft {
            name: FindingName::RedisUnavailable,
            confidence: Confidence::Proved,
            impact: Impact::BackendLoss,
            backends: if all { Vec::new() } else { names },
            summary,
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
    if let Some(slow) = slow {
        case.absorb(index, slow);
    }
}

/// What no other finding accounts for.
fn others(case: &mut Case<'_>) {
    let redis = fails(case, "redis");
    let mut sick: BTreeMap<BackendName, Vec<String>> = BTreeMap::new();
    for (backend, told) in case.round.checks.components().filter(|(_, told)| !told.healthy) {
        // The job service keeps its queue in Redis.
        let follows = told.component == "jobservice" && redis.contains(backend);
        if !["database", "redis"].contains(&told.component.as_str()) && !follows {
            sick.entry(backend.clone()).or_default().push(told.component.clone());
        }
    }
    sick.retain(|backend, _| {
        !case.findings.iter().any(|finding| {
            ACCOUNTED.contains(&finding.finding)
                && (finding.backends.is_empty() || finding.backends.contains(backend))
        })
    });
    if sick.is_empty() {
        return;
    }
    let evidence = sick
        .iter()
        .map(|(backend, components)| {
            format!("/api/v2.0/health at {backend} calls {} unhealthy", list(components))
        })
        .collect();
    let components: BTreeSet<&String> = sick.values().flatten().collect();
    let components: Vec<&String> = components.into_iter().collect();
    let names: Vec<BackendName> = sick.keys().cloned().collect();
    case.add(
        Draft {
            name: FindingName::ComponentUnhealthy,
            confidence: Confidence::Proved,
            impact: Impact::Latent,
            summary: format!(
                "{} calls a part of itself unhealthy: {}.",
                list(&names),
                list(&components)
            ),
            backends: names,
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}
