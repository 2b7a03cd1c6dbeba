//! The port behind TLS and users, as `--web.config.file` orders it: asked by real curl and by a real
//! Prometheus.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use registry_prober::lab::{Options, Scenario};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::real::process::{Process, command};
use crate::support::Bench;
use crate::support::program::{Running, http, run};

const PASSWORD: &str = "word-of-a-test";

/// An authority with a certificate for the prober and one for a client.
struct Pki {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Another subject than its certificates have, or they look as if they signed themselves.
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pki = Self { folder: TempDir::new().unwrap(), authority };
        fs::write(pki.path("ca.pem"), pki.authority.pem()).unwrap();
        pki.sign("server");
        pki.sign("client");
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sign(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
    }

    /// The file, with more lines below `tls_server_config`.
    fn web(&self, more: &str) -> String {
        let path = self.path("web.yml");
        let hash = bcrypt::hash(PASSWORD, 4).unwrap();
        let text = format!(
            "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n{more}\
             basic_auth_users:\n  prometheus: {hash}\n"
        );
        fs::write(&path, text).unwrap();
        format!("--web.config.file={}", path.display())
    }

    /// The status that curl gets, or its exit code below zero.
    fn curl(&self, url: &str, more: &[&str]) -> i32 {
        let mut curl = command("curl");
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]);
        curl.arg("--cacert").arg(self.path("ca.pem")).args(more).arg(url);
        let output = curl.output().expect("curl is installed");
        match output.status.code() {
            Some(0) => String::from_utf8(output.stdout).unwrap().parse().unwrap(),
            code => -code.unwrap(),
        }
    }
}

