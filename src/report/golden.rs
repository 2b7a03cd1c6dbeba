//! Whole outputs, compared with the files in `tests/data/report/` character by character.
//!
//! `UPDATE=1 cargo test report` rewrites the files, and the shipped schema with them; read the
//! difference before it is committed.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::sample::{
    add, backend, check_refused, fail, finding, healthy, key_mismatch, pairs, refused, snapshot,
    tell, unmeasured,
};
use super::*;
use crate::model::sample::remedy;
use crate::model::{
    CellResult, ClockInterval, ClockSource, Confidence, Evidence, Failure, Fate, Finding,
    FindingName, Issuer, Judged, KeyId, Observation, ObservationKind, Outcome, Phase, Place,
    Reason, RegistryName, Route, SampledFlow, Setting, Severity, Skipped, Status, Step, TraceEntry,
    Unmeasured,
};

const SCHEMA: &str = "deploy/schema/check.schema.json";

/// What a server could write to an engineer's terminal, a CI's XML or a Nagios line.
const HOSTILE: &str =
    "\u{1b}[2J\u{1b}]0;gone\u{7}\u{9b}31m\u{202e}\r\nOK | <b a=\"1\" b='2'>&]]>\0";

fn cases() -> Vec<(&'static str, Snapshot, Status)> {
    vec![
        ("healthy", snapshot([healthy(3)]), Status::Ok),
        ("key-mismatch", snapshot([key_mismatch(3, 2)]), Status::Critical),
        ("clock-skew-healed", snapshot([clock_skew()]), Status::Critical),
        ("unreachable-backend", snapshot([unreachable()]), Status::Warning),
        ("check-refused", snapshot([check_refused()]), Status::Warning),
        ("no-round-yet", unmeasured(), Status::Unknown),
        ("no-registry", snapshot([]), Status::Unknown),
        ("not-tested", snapshot([not_tested()]), Status::Unknown),
        ("unexplained", snapshot([unexplained()]), Status::Critical),
        ("hostile", snapshot([hostile()]), Status::Critical),
        ("hundred-backends", snapshot([key_mismatch(100, 42)]), Status::Critical),
        ("twenty-backends", snapshot([two_bad_pairs(20)]), Status::Critical),
        (
            "two-registries",
            snapshot([named("alpha", told()), named("beta", suspected())]),
            Status::Critical,
        ),
    ]
}

fn named(name: &str, mut judged: Judged) -> Judged {
    judged.round.registry = RegistryName::parse(name).unwrap();
    judged.round.url = format!("https://{name}.example.com");
    judged
}

fn told() -> Judged {
    let mut judged = healthy(2);
    let settings = [
        (Setting::HarborVersion, "2.15.2"),
        (Setting::AuthMode, "db_auth"),
        (Setting::ExternalUrl, "https://alpha.example.com"),
    ];
    tell(&mut judged, &settings, "https://alpha.example.com/service/token");
    judged
}

fn clock_skew() -> Judged {
    let mut judged = healthy(3);
    let ahead = backend(2);
    pairs(&mut judged, |issuer, verifier| {
        (issuer == ahead.as_str() && verifier != issuer)
            .then(|| refused((verifier != "harbor-03").then_some(2.0)))
    });
    for clock in &mut judged.round.clocks {
        if clock.backend == ahead {
            clock.interval = ClockInterval::between(1.4, 1.92);
            clock.contradiction = clock.source == ClockSource::Iat;
        }
    }
    let cause = Finding {
        summary: "The clock of harbor-02 is 1.7 s ahead, and the others forgive nothing".to_owned(),
        effect: "A token of harbor-02 is refused elsewhere for its first 2 s".to_owned(),
        evidence: vec![
            Evidence::from("harbor-02 is 1.40 to 1.92 s ahead of the prober")
                .with("lower_bound_seconds", 1.4)
                .with("upper_bound_seconds", 1.92),
        ],
        remedies: vec![remedy("Set the clock of harbor-02:", &["ssh harbor-02 chronyc makestep"])],
        explains: 3,
        ..finding(FindingName::ClockSkewNbf, Severity::Critical, Confidence::Proved, &[2])
    };
    add(&mut judged, cause);
    judged
}

