//! The configuration file: what is accepted, and that everything wrong is said, with its place.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use registry_prober::config::{
    self, BackendSource, Config, ConfigErrors, MatrixMode, Scheme, TokenMethod,
};
use secrecy::ExposeSecret;
use tempfile::TempDir;

/// The password wherever a test has one. It must never be printed.
const SECRET: &str = "word-of-a-test";

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config").join(name)
}

/// A directory with a configuration and the files it may name.
fn directory(text: &str) -> TempDir {
    static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
        let pair = rcgen::generate_simple_self_signed(["hub.example.com".to_owned()]).unwrap();
        (pair.cert.pem(), pair.signing_key.serialize_pem())
    });
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("prober.yml", text),
        ("prober.password", "word-of-a-test\n"),
        ("ca.pem", &PAIR.0),
        ("client.key", &PAIR.1),
        ("pools.password", "another-word\n"),
    ] {
        fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

fn load(text: &str) -> Result<Config, ConfigErrors> {
    config::load(&directory(text).path().join("prober.yml")).map(|loaded| loaded.config)
}

/// A registry with everything that can be said, each value unlike its default.
const FULL: &str = "\
global: {interval: 30s, timeout: 1500ms, max_requests_per_second: 7}
registries:
  - name: main
    url: https://hub.example.com:8443/
    backends:
      - {name: a, address: 'http://10.0.0.1:5000'}
      - {name: b, address: '[fd00::2]:443'}
      - {name: c, address: node-c}
    credentials: {username: 'robot$prober', password_file: prober.password}
    scope: 'repository:probe/canary:pull'
    tls: {ca_file: ca.pem, cert_file: ca.pem, key_file: client.key, insecure_skip_verify: true}
    balancer: {samples: 40, address: '10.0.0.5:443'}
    matrix: sampled:3
    token_method: post
    allowed_realms: ['https://auth.example.com']
    user_agent: docker/27.0.0 (probe)
    allow_plaintext: true
    interval: 1m
    max_requests_per_second: 9
  - name: second
    url: http://localhost:5000
    discovery: {dns: {}}
";

#[test]
fn every_key_is_understood_and_defaults_come_from_global() {
    let config = load(FULL).unwrap();
    let [main, second] = config.registries.as_slice() else { panic!("{config:?}") };

    assert_eq!(main.url.to_string(), "https://hub.example.com:8443");
    let BackendSource::Static(backends) = &main.backends else { panic!("{main:?}") };
    let backends: Vec<_> =
        backends.iter().map(|b| format!("{} {}://{}", b.name, b.scheme, b.address)).collect();
    assert_eq!(
        backends,
        ["a http://10.0.0.1:5000", "b https://[fd00::2]:443", "c https://node-c:443"]
    );
    let credentials = main.credentials.as_ref().unwrap();
    assert_eq!(credentials.username, "robot$prober");
    assert_eq!(credentials.password.expose_secret(), SECRET, "without the line end");
    assert_eq!(main.scope.as_ref().unwrap().text(), "repository:probe/canary:pull");
    assert!(main.tls.extra_roots.is_some() && main.tls.client.is_some());
    assert!(main.tls.insecure_skip_verify && main.allow_plaintext);
    assert_eq!(main.balancer.samples, 40);
    assert_eq!(main.balancer.address.as_ref().unwrap().to_string(), "10.0.0.5:443");
    assert_eq!(main.matrix, MatrixMode::Sampled(3));
    assert_eq!(main.token_method, TokenMethod::Post);
    assert_eq!(main.user_agent.as_deref(), Some("docker/27.0.0 (probe)"));
    assert_eq!(main.allowed_realms[0].to_string(), "https://auth.example.com");
    assert_eq!(main.interval, Duration::from_secs(60));
    assert_eq!(main.timeout, Duration::from_millis(1500));
    assert_eq!(main.max_requests_per_second, 9);

    let BackendSource::Dns(dns) = &second.backends else { panic!("{second:?}") };
    assert_eq!((dns.name.as_str(), dns.port, dns.scheme), ("localhost", 5000, Scheme::Http));
    assert_eq!(second.url.authority().scheme, Scheme::Http);
    assert!(second.credentials.is_none() && second.scope.is_none());
    assert_eq!(second.interval, Duration::from_secs(30));
    assert_eq!(second.max_requests_per_second, 7);
    assert_eq!(second.balancer.samples, 20);
    assert_eq!(second.matrix, MatrixMode::Auto);
}

#[test]
fn every_example_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples");
    let mut count = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|it| it != "yml") {
            continue;
        }
        // With the passwords next to it that stand for those of a site.
        let config = config::load(&path).map(|loaded| loaded.config);
        let config = config.unwrap_or_else(|errors| panic!("{}: {errors}", path.display()));
        assert_eq!(config.registries[0].interval, Duration::from_secs(15));
        count += 1;
    }
    assert!(count >= 8, "{count} examples");
}

