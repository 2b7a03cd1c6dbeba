//! Job services of another installation that take jobs from a shared Redis (G1). No request of a
//! user fails by it, so that it is seen in lists alone.

use std::collections::BTreeSet;

use super::super::facts::Facts;
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::list;
use crate::model::{
    Evidence, FailedTask, FindingName, Neighbour, PoolsAt, Replications, WorkerPools,
};

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

fn lines_of_replications(facts: &Facts<'_>, told: &Replications) -> Vec<Evidence> {
    let mut lines = Vec::new();
    if told.failed > 0 {
        let text = format!(
            "{} of {} replications that ended within 12 hours failed",
            told.failed, told.ended
        );
        let line = Evidence::from(text).counting("failed_replications", told.failed);
        lines.push(line.counting("replications", told.ended));
    }
    let looked_for = told.tasks.len();
    let nowhere = nowhere(facts, told);
    if !nowhere.is_empty() {
        let executions: Vec<u64> = nowhere.iter().map(|task| task.execution).collect();
        let text = format!(
            "the logs of {} of {looked_for} failed tasks are at no backend (404): executions {}",
            nowhere.len(),
            list(&executions)
        );
        lines.push(Evidence::from(text).counting("tasks_without_log", nowhere.len()));
    }
    let unauthorized = told.tasks.iter().filter(|task| task.is_unauthorized()).count();
    if unauthorized > 0 {
        let text = format!("{unauthorized} of {looked_for} failed tasks met a 401");
        lines.push(Evidence::from(text).counting("unauthorized_tasks", unauthorized));
    }
    lines
}