fn unreachable() -> Judged {
    let mut judged = healthy(3);
    let down = backend(3);
    let refusal = Failure {
        phase: Some(Phase::Connect),
        reason: Reason::ConnectionRefused,
        detail: "10.0.0.3:443 refused the connection".to_owned(),
    };
    fail(&mut judged, &Route::Backend(down.clone()), Step::Challenge, refusal.clone());
    judged.round.flows[0].lost_before = Some(refusal.clone());
    pairs(&mut judged, |issuer, verifier| {
        match (issuer == down.as_str(), verifier == down.as_str()) {
            (true, _) => Some(CellResult::Skipped { reason: Skipped::NoToken }),
            (_, true) => Some(CellResult::Failed { failure: refusal.clone(), answer: None }),
            _ => None,
        }
    });
    judged.round.clocks.retain(|clock| clock.backend != down);
    judged.round.balancer = Outcome::Skipped(Skipped::Disabled);
    judged.assessment.expected_unauthorized = None;
    judged.assessment.unauthorized_interval = None;
    let cause = Finding {
        summary: "harbor-03 does not answer at its address".to_owned(),
        effect: "No request fails while the load balancer leaves it out".to_owned(),
        evidence: vec!["connection_refused at 10.0.0.3:443, twice".into()],
        remedies: vec![remedy(
            "Start it, or see what holds its port:",
            &["ss -ltnp 'sport = :443'"],
        )],
        explains: 1,
        ..finding(FindingName::BackendUnreachable, Severity::Warning, Confidence::Proved, &[3])
    };
    add(&mut judged, cause);
    judged
}

fn suspected() -> Judged {
    let mut judged = key_mismatch(2, 2);
    let cause = &mut judged.assessment.findings[0];
    cause.confidence = Confidence::Suspected;
    cause.alternatives = vec![FindingName::TokenKeyRotationWindow, FindingName::MixedVersions];
    cause.backends = vec![backend(1), backend(2)];
    let aside = Finding {
        summary: "The backends run different versions".to_owned(),
        ..finding(FindingName::MixedVersions, Severity::Info, Confidence::Proved, &[])
    };
    add(&mut judged, aside);
    judged
}

/// No credentials, and a check that does not fit into a round.
fn not_tested() -> Judged {
    let mut judged = healthy(3);
    pairs(&mut judged, |_, _| Some(CellResult::Skipped { reason: Skipped::NoCredentials }));
    judged.round.balancer = Outcome::Skipped(Skipped::NoCredentials);
    judged.assessment.expected_unauthorized = None;
    judged.assessment.unauthorized_interval = None;
    judged.assessment.shares.clear();
    let missing = |what: &str, route: Option<&str>, why: &str, essential| Unmeasured {
        what: what.to_owned(),
        route: route.map(str::to_owned),
        why: why.to_owned(),
        essential,
    };
    let none = "no credentials were given: add --username";
    judged.assessment.unmeasured = vec![
        missing("worker_pools", None, "it does not fit into the time of a round", false),
        missing("tokens", None, none, true),
        missing("samples", Some("lb"), none, true),
    ];
    judged.assessment.status = Status::Unknown;
    judged
}

/// Lost samples that no cause explains, with the trace of those that were considered.
fn unexplained() -> Judged {
    let mut judged = healthy(3);
    let failure = Failure {
        phase: Some(Phase::Wait),
        reason: Reason::ConnectionReset,
        detail: "the peer closed the connection early".to_owned(),
    };
    if let Outcome::Measured(run) = &mut judged.round.balancer {
        run.try_step(SampledFlow::Pair, Step::Access, 20);
        for _ in 0..4 {
            run.fail(SampledFlow::Pair, Step::Access, failure.clone(), None);
        }
        run.pairs.trials = 16;
    }
    let cause = Finding {
        summary: "Requests through the load balancer are lost".to_owned(),
        explains: 1,
        ..finding(FindingName::UnexplainedLoss, Severity::Critical, Confidence::Suspected, &[])
    };
    add(&mut judged, cause);
    let place = Place::route(&Route::Balancer);
    let seen = Observation::single(ObservationKind::SampleFailed, place, failure);
    let seen = Observation { step: Some(Step::Access), count: 4, of: 20, ..seen };
    judged.assessment.observations = vec![(seen, 0)];
    let entry = |hypothesis, backends: &[&str], claims, fate| TraceEntry {
        hypothesis,
        backends: backends.iter().map(|name| (*name).to_owned()).collect(),
        claims,
        fate,
    };
    let lacks = Fate::Lacks { evidence: vec!["no key that no backend has was met".to_owned()] };
    judged.assessment.trace = vec![
        entry(FindingName::UnknownBackend, &[], 1, lacks),
        entry(FindingName::UnexplainedLoss, &[], 1, Fate::Kept),
    ];
    judged.assessment.expected_interval = Some((0.0, 0.02));
    judged
}

