//! The checks of what browsers carry leave nothing behind: Harbor keeps a session for an hour for
//! every client that asks without one that it knows.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use registry_prober::clock::Clock;
use registry_prober::config::BackendSource;
use registry_prober::diagnosis;
use registry_prober::lab::{Options, Scenario};
use registry_prober::model::{Check, DnsRecord, Failure, FindingName, Outcome};
use registry_prober::probe::Prober;
use registry_prober::transport::{
    BoxFuture, Destination, Exchange, HttpClient, Link, Request, Tls, Wire,
};
use tokio::time::Instant;

use crate::support::Bench;

const PING: &str = "/api/v2.0/ping";

/// What was seen of one request to the page that the checks ask.
struct Seen {
    reads: bool,
    cookie: String,
    makes_session: bool,
}

struct Counting {
    inner: HttpClient,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Wire for Counting {
    fn lookup<'a>(
        &'a self,
        host: &'a str,
        resolver: Option<SocketAddr>,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<DnsRecord>, Failure>> {
        self.inner.lookup(host, resolver, deadline)
    }

    fn open(&self, to: &Destination) -> Box<dyn Link> {
        Box::new(CountingLink { inner: self.inner.open(to), seen: Arc::clone(&self.seen) })
    }
}

struct CountingLink {
    inner: Box<dyn Link>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Link for CountingLink {
    fn send(&mut self, request: Request) -> BoxFuture<'_, Exchange> {
        Box::pin(async move {
            let (path, reads) = (request.path.clone(), request.method == http::Method::GET);
            let cookie = request.headers.iter().find(|(name, _)| name == "cookie");
            let cookie = cookie.map_or("", |(_, value)| value.to_str().unwrap()).to_owned();
            let exchange = self.inner.send(request).await;
            if let Ok(reply) = &exchange.result
                && path == PING
            {
                let set = reply.headers.get_all("set-cookie").iter();
                let makes_session = set.into_iter().any(|it| it.as_bytes().starts_with(b"sid="));
                self.seen.lock().unwrap().push(Seen { reads, cookie, makes_session });
            }
            exchange
        })
    }
}

/// What the checks of web state sent in some rounds of a scenario, each of which runs them.
async fn rounds(scenario: &str, count: usize) -> (Vec<Seen>, Vec<FindingName>) {
    let bench = Bench::start(&Scenario::named(scenario).unwrap(), &Options::default());
    let mut registry = (*bench.registry).clone();
    registry.checks.interval = Duration::ZERO;
    let BackendSource::Static(backends) = registry.backends.clone() else { panic!("listed") };
    let tls = Tls::prepare(registry.tls.extra_roots.as_deref(), None, false).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let inner = HttpClient::new(tls, "registry-prober/test");
    let wire = Counting { inner, seen: Arc::clone(&seen) };
    let mut prober = Prober::new(Arc::new(registry), Arc::new(wire));
    let mut findings = Vec::new();
    for _ in 0..count {
        let deadline = Instant::now() + Duration::from_secs(13);
        let round = prober.round(&backends, Clock::read(), deadline, &|_| {}).await;
        for run in round.checks.runs() {
            if matches!(run.check, Check::Csrf | Check::Session) {
                assert_eq!(run.made, Outcome::Measured(()), "{}", run.check);
            }
        }
        findings = diagnosis::assess(&round).findings.iter().map(|f| f.finding).collect();
    }
    (std::mem::take(&mut *seen.lock().unwrap()), findings)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_left_behind_and_none_that_is_real_is_used_to_write() {
    let (seen, findings) = rounds("healthy", 6).await;
    assert_eq!(findings, []);
    assert_eq!(seen.len(), 6 * 2 * 7, "seven requests for each of two nodes and each round");
    assert_eq!(seen.iter().filter(|seen| seen.makes_session).count(), 0);
    assert!(seen.iter().any(|seen| !seen.reads));
    for write in seen.iter().filter(|seen| !seen.reads) {
        assert!(write.cookie.starts_with("sid=x; _gorilla_csrf="), "{}", write.cookie);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_its_own_is_confirmed_without_leaving_a_session() {
    let (seen, findings) = rounds("csrf-key-mismatch", 1).await;
    assert_eq!(findings, [FindingName::CsrfKeyMismatch]);
    assert_eq!(seen.iter().filter(|seen| seen.makes_session).count(), 0);
}
