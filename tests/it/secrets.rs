//! No password, token or session reaches anything that can be printed: what a prober was given
//! and what it was issued over a whole round is looked for in every form of that round. What the
//! program itself writes is searched in `daemon`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use registry_prober::clock::Clock;
use registry_prober::config::{BackendSource, TokenMethod};
use registry_prober::lab::{Options, Scenario};
use registry_prober::model::{DnsRecord, Failure, Family, Judged};
use registry_prober::probe::Prober;
use registry_prober::transport::{
    BoxFuture, Destination, Exchange, HttpClient, Link, Request, Tls, Wire,
};
use registry_prober::{config, diagnosis};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::Bench;
use crate::support::outputs::outputs;

/// What went over the wire: secrets that were issued, and the messages as `Debug` shows them.
#[derive(Default)]
struct Record {
    tokens: Vec<String>,
    sessions: Vec<String>,
    /// States of uploads, as they stand in a query.
    states: Vec<String>,
    shown: Vec<String>,
}

/// A wire that writes down what is issued.
struct Recording {
    inner: HttpClient,
    record: Arc<Mutex<Record>>,
}

impl Wire for Recording {
    fn lookup<'a>(
        &'a self,
        host: &'a str,
        resolver: Option<SocketAddr>,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<DnsRecord>, Failure>> {
        self.inner.lookup(host, resolver, deadline)
    }

    fn open(&self, to: &Destination) -> Box<dyn Link> {
        let (inner, record) = (self.inner.open(to), Arc::clone(&self.record));
        Box::new(RecordingLink { inner, record })
    }
}

struct RecordingLink {
    inner: Box<dyn Link>,
    record: Arc<Mutex<Record>>,
}

impl Link for RecordingLink {
    fn send(&mut self, request: Request) -> BoxFuture<'_, Exchange> {
        Box::pin(async move {
            let asked = format!("{request:?}");
            let exchange = self.inner.send(request).await;
            let mut record = self.record.lock().unwrap();
            record.shown.extend([asked, format!("{exchange:?}")]);
            if let Ok(reply) = &exchange.result {
                let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
                let fields = [&body["token"], &body["access_token"]];
                let tokens =
                    fields.into_iter().filter_map(Value::as_str).filter(|it| !it.is_empty());
                record.tokens.extend(tokens.map(str::to_owned));
                let location = reply.headers.get("location").and_then(|value| value.to_str().ok());
                let state = location.and_then(|text| text.split_once("_state=")).map(|it| it.1);
                record.states.extend(state.map(str::to_owned));
                let cookies = reply.headers.get_all("set-cookie").iter();
                let tokens = reply.headers.get_all("x-harbor-csrf-token").iter();
                let tokens = tokens.filter_map(|token| token.to_str().ok().map(str::to_owned));
                record.sessions.extend(tokens);
                record.sessions.extend(cookies.filter_map(|cookie| {
                    let value = cookie.to_str().ok()?.split(';').next()?.split_once('=')?.1;
                    (value.len() > 8).then(|| value.to_owned())
                }));
            }
            exchange
        })
    }
}

