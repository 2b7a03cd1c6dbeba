//! What was: incidents, and rounds as they were shown.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Json, Response};
use chrono::{DateTime, Utc};

use super::state::Shared;
use super::text::{percent, seconds};
use crate::model::{Flow, Incident, Phase, RoundLine, Route, ShownRound, UserShare};

/// One request of a token flow.
pub(super) struct RequestRow<'a> {
    pub(super) route: &'a str,
    pub(super) step: &'static str,
    pub(super) answer: String,
    pub(super) failed: bool,
    pub(super) times: Vec<String>,
}

pub(super) fn requests(flow: &Flow) -> impl Iterator<Item = RequestRow<'_>> {
    flow.steps.iter().map(|report| RequestRow {
        route: Route::as_str(&flow.route),
        step: report.step.as_str(),
        answer: match (&report.answer, &report.failure) {
            (Some(answer), _) => answer.status.to_string(),
            (None, Some(failure)) => failure.reason.to_string(),
            (None, None) => String::new(),
        },
        failed: report.failure.is_some(),
        times: Phase::ALL
            .map(|phase| report.timeline.phase(phase))
            .map(|took| took.map_or_else(|| "–".to_owned(), |took| seconds(took.as_secs_f64())))
            .to_vec(),
    })
}

/// `/history`.
pub(super) async fn history(Extract(shared): Extract<Arc<Shared>>) -> Response {
    let past = &shared.state.program;
    let now = past.now();
    let incidents = past.incidents();
    let page = HistoryPage {
        incidents: incidents.iter().rev().map(|incident| IncidentRow::new(incident, now)).collect(),
        rounds: past.last_rounds().into_iter().map(RoundRow::new).collect(),
        version: env!("CARGO_PKG_VERSION"),
        time: moment(now),
    };
    shown(&page)
}

/// `/rounds/ID`.
pub(super) async fn round(
    Extract(shared): Extract<Arc<Shared>>,
    Path(id): Path<String>,
) -> Response {
    match shared.state.program.round(id.clone()).await {
        Some(Ok(ShownRound { page, .. })) => shown(&RoundPage { id, page }),
        other => missing(&id, other.and_then(Result::err)),
    }
}

/// `/api/v1/incidents`.
pub(super) async fn api_incidents(
    Extract(shared): Extract<Arc<Shared>>,
) -> Json<serde_json::Value> {
    let program = &shared.state.program;
    let now = program.now();
    let all: Vec<Incident> = program.incidents().into_iter().map(|it| it.as_of(now)).collect();
    Json(serde_json::json!({ "incidents": all }))
}

/// `/api/v1/rounds`.
pub(super) async fn api_rounds(Extract(shared): Extract<Arc<Shared>>) -> Json<serde_json::Value> {
    Json(serde_json::json!({ "rounds": shared.state.program.last_rounds() }))
}

/// `/api/v1/rounds/ID`.
pub(super) async fn api_round(
    Extract(shared): Extract<Arc<Shared>>,
    Path(id): Path<String>,
) -> Response {
    match shared.state.program.round(id.clone()).await {
        Some(Ok(ShownRound { document, .. })) => Json(document).into_response(),
        other => missing(&id, other.and_then(Result::err)),
    }
}

fn missing(id: &str, error: Option<String>) -> Response {
    if let Some(error) = error {
        tracing::warn!(error, "a kept round cannot be read");
        let text = format!("The file of this round cannot be read: {error}\n");
        return (StatusCode::INTERNAL_SERVER_ERROR, text).into_response();
    }
    let plain: String = id.chars().take(100).filter(char::is_ascii_graphic).collect();
    let text = format!("Round {plain} is not kept. /history lists the rounds that are.\n");
    (StatusCode::NOT_FOUND, text).into_response()
}

fn shown(page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page of the past cannot be written");
            (StatusCode::INTERNAL_SERVER_ERROR, "The page cannot be written.\n").into_response()
        }
    }
}

#[derive(Template)]
#[template(path = "history.html", config = "src/web/askama.toml")]
struct HistoryPage<'a> {
    incidents: Vec<IncidentRow<'a>>,
    rounds: Vec<RoundRow>,
    version: &'static str,
    time: String,
}

#[derive(Template)]
#[template(path = "round.html", config = "src/web/askama.toml")]
struct RoundPage {
    id: String,
    /// HTML of our own, written when the round was measured.
    page: String,
}

struct IncidentRow<'a> {
    incident: &'a Incident,
    severity: &'static str,
    at: String,
    opened: String,
    closed: Option<String>,
    lasted: String,
    users: Vec<String>,
    rounds: Vec<(&'static str, &'a str)>,
}

impl<'a> IncidentRow<'a> {
    fn new(incident: &'a Incident, now: DateTime<Utc>) -> Self {
        let rounds = &incident.rounds;
        let worst = (rounds.worst != rounds.opening).then_some(("worst", rounds.worst.as_str()));
        let closing = rounds.closing.as_deref().map(|id| ("end", id));
        Self {
            incident,
            severity: incident.severity.as_str(),
            at: incident.backends.join(", "),
            opened: moment(incident.opened),
            closed: incident.closed.map(moment),
            lasted: lasted(incident, now),
            users: incident.users.iter().map(user).collect(),
            rounds: [("beginning", rounds.opening.as_str())]
                .into_iter()
                .chain(worst)
                .chain(closing)
                .collect(),
        }
    }
}

struct RoundRow {
    line: RoundLine,
    started: String,
}

impl RoundRow {
    fn new(line: RoundLine) -> Self {
        Self { started: moment(line.started), line }
    }
}

/// How long it lasted, or has lasted.
fn lasted(incident: &Incident, now: DateTime<Utc>) -> String {
    let end = incident.closed.unwrap_or(now);
    seconds((end - incident.opened).as_seconds_f64().round().max(0.0))
}

fn user(share: &UserShare) -> String {
    format!("{} of {} ({} of {})", percent(share.ratio()), share.kind, share.failed, share.of)
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The incident of a registry that ended last, within a day, in one line.
pub(super) fn last_of(
    incidents: &[Incident],
    registry: &str,
    now: DateTime<Utc>,
) -> Option<String> {
    let recent = |closed: DateTime<Utc>| (now - closed).num_hours() < 24;
    let over = incidents.iter().filter(|incident| incident.registry == registry);
    let last = over.filter(|i| i.closed.is_some_and(recent)).max_by_key(|i| i.closed)?;
    let at = match last.backends.as_slice() {
        [] => String::new(),
        backends => format!(" at {}", backends.join(", ")),
    };
    Some(format!(
        "{}{at}, {} to {} UTC ({})",
        last.finding,
        last.opened.format("%Y-%m-%d %H:%M"),
        last.closed?.format("%H:%M"),
        lasted(last, now)
    ))
}
