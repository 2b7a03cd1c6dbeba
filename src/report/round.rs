//! A round alone: as text, and as JSON with the time of each request of its token flows.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::json::{self, Registry};
use super::{Form, Output};
use crate::model::{Flow, Judged, ProgramFacts, RegistryState, Snapshot, Timeline, round_id};

/// One round of one registry.
#[derive(Debug, Serialize)]
struct RoundDocument<'a> {
    /// Its id.
    id: String,
    /// As in the documents of `check` and of the status API.
    registry: Option<Registry>,
    /// Every request of the token flows.
    requests: Vec<RequestReport<'a>>,
}

/// One request.
#[derive(Debug, Serialize)]
struct RequestReport<'a> {
    /// The route.
    route: &'a str,
    /// The step.
    step: &'static str,
    /// The status of the answer; null without one.
    status: Option<u16>,
    /// Why it failed; null if it did not.
    reason: Option<&'static str>,
    /// Seconds of each phase that ran.
    phases: &'a Timeline,
}

/// All that a round measured and concluded, for people, without styles.
pub fn text(judged: &Arc<Judged>) -> String {
    let form = Form { trace: true, ..Form::default() };
    let text = super::render(Output::Text, &alone(judged, 0.0), form);
    anstream::adapter::strip_str(&text).to_string()
}

/// A round in the shapes of the contract.
pub fn document(judged: &Arc<Judged>, interval: f64) -> Value {
    let mut registries = json::document(&alone(judged, interval), true).registries.into_iter();
    let document = RoundDocument {
        id: round_id(&judged.round),
        registry: registries.next(),
        requests: judged.round.flows.iter().flat_map(requests).collect(),
    };
    serde_json::to_value(document).unwrap_or_default()
}

/// A snapshot of that round and nothing else.
fn alone(judged: &Arc<Judged>, interval: f64) -> Snapshot {
    let round = &judged.round;
    let state = RegistryState {
        url: round.url.clone(),
        interval_seconds: interval,
        routes: round.flows.iter().map(|flow| flow.route.clone()).collect(),
        latest: Some(Arc::clone(judged)),
    };
    let program =
        ProgramFacts { reload_successful: true, reload_success: round.started, reload_error: None };
    Snapshot { registries: [(round.registry.clone(), state)].into(), program }
}

fn requests(flow: &Flow) -> impl Iterator<Item = RequestReport<'_>> {
    flow.steps.iter().map(|report| RequestReport {
        route: flow.route.as_str(),
        step: report.step.as_str(),
        status: report.answer.as_ref().map(|answer| answer.status),
        reason: report.failure.as_ref().map(|failure| failure.reason.as_str()),
        phases: &report.timeline,
    })
}