#[test]
fn what_show_prints_of_discovery_means_the_same() {
    let ways = [
        "dns: {name: core.harbor.svc, port: 8080, scheme: http}",
        "dns: {name: _http._tcp.core.harbor.svc}",
        "file: {path: targets.json, scheme: http}",
        "kubernetes: {namespace: harbor, service: core, port: http-web, scheme: http}",
        "kubernetes: {service: core, port: 8080, kubeconfig: config}",
    ];
    for way in ways {
        let text = format!(
            "registries:\n  - {{name: m, url: 'https://hub.example.com', discovery: {{{way}}}}}\n"
        );
        let config = load(&text).unwrap_or_else(|errors| panic!("{way}: {errors}"));
        let shown = config::show(&config);
        let again = load(&shown).unwrap_or_else(|errors| panic!("{way}: {errors}\n{shown}"));
        assert_eq!(config.registries[0].backends, again.registries[0].backends, "{shown}");
    }
}

/// `expected.txt` has a line for every problem of every `invalid-*.yml`.
#[test]
fn each_way_of_being_wrong_is_said_with_its_place() {
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    for line in fs::read_to_string(data("expected.txt")).unwrap().lines() {
        let file = line.split(':').next().unwrap().to_owned();
        writeln!(expected.entry(file).or_default(), "{line}").unwrap();
    }
    for file in invalid_files() {
        let errors = config::load(&data(&file)).expect_err(&file).to_string();
        let said = errors.replace(&data("").display().to_string(), "") + "\n";
        assert_eq!(Some(said), expected.remove(&file), "{file}");
    }
    assert!(expected.is_empty(), "files are missing: {:?}", expected.keys());
}

fn invalid_files() -> Vec<String> {
    fs::read_dir(data(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("invalid-"))
        .collect()
}

#[test]
fn limits_hold_at_the_limit_and_not_above() {
    let backends = |count: u16| {
        let mut text =
            String::from("registries:\n  - name: m\n    url: https://h\n    backends:\n");
        for n in 1..=count {
            writeln!(text, "      - {{name: n{n}, address: 'h:{n}'}}").unwrap();
        }
        text
    };
    assert!(load(&backends(500)).is_ok());
    let said = load(&backends(501)).unwrap_err().to_string();
    assert!(said.contains(":5:7: 501 backends are too many; at most 500 are allowed"), "{said}");

    let registries = |count: u16| {
        let mut text = String::from("registries:\n");
        for n in 1..=count {
            writeln!(
                text,
                "  - {{name: r{n}, url: 'https://h{n}.test', discovery: {{dns: {{}}}}}}"
            )
            .unwrap();
        }
        text
    };
    assert!(load(&registries(1000)).is_ok());
    let said = load(&registries(1001)).unwrap_err().to_string();
    assert!(said.contains(":2:3: 1001 registries are too many"), "{said}");

    let padded = |size: usize| {
        let text = registries(1);
        let comment = "#".repeat(size - text.len());
        text + &comment
    };
    assert!(load(&padded(1 << 20)).is_ok());
    let said = load(&padded((1 << 20) + 1)).unwrap_err().to_string();
    assert!(said.ends_with("prober.yml: larger than 1048576 bytes"), "{said}");
}

#[test]
fn a_file_that_is_not_there_or_not_a_file_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let missing = config::load(&directory.path().join("none.yml")).unwrap_err().to_string();
    assert!(missing.ends_with("none.yml: no such file"), "{missing}");
    let wrong = config::load(directory.path()).unwrap_err().to_string();
    assert!(wrong.ends_with(": not a regular file"), "{wrong}");
}

