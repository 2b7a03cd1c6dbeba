//! The status page: verdict first, then what to do, then what was measured.

use std::sync::Arc;

use askama::Template;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, Utc};

use super::checks::{CheckRow, checks};
use super::matrix::{MatrixPanel, carried};
use super::panels::{Balancer, Clocks, RouteRow, routes};
use super::text::{Span, ago, count, seconds, spans};
use super::{PATHS, Shared};
use crate::model::{
    Assessment, Check, Finding, FindingName, Judged, Observation, Place, RegistryName,
    RegistryState, Remedy, Route, Severity, Snapshot, Status, Step,
};

/// A round this many intervals old is shown as out of date.
const STALE_INTERVALS: f64 = 3.0;

pub(super) async fn status(Extract(shared): Extract<Arc<Shared>>) -> Response {
    match render(&shared.snapshot(), (shared.state.now)()) {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "the status page cannot be written");
            let text = format!("The page cannot be written. There are also:\n\n{PATHS}");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

/// The whole page of a snapshot at a moment.
pub(super) fn render(snapshot: &Snapshot, now: DateTime<Utc>) -> askama::Result<String> {
    let mut registries: Vec<RegistryView<'_>> = snapshot
        .registries
        .iter()
        .map(|(name, state)| RegistryView::new(name, state, now))
        .collect();
    registries.sort_by_key(|view| std::cmp::Reverse(view.status));
    StatusPage {
        mark: Mark::of(snapshot.status()),
        headline: headline(&registries),
        reload_error: snapshot.program.reload_error.as_deref(),
        version: env!("CARGO_PKG_VERSION"),
        time: now.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        registries,
    }
    .render()
}

#[derive(Template)]
#[template(path = "status.html", config = "src/web/askama.toml")]
struct StatusPage<'a> {
    mark: Mark,
    headline: String,
    reload_error: Option<&'a str>,
    version: &'static str,
    time: String,
    registries: Vec<RegistryView<'a>>,
}

/// A state by word, by sign and by colour, so that none of them is needed alone.
#[derive(Debug, Clone, Copy)]
struct Mark {
    word: &'static str,
    sign: &'static str,
    /// Of the icon in the browser's tab, as a URL writes it.
    colour: &'static str,
}

impl Mark {
    fn of(status: Status) -> Self {
        let (sign, colour) = match status {
            Status::Ok => ("✓", "%231a7f4b"),
            Status::Warning => ("▲", "%23b26b00"),
            Status::Unknown => ("?", "%23667085"),
            Status::Critical => ("✕", "%23c0271b"),
        };
        Self { word: status.as_str(), sign, colour }
    }
}

/// One registry on the page.
struct RegistryView<'a> {
    name: &'a str,
    url: &'a str,
    status: Status,
    mark: Mark,
    verdict: String,
    /// None before the first round.
    round: Option<RoundView<'a>>,
    routes: String,
}

struct RoundView<'a> {
    age: String,
    stale: bool,
    started: String,
    took: String,
    interval: String,
    findings: Vec<FindingView<'a>>,
    /// What was not measured: what, and why.
    unmeasured: Vec<(String, &'a str)>,
    /// Everything unexpected that no known cause explains, one line each.
    unexplained: Vec<String>,
    routes: Vec<RouteRow<'a>>,
    matrix: MatrixPanel<'a>,
    /// What the checks carried from backend to backend.
    carried: Vec<MatrixPanel<'a>>,
    clocks: Clocks<'a>,
    balancer: Balancer<'a>,
    checks: Vec<CheckRow>,
}

struct FindingView<'a> {
    finding: &'a Finding,
    sign: &'static str,
    /// None in the first round that found it.
    since: Option<String>,
    remedies: Vec<RemedyView<'a>>,
    confirm: Vec<Span<'a>>,
}

impl<'a> RegistryView<'a> {
    fn new(name: &'a RegistryName, state: &'a RegistryState, now: DateTime<Utc>) -> Self {
        let latest = state.latest.as_deref();
        let status = latest.map_or(Status::Unknown, |judged| judged.assessment.status);
        let names: Vec<&str> = state.routes.iter().map(Route::as_str).collect();
        Self {
            name: name.as_str(),
            url: &state.url,
            status,
            mark: Mark::of(status),
            verdict: latest
                .map_or_else(|| "The first round has not finished yet.".to_owned(), verdict),
            round: latest.map(|judged| RoundView::new(judged, state.interval_seconds, now)),
            routes: names.join(", "),
        }
    }
}

