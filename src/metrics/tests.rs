//! What the pages must hold, read back from their text.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Counters, Metrics, names, page_of, probe_page};
use crate::model::sample;
use crate::model::{
    BackendName, CellResult, Checked, ComponentHealth, Content, ContentAt, ContentFound,
    CsrfVerdict, Failure, FindingName, Judged, Leeway, OfPair, OfRoute, Outcome, Reason,
    ResponseCount, SessionVerdict, Severity, Share, Skipped, Snapshot, Step, UploadVerdict,
    Uploads,
};

mod counters;
mod openmetrics;

const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0";

/// The metrics of the design that are measured now, with type and labels.
const CONTRACT: &str = "\
authenticated_responses_total counter registry route code
backend_info gauge registry backend address family version
balancer_share gauge registry backend
build_info gauge version revision rustversion
certificate_not_after_timestamp_seconds gauge registry route
client_flow_failures_total counter registry client
client_flows_total counter registry client
clock_leeway_seconds gauge registry backend
clock_margin_seconds gauge registry
clock_offset_lower_bound_seconds gauge registry backend source
clock_offset_seconds gauge registry backend source
clock_offset_upper_bound_seconds gauge registry backend source
clock_steps_total counter registry
component_healthy gauge registry backend component
config_last_reload_success_timestamp_seconds gauge
config_last_reload_successful gauge
content_present gauge registry backend
csrf_cross_valid gauge registry issuer verifier
discovery_success gauge registry
expected_unauthorized_ratio gauge registry
finding_active gauge registry finding severity backend
finding_info gauge registry finding meaning first_step command
findings gauge registry severity
flow_failures_total counter registry route step reason
flow_seconds_total counter registry route
flow_success gauge registry route
flows_total counter registry route
interval_seconds gauge registry
last_round_timestamp_seconds gauge registry
phase_seconds_total counter registry phase
responses_total counter registry route code
round_duration_seconds histogram registry
rounds_overrun_total counter registry
rounds_total counter registry
session_cross_valid gauge registry issuer verifier
step_duration_seconds histogram registry step
step_success gauge registry route step
token_cross_checks_total counter registry verifier
token_cross_refusals_total counter registry verifier
token_cross_valid gauge registry issuer verifier
token_key_info gauge registry backend kid alg
token_key_last_change_timestamp_seconds gauge registry backend
token_keys gauge registry
token_lifetime_seconds gauge registry backend
unauthorized_ratio gauge registry
upload_cross_valid gauge registry issuer verifier
";

struct Bench {
    publish: watch::Sender<Arc<Snapshot>>,
    counters: Arc<Counters>,
    metrics: Metrics,
}

impl Bench {
    fn new(snapshot: Snapshot) -> Self {
        let (publish, snapshots) = watch::channel(Arc::new(snapshot));
        let counters = Arc::new(Counters::default());
        let metrics = Metrics::new(snapshots, counters.clone());
        Self { publish, counters, metrics }
    }

    fn finish(&self, rounds: &[Arc<Judged>]) {
        for judged in rounds {
            self.counters.observe(judged);
        }
        self.publish.send_replace(Arc::new(sample::snapshot(rounds)));
    }

    fn text(&self) -> String {
        let (content_type, body) = self.metrics.render(None);
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
        String::from_utf8(body).unwrap()
    }
}

/// A round with something of everything.
fn checked<T>(found: T) -> Checked<T> {
    Checked { at: None, requests: 1, found: Outcome::Measured(found) }
}

fn pair(issuer: &str, verifier: &str, verdict: UploadVerdict) -> OfPair<UploadVerdict> {
    let name = |text| BackendName::parse(text).unwrap();
    let (issuer, verifier) = (name(issuer), name(verifier));
    OfPair { issuer, verifier, value: Outcome::Measured(verdict) }
}

fn content(backends: &[(&str, bool)]) -> Content {
    let digest = "sha256:0".to_owned();
    let at = |(name, there): &(&str, bool)| ContentAt {
        backend: BackendName::parse(name).unwrap(),
        found: Outcome::Measured(ContentFound {
            listed: *there,
            tagged: there.then(|| digest.clone()),
            manifest: *there,
            ..ContentFound::default()
        }),
    };
    let (repository, tag) = ("probe/canary".to_owned(), "v1".to_owned());
    let at = backends.iter().map(at).collect();
    let through = Outcome::Measured(());
    Content { repository, tag, digest: digest.clone(), config: None, at, through }
}

