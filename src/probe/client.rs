//! Sends the requests of a round: where to, with which headers, at what pace, until when, and with
//! what taken from the answers. The one place that sends.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, COOKIE};
use http::{HeaderName, HeaderValue, Method};
use tokio::time::Instant;
use url::Url;

use super::clocks::Clocks;
use super::memory::{Memory, RouteMemory};
use super::path::path_of;
use super::processor::Processor;
use super::records::{Record, Records};
use super::redact::Redactor;
use super::request::{Auth, Request, Response, Token};
use crate::clock::Clock;
use crate::config::{self, Authority, Backend, HostPort, Scheme};
use crate::model::{
    Answer, Check, ClockSource, DnsRecord, Failure, Phase, Reason, Route, Setting, Step, Timeline,
};
use crate::registry;
use crate::transport::{self, Body, Connect, Destination, Exchange, Link, Reply, Wire};

/// A link and who is at its end, whose cookies go back there alone.
pub(super) struct Connection {
    link: Box<dyn Link>,
    to: Destination,
    /// Whether it goes along the route itself: clock, certificate and settings are the route's.
    own: bool,
}

impl AsMut<Self> for Connection {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

/// Asks for one registry during one round.
pub(super) struct Client<'a> {
    pub(super) registry: &'a config::Registry,
    pub(super) backends: &'a [Backend],
    pub(super) clock: Clock,
    /// When the round began.
    pub(super) began: Instant,
    pub(super) clocks: &'a Clocks,
    /// No request ends later.
    pub(super) deadline: Instant,
    wire: &'a dyn Wire,
    memory: &'a Memory,
    pub(super) redactor: &'a Redactor,
    /// What the round's chance follows from; also names its requests.
    pub(super) seed: u64,
    requests: AtomicU32,
    /// Verifiers that accept tokens whose own words speak against them, and in what way.
    lenient: Mutex<Vec<(Route, Reason)>>,
    /// Whether this host let the round run.
    pub(super) processor: Processor,
    records: Mutex<Records>,
}