impl<'a> RoundView<'a> {
    fn new(judged: &'a Judged, interval: f64, now: DateTime<Utc>) -> Self {
        let round = &judged.round;
        let age = (now - round.started).as_seconds_f64() - round.seconds;
        Self {
            age: ago(age),
            stale: age > STALE_INTERVALS * interval,
            started: round.started.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            took: seconds(round.seconds),
            interval: seconds(interval),
            findings: judged
                .assessment
                .findings
                .iter()
                .map(|finding| FindingView::new(finding, round.started))
                .collect(),
            unmeasured: (judged.assessment.unmeasured.iter())
                .map(|missing| (missing.words(), missing.why.as_str()))
                .collect(),
            unexplained: unexplained(&judged.assessment),
            routes: routes(round, now),
            matrix: MatrixPanel::new(&round.matrix),
            carried: carried(round),
            clocks: Clocks::new(judged),
            balancer: Balancer::new(judged),
            checks: checks(round, now),
        }
    }
}

/// One thing to do: a sentence, and the commands below it.
struct RemedyView<'a> {
    prose: Vec<Span<'a>>,
    /// One a line; empty where there is none.
    commands: String,
}

impl<'a> FindingView<'a> {
    fn new(finding: &'a Finding, started: DateTime<Utc>) -> Self {
        let sign = match finding.severity {
            Severity::Critical => "✕",
            Severity::Warning => "▲",
            Severity::Info => "i",
        };
        Self {
            finding,
            sign,
            since: (finding.since < started)
                .then(|| finding.since.format("%Y-%m-%d %H:%M:%S UTC").to_string()),
            remedies: finding.remedies.iter().map(remedy).collect(),
            confirm: spans(&finding.confirm),
        }
    }
}

fn remedy(remedy: &Remedy) -> RemedyView<'_> {
    RemedyView { prose: spans(&remedy.text), commands: remedy.commands.join("\n") }
}

/// The observations that ended in no known cause.
fn unexplained(assessment: &Assessment) -> Vec<String> {
    let unknown = |index: usize| {
        let finding = assessment.findings.get(index).map(|finding| finding.finding);
        matches!(
            finding,
            None | Some(FindingName::UnexplainedRefusal | FindingName::UnexplainedLoss)
        )
    };
    let line = |seen: &Observation| {
        let place = match &seen.place {
            Place::Route { route } => route.to_string(),
            Place::Pair { issuer, verifier } => format!("{issuer} → {verifier}"),
        };
        let what = seen.check.map(Check::as_str).or_else(|| seen.step.map(Step::as_str));
        let what = what.map_or(String::new(), |what| format!(" {what}"));
        format!("{place}:{what} {} of {}: {}", seen.count, seen.of, seen.failure)
    };
    let open = assessment.observations.iter().filter(|(_, index)| unknown(*index));
    open.map(|(seen, _)| line(seen)).collect()
}

/// The worst in one sentence, or what was seen to be right.
fn verdict(judged: &Judged) -> String {
    let findings = &judged.assessment.findings;
    let missing =
        judged.assessment.not_tested().filter(|_| judged.assessment.status == Status::Unknown);
    if let Some(missing) = missing {
        return match findings.first() {
            Some(worst) => format!("{missing}. Found anyway: {}", worst.summary),
            None => format!("{missing}."),
        };
    }
    if let Some(worst) = findings.first() {
        let more = match findings.len() - 1 {
            0 => String::new(),
            more => format!(" And {}.", count(more, "finding more", "findings more")),
        };
        return format!("{}{more}", worst.summary);
    }
    let flows = &judged.round.flows;
    let passed = flows.iter().filter(|flow| flow.succeeded()).count();
    let cells = &judged.round.matrix.cells;
    let accepted = cells.iter().filter(|cell| cell.accepted() == Some(true)).count();
    format!(
        "No finding. {passed} of {} work; {accepted} of {} accepted.",
        count(flows.len(), "route", "routes"),
        count(cells.len(), "token shown", "tokens shown"),
    )
}

/// How many registries are in which state, worst first; one alone needs no counting.
fn headline(registries: &[RegistryView<'_>]) -> String {
    let states = [Status::Critical, Status::Unknown, Status::Warning, Status::Ok];
    let number = |status| registries.iter().filter(|view| view.status == status).count();
    let parts: Vec<String> = states
        .into_iter()
        .filter(|&status| number(status) > 0)
        .map(|status| format!("{} {}", number(status), status.as_str()))
        .collect();
    match registries.len() {
        0 => "no registry".to_owned(),
        1 => registries.iter().map(|view| view.status.as_str()).collect(),
        _ => parts.join(", "),
    }
}
