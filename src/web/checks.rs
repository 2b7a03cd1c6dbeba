//! The checks in addition to the token flow, arranged for the page.

use chrono::{DateTime, Utc};

use super::text::{ago, count};
use crate::model::{
    BackendName, BodyLimit, Bytes, Check, CheckRun, Checks, OfRoute, Outcome, Round, Skipped,
};

/// Names of a list that people still read.
const LISTED: usize = 12;

/// One check: what it looks at, and when it last ran or why it did not.
pub(super) struct CheckRow {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) needs: &'static str,
    pub(super) class: &'static str,
    pub(super) sign: &'static str,
    pub(super) state: String,
    /// What it found at each backend or route, if its results are values and not pairs.
    pub(super) found: Vec<Found>,
}

/// One value, and whose it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) class: &'static str,
    pub(super) text: String,
}

impl Found {
    fn new(class: &'static str, text: String) -> Self {
        Self { class, text }
    }
}

/// The checks of a round.
pub(super) struct ChecksPanel {
    /// Those with something to say.
    pub(super) rows: Vec<CheckRow>,
    /// The others: those that ran come first, then those that did not, with the reason.
    pub(super) folded: Vec<CheckRow>,
    /// How many of the others ran, and how many did not.
    pub(super) summary: String,
}

impl ChecksPanel {
    pub(super) fn new(round: &Round, now: DateTime<Utc>) -> Self {
        let mut runs = round.checks.runs();
        runs.sort_by_key(|run| matches!(run.made, Outcome::Skipped(_)));
        let rows = runs.iter().map(|run| row(run, &round.checks, now));
        let tells = |row: &CheckRow| {
            let found = row.found.iter().any(|found| found.class == "critical");
            found || row.class == "step critical"
        };
        let (rows, folded): (Vec<_>, Vec<_>) = rows.partition(tells);
        let ran = folded.iter().filter(|row| row.class == "step ok").count();
        let summary =
            format!("{} ran, {} did not run", count(ran, "check", "checks"), folded.len() - ran);
        Self { rows, folded, summary }
    }
}

fn row(run: &CheckRun, checks: &Checks, now: DateTime<Utc>) -> CheckRow {
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
    CheckRow { name, about, needs, class, sign, state, found: found(check, checks) }
}

fn found(check: Check, checks: &Checks) -> Vec<Found> {
    match check {
        Check::Health => components(checks),
        Check::Content => content(checks),
        Check::BodyLimit => {
            let all = checks.body_limit.measured();
            all.map_or_else(Vec::new, |routes| limits(routes))
        }
        _ => Vec::new(),
    }
}

fn components(checks: &Checks) -> Vec<Found> {
    let told: Vec<_> = checks.components().collect();
    if told.is_empty() {
        return Vec::new();
    }
    let sick = told.iter().filter(|(_, told)| !told.healthy);
    let sick: Vec<String> =
        sick.map(|(backend, told)| format!("{} at {backend}", told.component)).collect();
    if sick.is_empty() {
        let all = count(told.len(), "component is", "components are");
        return vec![Found::new("", format!("{all} reported healthy"))];
    }
    vec![Found::new("critical", format!("✕ not healthy: {}", list(&sick)))]
}

fn content(checks: &Checks) -> Vec<Found> {
    let with = |present| -> Vec<&BackendName> {
        let all = checks.content_present();
        all.filter(|(_, found)| found.measured() == present).map(|(backend, _)| backend).collect()
    };
    let lines = [
        ("critical", "✕ missing or different at", with(Some(&false))),
        ("", "unknown at", with(None)),
        ("", "there at", with(Some(&true))),
    ];
    let lines = lines.into_iter().filter(|(.., names)| !names.is_empty());
    lines
        .map(|(class, what, names)| Found::new(class, format!("{what} {}", list(&names))))
        .collect()
}

fn limits(routes: &[OfRoute<BodyLimit>]) -> Vec<Found> {
    let mut kinds: Vec<(Option<BodyLimit>, Vec<&str>)> = Vec::new();
    for of in routes {
        let limit = of.value.measured().copied();
        match kinds.iter_mut().find(|(kind, _)| *kind == limit) {
            Some((_, names)) => names.push(of.route.as_str()),
            None => kinds.push((limit, vec![of.route.as_str()])),
        }
    }
    kinds.sort_by_key(|(kind, _)| kind.map_or(u64::MAX, |kind| kind.refused.unwrap_or(u64::MAX)));
    let line = |(kind, names): (Option<BodyLimit>, Vec<&str>)| {
        let names = list(&names);
        Found::new(
            "",
            match kind {
                None => format!("unknown for {names}"),
                Some(BodyLimit { passes, refused: Some(refused) }) => {
                    format!("{} passes and {} does not: {names}", Bytes(passes), Bytes(refused))
                }
                Some(BodyLimit { passes, .. }) => {
                    format!("no limit up to {}: {names}", Bytes(passes))
                }
            },
        )
    };
    kinds.into_iter().map(line).collect()
}

/// The first names, and how many more.
fn list<T: ToString>(names: &[T]) -> String {
    let mut words: Vec<String> = names.iter().take(LISTED).map(ToString::to_string).collect();
    if names.len() > LISTED {
        words.push(format!("{} more", names.len() - LISTED));
    }
    words.join(", ")
}

fn why(reason: Skipped) -> &'static str {
    match reason {
        Skipped::EarlierStepFailed => "an earlier step failed",
        Skipped::NoToken => "there is no token for it",
        Skipped::NotSampled | Skipped::NotThisRound => "not in this round",
        Skipped::NotNeeded => "not needed",
        Skipped::BackingOff => "the registry asked for fewer requests",
        Skipped::DeadlineReached => "the round was over",
        Skipped::NoCredentials => "needs credentials",
        Skipped::NotPermitted => "the account may not see it",
        Skipped::NoScope => "needs a scope",
        Skipped::NothingPushed => "nothing is pushed to the scope's repository",
        Skipped::NotApplicable => "this registry does not have it",
        Skipped::Moved => "another client changed it meanwhile",
        Skipped::Disabled => "off",
    }
}