impl<'a> Client<'a> {
    pub(super) fn new(
        registry: &'a config::Registry,
        backends: &'a [Backend],
        wire: &'a dyn Wire,
        (memory, clocks, redactor): (&'a Memory, &'a Clocks, &'a Redactor),
        clock: Clock,
        deadline: Instant,
        seed: u64,
    ) -> Self {
        Self {
            registry,
            backends,
            clock,
            began: Instant::now(),
            clocks,
            deadline,
            wire,
            memory,
            redactor,
            seed,
            requests: AtomicU32::new(0),
            lenient: Mutex::default(),
            processor: Processor::default(),
            records: Mutex::default(),
        }
    }

    /// Every route of the round, backends first.
    pub(super) fn routes(&self) -> Vec<Route> {
        let backends = self.backends.iter().map(|backend| Route::Backend(backend.name.clone()));
        backends.chain([Route::Balancer]).collect()
    }

    /// Whether the round's time is over.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Whether a route asked for fewer requests lately; then only its own flow runs there.
    pub(super) fn holds(&self, route: &Route) -> bool {
        self.memory.get(route).is_some_and(RouteMemory::holds)
    }

    /// What is remembered of the load balancer's route.
    pub(super) fn at_balancer(&self) -> Option<&RouteMemory> {
        self.memory.get(&Route::Balancer)
    }

    /// Whether a verifier accepted a token in this round although the token itself speaks against it.
    pub(super) fn is_lenient(&self, route: &Route, in_spite_of: Reason) -> bool {
        let known = self.lenient.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().any(|(at, reason)| (at, *reason) == (route, in_spite_of))
    }

    /// Notes that it did.
    pub(super) fn note_lenient(&self, route: &Route, in_spite_of: Reason) {
        let mut known = self.lenient.lock().unwrap_or_else(PoisonError::into_inner);
        known.push((route.clone(), in_spite_of));
    }

    /// The session that a route gave, for a check that must say its own cookies; only where
    /// nothing is written.
    pub(super) fn session(&self, route: &Route) -> Option<HeaderValue> {
        self.memory.get(route)?.session(&self.destination(route))
    }

    /// Waits, but not beyond the round's time; `false` if that is over first.
    pub(super) async fn sleep_until(&self, at: Instant) -> bool {
        if at >= self.deadline {
            return false;
        }
        tokio::time::sleep_until(at).await;
        true
    }

    /// A fresh link along a route.
    pub(super) fn link(&self, route: &Route) -> Connection {
        self.connection(self.destination(route), true)
    }

    /// A fresh link to an authority that is not the registry's, such as a token server.
    pub(super) fn link_to(&self, authority: &Authority) -> Connection {
        self.connection(destination(authority, authority.scheme, &authority.host_port), false)
    }

    /// A fresh link to an address of the public name.
    pub(super) fn link_at(&self, address: SocketAddr) -> Connection {
        let public = self.registry.url.authority();
        let connect = Connect::Address(address);
        let at = destination(public, public.scheme, &public.host_port);
        self.connection(Destination { connect, ..at }, false)
    }

    fn connection(&self, to: Destination, own: bool) -> Connection {
        Connection { link: self.wire.open(&to), to, own }
    }

    /// The addresses of a name, by one resolver or the system's way.
    pub(super) async fn lookup(
        &self,
        host: &str,
        resolver: Option<SocketAddr>,
        check: Check,
    ) -> Result<Vec<DnsRecord>, Failure> {
        self.records().count_request(check);
        let deadline = (Instant::now() + self.registry.timeout).min(self.deadline);
        let found = self.wire.lookup(host, resolver, deadline).await;
        found.map_err(|failure| self.redactor.failure(failure))
    }

    /// Whether a backend is at an address of this machine.
    pub(super) fn is_at_loopback(&self) -> bool {
        let local = |host: &str| host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        self.backends.iter().any(|backend| local(&backend.address.host))
    }

    /// A page of a server that is no part of the registry, at one of its addresses: no credentials,
    /// no session, and its clock is not measured.
    pub(super) async fn fetch_elsewhere(
        &self,
        (authority, url): (&Authority, &Url),
        at: SocketAddr,
        header: (HeaderName, HeaderValue),
        check: Check,
    ) -> Exchange {
        self.records().count_request(check);
        let named = destination(authority, authority.scheme, &authority.host_port);
        let mut link = self.wire.open(&Destination { connect: Connect::Address(at), ..named });
        let headers = vec![(ACCEPT, HeaderValue::from_static("*/*")), header];
        let path = path_of(url);
        let deadline = (Instant::now() + self.registry.timeout).min(self.deadline);
        let request =
            transport::Request { method: Method::GET, path, headers, body: Body::Empty, deadline };
        self.redacted(link.send(request).await).0
    }

    fn destination(&self, route: &Route) -> Destination {
        let public = self.registry.url.authority();
        if let Some(backend) = self.backend(route) {
            return destination(public, backend.scheme, &backend.address);
        }
        let at = self.registry.balancer.address.as_ref().unwrap_or(&public.host_port);
        destination(public, public.scheme, at)
    }

    fn backend(&self, route: &Route) -> Option<&Backend> {
        let name = route.backend()?;
        self.backends.iter().find(|backend| backend.name == *name)
    }

    /// Sends a request along a route and writes down what came back.
    pub(super) async fn send(
        &self,
        connection: &mut Connection,
        route: &Route,
        request: Request<'_>,
    ) -> Response {
        if !self.memory.may_send(route, self.deadline).await {
            return Response { exchange: unsent(), raw: None, answer: None };
        }
        let limit = request.within.unwrap_or(self.registry.timeout).min(self.registry.timeout);
        let deadline = (Instant::now() + limit).min(self.deadline);
        // A token held since an earlier round may be refused for good reasons.
        let fresh = |token: &Token| token.received >= self.began;
        let fresh_token = matches!(request.auth, Auth::Bearer(token) if fresh(token));
        let (step, check) = (request.step, request.check);
        let begins_upload = request.method == Method::POST;
        // Not counted: a body that is too large and a path outside the registry's API, on which a
        // server may close the connection, and what a check allows less time than others.
        let counts = limit == self.registry.timeout
            && check != Some(Check::BodyLimit)
            && (step != Step::Check || request.path.is_of_a_registry());
        if let Some(check) = check {
            self.records().count_request(check);
        }
        let id = self.next_id();
        let sent = transport::Request {
            headers: self.headers(connection, route, &request, &id),
            method: request.method,
            path: request.path.into_string(),
            body: request.body,
            deadline,
        };
        let mut exchange = connection.link.send(sent).await;
        if deadline == self.deadline {
            own_deadline(&mut exchange);
        }
        if let Some(wait) = self.processor.busy_since(exchange.sent) {
            own_delay(&mut exchange, wait);
        }
        let own = connection.own;
        self.records()
            .take(&Record { route, step, own, fresh_token, exchange: &exchange }, self.redactor);
        if own {
            self.clocks.book_answer(route, &exchange, begins_upload);
        }
        let response = self.response(connection, route, exchange, id);
        if own && counts {
            self.records().count_sent(route, response.exchange.result.as_ref().err());
        }
        response
    }

    /// Sends over a fresh connection, and over another where the network lost the first request:
    /// one that is lost is no fault of a server.
    pub(super) async fn send_afresh(&self, route: &Route, request: Request<'_>) -> Response {
        let first = self.send(self.link(route).as_mut(), route, request.clone()).await;
        let lost = first.exchange.result.as_ref().is_err_and(|it| it.reason.is_network());
        if !lost || self.is_over() || self.holds(route) {
            return first;
        }
        self.send(self.link(route).as_mut(), route, request).await
    }

    /// What came back, without secrets, and what is remembered of it.
    fn response(
        &self,
        connection: &Connection,
        route: &Route,
        exchange: Exchange,
        id: String,
    ) -> Response {
        let memory = self.memory.get(route);
        if let (Some(memory), Ok(reply)) = (memory, &exchange.result) {
            memory.keep_session(&connection.to, &reply.headers);
        }
        let (exchange, raw) = self.redacted(exchange);
        let answer = exchange.result.as_ref().ok().map(|reply| {
            let answer = registry::answer_of(reply.status, &reply.headers, &reply.body);
            if let Some(memory) = memory {
                memory.note_hold(&answer);
            }
            let body_bytes = raw.as_ref().unwrap_or(reply).body.len();
            let log_id = answer.log_id.clone().or(Some(id));
            Answer { log_id, body_bytes, ..answer }
        });
        Response { exchange, answer, raw }
    }

    /// What came, without secrets; and the reply as it came, where that is another.
    fn redacted(&self, exchange: Exchange) -> (Exchange, Option<Reply>) {
        let (result, raw) = match exchange.result {
            Ok(reply) => {
                let (clean, raw) = self.redactor.reply(reply);
                (Ok(clean), raw)
            }
            Err(failure) => (Err(self.redactor.failure(failure)), None),
        };
        (Exchange { result, ..exchange }, raw)
    }

    /// Asks for a page at an instant, or as soon after as the route's pace allows. Nothing but the
    /// time that comes back is of interest; whoever asked books it.
    pub(super) async fn send_at(
        &self,
        connection: &mut Connection,
        route: &Route,
        path: &'static str,
        at: Instant,
        until: Instant,
    ) -> Exchange {
        if !self.memory.may_send(route, self.deadline).await {
            return unsent();
        }
        let request = Request::get(Step::Check, path, Auth::None);
        let mut headers = self.headers(connection, route, &request, &self.next_id());
        headers.push((CACHE_CONTROL, HeaderValue::from_static("no-cache")));
        let deadline =
            (at.max(Instant::now()) + self.registry.timeout).min(until).min(self.deadline);
        self.wire.wait_until(at.min(deadline)).await;
        let (step, path) = (request.step, request.path.into_string());
        let request =
            transport::Request { method: Method::GET, path, headers, body: Body::Empty, deadline };
        let exchange = connection.link.send(request).await;
        let own = connection.own;
        self.records().take(
            &Record { route, step, own, fresh_token: false, exchange: &exchange },
            self.redactor,
        );
        if let (Some(memory), Ok(reply)) = (self.memory.get(route), &exchange.result) {
            memory.note_hold(&registry::answer_of(reply.status, &reply.headers, &reply.body));
        }
        self.redacted(exchange).0
    }

    /// The `X-Request-Id` of one request.
    fn next_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("{}{number}", request_ids(self.seed))
    }

