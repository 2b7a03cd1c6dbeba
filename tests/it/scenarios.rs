//! Each scenario of the lab is named as its file says, over real sockets and TLS, and nothing
//! else is.

use std::fmt::Write as _;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use registry_prober::lab::{Options, Scenario};
use registry_prober::model::{Assessment, BackendName, Round};

use crate::support::{self, Bench};

/// Scenarios in which something changes after 20 s; the round before sees nothing.
const NEEDS_TIME: [&str; 1] = ["token-key-rotation-window"];

/// What a finding is compared by.
fn found(assessment: &Assessment) -> Vec<String> {
    let mut lines: Vec<String> = assessment
        .findings
        .iter()
        .map(|finding| {
            let names: Vec<&str> = finding.backends.iter().map(BackendName::as_str).collect();
            format!(
                "{} {} {} [{}]",
                finding.finding,
                finding.severity.as_str(),
                finding.confidence.as_str(),
                names.join(" ")
            )
        })
        .collect();
    lines.sort();
    lines
}

fn expected(scenario: &Scenario) -> Vec<String> {
    let mut lines: Vec<String> = scenario
        .expect
        .iter()
        .map(|expect| {
            let mut names = expect.backends.clone();
            names.sort();
            format!(
                "{} {} {} [{}]",
                expect.finding,
                expect.severity.as_str(),
                expect.confidence.as_str(),
                names.join(" ")
            )
        })
        .collect();
    lines.sort();
    lines
}

/// Enough of a round to see why a verdict is what it is.
fn sketch(round: &Round, assessment: &Assessment) -> String {
    let mut text = String::new();
    for flow in &round.flows {
        let end = flow.failure().map_or("ok".to_owned(), |(s, f)| format!("{} {f}", s.as_str()));
        let _ = writeln!(text, "    {}: {end}", flow.route);
    }
    for cell in round.matrix.cells.iter().filter(|cell| cell.accepted() != Some(true)) {
        let healed = cell.refusal().and_then(|r| r.healed_after);
        let result = cell.result.as_str();
        let _ = writeln!(text, "    {}>{} {result} {healed:?}", cell.issuer, cell.verifier);
    }
    let _ = writeln!(text, "    {:?}", round.balancer);
    let _ = writeln!(text, "    expected {:?}", assessment.expected_unauthorized);
    for finding in &assessment.findings {
        let _ = writeln!(text, "    {}: {:?}", finding.finding, finding.evidence);
    }
    text
}

async fn play(scenario: Scenario) -> Option<String> {
    let bench = Bench::start(&scenario, &Options::default());
    let mut prober = bench.prober();
    let (mut round, mut assessment) = support::bench_round(&bench, &mut prober).await;
    if NEEDS_TIME.contains(&scenario.name.as_str()) {
        assert!(assessment.findings.is_empty(), "{}: {:?}", scenario.name, assessment.findings);
        tokio::time::sleep(Duration::from_secs(21)).await;
        (round, assessment) = support::bench_round(&bench, &mut prober).await;
    }
    let (found, expected) = (found(&assessment), expected(&scenario));
    let shown = std::env::var_os("SCENARIO").is_some();
    (found != expected || shown).then(|| {
        format!(
            "{}:\n  expected {expected:#?}\n  found {found:#?}\n{}",
            scenario.name,
            sketch(&round, &assessment)
        )
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_is_named_and_nothing_else_is() {
    let only = std::env::var("SCENARIO").ok();
    let scenarios = Scenario::all().expect("the embedded scenarios are right").into_iter();
    let scenarios = scenarios.filter(|s| only.as_ref().is_none_or(|name| s.name == *name));
    let wrong: Vec<String> = stream::iter(scenarios)
        .map(|scenario| tokio::spawn(play(scenario)))
        .buffer_unordered(4)
        .filter_map(async |played| played.expect("no scenario panics"))
        .collect()
        .await;
    assert!(wrong.is_empty(), "{} scenarios:\n{}", wrong.len(), wrong.join("\n"));
}
