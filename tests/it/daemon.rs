//! `run` from its start to its end: rounds, reload, signals, and no secret anywhere.

use std::fs;
use std::io::Read as _;

use registry_prober::lab::{Options, Scenario};
use serde_json::Value;

use crate::support::Bench;
use crate::support::program::{Running, get, http, run};

/// A lab whose rounds follow each other quickly enough for a test.
fn bench(scenario: &str) -> Bench {
    let bench = Bench::start(&Scenario::named(scenario).unwrap(), &Options::default());
    let text = fs::read_to_string(&bench.path).unwrap();
    let (global, rest) = text.split_once('\n').unwrap();
    assert!(global.starts_with("global:"));
    fs::write(&bench.path, format!("global: {{interval: 2s, timeout: 1s}}\n{rest}")).unwrap();
    bench
}

fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

const RELOADED: &str = "registry_prober_config_last_reload_successful";
const ROUNDS: &str = "registry_prober_rounds_total{registry=\"lab\"}";

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_found_shown_everywhere_and_cleared_when_it_is_repaired() {
    let bench = bench("token-key-mismatch");
    let (mut daemon, address) = Running::daemon(&bench.path, &[]);
    let appeared = daemon.log("a finding appeared");
    assert_eq!(appeared["finding"], "token-key-mismatch");
    assert_eq!(appeared["registry"], "lab");

    // The log line comes before the round is published; readiness after it.
    let ready = |_: &str| http("GET", &address, "/-/ready").0 == 200;
    while !ready("") {
        std::thread::yield_now();
    }
    let health = run(&["healthcheck", &format!("--url=http://{address}")]);
    assert_eq!(health.code, Some(0), "{health:?}");
    let metrics = get(&address, "/metrics");
    let active = metrics.lines().find(|line| {
        line.starts_with("registry_prober_finding_active{")
            && line.contains("finding=\"token-key-mismatch\"")
    });
    assert!(active.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    let status: Value = serde_json::from_str(&get(&address, "/api/v1/status")).unwrap();
    assert_eq!(status["registries"][0]["findings"][0]["finding"], "token-key-mismatch");
    assert!(get(&address, "/").contains("token-key-mismatch"));

    bench.cluster.set_faults(Vec::new()).unwrap();
    let cleared = daemon.log("a finding cleared");
    assert_eq!(cleared["finding"], "token-key-mismatch");
    daemon.signal("TERM");
    assert_eq!(daemon.ended().0.code(), Some(0));
    let talk = daemon.seen.iter().filter(|line| line.contains("a round ended")).count();
    assert_eq!(talk, 0, "rounds are told at debug only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_of_probe_makes_no_check_that_the_daemon_made_lately() {
    let bench = bench("csrf-key-mismatch");
    let (_daemon, address) = Running::daemon(&bench.path, &[]);
    while http("GET", &address, "/-/ready").0 != 200 {
        std::thread::yield_now();
    }
    let scrape = || get(&address, "/probe?target=lab&debug=true");
    let (first, second) = (scrape(), scrape());
    let ran = |page: &str, check: &str| {
        let (_, lines) = page.split_once("Extra checks: when each ran last\n").unwrap();
        let line = lines.lines().find(|line| line.split(' ').next() == Some(check)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    for check in ["csrf", "session", "content", "body_limit"] {
        assert!(ran(&first, check).starts_with("20"), "{check} was run: {first}");
        assert_eq!(ran(&first, check), ran(&second, check), "{check} was run by neither");
    }
    assert_ne!(ran(&first, "health"), ran(&second, "health"));
    assert!(second.contains("csrf-key-mismatch"), "what it found is told: {second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_keeps_the_old_configuration_and_a_good_one_replaces_it() {
    let bench = bench("healthy");
    let (mut daemon, address) = Running::daemon(&bench.path, &["--config.auto-reload-interval=0s"]);
    daemon.log("the registry is healthy");
    let good = fs::read_to_string(&bench.path).unwrap();
    let metric = |series: &str| value(&get(&address, "/metrics"), series);
    assert_eq!(metric(RELOADED), Some(1.0));

    fs::write(&bench.path, format!("{good}colour: red\n")).unwrap();
    daemon.signal("HUP");
    let refused = daemon.log("the configuration is not valid; the old one stays in use");
    assert!(refused["error"].as_str().unwrap().contains("unknown key \"colour\""), "{refused}");
    let (status, why) = http("POST", &address, "/-/reload");
    assert_eq!(status, 500);
    assert!(why.contains("unknown key \"colour\""), "{why}");
    assert_eq!(metric(RELOADED), Some(0.0));
    assert_eq!(http("GET", &address, "/-/ready").0, 200, "the old one goes on");

    // A second registry without a server; the first is as it was.
    let more = good.clone()
        + "  - {name: other, url: 'http://127.0.0.1:9', backends: [{name: x, address: '127.0.0.1:9'}]}\n";
    fs::write(&bench.path, more).unwrap();
    let rounds = metric(ROUNDS).unwrap();
    daemon.signal("HUP");
    let taken = daemon.log("the configuration is loaded");
    assert_eq!((&taken["registries"], &taken["started"]), (&2.into(), &1.into()));
    assert_eq!(metric(RELOADED), Some(1.0));
    assert!(metric(ROUNDS).unwrap() >= rounds, "counters of what stays live on");
    assert!(metric("registry_prober_rounds_total{registry=\"other\"}").is_some());

    fs::write(&bench.path, &good).unwrap();
    assert_eq!(http("POST", &address, "/-/reload").0, 200);
    let page = get(&address, "/metrics");
    assert!(!page.contains("registry=\"other\""), "what is gone takes its series along");
    assert!(metric(ROUNDS).unwrap() >= rounds);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_files_are_noticed_secrets_among_them() {
    let bench = bench("healthy");
    let (mut daemon, _) = Running::daemon(&bench.path, &["--config.auto-reload-interval=50ms"]);
    daemon.log("the registry is healthy");
    let text = fs::read_to_string(&bench.path).unwrap();
    let password = text.split("password_file: '").nth(1).unwrap().split('\'').next().unwrap();
    fs::write(password, "another\n").unwrap();
    let taken = daemon.log("the configuration is loaded");
    let taken =
        if taken["stopped"] == 0 { daemon.log("the configuration is loaded") } else { taken };
    assert_eq!((&taken["started"], &taken["stopped"]), (&1.into(), &1.into()));
    let appeared = daemon.log("a finding appeared");
    assert_eq!(appeared["finding"], "credential-refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_at_once_in_the_middle_of_a_round() {
    // Without the faster rounds: a node that never answers holds up this one for seconds.
    let scenario = Scenario::named("backend-silent").unwrap();
    let bench = Bench::start(&scenario, &Options::default());
    for signal in ["TERM", "INT"] {
        let (mut daemon, _) = Running::daemon(&bench.path, &[]);
        daemon.log("the configuration is loaded");
        daemon.signal(signal);
        let (status, _) = daemon.ended();
        assert_eq!(status.code(), Some(0), "{signal}");
        let all = daemon.seen.join("\n");
        assert!(!all.contains("did not end"), "{all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named_with_the_option_that_chooses_another() {
    let bench = bench("healthy");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(&[
        "run",
        &format!("--config.file={}", bench.path.display()),
        &format!("--web.listen-address={address}"),
    ]);
    assert_eq!(ended.code, Some(3));
    for text in [address.as_str(), "--web.listen-address", "Address already in use"] {
        assert!(ended.stderr.contains(text), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_any_output() {
    for scenario in ["token-key-mismatch", "credential-refused"] {
        let bench = bench(scenario);
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal.jsonl");
        let history = format!("--history.file={}", journal.display());
        let (mut daemon, address) = Running::daemon(&bench.path, &["--log.level=trace", &history]);
        daemon.log("a round ended");
        let mut outputs = Vec::new();
        for path in [
            "/",
            "/metrics",
            "/api/v1/status",
            "/-/ready",
            "/probe?target=lab&debug=true",
            "/config",
            "/history",
            "/api/v1/incidents",
            "/api/v1/rounds",
        ] {
            outputs.push((path.to_owned(), get(&address, path)));
        }
        let rounds = folder.path().join("journal.jsonl.rounds");
        daemon.signal("TERM");
        daemon.ended();
        outputs.push(("the journal".to_owned(), fs::read_to_string(&journal).unwrap()));
        let kept: Vec<_> = fs::read_dir(&rounds).unwrap().map(|it| it.unwrap().path()).collect();
        assert!(!kept.is_empty(), "the round that opened the incident is kept");
        for path in kept {
            let mut text = String::new();
            let packed = fs::File::open(&path).unwrap();
            flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
            outputs.push((path.display().to_string(), text));
        }
        outputs.push(("the log".to_owned(), daemon.seen.join("\n")));
        let file = format!("--config.file={}", bench.path.display());
        for form in ["text", "json", "junit", "nagios", "prometheus"] {
            let ended = run(&["check", &file, "--timeout=3s", &format!("--output={form}")]);
            outputs.push((format!("check {form}"), ended.stdout + &ended.stderr));
        }
        let shown = run(&["config", "show", &file]);
        outputs.push(("config show".to_owned(), shown.stdout));

        let secrets = secrets(&bench);
        for (name, text) in &outputs {
            assert!(text.len() > 10, "{scenario}: {name} says something");
            assert_eq!(leak(text, &secrets), None, "{scenario}: {name}");
        }
    }
}

#[test]
fn the_search_for_secrets_would_find_one() {
    let secrets = vec!["hunter2".to_owned()];
    let signature = "c2lnbmF0dXJl".repeat(8);
    for leaking in [
        "password: hunter2".to_owned(),
        "Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln".to_owned(),
        format!("refused {signature}"),
    ] {
        assert!(leak(&leaking, &secrets).is_some(), "{leaking}");
    }
    let digest = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    for harmless in [digest, "a long line of words that are each short enough to be no token"] {
        assert_eq!(leak(harmless, &secrets), None);
    }
}

/// The password, in every form in which it goes over the wire.
fn secrets(bench: &Bench) -> Vec<String> {
    use base64::Engine as _;
    let login = bench.cluster.login();
    let basic = format!("{}:{}", login.username, login.password);
    let basic = base64::engine::general_purpose::STANDARD.encode(basic);
    vec![login.password.clone(), basic]
}

/// The first thing in a text that is a secret, a token, or long enough to be a signature.
fn leak(text: &str, secrets: &[String]) -> Option<String> {
    // A signature of ES256 has 86 characters; a SHA-256 in hex, which is none, has 64.
    const SIGNATURE: usize = 80;
    if let Some(secret) = secrets.iter().find(|secret| text.contains(secret.as_str())) {
        return Some(secret.clone());
    }
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
        .find(|word| (word.starts_with("eyJ") && word.len() > 12) || word.len() >= SIGNATURE)
        .map(str::to_owned)
}
