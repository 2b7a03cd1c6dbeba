//! One request of a round: headers, session, pace and book-keeping in one place.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::ExposeSecret as _;
use tokio::time::Instant;
use url::Url;

use super::clock::Clocks;
use super::pace::{Pace, Side};
use super::path::{Path, path_of};
use super::redact::Redactor;
use super::settings::Notes;
use crate::clock::Clock;
use crate::config::{self, Authority, Backend, Credentials, HostPort, Scheme};
use crate::model::{
    Answer, Certificate, Check, ClockSource, DnsRecord, Failure, Issuer, Phase, Ratio, Reason,
    ResponseCount, Route, Setting, Step, Timeline, TokenFacts,
};
use crate::registry;
use crate::transport::{Body, Connect, Destination, Exchange, Link, Reply, Request, Wire};

/// A token with what it says of itself. It remembers who issued it, has no `Display`, and its
/// `Debug` shows the claims only.
pub(super) struct Token {
    /// `Bearer …`, marked sensitive.
    authorization: HeaderValue,
    pub(super) facts: TokenFacts,
    pub(super) issuer: Issuer,
    pub(super) received: Instant,
}

impl Token {
    /// `None` if the token cannot stand in a header, which the parser has already excluded.
    pub(super) fn new(secret: &str, facts: TokenFacts, issuer: Issuer) -> Option<Self> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {secret}")).ok()?;
        authorization.set_sensitive(true);
        Some(Self { authorization, facts, issuer, received: Instant::now() })
    }
}

