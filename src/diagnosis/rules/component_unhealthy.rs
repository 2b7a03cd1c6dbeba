//! A node's health page calls a part of Harbor unhealthy, other than the database and Redis, which
//! have causes of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::super::facts::Facts;
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use super::components::{calls_unhealthy, health_of};
use crate::model::{BackendName, FindingName};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let redis = calls_unhealthy(facts, "redis");
    let mut sick: BTreeMap<BackendName, Vec<String>> = BTreeMap::new();
    for (backend, told) in facts.round.checks.components().filter(|(_, told)| !told.healthy) {
        // The job service keeps its queue in Redis.
        let follows = told.component == "jobservice" && redis.contains(backend);
        if !["database", "redis"].contains(&told.component.as_str()) && !follows {
            sick.entry(backend.clone()).or_default().push(told.component.clone());
        }
    }
    // One for each backend: a worse cause may explain it at one backend and not at another.
    sick.iter().map(|(backend, components)| unhealthy(facts, backend, components)).collect()
}

fn unhealthy(facts: &Facts<'_>, backend: &BackendName, components: &[String]) -> Hypothesis {
    let parts: BTreeSet<&String> = components.iter().collect();
    let parts: Vec<&String> = parts.into_iter().collect();
    let what = verb(parts.len(), "a part of Harbor", "parts of Harbor");
    let summary =
        format!("The health page of {backend} reports {what} as unhealthy: {}.", list(&parts));
    let line = format!("/api/v2.0/health at {backend} reports {} as unhealthy", list(components));
    // Its health page says the same of Redis or of the database; that is another cause.
    Hypothesis::new(FindingName::ComponentUnhealthy, vec![backend.clone()], summary)
        .hits(Hits::Later)
        .evidence([line])
        .explains(health_of(facts, backend))
        .alone()
}
