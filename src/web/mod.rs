//! What the daemon answers over HTTP: status page, metrics, API, probes on demand, health, reload.
//!
//! Everything is read from the newest [`Snapshot`](crate::model::Snapshot); what other rooms know
//! how to do (metrics, JSON, a probe, a reload) comes in as a [`Program`], so that this room depends
//! on the model and the findings alone. [`serve`] runs the router on sockets.

mod access;
mod answer;
mod cell;
mod checks;
mod finding;
mod groups;
mod guard;
mod history;
mod matrix;
mod names;
mod operate;
mod page;
mod panels;
mod patience;
mod places;
mod probe;
mod program;
mod runbooks;
mod serve;
mod state;
mod text;

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Extract;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Json, Redirect, Response};
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use access::{Access, LoadRules, Pem, Rules};
pub use names::Names;
pub use page::round_page;
pub use program::{Pending, Program, Rendered};
pub use serve::serve;
pub use state::State;

use self::answer::{PATHS, accept, rendered};
use self::state::Shared;

/// Scrapes of `/probe` that may wait at once, far fewer than there are connections. Those of one
/// registry wait for the same round.
const PROBES_AT_ONCE: usize = 16;

/// The routes, ready to be served.
pub fn router(state: State) -> Router {
    let probes = Semaphore::new(PROBES_AT_ONCE);
    let pages = Semaphore::new(1);
    let shared = Arc::new(Shared { state, probes, pages, started: Instant::now() });
    // Pages that take processor time.
    let pages = Router::new()
        .route("/", get(page::status))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(api_status))
        .route("/history", get(history::history))
        .route("/rounds/{id}", get(history::round))
        .route("/api/v1/incidents", get(history::api_incidents))
        .route("/api/v1/rounds", get(history::api_rounds))
        .route("/api/v1/rounds/{id}", get(history::api_round))
        .route_layer(middleware::from_fn_with_state(shared.clone(), guard::show_one_at_a_time));
    // Requests that make the daemon do more than answer.
    let orders = Router::new()
        .route("/probe", get(probe::probe))
        .route("/-/reload", post(operate::reload).put(operate::reload))
        .route_layer(middleware::from_fn_with_state(shared.clone(), guard::refuse_other_sites));
    Router::new()
        .route("/style.css", get(style))
        .route("/config", get(configuration))
        .route("/runbooks", get(async || Redirect::permanent("runbooks/")))
        .route("/runbooks/", get(runbooks::index))
        .route("/runbooks/{name}", get(runbooks::page))
        .route("/-/healthy", get(async || "registry-prober is healthy.\n"))
        .route("/-/ready", get(operate::ready))
        .merge(pages)
        .merge(orders)
        .fallback(not_found)
        .layer(middleware::from_fn(guard::refuse_bodies))
        .layer(middleware::from_fn_with_state(shared.clone(), guard::refuse_other_names))
        .layer(middleware::from_fn(guard::survive_panics))
        .layer(middleware::from_fn(guard::harden))
        .with_state(shared)
}

async fn metrics(Extract(shared): Extract<Arc<Shared>>, headers: HeaderMap) -> Response {
    rendered(shared.state.program.metrics(accept(&headers)))
}

async fn api_status(Extract(shared): Extract<Arc<Shared>>) -> Json<serde_json::Value> {
    Json(shared.state.program.document(&shared.snapshot()))
}

async fn configuration(Extract(shared): Extract<Arc<Shared>>) -> String {
    shared.state.program.configuration().await
}

async fn style() -> impl IntoResponse {
    const SHEET: &str = include_str!("templates/style.css");
    // Long enough for the page's own refreshes, short enough for an upgrade to be seen.
    ([(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "max-age=60")], SHEET)
}

async fn not_found(uri: Uri) -> (StatusCode, String) {
    // The path is shown with everything but plain characters replaced: a log or a terminal reads
    // it.
    let path: String = uri.path().chars().take(100).filter(char::is_ascii_graphic).collect();
    (StatusCode::NOT_FOUND, format!("Nothing is at {path}. These paths exist:\n\n{PATHS}"))
}

#[cfg(test)]
mod tests;
