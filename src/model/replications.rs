//! Replications that ended lately, and where the logs of failed ones lie.

use serde::Serialize;

use super::{BackendName, Outcome};

/// What the registry says of its replications of the last hours.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replications {
    /// The backend that was asked for the list; all have the same one from their database.
    pub told_by: BackendName,
    /// How many of the newest executions ended lately.
    pub ended: usize,
    /// How many of them failed.
    pub failed: usize,
    /// Failed tasks whose log was looked for, the newest first; a few at most.
    pub tasks: Vec<FailedTask>,
}

/// A failed task of a replication.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailedTask {
    /// The execution that it belongs to, by its number.
    pub execution: u64,
    /// Its own number.
    pub task: u64,
    /// What the backends say of its log; asking ends where one has it.
    pub logs: Vec<LogAt>,
}

/// What one backend has of a log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogAt {
    /// The backend.
    pub backend: BackendName,
    /// Whether it has the log.
    pub log: Outcome<TaskLog>,
}

/// A log of a task. A job service keeps what its own workers wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskLog {
    /// It is not here.
    Missing,
    /// It is here.
    Here {
        /// Whether it tells of a refusal (401).
        unauthorized: bool,
    },
}

impl FailedTask {
    /// Whether every backend was asked and none has the log.
    pub fn is_nowhere(&self) -> bool {
        let missing = |at: &LogAt| at.log.measured() == Some(&TaskLog::Missing);
        !self.logs.is_empty() && self.logs.iter().all(missing)
    }

    /// Whether a log was found that tells of a refusal.
    pub fn is_unauthorized(&self) -> bool {
        let told = |at: &LogAt| at.log.measured() == Some(&TaskLog::Here { unauthorized: true });
        self.logs.iter().any(told)
    }
}
