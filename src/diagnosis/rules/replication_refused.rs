//! `replication-refused`: replications fail, and their logs tell of a 401. Which of the two
//! registries refused is not read from a log, so that it stays a hint.

use super::super::facts::Facts;
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use crate::model::{Evidence, FailedTask, FindingName};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let Some(found) = facts.round.checks.replications.measured() else { return Vec::new() };
    let refused: Vec<&FailedTask> =
        found.tasks.iter().filter(|task| task.is_unauthorized()).collect();
    if refused.is_empty() {
        return Vec::new();
    }
    let executions: Vec<u64> = refused.iter().map(|task| task.execution).collect();
    let failed = format!(
        "{} of {} replications that ended within 12 hours failed",
        found.failed, found.ended
    );
    let told = format!(
        "the {} of {} of {} failed tasks that were examined {} a 401: executions {}",
        verb(refused.len(), "log", "logs"),
        refused.len(),
        found.tasks.len(),
        verb(refused.len(), "shows", "show"),
        list(&executions)
    );
    let summary = "Replications fail with 401: a registry refuses the account that they use.";
    let hypothesis =
        Hypothesis::new(FindingName::ReplicationRefused, Vec::new(), summary.to_owned())
            .suspected(&[])
            .hits(Hits::Nothing)
            .evidence([
                Evidence::from(failed)
                    .counting("failed_replications", found.failed)
                    .counting("replications", found.ended),
                Evidence::from(told).counting("unauthorized_tasks", refused.len()),
            ])
            .alone();
    vec![hypothesis]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::assess;
    use crate::model::{
        Checked, LogAt, Outcome, PoolsAt, Replications, Round, TaskLog, WorkerPools, sample,
    };

    /// A task failed for each of these logs at a.
    fn refuse(round: &mut Round, logs: &[TaskLog]) {
        let task = |(number, log): (u64, &TaskLog)| FailedTask {
            execution: number,
            task: 10 + number,
            logs: vec![LogAt { backend: sample::backend("a"), log: Outcome::Measured(*log) }],
        };
        let tasks: Vec<FailedTask> = (1..).zip(logs).map(task).collect();
        let told_by = sample::backend("a");
        let found = Replications { told_by, ended: 10, failed: tasks.len(), tasks };
        let found = Outcome::Measured(found);
        round.checks.replications = Checked { at: None, requests: 9, found };
    }

    fn found(logs: &[TaskLog]) -> Vec<String> {
        let round = sample::changed(&["a", "b"], |round| refuse(round, logs));
        let line = |finding: &crate::model::Finding| {
            let evidence: Vec<String> = finding.evidence.iter().map(ToString::to_string).collect();
            format!("{} {}: {}", finding.severity.as_str(), finding.finding, evidence.join("; "))
        };
        assess(&round).findings.iter().map(line).collect()
    }

    #[test]
    fn a_replication_is_refused_where_its_log_says_so_and_not_where_it_fails_otherwise() {
        let (refused, other) =
            (TaskLog::Here { unauthorized: true }, TaskLog::Here { unauthorized: false });
        assert_eq!(found(&[other, other]), Vec::<String>::new());
        assert_eq!(found(&[TaskLog::Missing]), Vec::<String>::new());
        let failed = "of 10 replications that ended within 12 hours failed";
        assert_eq!(
            found(&[refused]),
            [format!(
                "info replication-refused: 1 {failed}; the log of 1 of 1 failed tasks that were \
                 examined shows a 401: executions 1"
            )]
        );
        assert_eq!(
            found(&[refused, other, refused]),
            [format!(
                "info replication-refused: 3 {failed}; the logs of 2 of 3 failed tasks that were \
                 examined show a 401: executions 1 and 3"
            )]
        );
    }
    #[test]
    fn foreign_workers_explain_what_is_refused() {
        let round = sample::changed(&["a", "b"], |round| {
            let ids = ["1", "2", "3"].map(str::to_owned).to_vec();
            let at = |name: &str| PoolsAt {
                backend: sample::backend(name),
                ids: Outcome::Measured(ids.clone()),
            };
            let pools = Outcome::Measured(WorkerPools { at: vec![at("a"), at("b")] });
            round.checks.worker_pools = Checked { at: None, requests: 2, found: pools };
            refuse(round, &[TaskLog::Here { unauthorized: true }]);
        });
        let names: Vec<FindingName> = assess(&round).findings.iter().map(|it| it.finding).collect();
        assert_eq!(names, [FindingName::ForeignJobserviceOnSharedRedis]);
    }
}