#[test]
fn what_checks_found_is_shown_and_what_was_not_learned_is_absent() {
    let bench = Bench::new(sample::fresh_snapshot(&["a", "b"]));
    bench.finish(&[rich()]);
    let page = bench.text();
    for (series, expected) in [
        ("upload_cross_valid{registry=\"main\",issuer=\"a\",verifier=\"b\"}", Some(0.0)),
        ("upload_cross_valid{registry=\"main\",issuer=\"a\",verifier=\"a\"}", Some(1.0)),
        ("upload_cross_valid{registry=\"main\",issuer=\"b\",verifier=\"a\"}", None),
        ("content_present{registry=\"main\",backend=\"a\"}", Some(1.0)),
        ("content_present{registry=\"main\",backend=\"b\"}", Some(0.0)),
        ("content_present{registry=\"main\",backend=\"c\"}", None),
    ] {
        assert_eq!(value(&page, series), expected, "{series}");
    }
}

fn rich() -> Arc<Judged> {
    let mut round = sample::changed(&["a", "b", "c"], |round| {
        round.scope = Some("repository:probe/canary:pull".into());
        sample::sign_with(round, "b", sample::OTHER_KEY);
        sample::refuse(round, "a", "b");
        sample::refuse(round, "b", "a");
        sample::fail(round, "c", Step::Access, Reason::Unauthorized);
        let failure = Failure::of_answer(Reason::BadGateway, "");
        sample::set_cell(round, "c", "a", CellResult::Failed { failure, answer: None });
        let skipped = CellResult::Skipped { reason: Skipped::NoToken };
        sample::set_cell(round, "c", "b", skipped);
        round.responses.push(ResponseCount {
            route: sample::route("b"),
            step: Step::Access,
            code: 401,
            authenticated: true,
            count: 2,
        });
        let component =
            |component: &str, healthy| ComponentHealth { component: component.to_owned(), healthy };
        let told = vec![component("database", true), component("redis", false)];
        let told = OfRoute { route: sample::route("a"), value: Outcome::Measured(told) };
        round.checks.health = Checked {
            at: Some(sample::started()),
            requests: 1,
            found: Outcome::Measured(vec![told]),
        };
        round.checks.csrf = pairs(CsrfVerdict::Accepted, CsrfVerdict::UnknownKey);
        round.checks.session = pairs(SessionVerdict::Known, SessionVerdict::Unknown);
        round.checks.upload = checked(Uploads {
            pairs: vec![
                pair("a", "b", UploadVerdict::Invalid),
                pair("a", "a", UploadVerdict::Known),
            ],
            ..Uploads::default()
        });
        round.checks.content = checked(content(&[("a", true), ("b", false)]));
        round.backends[0].address = "weird\"address\\with\nlines".into();
    });
    let again = round.certificates[0].clone();
    round.certificates.push(again);
    let findings = vec![
        sample::finding(FindingName::TokenKeyMismatch, Severity::Critical, &["b", "c"]),
        sample::finding(FindingName::TokenKeyMismatch, Severity::Critical, &["b"]),
        sample::finding(FindingName::UnexplainedRefusal, Severity::Warning, &[]),
    ];
    let judged = sample::judged(round, findings);
    let mut judged = Arc::unwrap_or_clone(judged);
    judged.assessment.shares.push(Share {
        backend: None,
        share: 0.1,
        interval: None,
        distinct: true,
    });
    judged.assessment.leeways[2].1 = Leeway::Unknown;
    judged.assessment.clock_margin = Some(-3.5);
    Arc::new(judged)
}

/// A check of pairs: `a` accepts its own, `b` refuses that of `a`, nothing is known of `c`.
fn pairs<T>(good: T, bad: T) -> Checked<Vec<OfPair<T>>> {
    let pair = |issuer: &str, verifier: &str, value| OfPair {
        issuer: sample::backend(issuer),
        verifier: sample::backend(verifier),
        value,
    };
    let found = vec![
        pair("a", "a", Outcome::Measured(good)),
        pair("a", "b", Outcome::Measured(bad)),
        pair("a", "c", Outcome::Skipped(Skipped::BackingOff)),
    ];
    Checked { at: Some(sample::started()), requests: 3, found: Outcome::Measured(found) }
}

/// The value of the only sample with this name and these labels.
fn value(page: &str, series: &str) -> Option<f64> {
    let series = format!("registry_prober_{series} ");
    let mut found = page.lines().filter_map(|line| line.strip_prefix(&series));
    let value = found.next()?.parse().unwrap();
    assert_eq!(found.next(), None, "{series} is there twice");
    Some(value)
}

/// Runs `promtool check metrics`; true if it was there and had no complaint.
fn promtool_accepts(page: &str) -> bool {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        assert!(std::env::var_os("CI").is_none(), "promtool is not installed");
        return false;
    };
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    true
}