impl Token {
    /// Held for another round, it is looked for in that one too.
    pub(super) fn learned_by(&self, redactor: &Redactor) {
        redactor.learn_sent(&[(AUTHORIZATION, self.authorization.clone())]);
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// What a request says of who sends it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Auth<'a> {
    None,
    Basic(&'a Credentials),
    Bearer(&'a Token),
    /// Something that is no token: tells whether the header arrives.
    Garbage,
}

/// One request. No `Debug`: its body may hold the password.
#[derive(Clone)]
pub(super) struct Ask<'a> {
    pub(super) step: Step,
    /// Which check asks; none for the flow.
    pub(super) check: Option<Check>,
    pub(super) method: Method,
    pub(super) path: Path,
    pub(super) auth: Auth<'a>,
    /// Headers beside those that every request has.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Body,
    /// A shorter time than the configured one.
    pub(super) within: Option<Duration>,
}

impl<'a> Ask<'a> {
    pub(super) fn get(step: Step, path: impl Into<Path>, auth: Auth<'a>) -> Self {
        Self {
            step,
            check: None,
            method: Method::GET,
            path: path.into(),
            auth,
            headers: Vec::new(),
            body: Body::Empty,
            within: None,
        }
    }

    /// A form sent by POST.
    pub(super) fn form(step: Step, path: Path, form: String) -> Self {
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut ask = Self::get(step, path, Auth::None).with(CONTENT_TYPE, kind);
        (ask.method, ask.body) = (Method::POST, Body::Text(form));
        ask
    }

    /// A request of a check.
    pub(super) fn of(check: Check, method: Method, path: impl Into<Path>, auth: Auth<'a>) -> Self {
        let ask = Self::get(Step::Check, path, auth);
        Self { check: Some(check), method, ..ask }
    }

    /// With one more header.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// What came of a request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) exchange: Exchange,
    /// The answer read, if one arrived.
    pub(super) answer: Option<Answer>,
    /// The reply as it came, where secrets had to be taken out of it.
    raw: Option<Reply>,
}

impl Asked {
    pub(super) fn reply(&self) -> Option<&Reply> {
        self.exchange.result.as_ref().ok()
    }

    /// The reply as it came: for what is sent back, and never for what is kept or shown.
    pub(super) fn raw(&self) -> Option<&Reply> {
        self.raw.as_ref().or(self.reply())
    }

    /// The reply, freed of secrets and as it came.
    pub(super) fn into_replies(self) -> Result<(Reply, Option<Reply>), Failure> {
        Ok((self.exchange.result?, self.raw))
    }

    pub(super) fn timeline(&self) -> Timeline {
        self.exchange.timeline.clone()
    }
}

/// A link and who is at its end, whose cookies go back to him alone.
pub(super) struct Line {
    link: Box<dyn Link>,
    to: Destination,
    /// Whether it goes along the route itself: clock, certificate and settings are the route's.
    own: bool,
}

impl AsMut<Self> for Line {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

/// What is remembered of a route between rounds: the sessions that it and the token servers that it
/// names gave, so that no request makes Harbor keep another one, and its pace.
#[derive(Debug)]
pub(super) struct RouteMemory {
    sessions: Mutex<Vec<(Destination, HeaderValue)>>,
    /// Until when only the flow itself is asked.
    hold: Mutex<Option<Instant>>,
    pace: Pace,
}

impl RouteMemory {
    fn sessions(&self) -> MutexGuard<'_, Vec<(Destination, HeaderValue)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that whoever is there gave.
    fn session(&self, from: &Destination) -> Option<HeaderValue> {
        let sessions = self.sessions();
        sessions.iter().find(|(to, _)| to == from).map(|(_, session)| session.clone())
    }

    /// Keeps the `sid` that an answer gave.
    fn keep_session(&self, from: &Destination, headers: &HeaderMap) {
        let Some(cookie) = registry::set_cookie(headers, registry::SESSION_COOKIE) else { return };
        let mut sessions = self.sessions();
        sessions.retain(|(to, _)| to != from);
        if sessions.len() >= MAX_SESSIONS {
            sessions.remove(0);
        }
        sessions.push((from.clone(), cookie));
    }
}

/// The most characters of a certificate's name.
const MAX_NAME: usize = 100;

/// More places of one route are not remembered.
const MAX_SESSIONS: usize = 32;

/// The memory of every route, which all rounds of a registry have in common.
pub(super) type Shared = Mutex<BTreeMap<Route, Arc<RouteMemory>>>;

/// The memory of the routes of one round.
#[derive(Debug)]
pub(super) struct Memory {
    routes: BTreeMap<Route, Arc<RouteMemory>>,
    side: Side,
}

impl Memory {
    /// Takes what is remembered of these routes and begins the memory of new ones. The registry's
    /// own rounds forget those that are gone.
    pub(super) fn of(shared: &Shared, routes: &[Route], per_second: u32, side: Side) -> Self {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if side == Side::Own {
            shared.retain(|route, _| routes.contains(route));
        }
        let begin = || {
            Arc::new(RouteMemory {
                sessions: Mutex::default(),
                hold: Mutex::default(),
                pace: Pace::new(per_second),
            })
        };
        let remembered = |route: &Route| {
            (route.clone(), Arc::clone(shared.entry(route.clone()).or_insert_with(begin)))
        };
        Self { routes: routes.iter().map(remembered).collect(), side }
    }

    fn get(&self, route: &Route) -> Option<&Arc<RouteMemory>> {
        self.routes.get(route)
    }
}

/// Book-keeping of one round.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) responses: BTreeMap<(Route, Step, u16, bool), u64>,
    pub(super) certificates: BTreeMap<Route, Certificate>,
    /// Requests of checks, answered or not.
    pub(super) requests: BTreeMap<Check, u32>,
    /// Requests through the load balancer of whatever kind, and how many the network lost.
    pub(super) through: Ratio,
    /// What the backends told of their settings.
    pub(super) settings: Notes,
}

/// Asks for one registry during one round.
pub(super) struct Asker<'a> {
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
    requests: std::sync::atomic::AtomicU32,
    tally: Mutex<Tally>,
}

impl<'a> Asker<'a> {
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
            requests: std::sync::atomic::AtomicU32::new(0),
            tally: Mutex::default(),
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

