//! The job service: whose workers take whose jobs (G1).

use std::collections::BTreeSet;

use super::case::{Case, Draft, Impact, list};
use crate::model::{
    BackendName, Confidence, FailedTask, FindingName, Neighbour, Replications, WorkerPools,
};

/// What foreign workers do to users.
const EFFECT: &str = "Replications, scans and garbage collections fail at random with 401, in \
     proportion to the foreign workers; logins, pulls and pushes pass.";

pub(super) fn examine(case: &mut Case<'_>) {
    let checks = &case.round.checks;
    if let Some(pools) = checks.worker_pools.measured() {
        if !shared_with_neighbours(case, pools) {
            more_than_backends(case, pools);
        }
        split(case, pools);
    }
    if let Some(replications) = checks.replications.measured() {
        logs_elsewhere(case, replications);
    }
}

/// The same pool in the lists of registries that are configured apart.
fn shared_with_neighbours(case: &mut Case<'_>, pools: &WorkerPools) -> bool {
    let own = pools.all();
    let here: BTreeSet<&str> =
        case.round.backends.iter().map(|facts| facts.address.as_str()).collect();
    let apart = |neighbour: &&Neighbour| {
        neighbour.registry != case.round.registry
            && neighbour.url != case.round.url
            && !neighbour.addresses.iter().any(|address| here.contains(address.as_str()))
    };
    let mut evidence = Vec::new();
    let mut names = Vec::new();
    for neighbour in case.earlier.neighbours.iter().filter(apart) {
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
    if names.is_empty() {
        return false;
    }
    case.add(
        Draft {
            name: FindingName::ForeignJobserviceOnSharedRedis,
            confidence: Confidence::Proved,
            impact: Impact::Beside(EFFECT),
            backends: Vec::new(),
            summary: format!("The job queue is shared with another registry: {}.", list(&names)),
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
    true
}

fn more_than_backends(case: &mut Case<'_>, pools: &WorkerPools) {
    let (all, backends) = (pools.all().len(), case.round.backends.len());
    // Lists that have nothing in common are queues of their own, each with its own workers.
    let longest = pools.at.iter().filter_map(|at| at.ids.measured()).map(Vec::len).max();
    if longest.is_none_or(|longest| longest <= backends) {
        return;
    }
    case.add(
        Draft {
            name: FindingName::ForeignJobserviceOnSharedRedis,
            confidence: Confidence::Suspected,
            impact: Impact::Beside(EFFECT),
            backends: Vec::new(),
            summary: format!(
                "There are {all} worker pools for {backends} backends: some may belong to another \
                 installation, or the job service was scaled out."
            ),
            evidence: lines(pools),
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

/// Failed tasks whose logs no backend has were run by workers that are not here. By itself that is
/// little: a log goes with the container that wrote it.
fn logs_elsewhere(case: &mut Case<'_>, replications: &Replications) {
    let nowhere: Vec<&FailedTask> =
        replications.tasks.iter().filter(|task| everywhere(case, task)).collect();
    let known = FindingName::ForeignJobserviceOnSharedRedis;
    let named = case.findings.iter().position(|finding| finding.finding == known);
    if named.is_none() && nowhere.len() < 2 {
        return;
    }
    let mut evidence = Vec::new();
    if replications.failed > 0 {
        evidence.push(format!(
            "{} of {} replications that ended within 12 hours failed",
            replications.failed, replications.ended
        ));
    }
    let looked_for = replications.tasks.len();
    if !nowhere.is_empty() {
        let executions: Vec<u64> = nowhere.iter().map(|task| task.execution).collect();
        evidence.push(format!(
            "the logs of {} of {looked_for} failed tasks are at no backend (404): executions {}",
            nowhere.len(),
            list(&executions)
        ));
    }
    let unauthorized = replications.tasks.iter().filter(|task| task.is_unauthorized()).count();
    if unauthorized > 0 {
        evidence.push(format!("{unauthorized} of {looked_for} failed tasks met a 401"));
    }
    if let Some(finding) = named.and_then(|at| case.findings.get_mut(at)) {
        finding.evidence.extend(evidence);
        return;
    }
    case.add(
        Draft {
            name: known,
            confidence: Confidence::Suspected,
            impact: Impact::Note,
            backends: Vec::new(),
            summary: "Replications fail and leave no log at any backend: workers of another \
                      installation may take their jobs, or the logs went with a container that \
                      was replaced."
                .to_owned(),
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

/// Whether no backend has the log, and every backend of the round was asked.
fn everywhere(case: &Case<'_>, task: &FailedTask) -> bool {
    task.is_nowhere() && task.logs.len() == case.round.backends.len()
}

/// Backends that have no pool in common do not share a job queue.
fn split(case: &mut Case<'_>, pools: &WorkerPools) {
    let lists: Vec<(&BackendName, &Vec<String>)> = pools
        .at
        .iter()
        .filter_map(|at| Some((&at.backend, at.ids.measured()?)))
        .filter(|(_, ids)| !ids.is_empty())
        .collect();
    let apart = |(_, one): &(&BackendName, &Vec<String>), (_, other): &(_, &Vec<String>)| {
        !one.iter().any(|id| other.contains(id))
    };
    let Some(first) = lists.first() else { return };
    if !lists.iter().any(|other| apart(first, other)) {
        return;
    }
    let mut evidence = lines(pools);
    evidence.insert(0, "job queues differ: a job waits for the workers of one node".to_owned());
    let known = FindingName::SettingsDiffer;
    if let Some(finding) = case.findings.iter_mut().find(|finding| finding.finding == known) {
        finding.evidence.extend(evidence);
        return;
    }
    case.add(
        Draft {
            name: known,
            confidence: Confidence::Proved,
            impact: Impact::Note,
            backends: Vec::new(),
            summary: "The nodes' job services do not share a queue.".to_owned(),
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

fn lines(pools: &WorkerPools) -> Vec<String> {
    let line = |at: &crate::model::PoolsAt| {
        let ids = at.ids.measured()?;
        Some(format!("{} lists {} worker pools: {}", at.backend, ids.len(), list(ids)))
    };
    pools.at.iter().filter_map(line).take(6).collect()
}
