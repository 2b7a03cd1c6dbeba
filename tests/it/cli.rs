//! The command line as people and programs meet it: exit codes, usage, what goes where.

use std::path::Path;

use registry_prober::findings::FindingName;
use registry_prober::lab::{Options, Scenario};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::Bench;
use crate::support::program::{Running, get, program, run};

fn bench(scenario: &str) -> Bench {
    Bench::start(&Scenario::named(scenario).unwrap(), &Options::default())
}

fn file(path: &Path) -> String {
    format!("--config.file={}", path.display())
}

#[test]
fn wrong_usage_ends_with_3_and_says_why_on_standard_error() {
    let url = "https://hub.example.com";
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage"),
        (&["probe"], "unrecognized subcommand"),
        (&["check", "--colour"], "unexpected argument"),
        (&["check", url, "--username=u", "--password=p"], "unexpected argument"),
        (&["check", url, "--username=u"], "--password-stdin or --password-file"),
        (&["check", url, "--username=u", "--password-stdin"], "the password is empty"),
        (&["check", url, "--username=u", "--password-file=/no/such"], "/no/such: No such file"),
        (&["check", url, "https://other.example.com"], "one URL"),
        (&["check", url, "--config.file=prober.yml"], "exclude each other"),
        (&["check", url, "--backend", "10.0.0.1:443"], "NAME=ADDRESS"),
        (&["check", url, "--backend", "lb=10.0.0.1:443"], "--backend: \"lb\" is reserved"),
        (&["check", url, "--samples=5000"], "--samples"),
        (&["check", url, "--timeout=1h"], "100ms to 10m"),
        (&["check", url, "--output=yaml"], "possible values"),
        (&["check", "--backend=a=10.0.0.1:443"], "need its URL"),
        (&["check", "ftp://hub.example.com"], "ftp"),
        (&["check", "--config.file=/no/such.yml"], "/no/such.yml: no such file"),
        (&["run", "--config.file=/no/such.yml"], "/no/such.yml: no such file"),
        (&["config"], "Usage"),
        (&["config", "show", "--config.file=/no/such.yml"], "/no/such.yml: no such file"),
        (&["healthcheck", "--url=ftp://127.0.0.1:1"], "--url"),
        (&["healthcheck", "--url=127.0.0.1:1"], "--url"),
        (&["lab", "no-such"], "lab --list"),
        (&["lab", "token-key-missmatch"], "did you mean token-key-mismatch?"),
        (&["lab", "healthy", "--family=harbor-9"], "harbor-2.15"),
        (&["lab", "healthy", "--nodes=0"], "1..=100"),
        (&["demo", "clock-skew-npf"], "did you mean clock-skew-nbf?"),
        (&["explain", "token-key-missmatch"], "did you mean token-key-mismatch?"),
        (&["explain", "banana"], "explain lists all"),
    ];
    for (arguments, why) in cases {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(3), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(why), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

#[test]
fn nagios_reads_standard_output_so_that_is_where_it_is_told() {
    let ended = run(&["check", "--output=nagios", "--config.file=/no/such.yml"]);
    assert_eq!(ended.code, Some(3));
    assert!(ended.stdout.starts_with("REGISTRY UNKNOWN: /no/such.yml"), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 1);
}

#[test]
fn every_command_explains_itself() {
    let commands: &[&[&str]] = &[
        &[],
        &["run"],
        &["check"],
        &["demo"],
        &["lab"],
        &["config"],
        &["config", "check"],
        &["config", "show"],
        &["config", "schema"],
        &["explain"],
        &["healthcheck"],
    ];
    for command in commands {
        let ended = run(&[command, &["--help"][..]].concat());
        assert_eq!(ended.code, Some(0), "{command:?}");
        assert!(ended.stdout.contains("Usage: registry-prober"), "{command:?}: {}", ended.stdout);
        assert_eq!(ended.stderr, "", "{command:?}");
        assert!(!ended.stdout.contains("--password "), "a password is never an argument");
    }
    let version = run(&["--version"]);
    assert_eq!(version.code, Some(0));
    let expected = concat!("registry-prober ", env!("CARGO_PKG_VERSION"));
    assert!(version.stdout.starts_with(expected), "{}", version.stdout);
}

#[test]
fn config_check_names_every_problem_with_its_place() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("prober.yml");
    let good =
        "registries:\n  - {name: main, url: 'https://hub.example.com', discovery: {dns: {}}}\n";
    std::fs::write(&path, good).unwrap();
    let ended = run(&["config", "check", &file(&path)]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout.ends_with("good, 1 registry\n"), "{}", ended.stdout);

    std::fs::write(&path, format!("{good}    colour: red\nglobal: {{interval: soon}}\n")).unwrap();
    let bad = run(&["config", "check", &file(&path)]);
    assert_eq!(bad.code, Some(1), "{bad:?}");
    std::fs::write(&path, "registries: 7\nglobal: {interval: soon}\n").unwrap();
    let bad = run(&["config", "check", &file(&path)]);
    assert_eq!((bad.code, bad.stderr.as_str()), (Some(1), ""));
    let lines: Vec<&str> = bad.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", bad.stdout);
    assert!(lines[0].starts_with(&format!("{}:1:13: expected a list", path.display())));
    assert!(lines[1].starts_with(&format!("{}:2:20: expected a duration", path.display())));
}