/// A secret as it may show up: as it is, as a form writes it, and as bytes in decimal.
fn forms(secret: &str) -> Vec<String> {
    let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
    let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    vec![secret.to_owned(), form, bytes.join(", ")]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_form_of_a_round_holds_a_secret_that_went_over_the_wire() {
    for (scenario, method) in [
        ("healthy", TokenMethod::Get),
        ("token-key-mismatch", TokenMethod::Get),
        ("anonymous-downgrade", TokenMethod::Get),
        ("database-unavailable-at-one-node", TokenMethod::Get),
        ("robot-token-of-old-key", TokenMethod::Get),
        ("key-id-format-mismatch", TokenMethod::Get),
        ("healthy-push", TokenMethod::Get),
        ("http-secret-mismatch", TokenMethod::Get),
        ("storage-not-shared-push", TokenMethod::Get),
        // Harbor refuses the form, which holds the password all the same, and is asked by GET then.
        ("healthy", TokenMethod::Post),
    ] {
        let bench = Bench::start(&Scenario::named(scenario).unwrap(), &Options::default());
        let mut registry = (*bench.registry).clone();
        registry.token_method = method;
        let BackendSource::Static(backends) = registry.backends.clone() else { panic!("listed") };
        let credentials = registry.credentials.clone().unwrap();
        let password = credentials.password.expose_secret();
        let settings = format!("{registry:?}");

        let tls = Tls::prepare(registry.tls.extra_roots.as_deref(), None, false).unwrap();
        let record = Arc::new(Mutex::new(Record::default()));
        let inner = HttpClient::new(tls, "registry-prober/test");
        let wire = Recording { inner, record: Arc::clone(&record) };
        let mut prober = Prober::new(Arc::new(registry), Arc::new(wire));
        let deadline = Instant::now() + Duration::from_secs(13);
        let round = prober.round(&backends, Clock::read(), deadline, &|_| {}).await;
        let assessment = diagnosis::assess(&round);
        let judged = Arc::new(Judged { round, assessment });

        let record = record.lock().unwrap();
        assert!(!record.tokens.is_empty(), "{scenario}: tokens were issued");
        assert!(!record.shown.is_empty());
        let is_harbor = judged.round.backends.iter().any(|it| it.family == Family::Harbor2);
        assert!(!record.sessions.is_empty() || !is_harbor, "{scenario}: sessions were given");
        let pushes = ["push", "upload", "http-secret"].iter().any(|word| scenario.contains(word));
        assert_eq!(!record.states.is_empty(), pushes, "{scenario}: uploads were begun");
        let mut secrets = forms(password);
        secrets.extend(record.states.iter().flat_map(|state| forms(state)));
        let registry = &bench.registry;
        let further = [&registry.system_credentials, &registry.directory_credentials];
        let further = further.into_iter().flatten();
        secrets.extend(further.flat_map(|it| forms(it.password.expose_secret())));
        secrets.push(STANDARD.encode(format!("{}:{password}", credentials.username)));
        for token in &record.tokens {
            secrets.extend(forms(token));
            secrets.extend(token.split('.').filter(|part| part.len() > 20).map(str::to_owned));
        }
        secrets.extend(record.sessions.iter().flat_map(|session| forms(session)));
        let mut texts = outputs(&judged);
        texts.push(("Debug of the registry", settings));
        texts.push(("Debug of the messages", record.shown.join("\n")));
        for (name, text) in texts {
            assert!(text.len() > 20, "{scenario}: {name} says something");
            let found = secrets.iter().find(|secret| text.contains(secret.as_str()));
            assert!(found.is_none(), "{scenario}: {name} holds {found:?}");
        }
    }
}

#[test]
fn a_file_that_is_refused_is_not_quoted_with_its_secrets() {
    const SECRET: &str = "hunter2hunter2";
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("prober.yml");
    let registry = |lines: &str| {
        format!(
            "registries:\n  - name: x\n    url: https://hub.test\n    backends: [{{name: a, address: '10.0.0.1:443'}}]\n{lines}"
        )
    };
    for text in [
        // What people try: the password where only its file may be named.
        registry(&format!("    credentials: {{username: u, password: {SECRET}}}\n")),
        registry(&format!("    credentials: {SECRET}\n")),
        registry(&format!("    credentials: [u, {SECRET}]\n")),
        registry(&format!("    credentials: {{username: u, password_file: {{{SECRET}: 1}}}}\n")),
        registry(&format!("    tls: {{ca_file: x, key: {SECRET}}}\n")),
        format!("registries:\n  - {{name: x, url: 'https://u:{SECRET}@hub.test'}}\n"),
        format!("registries:\n  - {{name: x, url: 'https://hub.test/?token={SECRET}'}}\n"),
        registry(&format!("    allowed_realms: ['https://u:{SECRET}@auth.test']\n")),
        registry(&format!("    credentials: {{username: u, password: '{SECRET}\n")),
    ] {
        std::fs::write(&path, &text).unwrap();
        let errors = config::load(&path).expect_err(&text);
        for shown in [format!("{errors}"), format!("{errors:?}")] {
            assert!(!shown.contains(SECRET), "{text}\n{shown}");
        }
    }
}