/// Tasks whose log no backend has, where every backend of the round was asked.
fn nowhere<'t>(facts: &Facts<'_>, told: &'t Replications) -> Vec<&'t FailedTask> {
    let everywhere =
        |task: &&FailedTask| task.is_nowhere() && task.logs.len() == facts.round.backends.len();
    told.tasks.iter().filter(everywhere).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::verdict::judge as assess_after;
    use crate::model::{
        BackendName, Checked, Earlier, LogAt, Outcome, PoolsAt, RegistryName, TaskLog, sample,
    };

    type Lists<'a> = [(&'a str, &'a [&'a str])];

    fn pools(lists: &Lists<'_>) -> WorkerPools {
        let at = |(backend, ids): &(&str, &[&str])| PoolsAt {
            backend: BackendName::parse(backend).unwrap(),
            ids: Outcome::Measured(ids.iter().map(ToString::to_string).collect()),
        };
        WorkerPools { at: lists.iter().map(at).collect() }
    }

    /// Findings of a round in which backends list these pools.
    fn found(lists: &Lists<'_>, neighbours: &[Neighbour]) -> Vec<String> {
        let pools = pools(lists);
        let round = sample::changed(&["a", "b"], |round| {
            let found = Outcome::Measured(pools);
            round.checks.worker_pools = Checked { at: None, requests: 2, found };
        });
        let earlier = Earlier { neighbours: neighbours.to_vec(), ..Earlier::default() };
        let findings = assess_after(&round, &earlier).findings;
        let line = |finding: &crate::model::Finding| {
            format!("{} {}", finding.finding, finding.confidence.as_str())
        };
        findings.iter().map(line).collect()
    }

    /// Findings of a round with these lists in which a number of ten replications failed, and the
    /// logs of the failed tasks that were looked for lie here.
    fn found_with_logs(
        lists: Option<&Lists<'_>>,
        failed: usize,
        logs: &[&[(&str, TaskLog)]],
    ) -> Vec<String> {
        let name = |backend: &str| BackendName::parse(backend).unwrap();
        let task = |(number, at): (u64, &&[(&str, TaskLog)])| FailedTask {
            execution: number,
            task: number,
            logs: at
                .iter()
                .map(|(at, log)| LogAt { backend: name(at), log: Outcome::Measured(*log) })
                .collect(),
        };
        let replications = Replications {
            told_by: name("a"),
            ended: 10,
            failed,
            tasks: (1..).zip(logs).map(task).collect(),
        };
        let round = sample::changed(&["a", "b"], |round| {
            if let Some(lists) = lists {
                let found = Outcome::Measured(pools(lists));
                round.checks.worker_pools = Checked { at: None, requests: 2, found };
            }
            let found = Outcome::Measured(replications);
            round.checks.replications = Checked { at: None, requests: 9, found };
        });
        let line = |finding: &crate::model::Finding| {
            let at = finding.severity.as_str();
            let last = finding
                .evidence
                .iter()
                .rev()
                .take(2)
                .rev()
                .map(ToString::to_string)
                .collect::<Vec<_>>();
            format!("{} {at}: {}", finding.finding, last.join("; "))
        };
        let findings = assess_after(&round, &Earlier::default()).findings;
        findings.iter().filter(|finding| finding.finding == NAME).map(line).collect()
    }

    #[test]
    fn failed_replications_show_no_foreign_workers_while_their_logs_are_here() {
        use TaskLog::{Here, Missing};
        let refused = Here { unauthorized: true };
        let nowhere: &[(&str, TaskLog)] = &[("a", Missing), ("b", Missing)];
        for logs in [
            &[] as &[&[(&str, TaskLog)]],
            &[&[("a", refused)], &[("a", Missing), ("b", refused)]],
            // One lost log says nothing, and no more does one that was not looked for everywhere.
            &[nowhere],
            &[nowhere, &[("a", Missing)]],
        ] {
            assert_eq!(found_with_logs(None, 3, logs), Vec::<String>::new(), "{logs:?}");
        }
    }

    #[test]
    fn logs_that_are_nowhere_suggest_foreign_workers_and_support_foreign_pools() {
        use TaskLog::{Here, Missing};
        let nowhere: &[(&str, TaskLog)] = &[("a", Missing), ("b", Missing)];
        let refused: &[(&str, TaskLog)] = &[("a", Missing), ("b", Here { unauthorized: true })];
        let failed = "2 of 10 replications that ended within 12 hours failed";
        let lost = "the logs of 2 of 2 failed tasks are at no backend (404): executions 1 and 2";
        let name = "foreign-jobservice-on-shared-redis";
        assert_eq!(
            found_with_logs(None, 2, &[nowhere, nowhere]),
            [format!("{name} info: {failed}; {lost}")]
        );
        let more: &Lists<'_> = &[("a", &["1", "2", "3"]), ("b", &["1", "2", "3"])];
        assert_eq!(
            found_with_logs(Some(more), 2, &[nowhere, nowhere]),
            [format!("{name} warning: {failed}; {lost}")]
        );
        assert_eq!(
            found_with_logs(Some(more), 2, &[refused]),
            [format!("{name} warning: {failed}; 1 of 1 failed tasks met a 401")]
        );
    }

    fn neighbour(url: &str, address: &str, pools: &[&str]) -> Neighbour {
        Neighbour {
            registry: RegistryName::parse("other").unwrap(),
            url: url.to_owned(),
            addresses: [address.to_owned()].into(),
            pools: pools.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_pool_in_two_lists_is_foreign_only_where_the_registries_are_apart() {
        let here = sample::changed(&["a", "b"], |_| {});
        let lists: &Lists<'_> = &[("a", &["1", "2"]), ("b", &["1", "2"])];
        let proved = vec!["foreign-jobservice-on-shared-redis proved".to_owned()];
        let apart = "https://elsewhere.example.com";
        let address = here.backends[0].address.as_str();
        let itself = RegistryName::parse("main").unwrap();
        let itself = Neighbour { registry: itself, ..neighbour(apart, "10.9.9.9:443", &["2"]) };
        for (neighbour, expected) in [
            (neighbour(apart, "10.9.9.9:443", &["2"]), proved.clone()),
            (itself, Vec::new()),
            (neighbour(apart, "10.9.9.9:443", &["3"]), Vec::new()),
            // The same site, listed twice.
            (neighbour(&here.url, "10.9.9.9:443", &["2"]), Vec::new()),
            (neighbour(apart, address, &["2"]), Vec::new()),
        ] {
            assert_eq!(found(lists, std::slice::from_ref(&neighbour)), expected, "{neighbour:?}");
        }
        // Whose they are is known, so that there are too many is no news.
        let many: &Lists<'_> = &[("a", &["1", "2", "3"]), ("b", &["1", "2", "3"])];
        assert_eq!(found(many, &[neighbour(apart, "10.9.9.9:443", &["3"])]), proved);
    }

    #[test]
    fn more_pools_than_backends_are_suspect_and_lists_apart_are_a_split_queue() {
        for (lists, expected) in [
            (&[("a", &["1", "2"] as &[&str]), ("b", &["1", "2"])] as &Lists<'_>, None),
            (&[("a", &["1"]), ("b", &[])], None),
            (
                &[("a", &["1", "2", "3"]), ("b", &["1", "2", "3"])],
                Some("foreign-jobservice-on-shared-redis suspected"),
            ),
            (&[("a", &["1"]), ("b", &["2"])], Some("settings-differ proved")),
        ] {
            assert_eq!(found(lists, &[]), Vec::from_iter(expected), "{lists:?}");
        }
    }
}
