//! The checks beside the token flow, arranged for the page.

use chrono::{DateTime, Utc};

use super::text::{ago, count};
use crate::model::{CheckRun, Outcome, Round, Skipped};

/// One check: what it looks at, and when it was last made or why not.
pub(super) struct CheckRow {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) needs: &'static str,
    pub(super) class: &'static str,
    pub(super) sign: &'static str,
    pub(super) state: String,
}

/// Those that were made first; then those that were not, and why.
pub(super) fn checks(round: &Round, now: DateTime<Utc>) -> Vec<CheckRow> {
    let mut runs = round.checks.runs();
    runs.sort_by_key(|run| matches!(run.made, Outcome::Skipped(_)));
    runs.iter().map(|run| row(run, now)).collect()
}

fn row(run: &CheckRun, now: DateTime<Utc>) -> CheckRow {
    let (class, sign, state) = match &run.made {
        Outcome::Measured(()) => {
            let requests = usize::try_from(run.requests).unwrap_or(usize::MAX);
            let when = run.at.map_or_else(String::new, |at| ago((now - at).as_seconds_f64()));
            ("step ok", "✓", format!("{when}, {}", count(requests, "request", "requests")))
        }
        Outcome::Failed(failure) => ("step critical", "✕", failure.to_string()),
        Outcome::Skipped(reason) => ("muted", "–", why(*reason).to_owned()),
    };
    let check = run.check;
    let (name, about, needs) = (check.as_str(), check.about(), check.privilege().as_str());
    CheckRow { name, about, needs, class, sign, state }
}

fn why(reason: Skipped) -> &'static str {
    match reason {
        Skipped::EarlierStepFailed => "an earlier step failed",
        Skipped::NoToken => "there is no token for it",
        Skipped::VerifierUnreachable => "the backend does not answer",
        Skipped::NotSampled => "not in this round",
        Skipped::BackingOff => "the registry asked for fewer requests",
        Skipped::DeadlineReached => "the round was over",
        Skipped::NoCredentials => "needs credentials",
        Skipped::NotPermitted => "the account may not see it",
        Skipped::NoScope => "needs a scope",
        Skipped::NothingPushed => "nothing is pushed to the scope's repository",
        Skipped::NotApplicable => "this registry does not have it",
        Skipped::Disabled => "off",
    }
}