    /// Whether a route asked for fewer requests lately; what is not its own flow leaves it in
    /// peace.
    pub(super) fn holds(&self, route: &Route) -> bool {
        self.memory.get(route).is_some_and(|memory| {
            let hold = memory.hold.lock().unwrap_or_else(PoisonError::into_inner);
            hold.is_some_and(|until| Instant::now() < until)
        })
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
    pub(super) fn link(&self, route: &Route) -> Line {
        self.line(self.destination(route), true)
    }

    /// A fresh link to an authority that is not the registry's, such as a token server.
    pub(super) fn link_to(&self, authority: &Authority) -> Line {
        self.line(destination(authority, authority.scheme, &authority.host_port), false)
    }

    /// A fresh link to an address of the public name.
    pub(super) fn link_at(&self, address: SocketAddr) -> Line {
        let public = self.registry.url.authority();
        let connect = Connect::Address(address);
        let at = destination(public, public.scheme, &public.host_port);
        self.line(Destination { connect, ..at }, false)
    }

    fn line(&self, to: Destination, own: bool) -> Line {
        Line { link: self.wire.open(&to), to, own }
    }

    /// The addresses of a name, by one resolver or the system's way.
    pub(super) async fn lookup(
        &self,
        host: &str,
        resolver: Option<SocketAddr>,
        check: Check,
    ) -> Result<Vec<DnsRecord>, Failure> {
        *self.tally().requests.entry(check).or_default() += 1;
        let deadline = (Instant::now() + self.registry.timeout).min(self.deadline);
        let found = self.wire.lookup(host, resolver, deadline).await;
        found.map_err(|failure| self.redactor.failure(failure))
    }

    /// Whether a backend is at an address of this machine.
    pub(super) fn is_at_loopback(&self) -> bool {
        let local = |host: &str| host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        self.backends.iter().any(|backend| local(&backend.address.host))
    }

    /// A page of somebody who is no part of the registry, at one of his addresses: no credentials,
    /// no session, and his clock is nobody's.
    pub(super) async fn fetch_elsewhere(
        &self,
        (authority, url): (&Authority, &Url),
        at: SocketAddr,
        header: (HeaderName, HeaderValue),
        check: Check,
    ) -> Exchange {
        *self.tally().requests.entry(check).or_default() += 1;
        let named = destination(authority, authority.scheme, &authority.host_port);
        let mut link = self.wire.open(&Destination { connect: Connect::Address(at), ..named });
        let headers = vec![(ACCEPT, HeaderValue::from_static("*/*")), header];
        let path = path_of(url);
        let deadline = (Instant::now() + self.registry.timeout).min(self.deadline);
        let request = Request { method: Method::GET, path, headers, body: Body::Empty, deadline };
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

    /// Waits for a route's pace; `false` if the round's time is over first.
    async fn may_send(&self, memory: Option<&Arc<RouteMemory>>) -> bool {
        match memory {
            Some(memory) => memory.pace.wait(self.deadline, self.memory.side).await,
            None => true,
        }
    }

    /// Sends a request along a route and books what came back.
    pub(super) async fn ask(&self, line: &mut Line, route: &Route, ask: Ask<'_>) -> Asked {
        let memory = self.memory.get(route);
        if !self.may_send(memory).await {
            return Asked { exchange: unsent(), raw: None, answer: None };
        }
        let limit = ask.within.unwrap_or(self.registry.timeout).min(self.registry.timeout);
        let deadline = (Instant::now() + limit).min(self.deadline);
        // A token held since an earlier round may be refused for good reasons.
        let fresh = |token: &Token| token.received >= self.began;
        let fresh_token = matches!(ask.auth, Auth::Bearer(token) if fresh(token));
        let step = ask.step;
        let begins_upload = ask.method == Method::POST;
        if let Some(check) = ask.check {
            *self.tally().requests.entry(check).or_default() += 1;
        }
        let request = Request {
            headers: self.headers(line, route, memory, &ask),
            method: ask.method,
            path: ask.path.into_string(),
            body: ask.body,
            deadline,
        };
        let mut exchange = line.link.send(request).await;
        if deadline == self.deadline {
            own_deadline(&mut exchange);
        }
        self.count(line, route, step, fresh_token, &exchange);
        // A body that is too large is refused by the end of the connection too.
        if line.own && *route == Route::Balancer && ask.check != Some(Check::BodyLimit) {
            self.count_through(&exchange);
        }
        if line.own {
            self.clocks.book_answer(route, &exchange, begins_upload);
        }
        if let (Some(memory), Ok(reply)) = (memory, &exchange.result) {
            memory.keep_session(&line.to, &reply.headers);
        }
        let (exchange, raw) = self.redacted(exchange);
        let answer = exchange.result.as_ref().ok().map(|reply| {
            let answer = registry::answer_of(reply.status, &reply.headers, &reply.body);
            if let Some(memory) = memory {
                hold(memory, &answer);
            }
            Answer { body_bytes: raw.as_ref().unwrap_or(reply).body.len(), ..answer }
        });
        Asked { exchange, answer, raw }
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
    pub(super) async fn ask_at(
        &self,
        line: &mut Line,
        route: &Route,
        path: &'static str,
        at: Instant,
        until: Instant,
    ) -> Exchange {
        let memory = self.memory.get(route);
        if !self.may_send(memory).await {
            return unsent();
        }
        let ask = Ask::get(Step::Check, path, Auth::None);
        let mut headers = self.headers(line, route, memory, &ask);
        headers.push((CACHE_CONTROL, HeaderValue::from_static("no-cache")));
        let deadline =
            (at.max(Instant::now()) + self.registry.timeout).min(until).min(self.deadline);
        self.wire.wait_until(at.min(deadline)).await;
        let (step, path) = (ask.step, ask.path.into_string());
        let request = Request { method: Method::GET, path, headers, body: Body::Empty, deadline };
        let exchange = line.link.send(request).await;
        self.count(line, route, step, false, &exchange);
        self.redacted(exchange).0
    }

    fn headers(
        &self,
        line: &Line,
        route: &Route,
        memory: Option<&Arc<RouteMemory>>,
        ask: &Ask<'_>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::with_capacity(6);
        if !ask.headers.iter().any(|(name, _)| *name == ACCEPT) {
            headers.push((ACCEPT, HeaderValue::from_static("*/*")));
        }
        let number = self.requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = format!("{}{number}", request_ids(self.seed));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.push((HeaderName::from_static("x-request-id"), id));
        }
        match ask.auth {
            Auth::None => {}
            Auth::Basic(credentials) => {
                headers.extend(basic(credentials).map(|value| (AUTHORIZATION, value)));
            }
            Auth::Bearer(token) => headers.push((AUTHORIZATION, token.authorization.clone())),
            Auth::Garbage => {
                headers.push((AUTHORIZATION, HeaderValue::from_static("Bearer garbage")));
            }
        }
        headers.extend(ask.headers.iter().cloned());
        let reads = matches!(ask.method, Method::GET | Method::HEAD);
        let own_cookie = ask.headers.iter().any(|(name, _)| *name == COOKIE);
        if let Some(memory) = memory
            && reads
            && !own_cookie
        {
            // Not where something is written: there a session switches Harbor's CSRF checks on.
            headers.extend(memory.session(&line.to).map(|value| (COOKIE, value)));
        }
        // A plain backend behind a TLS-terminating balancer is asked as that balancer would.
        if line.own
            && self.backend(route).is_some_and(|backend| backend.scheme == Scheme::Http)
            && self.registry.url.authority().scheme == Scheme::Https
        {
            let name = HeaderName::from_static("x-forwarded-proto");
            headers.push((name, HeaderValue::from_static("https")));
        }
        self.redactor.learn_sent(&headers);
        headers
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests a check has made in this round.
    pub(super) fn requests_of(&self, check: Check) -> u32 {
        self.tally().requests.get(&check).copied().unwrap_or_default()
    }

    /// Counts an answer, and notes the certificate that came with it.
    fn count(
        &self,
        line: &Line,
        route: &Route,
        step: Step,
        fresh_token: bool,
        exchange: &Exchange,
    ) {
        let mut tally = self.tally();
        if line.own
            && let Some(peer) = &exchange.certificate
            && !tally.certificates.contains_key(route)
            && let Some((not_after, names)) = peer.validity()
        {
            let name = |name: &String| self.redactor.text(name).chars().take(MAX_NAME).collect();
            let certificate = Certificate {
                route: route.clone(),
                fingerprint: peer.fingerprint(),
                not_after,
                names: names.iter().map(name).collect(),
                chain_length: peer.chain_length,
                invalid: peer.invalid.as_deref().map(|text| self.redactor.text(text)),
            };
            tally.certificates.insert(route.clone(), certificate);
            if let (Some(backend), Some(version)) = (route.backend(), peer.tls_version) {
                tally.settings.note(backend, Setting::TlsVersion, version.to_owned());
            }
        }
        let Ok(reply) = &exchange.result else { return };
        // A token may come from another server than the route's.
        if let Some(backend) = route.backend().filter(|_| line.own && step != Step::Token)
            && let Some(secure) = registry::csrf_cookie_secure(&reply.headers)
        {
            tally.settings.note(backend, Setting::CsrfCookieSecure, secure);
        }
        *tally.responses.entry((route.clone(), step, reply.status, fresh_token)).or_default() += 1;
    }

    /// Counts a request through the load balancer, and whether the network lost it.
    fn count_through(&self, exchange: &Exchange) {
        let lost = exchange
            .result
            .as_ref()
            .is_err_and(|failure| failure.reason.is_network() && !failure.reason.is_own());
        let mut tally = self.tally();
        tally.through.trials += 1;
        tally.through.events += u32::from(lost);
    }

    /// Books what an answer along a route told of a backend's settings.
    pub(super) fn book_settings(&self, route: &Route, told: Vec<(Setting, String)>) {
        let Some(backend) = route.backend() else { return };
        let mut tally = self.tally();
        for (setting, value) in told {
            tally.settings.note(backend, setting, value);
        }
    }

    /// Books the time that a token says it was issued at.
    pub(super) fn book_issued_at(&self, route: &Route, exchange: &Exchange, issued_at: i64) {
        let stamp = registry::Stamp::of_seconds(issued_at);
        self.clocks.book(route, ClockSource::Iat, exchange, stamp);
    }

    /// Ends the round's book-keeping.
    pub(super) fn finish(self) -> Tally {
        self.tally.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    pub(super) fn response_counts(&self) -> Vec<ResponseCount> {
        let count = |(key, count): (&(Route, Step, u16, bool), &u64)| ResponseCount {
            route: key.0.clone(),
            step: key.1,
            code: key.2,
            authenticated: key.3,
            count: *count,
        };
        self.responses.iter().map(count).collect()
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

fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    let pair = format!("{}:{}", credentials.username, credentials.password.expose_secret());
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
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

/// Notes that a route asks for fewer requests: for as long as it says, within reason.
fn hold(memory: &RouteMemory, answer: &Answer) {
    let asked = match (answer.status, answer.retry_after) {
        (429, after) => after.unwrap_or(DEFAULT_HOLD_SECONDS),
        (503, Some(after)) => after,
        _ => return,
    };
    let until = Instant::now() + Duration::from_secs(u64::from(asked.clamp(1, MAX_HOLD_SECONDS)));
    *memory.hold.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
}

/// How long a limiter that does not say is left in peace.
const DEFAULT_HOLD_SECONDS: u32 = 10;

/// No answer silences the prober for longer.
const MAX_HOLD_SECONDS: u32 = 60;

/// How long what was lost to the network is left before it is tried again.
pub(super) const TRY_AGAIN_AFTER: Duration = Duration::from_millis(100);