    fn headers(
        &self,
        connection: &Connection,
        route: &Route,
        request: &Request<'_>,
        id: &str,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::with_capacity(6);
        if !request.headers.iter().any(|(name, _)| *name == ACCEPT) {
            headers.push((ACCEPT, HeaderValue::from_static("*/*")));
        }
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.push((HeaderName::from_static("x-request-id"), id));
        }
        headers.extend(request.auth.header().map(|value| (AUTHORIZATION, value)));
        headers.extend(request.headers.iter().cloned());
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        let own_cookie = request.headers.iter().any(|(name, _)| *name == COOKIE);
        if let Some(memory) = self.memory.get(route)
            && reads
            && !own_cookie
        {
            // Not where something is written: there a session switches Harbor's CSRF checks on.
            headers.extend(memory.session(&connection.to).map(|value| (COOKIE, value)));
        }
        // A plain backend behind a TLS-terminating balancer is asked as that balancer would.
        if connection.own
            && self.backend(route).is_some_and(|backend| backend.scheme == Scheme::Http)
            && self.registry.url.authority().scheme == Scheme::Https
        {
            let name = HeaderName::from_static("x-forwarded-proto");
            headers.push((name, HeaderValue::from_static("https")));
        }
        self.redactor.learn_sent(&headers);
        headers
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests a check has sent in this round.
    pub(super) fn requests_of(&self, check: Check) -> u32 {
        self.records().requests_of(check)
    }

