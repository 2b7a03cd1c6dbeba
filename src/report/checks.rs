//! The checks beside the token flow, as the JSON contract and the text show them.

use chrono::SecondsFormat;
use schemars::JsonSchema;
use serde::Serialize;

use super::wording::clean;
use crate::model::{self, CheckRun, Outcome, Privilege, Round, Skipped};

/// One check beside the token flow.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CheckReport {
    /// Its name.
    pub check: model::Check,
    /// What it needs.
    pub needs: Privilege,
    /// Whether it was made.
    pub result: CheckResult,
    /// Why it was skipped or failed; null if it was made.
    pub reason: Option<String>,
    /// When it was last made, RFC 3339; null if it never was. Checks that are not due keep their
    /// last result.
    #[schemars(extend("format" = "date-time"))]
    pub made: Option<String>,
    /// How many requests it took when it was last made.
    pub requests: u32,
}

/// Whether a check was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// It was made; findings say what it means.
    Made,
    /// It was tried and failed.
    Failed,
    /// It was not made.
    Skipped,
}

/// Every check of a round.
pub(super) fn checks(round: &Round) -> Vec<CheckReport> {
    round.checks.runs().iter().map(check).collect()
}

fn check(run: &CheckRun) -> CheckReport {
    let (result, reason) = match &run.made {
        Outcome::Measured(()) => (CheckResult::Made, None),
        Outcome::Failed(failure) => (CheckResult::Failed, Some(clean(&failure.to_string()))),
        Outcome::Skipped(reason) => (CheckResult::Skipped, Some(reason.as_str().to_owned())),
    };
    CheckReport {
        check: run.check,
        needs: run.check.privilege(),
        result,
        reason,
        made: run.at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)),
        requests: run.requests,
    }
}

/// How many were made, and what was left out for a reason that somebody can change.
pub(super) fn sentence(round: &Round) -> String {
    let runs = round.checks.runs();
    let made: Vec<&CheckRun> = runs.iter().filter(|run| run.made.measured().is_some()).collect();
    let requests: u32 = made.iter().map(|run| run.requests).sum();
    let of = runs.len();
    let mut parts =
        vec![format!("{} of {of} checks beside the flow made, {requests} requests", made.len())];
    for (reason, what) in [
        (Skipped::NoCredentials, "without credentials"),
        (Skipped::NoScope, "without a scope"),
        (Skipped::Disabled, "off"),
    ] {
        let names: Vec<&str> = runs
            .iter()
            .filter(|run| run.made == Outcome::Skipped(reason))
            .map(|run| run.check.as_str())
            .collect();
        if !names.is_empty() {
            parts.push(format!("{what}: {}", names.join(", ")));
        }
    }
    parts.join("; ")
}