#[test]
fn the_file_is_found_by_the_environment_as_well() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("elsewhere.yml");
    std::fs::write(
        &path,
        "registries:\n  - {name: here, url: 'https://hub.example.com', discovery: {dns: {}}}\n",
    )
    .unwrap();
    let shown = program(&["config", "show"]).env("REGISTRY_PROBER_CONFIG", &path).output().unwrap();
    assert!(String::from_utf8(shown.stdout).unwrap().contains("name: \"here\""));
}

#[test]
fn the_schema_is_json() {
    let ended = run(&["config", "schema"]);
    assert_eq!(ended.code, Some(0));
    let schema: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(schema["properties"]["registries"].is_object());
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = program(&["config", "schema"]).stdout(writer).output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
}

#[test]
fn explain_prints_the_page_of_a_finding_and_lists_all_without_a_name() {
    for finding in FindingName::ALL {
        let ended = run(&["explain", finding.as_str()]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{finding}");
        assert!(ended.stdout.starts_with(&format!("{finding}\n")), "{}", ended.stdout);
        assert!(!ended.stdout.contains('\u{1b}'), "no styles outside a terminal");
    }
    let ended = run(&["explain"]);
    assert_eq!(ended.code, Some(0));
    let listed = ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for finding in FindingName::ALL {
        let entry = format!("{finding} {}", finding.definition().meaning);
        assert!(listed.contains(&entry), "{finding}");
    }
}

#[test]
fn the_lab_lists_every_scenario() {
    let ended = run(&["lab", "--list"]);
    assert_eq!(ended.code, Some(0));
    for scenario in Scenario::all().unwrap() {
        let line =
            ended.stdout.lines().find(|line| line.starts_with(&format!("{} ", scenario.name)));
        assert!(line.is_some_and(|line| line.ends_with(&scenario.title)), "{}", scenario.name);
    }
}

#[test]
fn a_running_lab_has_a_configuration_that_is_good_and_leaves_nothing_behind() {
    let mut lab = Running::start(&["lab", "healthy", "--nodes=3"]);
    let line = lab.line(|line| line.contains("registry-prober check"));
    let path = line.rsplit('=').next().unwrap().trim().to_owned();
    let ended = run(&["config", "check", &format!("--config.file={path}")]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    lab.signal("INT");
    assert_eq!(lab.ended().0.code(), Some(0));
    assert!(!Path::new(&path).parent().unwrap().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_ends_with_the_code_of_its_verdict() {
    for (scenario, code, word) in [
        ("healthy", 0, "OK"),
        ("backend-unreachable", 1, "WARNING"),
        ("token-key-mismatch", 2, "CRITICAL"),
    ] {
        let bench = bench(scenario);
        let ended = run(&["check", &file(&bench.path)]);
        assert_eq!(ended.code, Some(code), "{scenario}: {ended:?}");
        assert!(ended.stdout.starts_with(word), "{scenario}: {}", ended.stdout);
        assert_eq!(ended.stderr, "", "no progress where there is no terminal");
        assert!(!ended.stdout.contains('\x1b'), "no colour where there is no terminal");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_speaks_every_form() {
    let bench = bench("healthy");
    let output = |form: &str| {
        let ended = run(&["check", "lab", &file(&bench.path), &format!("--output={form}")]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{form}");
        ended.stdout
    };
    let json: Value = serde_json::from_str(&output("json")).unwrap();
    assert_eq!((&json["status"], &json["registries"][0]["name"]), (&"ok".into(), &"lab".into()));
    assert!(output("junit").starts_with("<?xml"));
    assert!(output("nagios").starts_with("REGISTRY OK: lab"));
    let page = output("prometheus");
    assert!(
        page.contains("registry_prober_flow_success{registry=\"lab\",route=\"lb\"} 1"),
        "{page}"
    );
    assert!(!page.contains("process_"), "a textfile says nothing of the process that wrote it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_checked_without_a_file() {
    let bench = bench("healthy");
    let folder = TempDir::new().unwrap();
    let (ca, password) = (folder.path().join("ca.pem"), folder.path().join("password"));
    std::fs::write(&ca, bench.cluster.ca_pem()).unwrap();
    std::fs::write(&password, format!("{}\n", bench.cluster.login().password)).unwrap();
    let mut arguments = vec![
        "check".to_owned(),
        bench.cluster.public_url(),
        format!("--ca-file={}", ca.display()),
        format!("--username={}", bench.cluster.login().username),
        format!("--balancer-address={}", bench.cluster.balancer()),
        "--samples=4".to_owned(),
        "--matrix=full".to_owned(),
        "--output=json".to_owned(),
    ];
    for node in bench.cluster.nodes() {
        arguments.push(format!("--backend={}={}", node.name, node.address));
    }
    let by_file = format!("--password-file={}", password.display());
    let ended = run(&[&arguments[..], &[by_file]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["registries"][0]["balancer"]["flows"], 4);

    arguments.push("--password-stdin".to_owned());
    let input = std::fs::File::open(&password).unwrap();
    let ended = program(&arguments).stdin(input).output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_registries_that_are_named_are_checked() {
    let bench = bench("healthy");
    let unknown = run(&["check", "lob", &file(&bench.path)]);
    assert_eq!(unknown.code, Some(3));
    assert!(unknown.stderr.contains("is called \"lob\"; the file has lab"), "{}", unknown.stderr);
}

#[test]
fn the_demo_shows_the_fault_and_where_to_look() {
    let ended = run(&["demo", "--once"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    for text in ["token-key-mismatch", "CRITICAL", "REFUSED"] {
        assert!(ended.stdout.contains(text), "{text}: {}", ended.stdout);
    }
    assert!(!ended.stdout.contains("Status page"), "it is gone: {}", ended.stdout);

    let mut demo = Running::start(&["demo"]);
    let page = demo.line(|line| line.starts_with("Status page"));
    let address = page.rsplit_once("//").unwrap().1.trim_end_matches('/');
    assert!(get(address, "/").contains("token-key-mismatch"));
}

#[test]
fn a_daemon_that_is_not_there_is_not_healthy() {
    // A port that was free a moment ago.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let ended = run(&["healthcheck", &format!("--url=http://{address}")]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("nothing listens there"), "{}", ended.stderr);
}