    /// Writes down what an answer along a route says of a backend's settings.
    pub(super) fn record_settings(&self, route: &Route, settings: Vec<(Setting, String)>) {
        self.records().take_settings(route, settings);
    }

    /// Writes down the time that a token says it was issued at.
    pub(super) fn record_issued_at(&self, route: &Route, exchange: &Exchange, issued_at: i64) {
        let stamp = registry::Stamp::of_seconds(issued_at);
        self.clocks.book(route, ClockSource::Iat, exchange, stamp);
    }

    /// Ends the round: what was written down.
    pub(super) fn finish(self) -> Records {
        self.records.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the `X-Request-Id` of every request of a round begins.
pub(super) fn request_ids(seed: u64) -> String {
    format!("registry-prober-{seed:016x}-")
}

/// A request that the end of the round cut off says nothing of whoever was asked.
fn own_deadline(exchange: &mut Exchange) {
    if let Err(failure) = &mut exchange.result
        && failure.reason == Reason::Timeout
    {
        failure.reason = Reason::DeadlineReached;
        "the time of this round was over before an answer came".clone_into(&mut failure.detail);
    }
}

/// Nor does one that this host came back to too late.
fn own_delay(exchange: &mut Exchange, wait: Duration) {
    if let Err(failure) = &mut exchange.result
        && failure.reason == Reason::Timeout
    {
        failure.reason = Reason::ProberBusy;
        failure.detail = format!(
            "this host gave the prober no processor time for {:.1} s, and an answer may have come \
             meanwhile",
            wait.as_secs_f64()
        );
    }
}

fn destination(public: &Authority, scheme: Scheme, at: &HostPort) -> Destination {
    let connect = match at.host.parse() {
        Ok(address) => Connect::Address(SocketAddr::new(address, at.port)),
        Err(_) => Connect::Name { host: at.host.clone(), port: at.port },
    };
    Destination {
        tls: scheme == Scheme::Https,
        host: public.host_port.host.clone(),
        host_header: public.host_header(),
        connect,
    }
}

/// What comes of a request for which the pace left no time in the round.
fn unsent() -> Exchange {
    let now = Instant::now();
    let detail = "the round ended before max_requests_per_second let it be sent";
    let (phase, reason) = (Phase::Connect, Reason::DeadlineReached);
    Exchange {
        result: Err(Failure { phase: Some(phase), reason, detail: detail.to_owned() }),
        timeline: Timeline::default().failed(phase, Duration::ZERO),
        sent: now,
        answered: now,
        certificate: None,
    }
}

/// How long what was lost to the network is left before it is tried again.
pub(super) const TRY_AGAIN_AFTER: Duration = Duration::from_millis(100);
