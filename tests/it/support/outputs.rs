//! Everything that a judged round becomes, for tests that search it for what must not be in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use registry_prober::clock::Clock;
use registry_prober::metrics;
use registry_prober::model::{Judged, ProgramFacts, RegistryState, Snapshot};
use registry_prober::report::{Form, Output, render};

/// Every form of it, with its name.
pub(crate) fn outputs(judged: &Arc<Judged>) -> Vec<(&'static str, String)> {
    let round = &judged.round;
    let state = RegistryState {
        url: round.url.clone(),
        interval_seconds: 15.0,
        routes: round.flows.iter().map(|flow| flow.route.clone()).collect(),
        latest: Some(Arc::clone(judged)),
    };
    let program = ProgramFacts {
        reload_successful: true,
        reload_success: Clock::read().now(),
        reload_error: None,
    };
    let registries = BTreeMap::from([(round.registry.clone(), state)]);
    let snapshot = Snapshot { registries, program };
    let page = |accept| {
        let (_, page) = metrics::page_of(std::slice::from_ref(judged), accept);
        String::from_utf8(page).expect("it is text")
    };
    let probe = metrics::probe_page(Some(judged), Duration::from_secs(1), None).1;
    vec![
        ("Debug of the round", format!("{round:#?}")),
        ("the round as JSON", serde_json::to_string(round).expect("it is text")),
        ("Debug of the assessment", format!("{:#?}", judged.assessment)),
        ("the assessment as JSON", serde_json::to_string(&judged.assessment).expect("it is text")),
        ("Debug of the snapshot", format!("{snapshot:?}")),
        ("text", render(Output::Text, &snapshot, Form::default())),
        ("JSON", render(Output::Json, &snapshot, Form::default())),
        ("brief text", render(Output::Text, &snapshot, Form { verbose: false, ..Form::default() })),
        ("the kept page", registry_prober::web::round_page(judged, 15.0)),
        ("the kept document", registry_prober::report::round::document(judged, 15.0).to_string()),
        ("JUnit", render(Output::Junit, &snapshot, Form::default())),
        ("Nagios", render(Output::Nagios, &snapshot, Form::default())),
        ("metrics", page(None)),
        ("OpenMetrics", page(Some("application/openmetrics-text; version=1.0.0"))),
        ("probe", String::from_utf8(probe).expect("it is text")),
    ]
}
