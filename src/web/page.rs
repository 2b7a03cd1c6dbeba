//! The status page: verdict first, then what to do, then what was measured.

use std::sync::Arc;

use askama::Template;
use axum::extract::{RawQuery, State as Extract};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};

use super::checks::ChecksPanel;
use super::finding::FindingView;
use super::matrix::{MatrixPanel, carried};
use super::panels::{Balancer, Clocks, Routes};
use super::text::{ago, count, seconds};
use super::{answer::PATHS, history, state::Shared};
use crate::model::{
    Assessment, Check, FindingName, Incident, Judged, Observation, Phase, Place, RegistryName,
    RegistryState, Route, Snapshot, Status, Step,
};

/// A round this many intervals old is shown as out of date.
const STALE_INTERVALS: f64 = 3.0;

/// The query of the page that does not load itself again: what its reader opened stays open.
const STILL: &str = "still";

pub(super) async fn status(
    Extract(shared): Extract<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Response {
    let program = &shared.state.program;
    let still = query.as_deref() == Some(STILL);
    match render(&shared.snapshot(), &program.incidents(), program.now(), still) {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "the status page cannot be written");
            let text = format!("The page cannot be written. There are also:\n\n{PATHS}");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

/// The whole page of a snapshot at a moment.
pub(super) fn render(
    snapshot: &Snapshot,
    incidents: &[Incident],
    now: DateTime<Utc>,
    still: bool,
) -> askama::Result<String> {
    let view = |(name, state)| RegistryView::new(name, state, incidents, now);
    let mut registries: Vec<RegistryView<'_>> = snapshot.registries.iter().map(view).collect();
    registries.sort_by_key(|view| std::cmp::Reverse(view.status));
    StatusPage {
        root: "",
        mark: Mark::of(snapshot.status()),
        headline: headline(&registries),
        reload_error: snapshot.program.reload_error.as_deref(),
        version: env!("CARGO_PKG_VERSION"),
        time: now.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        still,
        registries,
    }
    .render()
}

#[derive(Template)]
#[template(path = "status.html", config = "src/web/askama.toml")]
struct StatusPage<'a> {
    /// The way from the page to the daemon's root.
    root: &'static str,
    mark: Mark,
    headline: String,
    reload_error: Option<&'a str>,
    version: &'static str,
    time: String,
    still: bool,
    registries: Vec<RegistryView<'a>>,
}

/// The registry's part of the status page, as it is in the round, with the times of its requests.
pub fn round_page(judged: &Judged, interval: f64) -> String {
    let round = &judged.round;
    let ended = round.started + TimeDelta::milliseconds(milliseconds(round.seconds));
    let mut registry = RegistryView::of_round(judged, interval, ended);
    if let Some(round) = &mut registry.round {
        round.age = None;
    }
    let page = ShownPage {
        root: "../",
        registry,
        phases: Phase::ALL.map(Phase::as_str),
        requests: round.flows.iter().flat_map(history::requests).collect(),
    };
    page.render().unwrap_or_else(|error| {
        tracing::error!(%error, "a round cannot be shown");
        String::new()
    })
}

#[expect(clippy::cast_possible_truncation, reason = "a round takes seconds")]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

#[derive(Template)]
#[template(path = "shown.html", config = "src/web/askama.toml")]
struct ShownPage<'a> {
    root: &'static str,
    registry: RegistryView<'a>,
    phases: [&'static str; 5],
    requests: Vec<history::RequestRow<'a>>,
}

/// A state as a word, a sign and a colour, so that no reader depends on one of them.
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
    /// What was wrong last, where nothing is now.
    last: Option<String>,
}

struct RoundView<'a> {
    /// How long ago it ended; none of an earlier round, for which its moment stands.
    age: Option<String>,
    stale: bool,
    started: String,
    took: String,
    interval: String,
    findings: Vec<FindingView<'a>>,
    /// What was not measured: what, and why.
    unmeasured: Vec<(String, &'a str)>,
    /// Everything unexpected that no known cause explains, one line each.
    unexplained: Vec<String>,
    routes: Routes<'a>,
    matrix: MatrixPanel<'a>,
    /// What the checks carried from backend to backend.
    carried: Vec<MatrixPanel<'a>>,
    clocks: Clocks<'a>,
    balancer: Balancer<'a>,
    checks: ChecksPanel,
}

impl<'a> RegistryView<'a> {
    fn new(
        name: &'a RegistryName,
        state: &'a RegistryState,
        incidents: &[Incident],
        now: DateTime<Utc>,
    ) -> Self {
        let names: Vec<&str> = state.routes.iter().map(Route::as_str).collect();
        let routes = names.join(", ");
        let Some(judged) = state.latest.as_deref() else {
            return Self {
                name: name.as_str(),
                url: &state.url,
                status: Status::Unknown,
                mark: Mark::of(Status::Unknown),
                verdict: "The first round has not finished yet.".to_owned(),
                round: None,
                routes,
                last: None,
            };
        };
        let well = judged.assessment.status == Status::Ok;
        let last = well.then(|| history::last_of(incidents, name.as_str(), now)).flatten();
        let view = Self::of_round(judged, state.interval_seconds, now);
        Self { url: &state.url, routes, last, ..view }
    }

    /// A registry as it is in a round, at a moment.
    fn of_round(judged: &'a Judged, interval: f64, now: DateTime<Utc>) -> Self {
        let status = judged.assessment.status;
        Self {
            name: judged.round.registry.as_str(),
            url: &judged.round.url,
            status,
            mark: Mark::of(status),
            verdict: verdict(judged),
            round: Some(RoundView::new(judged, interval, now)),
            routes: String::new(),
            last: None,
        }
    }
}

impl<'a> RoundView<'a> {
    fn new(judged: &'a Judged, interval: f64, now: DateTime<Utc>) -> Self {
        let round = &judged.round;
        let age = (now - round.started).as_seconds_f64() - round.seconds;
        Self {
            age: Some(ago(age)),
            stale: age > STALE_INTERVALS * interval,
            started: round.started.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            took: seconds(round.seconds),
            interval: seconds(interval),
            findings: judged
                .assessment
                .findings
                .iter()
                .enumerate()
                .map(|(index, finding)| FindingView::new(finding, index == 0, round, now))
                .collect(),
            unmeasured: (judged.assessment.unmeasured.iter())
                .map(|missing| (missing.words(), missing.why.as_str()))
                .collect(),
            unexplained: unexplained(&judged.assessment),
            routes: Routes::new(round, now),
            matrix: MatrixPanel::new(&round.matrix),
            carried: carried(round),
            clocks: Clocks::new(judged),
            balancer: Balancer::new(judged),
            checks: ChecksPanel::new(round, now),
        }
    }
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
            more => format!(" And {}.", count(more, "more finding", "more findings")),
        };
        return format!("{}{more}", worst.summary);
    }
    let flows = &judged.round.flows;
    let passed = flows.iter().filter(|flow| flow.succeeded()).count();
    let cells = &judged.round.matrix.cells;
    let accepted = cells.iter().filter(|cell| cell.accepted() == Some(true)).count();
    let tokens = match accepted {
        0 => String::new(),
        all if all == cells.len() => ", every node accepts every token".to_owned(),
        some => format!(", {some} of {} were accepted", count(cells.len(), "token", "tokens")),
    };
    let whole = passed == flows.len() && judged.assessment.is_complete();
    let lead = if whole { "All OK" } else { "No finding" };
    format!("{lead}: {passed} of {} work{tokens}.", count(flows.len(), "route", "routes"))
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
