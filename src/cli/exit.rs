//! How the program ends.

use std::process::ExitCode;

use crate::model::Status;

/// How the program ends, in the words of monitoring plug-ins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; of `check`: nothing above `info` was found.
    Ok,
    /// `check` found a warning; `config check` found problems; `healthcheck` found the daemon not
    /// ready.
    Warning,
    /// `check` found something critical.
    Critical,
    /// The command could not do its work: usage, configuration, files, ports.
    Unknown,
}

impl From<Status> for Exit {
    fn from(status: Status) -> Self {
        match status {
            Status::Ok => Self::Ok,
            Status::Warning => Self::Warning,
            Status::Critical => Self::Critical,
            Status::Unknown => Self::Unknown,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Warning => 1,
            Exit::Critical => 2,
            Exit::Unknown => 3,
        })
    }
}
