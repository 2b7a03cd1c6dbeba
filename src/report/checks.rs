//! The extra checks, as the JSON contract and the text show them.

use chrono::SecondsFormat;
use schemars::JsonSchema;
use serde::Serialize;

use super::pair::PairResult;
use super::wording::clean;
use crate::model::{self, Carried, Check, CheckRun, Outcome, Privilege, Round, Skipped};

/// One check in addition to the token flow.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CheckReport {
    /// Its name.
    pub check: model::Check,
    /// What it needs.
    pub needs: Privilege,
    /// Whether it ran.
    pub result: CheckResult,
    /// Why it was skipped or failed; null if it ran.
    pub reason: Option<String>,
    /// When it last ran, RFC 3339; null if it never was. Checks that are not due keep their
    /// last result.
    #[schemars(extend("format" = "date-time"))]
    pub made: Option<String>,
    /// How many requests its last run took.
    pub requests: u32,
}

/// Whether a check ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// It ran; findings say what it means.
    Made,
    /// It was tried and failed.
    Failed,
    /// It did not run.
    Skipped,
}

/// What the checks carried from each backend to the others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct CheckMatrices {
    /// CSRF cookies, as a browser brings them from one backend to another.
    pub csrf: Vec<CheckPair>,
    /// Sessions.
    pub session: Vec<CheckPair>,
    /// Uploads that were begun at the issuer.
    pub upload: Vec<CheckPair>,
}

/// One cell of such a matrix. With many backends not every pair is tried; those that were not are
/// left out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CheckPair {
    /// The backend that gave it.
    pub issuer: String,
    /// The backend that was shown it.
    pub verifier: String,
    /// What came of it.
    pub result: PairResult,
    /// Why it was refused (`unknown_key`, `foreign_origin`, `unknown_session`, `upload_invalid`:
    /// signed with another secret, `upload_unknown`), failed (a reason as in `routes`) or skipped;
    /// null if it was accepted.
    pub reason: Option<&'static str>,
}

/// What the checks found at each backend or route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct CheckValues {
    /// What each backend's health page says of its components.
    pub components: Vec<ComponentReport>,
    /// Whether each backend has the canary's content.
    pub content: Vec<ContentPresent>,
    /// How large a request body each route lets through.
    pub body_limits: Vec<RouteLimit>,
}

/// One component of one backend.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ComponentReport {
    /// The backend that tells.
    pub backend: String,
    /// `database`, `redis` and so on.
    pub component: String,
    /// Whether it is called healthy.
    pub healthy: bool,
}

/// Whether a backend has the canary's content, whole and the same as most have.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ContentPresent {
    /// The backend.
    pub backend: String,
    /// Null if nothing was learned.
    pub present: Option<bool>,
    /// Why nothing was learned; else null.
    pub reason: Option<&'static str>,
}

/// How a route answered request bodies of which only the length was declared.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RouteLimit {
    /// The route.
    pub route: String,
    /// The greatest length in bytes that was tried and not refused, below the smallest that was;
    /// null if nothing was learned.
    pub passes_bytes: Option<u64>,
    /// The smallest length in bytes that was refused with 413; null if none was.
    pub refused_bytes: Option<u64>,
    /// Why nothing was learned; else null.
    pub reason: Option<&'static str>,
}

/// The pairs of every check of a round that has some.
pub(super) fn matrices(round: &Round) -> CheckMatrices {
    let pairs = |check| {
        let matrix = round.checks.matrix(check);
        matrix.iter().flat_map(|matrix| &matrix.pairs).map(pair).collect()
    };
    CheckMatrices {
        csrf: pairs(Check::Csrf),
        session: pairs(Check::Session),
        upload: pairs(Check::Upload),
    }
}

fn pair(pair: &model::CheckPair<'_>) -> CheckPair {
    CheckPair {
        issuer: pair.issuer.to_string(),
        verifier: pair.verifier.to_string(),
        result: match pair.result {
            Carried::Accepted { .. } => PairResult::Accepted,
            Carried::Refused(_) => PairResult::Refused,
            Carried::Failed(_) => PairResult::Failed,
            Carried::Skipped(_) => PairResult::Skipped,
        },
        reason: pair.reason(),
    }
}

/// What the checks of a round found at each backend or route.
pub(super) fn values(round: &Round) -> CheckValues {
    let checks = &round.checks;
    let component =
        |(backend, told): (&model::BackendName, &model::ComponentHealth)| ComponentReport {
            backend: backend.to_string(),
            component: clean(&told.component),
            healthy: told.healthy,
        };
    let content = |(backend, present): (&model::BackendName, Outcome<bool>)| ContentPresent {
        backend: backend.to_string(),
        present: present.measured().copied(),
        reason: unknown(&present),
    };
    let limit = |of: &model::OfRoute<model::BodyLimit>| RouteLimit {
        route: of.route.to_string(),
        passes_bytes: of.value.measured().map(|limit| limit.passes),
        refused_bytes: of.value.measured().and_then(|limit| limit.refused),
        reason: unknown(&of.value),
    };
    CheckValues {
        components: checks.components().map(component).collect(),
        content: checks.content_present().map(content).collect(),
        body_limits: checks.body_limit.measured().into_iter().flatten().map(limit).collect(),
    }
}

/// Why a value is not known.
fn unknown<T>(value: &Outcome<T>) -> Option<&'static str> {
    match value {
        Outcome::Measured(_) => None,
        Outcome::Failed(failure) => Some(failure.reason.as_str()),
        Outcome::Skipped(reason) => Some(reason.as_str()),
    }
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

/// How many ran, and what was left out for a reason that the reader can change.
pub(super) fn sentence(round: &Round) -> String {
    let runs = round.checks.runs();
    let made: Vec<&CheckRun> = runs.iter().filter(|run| run.made.measured().is_some()).collect();
    let requests: u32 = made.iter().map(|run| run.requests).sum();
    let of = runs.len();
    let mut parts = vec![format!("{} of {of} extra checks run, {requests} requests", made.len())];
    for (reason, what) in [
        (Skipped::NoCredentials, "without credentials"),
        (Skipped::NoScope, "without a scope"),
        (Skipped::NotPermitted, "not permitted"),
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
