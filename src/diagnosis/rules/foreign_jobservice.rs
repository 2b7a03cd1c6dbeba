//! Job services of another installation that take jobs from a shared Redis (G1). No request of a
//! user fails by it, so that it is seen in lists alone.

use std::collections::BTreeSet;

use super::super::facts::{Facts, list};
use super::super::hypothesis::{Hits, Hypothesis};
use crate::model::{FailedTask, FindingName, Neighbour, PoolsAt, Replications, WorkerPools};

const NAME: FindingName = FindingName::ForeignJobserviceOnSharedRedis;

/// What foreign workers do to users.
const EFFECT: Hits = Hits::Background(
    "Replications, scans and garbage collections fail at random with 401, in proportion to the \
     foreign workers; logins, pulls and pushes pass.",
);

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let checks = &facts.round.checks;
    let pools = checks.worker_pools.measured();
    let found = pools.and_then(|pools| shared(facts, pools).or_else(|| too_many(facts, pools)));
    let replications = checks.replications.measured();
    match (found, replications) {
        (Some(found), None) => vec![found],
        (Some(found), Some(told)) => vec![found.evidence(lines_of_replications(facts, told))],
        (None, Some(told)) => logs_elsewhere(facts, told).into_iter().collect(),
        (None, None) => Vec::new(),
    }
}

/// The same pool in the lists of registries that are configured apart.
fn shared(facts: &Facts<'_>, pools: &WorkerPools) -> Option<Hypothesis> {
    let own = pools.all();
    let here: BTreeSet<&str> =
        facts.round.backends.iter().map(|facts| facts.address.as_str()).collect();
    let apart = |neighbour: &&Neighbour| {
        neighbour.registry != facts.round.registry
            && neighbour.url != facts.round.url
            && !neighbour.addresses.iter().any(|address| here.contains(address.as_str()))
    };
    let mut evidence = Vec::new();
    let mut names = Vec::new();
    for neighbour in facts.earlier.neighbours.iter().filter(apart) {
        let common: Vec<&str> =
            own.iter().copied().filter(|id| neighbour.pools.contains(*id)).collect();
        if !common.is_empty() {
            let ids = list(&common.iter().take(3).collect::<Vec<_>>());
            let name = &neighbour.registry;
            evidence.push(format!(
                "{} of {} worker pools are listed by registry {name} ({}) as well: {ids}",
                common.len(),
                own.len(),
                neighbour.url
            ));
            names.push(name.clone());
        }
    }
    let summary = format!("The job queue is shared with another registry: {}.", list(&names));
    let found = Hypothesis::new(NAME, Vec::new(), summary).hits(EFFECT).evidence(evidence).alone();
    (!names.is_empty()).then_some(found)
}

fn too_many(facts: &Facts<'_>, pools: &WorkerPools) -> Option<Hypothesis> {
    let (all, backends) = (pools.all().len(), facts.round.backends.len());
    // Lists that have nothing in common are queues of their own, each with its own workers.
    let longest = pools.at.iter().filter_map(|at| at.ids.measured()).map(Vec::len).max();
    if longest.is_none_or(|longest| longest <= backends) {
        return None;
    }
    let summary = format!(
        "There are {all} worker pools for {backends} backends: some may belong to another \
         installation, or the job service was scaled out."
    );
    let found = Hypothesis::new(NAME, Vec::new(), summary)
        .suspected(&[])
        .hits(EFFECT)
        .evidence(lines_of_pools(pools))
        .alone();
    Some(found)
}

/// The pools that each backend lists, in words.
pub(super) fn lines_of_pools(pools: &WorkerPools) -> Vec<String> {
    let line = |at: &PoolsAt| {
        let ids = at.ids.measured()?;
        Some(format!("{} lists {} worker pools: {}", at.backend, ids.len(), list(ids)))
    };
    pools.at.iter().filter_map(line).take(6).collect()
}

/// Failed tasks whose logs no backend has were run by workers that are not here. By itself that is
/// little: a log goes with the container that wrote it.
fn logs_elsewhere(facts: &Facts<'_>, told: &Replications) -> Option<Hypothesis> {
    if nowhere(facts, told).len() < 2 {
        return None;
    }
    let summary = "Replications fail and leave no log at any backend: workers of another \
                   installation may take their jobs, or the logs went with a container that was \
                   replaced.";
    let found = Hypothesis::new(NAME, Vec::new(), summary.to_owned())
        .suspected(&[])
        .hits(Hits::Nothing)
        .evidence(lines_of_replications(facts, told))
        .alone();
    Some(found)
}

fn lines_of_replications(facts: &Facts<'_>, told: &Replications) -> Vec<String> {
    let mut lines = Vec::new();
    if told.failed > 0 {
        lines.push(format!(
            "{} of {} replications that ended within 12 hours failed",
            told.failed, told.ended
        ));
    }
    let looked_for = told.tasks.len();
    let nowhere = nowhere(facts, told);
    if !nowhere.is_empty() {
        let executions: Vec<u64> = nowhere.iter().map(|task| task.execution).collect();
        lines.push(format!(
            "the logs of {} of {looked_for} failed tasks are at no backend (404): executions {}",
            nowhere.len(),
            list(&executions)
        ));
    }
    let unauthorized = told.tasks.iter().filter(|task| task.is_unauthorized()).count();
    if unauthorized > 0 {
        lines.push(format!("{unauthorized} of {looked_for} failed tasks met a 401"));
    }
    lines
}

/// Tasks whose log no backend has, where every backend of the round was asked.
fn nowhere<'t>(facts: &Facts<'_>, told: &'t Replications) -> Vec<&'t FailedTask> {
    let everywhere =
        |task: &&FailedTask| task.is_nowhere() && task.logs.len() == facts.round.backends.len();
    told.tasks.iter().filter(everywhere).collect()
}