#[test]
fn one_mapping_can_be_shared_by_many_registries() {
    let mut text = String::from(
        "registries:\n  - &first\n    name: r0\n    url: https://h0.test\n    discovery: {dns: {}}\n\
         \x20   credentials: &robot {username: robot, password_file: prober.password}\n",
    );
    for n in 1..=200 {
        writeln!(text, "  - <<: *first\n    name: r{n}\n    credentials: *robot").unwrap();
    }
    let config = load(&text).unwrap();
    assert_eq!(config.registries.len(), 201);
    assert!(config.registries.iter().all(|registry| registry.credentials.is_some()));
}

#[test]
fn what_is_shown_is_a_configuration_that_means_the_same() {
    let directory = directory(FULL);
    let path = directory.path().join("prober.yml");
    let shown = config::show(&config::load(&path).unwrap().config);
    assert!(shown.contains("password_file: \"prober.password\""), "{shown}");
    assert!(shown.contains("timeout: 1s 500ms"), "defaults are filled in: {shown}");

    fs::write(&path, &shown).unwrap();
    let again = config::load(&path).unwrap_or_else(|errors| panic!("{errors}\n{shown}"));
    assert_eq!(config::show(&again.config), shown);
}

#[test]
fn a_change_of_any_named_file_changes_the_fingerprint() {
    let directory = directory(FULL);
    let path = directory.path().join("prober.yml");
    let mut last = config::load(&path).unwrap().fingerprint;
    assert_eq!(config::fingerprint(&path), last, "nothing has changed");
    for name in ["prober.yml", "prober.password", "ca.pem", "client.key"] {
        let file = directory.path().join(name);
        let content = fs::read_to_string(&file).unwrap();
        fs::write(&file, content + "\n").unwrap();
        let now = config::fingerprint(&path);
        assert_ne!(now, last, "{name}");
        last = now;
    }
    fs::remove_file(directory.path().join("prober.password")).unwrap();
    assert_ne!(config::fingerprint(&path), last, "a file that is gone is a change too");
}

#[test]
fn the_secret_is_in_no_error_and_no_output() {
    for file in invalid_files() {
        let errors = config::load(&data(&file)).unwrap_err();
        let said = format!("{errors} {errors:?}");
        assert!(!said.contains(SECRET), "{file}: {said}");
    }
    let directory = directory(FULL);
    let loaded = config::load(&directory.path().join("prober.yml")).unwrap();
    let said = format!("{loaded:?} {}", config::show(&loaded.config));
    assert!(!said.contains(SECRET) && !said.contains("PRIVATE KEY"), "{said}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_loader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        prop_assert!(config::load(file.path()).is_err());
    }

    #[test]
    fn no_damage_makes_the_loader_panic(
        position in 0..FULL.len(), length in 0..40_usize, noise in "[-\\[\\]{}&*!|>'\"%@:,#? \n\ta-z0-9.]{0,6}",
    ) {
        let end = (position + length).min(FULL.len());
        let text = format!("{}{noise}{}", &FULL[..position], &FULL[end..]);
        // Either outcome is right; the errors must be printable.
        if let Err(errors) = load(&text) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn an_inline_password_is_not_repeated_whatever_stands_around_it(
        before in "[-\\[{}\\]&*!|>'\"%@`, ]{0,4}", after in "[-\\[{}\\]&*!|>'\"%@`:,# ]{0,4}",
    ) {
        let text = format!(
            "registries:\n  - name: m\n    credentials:\n      password: {before}{SECRET}{after}\n"
        );
        let said = load(&text).unwrap_err();
        prop_assert!(!format!("{said} {said:?}").contains(SECRET), "{said}");
    }
}