fn two_bad_pairs(backends: usize) -> Judged {
    let mut judged = healthy(backends);
    pairs(&mut judged, |issuer, verifier| match (issuer, verifier) {
        ("harbor-03", "harbor-07") => Some(refused(None)),
        ("lb", "harbor-09") => Some(CellResult::Failed {
            failure: Failure::of_answer(Reason::BadGateway, "502"),
            answer: None,
        }),
        ("harbor-01", _) if verifier != "harbor-01" => {
            Some(CellResult::Skipped { reason: Skipped::NotSampled })
        }
        _ => None,
    });
    let cause = Finding {
        summary: "One pair is refused and nothing measured explains it".to_owned(),
        explains: 1,
        ..finding(FindingName::UnexplainedRefusal, Severity::Critical, Confidence::Suspected, &[])
    };
    add(&mut judged, cause);
    judged
}

fn hostile() -> Judged {
    let mut judged = key_mismatch(3, 2);
    judged.round.url = HOSTILE.to_owned();
    tell(&mut judged, &[(Setting::AuthMode, HOSTILE)], HOSTILE);
    let failure = Failure::of_answer(Reason::Html, HOSTILE);
    fail(&mut judged, &Route::Balancer, Step::Token, failure.clone());
    judged.round.flows[0].lost_before = Some(failure.clone());
    if let Outcome::Measured(token) = &mut judged.round.flows[0].token {
        token.alg = HOSTILE.to_owned();
        token.kid = Some(KeyId::from_wire(HOSTILE));
    }
    if let Outcome::Measured(run) = &mut judged.round.balancer {
        run.fail(SampledFlow::Pair, Step::Token, failure.clone(), None);
        run.affinity_cookie = Some(HOSTILE.to_owned());
    }
    for cell in &mut judged.round.matrix.cells {
        if cell.issuer == Issuer::Route(Route::Balancer) {
            cell.issuer = Issuer::Server(HOSTILE.to_owned());
            cell.result = CellResult::Failed { failure: failure.clone(), answer: None };
        }
    }
    let cause = &mut judged.assessment.findings[0];
    cause.summary = HOSTILE.to_owned();
    cause.effect = HOSTILE.to_owned();
    cause.confirm = HOSTILE.to_owned();
    cause.evidence = vec![HOSTILE.into(), HOSTILE.repeat(4).into()];
    cause.remedies = vec![remedy(HOSTILE, &[HOSTILE])];
    judged
}

fn root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

const TRACED: Form = Form { trace: true, verbose: true, width: 200 };

/// Compares a text with a file of the repository, or writes it there when `UPDATE` is set.
fn same_as_file(path: &str, text: &str) {
    let file = root(path);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    assert!(golden == text, "{path} differs from:\n{text}\n(UPDATE=1 writes it anew)");
}

fn golden_of(extension: &str, output: Output) {
    for (name, snapshot, _) in cases() {
        // Many backends make thousands of pairs: their text is what is worth reading.
        if name.ends_with("-backends") && matches!(output, Output::Json | Output::Junit) {
            continue;
        }
        let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
        let text = render(output, &snapshot, Form::default())
            .replace(&version, "\"version\": \"VERSION\"");
        let plain = if output == Output::Text {
            anstream::adapter::strip_str(&text).to_string()
        } else {
            text
        };
        same_as_file(&format!("tests/data/report/{name}.{extension}"), &plain);
    }
}

#[test]
fn the_json_of_each_case_is_as_in_its_file() {
    golden_of("json", Output::Json);
}

#[test]
fn the_text_of_each_case_is_as_in_its_file() {
    golden_of("txt", Output::Text);
}

#[test]
fn the_junit_xml_of_each_case_is_as_in_its_file() {
    golden_of("xml", Output::Junit);
}