#[test]
fn the_table_of_names_is_the_contract() {
    let mut table: Vec<String> = names::ALL
        .iter()
        .map(|metric| {
            let name = metric.name.strip_prefix("registry_prober_").unwrap();
            [&[name, metric.kind.as_str()], metric.labels].concat().join(" ")
        })
        .collect();
    table.sort_unstable();
    assert_eq!(table, CONTRACT.lines().collect::<Vec<_>>());
    let forbidden = ["service", "node", "endpoint", "instance", "type", "target", "le"];
    for metric in names::ALL {
        assert!(metric.help.ends_with('.') && !metric.help.contains(['"', '\\', '\n']));
        assert!(metric.labels.iter().all(|label| !forbidden.contains(label)), "{}", metric.name);
    }
}

#[test]
fn every_metric_of_the_table_appears_on_the_page_of_a_rich_round() {
    let bench = Bench::new(sample::fresh_snapshot(&["a"]));
    bench.finish(&[rich()]);
    let page = bench.text();
    for metric in names::ALL {
        let kind = format!("# TYPE {} {}\n", metric.name, metric.kind.as_str());
        assert!(page.contains(&kind), "{} is missing", metric.name);
        assert!(page.contains(&format!("# HELP {} {}\n", metric.name, metric.help)));
    }
    for metric in ["process_cpu_seconds_total", "process_resident_memory_bytes"] {
        assert!(page.contains(&format!("\n{metric} ")), "{metric} is missing");
    }
}

#[test]
fn promtool_has_no_complaint_about_any_page_and_sees_a_bad_one() {
    let bench = Bench::new(sample::fresh_snapshot(&["a", "b"]));
    let before = bench.text();
    bench.finish(&[rich()]);
    let (_, probed) = probe_page(Some(&rich()), Duration::from_millis(1500), None);
    for page in [before, bench.text(), String::from_utf8(probed).unwrap()] {
        if !promtool_accepts(&page) {
            return;
        }
    }
    let bad = std::panic::catch_unwind(|| promtool_accepts("a_total{b=\"c\"} 1\na_total 1 x\n"));
    assert!(bad.is_err(), "promtool takes everything");
}

#[test]
fn no_series_is_there_twice() {
    let bench = Bench::new(sample::fresh_snapshot(&["a"]));
    bench.finish(&[rich()]);
    let page = bench.text();
    let mut seen = BTreeSet::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        assert!(seen.insert(series), "{series}");
    }
}

