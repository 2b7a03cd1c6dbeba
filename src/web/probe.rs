//! `/probe`: one round of a configured registry now, as `blackbox_exporter` answers.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State as Extract};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout};

use super::answer::{accept, rendered};
use super::state::Shared;
use crate::model::{Judged, Phase, RegistryName, Snapshot, round_id};

/// The header in which Prometheus says how long it waits.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";
/// Prometheus' own default.
const DEFAULT_TIMEOUT: f64 = 10.0;
/// Longer than any round takes; a larger number is a mistake.
const MAX_TIMEOUT: f64 = 120.0;
/// The time reserved for the way back, as in `blackbox_exporter`.
const OFFSET: f64 = 0.5;

pub(super) async fn probe(
    Extract(shared): Extract<Arc<Shared>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let snapshot = shared.snapshot();
    let Some(registry) = target(&query, &snapshot) else {
        return (StatusCode::BAD_REQUEST, targets(&snapshot)).into_response();
    };
    let Some(deadline) = deadline(&headers) else {
        let text = format!("{SCRAPE_TIMEOUT} is not a positive number of seconds.\n");
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    let Ok(_permit) = shared.probes.try_acquire() else {
        let text = "Too many probes run already; try again.\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], text).into_response();
    };
    let began = Instant::now();
    let round = shared.state.program.probe(registry.clone(), deadline);
    let judged = timeout(deadline, round).await.ok().flatten();
    let took = began.elapsed();
    if query.iter().any(|(name, value)| name == "debug" && value == "true") {
        return debug(&shared, &registry, judged.as_ref(), took, deadline).into_response();
    }
    rendered(shared.state.program.probe_metrics(judged.as_ref(), took, accept(&headers)))
}

/// The registry that the query names, if it is configured and named once.
fn target(query: &[(String, String)], snapshot: &Snapshot) -> Option<RegistryName> {
    let mut named = query.iter().filter(|(name, _)| name == "target").map(|(_, value)| value);
    let (name, None) = (named.next()?, named.next()) else { return None };
    snapshot.registries.keys().find(|registry| registry.as_str() == name).cloned()
}

fn targets(snapshot: &Snapshot) -> String {
    let mut text =
        "target must name one configured registry: /probe?target=NAME\n\nRegistries:\n".to_owned();
    for name in snapshot.registries.keys() {
        let _ = writeln!(text, "{name}");
    }
    text
}

/// How long the round may take: the scrape's timeout minus the way back, or half of a timeout that
/// is too short for that. None if it is not a duration.
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let seconds = match headers.get(SCRAPE_TIMEOUT) {
        None => DEFAULT_TIMEOUT,
        Some(value) => value.to_str().ok()?.trim().parse().ok()?,
    };
    let usable = seconds > 0.0 && seconds <= f64::MAX;
    let left = seconds.min(MAX_TIMEOUT);
    usable.then(|| Duration::from_secs_f64((left - OFFSET).max(left / 2.0)))
}

/// Everything that was measured and concluded, for a person.
fn debug(
    shared: &Shared,
    registry: &RegistryName,
    judged: Option<&Arc<Judged>>,
    took: Duration,
    deadline: Duration,
) -> String {
    let program = &shared.state.program;
    let text = match judged {
        Some(judged) => program.probe_text(judged),
        None => "The round did not end in time.\n".to_owned(),
    };
    let mut requests = String::new();
    for flow in judged.iter().flat_map(|judged| &judged.round.flows) {
        for row in super::history::requests(flow) {
            let times = row.times.join("  ");
            // Writing to a String does not fail.
            let _ =
                writeln!(requests, "{:12} {:12} {:24} {times}", row.route, row.step, row.answer);
        }
    }
    let mut checks = String::new();
    for run in judged.iter().flat_map(|judged| judged.round.checks.runs()) {
        let at = run.at.map_or_else(|| "–".to_owned(), |at| at.to_rfc3339());
        let _ = writeln!(checks, "{:24} {at}", run.check.as_str());
    }
    let (_, metrics) = program.probe_metrics(judged, took, None);
    let id = judged.map_or_else(String::new, |it| format!(", round {}", round_id(&it.round)));
    let phases = Phase::ALL.map(Phase::as_str).join("  ");
    format!(
        "Probe of {registry}: {:.3} s of {:.1} s{id}\n\n{text}\n\
         Requests of the basic check: route, step, answer, {phases}\n{requests}\n\
         Extra checks: when each ran last\n{checks}\n\
         Metrics\n{}",
        took.as_secs_f64(),
        deadline.as_secs_f64(),
        String::from_utf8_lossy(&metrics)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_leaves_time_for_the_way_back() {
        let cases = [
            (None, Some(9.5)),
            (Some("10"), Some(9.5)),
            (Some("1.5"), Some(1.0)),
            (Some("0.6"), Some(0.3)),
            (Some("1e9"), Some(119.5)),
            (Some("0"), None),
            (Some("-1"), None),
            (Some("NaN"), None),
            (Some("inf"), None),
            (Some("ten"), None),
        ];
        for (header, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(text) = header {
                headers.insert(SCRAPE_TIMEOUT, text.parse().unwrap());
            }
            let expected = expected.map(Duration::from_secs_f64);
            assert_eq!(deadline(&headers), expected, "{header:?}");
        }
    }
}