#[test]
fn the_nagios_lines_of_each_case_are_as_in_their_file() {
    golden_of("nagios.txt", Output::Nagios);
}

#[test]
fn the_trace_says_of_every_cause_why_it_is_a_finding_or_why_not() {
    let snapshot = snapshot([unexplained()]);
    let text = render(Output::Text, &snapshot, TRACED);
    let plain = anstream::adapter::strip_str(&text).to_string();
    for line in [
        "unknown-backend: it fits 1 observation, but lacks evidence: no key that no backend has",
        "unexplained-loss: kept; it fits 1 observation",
        "1 observation in all, each in one finding",
    ] {
        assert!(plain.contains(line), "{line}: {plain}");
    }
    let traced: Value = serde_json::from_str(&render(Output::Json, &snapshot, TRACED)).unwrap();
    let trace = &traced["registries"][0]["trace"];
    assert_eq!((&trace[0]["fate"], &trace[1]["fate"]), (&"lacks".into(), &"kept".into()));
    let quiet: Value =
        serde_json::from_str(&render(Output::Json, &snapshot, Form::default())).unwrap();
    assert_eq!(quiet["registries"][0]["trace"], Value::Null, "only where it is asked for");
}

#[test]
fn the_shipped_schema_is_the_code_s_own() {
    same_as_file(SCHEMA, &json::schema_json());
}

#[test]
fn every_document_obeys_the_shipped_schema() {
    let schema: Value = serde_json::from_str(&fs::read_to_string(root(SCHEMA)).unwrap()).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for (name, snapshot, _) in cases() {
        let document: Value =
            serde_json::from_str(&render(Output::Json, &snapshot, Form::default())).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_document_that_breaks_the_contract_fails_the_shipped_schema() {
    let schema: Value = serde_json::from_str(&fs::read_to_string(root(SCHEMA)).unwrap()).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let snapshot = snapshot([key_mismatch(3, 2), named("other", check_refused())]);
    let good = serde_json::to_value(json::document(&snapshot, true)).unwrap();
    let breaks: [(&str, Value); 7] = [
        ("/status", "fine".into()),
        ("/registries/0/findings/0/finding", "bad-karma".into()),
        ("/registries/0/routes/3/reason", "because".into()),
        ("/registries/0/routes/3/step", "login".into()),
        ("/registries/0/matrix/0/result", "maybe".into()),
        ("/registries/1/check_matrices/csrf/0/result", "maybe".into()),
        ("/registries/0/balancer/flows", (-1).into()),
    ];
    assert!(validator.is_valid(&good));
    for (pointer, value) in breaks {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert!(!validator.is_valid(&bad), "{pointer}");
    }
    let mut bad = good;
    bad.pointer_mut("/registries/0").unwrap().as_object_mut().unwrap().remove("balancer");
    assert!(!validator.is_valid(&bad), "a field is missing");
}

#[test]
fn the_status_of_all_is_that_of_the_worst_registry() {
    for (name, snapshot, status) in cases() {
        assert_eq!(snapshot.status(), status, "{name}");
    }
}

/// The text without the styles that the program itself sets.
fn without_styles(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (style, rest) = part.split_once('m').expect("a style ends with m");
        assert!(style.chars().all(|c| c.is_ascii_digit() || c == ';'), "{style:?} is no style");
        plain.push_str(rest);
    }
    plain
}

#[test]
fn nothing_that_a_server_wrote_controls_the_terminal() {
    let forbidden = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
    for output in [Output::Text, Output::Json, Output::Junit, Output::Nagios] {
        let text = without_styles(&render(output, &snapshot([hostile()]), Form::default()));
        assert!(!text.contains(forbidden), "{output:?}: {text:?}");
        assert!(text.contains("gone"), "{output:?} shows the harmless rest");
    }
    assert!(HOSTILE.contains(forbidden), "the test sees what it looks for");
}

#[test]
fn colour_adds_nothing_that_the_words_do_not_say() {
    let text = render(Output::Text, &snapshot([key_mismatch(3, 2)]), Form::default());
    let plain = without_styles(&text);
    assert_ne!(text, plain, "there are styles to drop");
    assert_eq!(plain, anstream::adapter::strip_str(&text).to_string());
    for word in ["CRITICAL", "REFUSED", "failed at access", "proved"] {
        assert!(plain.contains(word), "{word}");
    }
}