#[test]
fn a_cell_a_finding_and_a_failure_are_the_same_thing_in_the_metrics() {
    let bench = Bench::new(sample::fresh_snapshot(&["a"]));
    bench.finish(&[rich()]);
    let page = bench.text();
    let cases = [
        ("token_cross_valid{registry=\"main\",issuer=\"a\",verifier=\"a\"}", Some(1.0)),
        ("token_cross_valid{registry=\"main\",issuer=\"a\",verifier=\"b\"}", Some(0.0)),
        // A gateway error and an untried pair say nothing about the token.
        ("token_cross_valid{registry=\"main\",issuer=\"c\",verifier=\"a\"}", None),
        ("token_cross_valid{registry=\"main\",issuer=\"c\",verifier=\"b\"}", None),
        // Of four issuers, lb one of them; what c brought is a gateway error, or was not tried.
        ("token_cross_checks_total{registry=\"main\",verifier=\"a\"}", Some(3.0)),
        ("token_cross_refusals_total{registry=\"main\",verifier=\"b\"}", Some(1.0)),
        ("flow_success{registry=\"main\",route=\"c\"}", Some(0.0)),
        ("flow_success{registry=\"main\",route=\"lb\"}", Some(1.0)),
        ("step_success{registry=\"main\",route=\"c\",step=\"token\"}", Some(1.0)),
        ("step_success{registry=\"main\",route=\"c\",step=\"access\"}", Some(0.0)),
        ("step_success{registry=\"main\",route=\"c\",step=\"repository\"}", None),
        (
            "flow_failures_total{registry=\"main\",route=\"c\",step=\"access\",\
             reason=\"unauthorized\"}",
            Some(1.0),
        ),
        ("authenticated_responses_total{registry=\"main\",route=\"b\",code=\"401\"}", Some(2.0)),
        (
            "finding_active{registry=\"main\",finding=\"token-key-mismatch\",\
             severity=\"critical\",backend=\"b\"}",
            Some(1.0),
        ),
        (
            "finding_active{registry=\"main\",finding=\"unexplained-refusal\",\
             severity=\"warning\",backend=\"\"}",
            Some(1.0),
        ),
        (
            "finding_info{registry=\"main\",finding=\"token-key-mismatch\",meaning=\"Nodes sign and \
             check tokens with different keys.\",first_step=\"Copy private_key.pem of a to b and \
             restart core.\",command=\"\"}",
            Some(1.0),
        ),
        ("findings{registry=\"main\",severity=\"critical\"}", Some(2.0)),
        ("findings{registry=\"main\",severity=\"info\"}", Some(0.0)),
        ("balancer_share{registry=\"main\",backend=\"unknown\"}", Some(0.1)),
        ("csrf_cross_valid{registry=\"main\",issuer=\"a\",verifier=\"a\"}", Some(1.0)),
        ("csrf_cross_valid{registry=\"main\",issuer=\"a\",verifier=\"b\"}", Some(0.0)),
        ("csrf_cross_valid{registry=\"main\",issuer=\"a\",verifier=\"c\"}", None),
        ("session_cross_valid{registry=\"main\",issuer=\"a\",verifier=\"b\"}", Some(0.0)),
        ("component_healthy{registry=\"main\",backend=\"a\",component=\"redis\"}", Some(0.0)),
        ("component_healthy{registry=\"main\",backend=\"a\",component=\"all\"}", Some(0.0)),
        ("component_healthy{registry=\"main\",backend=\"a\",component=\"database\"}", None),
        ("token_keys{registry=\"main\"}", Some(2.0)),
        ("token_lifetime_seconds{registry=\"main\",backend=\"a\"}", Some(1800.0)),
        ("clock_leeway_seconds{registry=\"main\",backend=\"a\"}", Some(60.0)),
        ("clock_leeway_seconds{registry=\"main\",backend=\"c\"}", None),
        ("clock_margin_seconds{registry=\"main\"}", Some(-3.5)),
        ("last_round_timestamp_seconds{registry=\"main\"}", Some(1_795_000_001.5)),
        ("round_duration_seconds_bucket{registry=\"main\",le=\"1\"}", Some(0.0)),
        ("round_duration_seconds_bucket{registry=\"main\",le=\"2.5\"}", Some(1.0)),
        ("round_duration_seconds_bucket{registry=\"main\",le=\"+Inf\"}", Some(1.0)),
    ];
    for (series, expected) in cases {
        assert_eq!(value(&page, series), expected, "{series}");
    }
    assert!(page.contains("address=\"weird\\\"address\\\\with\\nlines\""));
}

#[test]
fn a_figure_that_is_not_a_number_is_left_out() {
    let bench = Bench::new(sample::fresh_snapshot(&["a"]));
    let mut judged = Arc::unwrap_or_clone(rich());
    judged.assessment.clock_margin = Some(f64::NAN);
    judged.assessment.expected_unauthorized = Some(f64::INFINITY);
    bench.finish(&[Arc::new(judged)]);
    let page = bench.text();
    assert!(!page.contains("clock_margin_seconds") && !page.contains("expected_unauthorized"));
}

#[test]
fn the_page_of_one_probe_has_its_verdict_and_nothing_about_the_program() {
    let took = Duration::from_millis(1500);
    let (content_type, body) = probe_page(Some(&rich()), took, Some(OPENMETRICS));
    assert!(content_type.starts_with("application/openmetrics-text"));
    let page = String::from_utf8(body).unwrap();
    assert!(
        page.contains("\nprobe_success 0\n") && page.contains("\nprobe_duration_seconds 1.5\n")
    );
    assert_eq!(value(&page, "flow_success{registry=\"main\",route=\"c\"}"), Some(0.0));
    for absent in ["process_", "build_info", "config_last", "interval_seconds", "overrun"] {
        assert!(!page.contains(absent), "{absent}");
    }
    let (_, body) = page_of(&[rich()], None);
    assert!(!String::from_utf8(body).unwrap().contains("probe_success"));
}

#[test]
fn a_probe_succeeds_unless_something_is_critical_or_nothing_was_measured() {
    let with = |severity| {
        let finding = sample::finding(FindingName::ClockSkewNbf, severity, &["a"]);
        Some(sample::judged(sample::round(&["a", "b"]), vec![finding]))
    };
    let healthy = Some(sample::judged(sample::round(&["a", "b"]), Vec::new()));
    for (judged, success) in [
        (healthy, true),
        (with(Severity::Warning), true),
        (with(Severity::Critical), false),
        (None, false),
    ] {
        let (_, body) = probe_page(judged.as_ref(), Duration::from_secs(1), None);
        let line = format!("probe_success {}\n", u8::from(success));
        assert!(String::from_utf8(body).unwrap().contains(&line), "{line}");
    }
}