fn daemon(bench: &Bench, web: &str) -> (Running, String) {
    let (running, address) = Running::daemon(&bench.path, &[web]);
    (running, format!("https://{address}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_users_are_answered_over_tls_and_a_renewed_certificate_needs_no_restart() {
    let bench = Bench::start(&Scenario::named("healthy").unwrap(), &Options::default());
    let pki = Pki::new();
    let (mut running, url) = daemon(&bench, &pki.web(""));
    let user = format!("prometheus:{PASSWORD}");
    let metrics = format!("{url}/metrics");
    assert_eq!(pki.curl(&metrics, &["--user", &user]), 200);
    assert_eq!(pki.curl(&metrics, &["--user", &user]), 200, "a remembered password");
    assert_eq!(pki.curl(&metrics, &[]), 401);
    assert_eq!(pki.curl(&metrics, &["--user", "prometheus:wrong"]), 401);
    assert_eq!(pki.curl(&metrics, &["--user", &format!("other:{PASSWORD}")]), 401);
    assert_eq!(pki.curl(&format!("{url}/-/healthy"), &[]), 200, "kubelets have no password");
    assert!(pki.curl(&url.replace("https", "http"), &[]) < 0, "plain http");
    assert_eq!(pki.curl(&metrics, &["--user", &user, "--tls-max", "1.2"]), 200);

    running.log("the registry is healthy");
    for arguments in [
        vec!["healthcheck".to_owned(), format!("--url={url}")],
        vec![
            "healthcheck".to_owned(),
            format!("--url={url}"),
            format!("--ca-file={}", pki.path("ca.pem").display()),
        ],
    ] {
        let asked = run(&arguments);
        assert_eq!(asked.code, Some(0), "{asked:?}");
    }
    // Incidents are for users.
    let asked = run(&["check".to_owned(), "--since=1h".to_owned(), format!("--daemon={url}")]);
    assert_eq!(asked.code, Some(3), "{asked:?}");
    assert!(asked.stderr.contains("asks for a user and a password"), "{asked:?}");

    // Whoever renews writes the chain and the key one after the other: what fits together counts.
    pki.sign("server");
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(pki.curl(&metrics, &["--user", &user]), 200);
    running.log("certificates and users of the port were read again");
    fs::write(pki.path("web.yml"), "tls: {}\n").unwrap();
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(pki.curl(&metrics, &["--user", &user]), 200, "the old one stays in use");
    running.log("the web configuration is not valid; the old one stays in use");
    let open = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n";
    fs::write(pki.path("web.yml"), open).unwrap();
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(pki.curl(&metrics, &[]), 200, "there are no users any more");
    let ca = format!("--ca-file={}", pki.path("ca.pem").display());
    for more in [Vec::new(), vec![ca]] {
        let since = ["check".to_owned(), "--since=1h".to_owned(), format!("--daemon={url}")];
        let asked = run(&[since.to_vec(), more].concat());
        assert_eq!(asked.code, Some(0), "{asked:?}");
        assert!(asked.stdout.contains("No incident since"), "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_a_certificate_are_refused_where_one_is_needed() {
    let bench = Bench::start(&Scenario::named("healthy").unwrap(), &Options::default());
    let pki = Pki::new();
    let more = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  \
                min_version: TLS13\n";
    let (mut running, url) = daemon(&bench, &pki.web(more));
    let user = format!("prometheus:{PASSWORD}");
    let (cert, key) = (pki.path("client.pem"), pki.path("client.key"));
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let metrics = format!("{url}/metrics");
    assert!(pki.curl(&metrics, &["--user", &user]) < 0);
    assert_eq!(pki.curl(&metrics, &["--user", &user, "--cert", cert, "--key", key]), 200);
    let old = ["--user", &user, "--cert", cert, "--key", key, "--tls-max", "1.2"];
    assert!(pki.curl(&metrics, &old) < 0, "TLS 1.2");
    running.log("the registry is healthy");
    let asked = run(&[
        "healthcheck".to_owned(),
        format!("--url={url}"),
        format!("--cert-file={cert}"),
        format!("--key-file={key}"),
    ]);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    assert_eq!(run(&["healthcheck".to_owned(), format!("--url={url}")]).code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_scrapes_over_tls_with_a_password() {
    let bench = Bench::start(&Scenario::named("healthy").unwrap(), &Options::default());
    let pki = Pki::new();
    let (_running, url) = daemon(&bench, &pki.web(""));
    let target = url.strip_prefix("https://").unwrap();
    let config = pki.path("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: registry-prober\n    \
         scheme: https\n    tls_config: {{ca_file: {}}}\n    \
         basic_auth: {{username: prometheus, password: {PASSWORD}}}\n    \
         static_configs: [{{targets: ['{target}']}}]\n",
        pki.path("ca.pem").display()
    );
    fs::write(&config, text).unwrap();
    let folder: &Path = pki.folder.path();
    let (mut prometheus, at) = Process::listening(folder, "prometheus", |address| {
        let mut command = command("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()));
        command.arg(format!("--web.listen-address={address}"));
        command
    })
    .await;
    let up = async || {
        let (status, page) = http("GET", &at.to_string(), "/api/v1/query?query=up");
        status == 200 && page.contains(",\"1\"]")
    };
    prometheus.until(up).await.expect("the target is up after a while");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_file_stops_the_start_and_says_where() {
    let bench = Bench::start(&Scenario::named("healthy").unwrap(), &Options::default());
    let pki = Pki::new();
    let web = pki.web("");
    fs::write(pki.path("web.yml"), "basic_auth_users: {prometheus: hunter2}\n").unwrap();
    let config = format!("--config.file={}", bench.path.display());
    let ended = run(&["run", &config, "--web.listen-address=127.0.0.1:0", &web]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("web.yml:1:32: expected a bcrypt hash"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("hunter2"));

    // What exporters know as well is refused in words of its own.
    let file = "tls_server_config: {cert_file: server.pem, key_file: server.key, cert: hunter2, \
                max_version: TLS12}\n\
                http_server_config: {http2: false}\n";
    fs::write(pki.path("web.yml"), file).unwrap();
    let ended = run(&["run", &config, "--web.listen-address=127.0.0.1:0", &web]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    for said in [
        "web.yml:1:66: cert is not supported; write the certificate to a file and name that in cert_file",
        "web.yml:1:81: max_version is not supported; remove it",
        "web.yml:2:1: http_server_config is not supported; remove it",
    ] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("hunter2") && !ended.stderr.contains("unknown key"));
}
