//! A lab without sockets, in virtual time: the wire hands requests to the lab's world and sleeps
//! for as long as the answer would take. Under a paused clock a round costs what it computes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use futures_util::future::{join, join_all};
use hyper::body::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use registry_prober::clock::Clock;
use registry_prober::config::{
    Authority, Backend, BackendSource, Credentials, HostPort, PublicUrl, PushSettings, Registry,
    Scheme, Scope,
};
use registry_prober::diagnosis;
use registry_prober::lab::{
    CertificateFault, Connection, Entry, FaultOrder, Gate, KeyKind, Login, Options, PUBLIC_HOST,
    Reaction, SECOND_HOST, Scenario, World,
};
use registry_prober::model::{
    Assessment, BackendName, DnsRecord, Earlier, Failure, Neighbour, Phase, Reason, RegistryName,
    Round, Timeline,
};
use registry_prober::probe::Prober;
use registry_prober::transport::{
    Body, BoxFuture, Connect, Destination, Exchange, Link, Reply, Request, Wire,
};
use tokio::time::{Instant, sleep, timeout_at};

/// When every simulation begins, nanoseconds since 1970; the fraction keeps seconds from beginning
/// together with it.
const BEGAN: i64 = 1_800_000_000_370_000_000;

/// What the network does to requests, in addition to the faults of the lab.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conditions {
    /// The least time there and back.
    pub(crate) round_trip: Duration,
    /// At most this much more.
    pub(crate) jitter: Duration,
    /// The chance that a request's connection is reset.
    pub(crate) resets: f64,
    /// The chance that an answer is late, and by how much at most.
    pub(crate) late: (f64, Duration),
}

impl Conditions {
    /// A network that loses nothing: 1 to 3 ms there and back.
    pub(crate) fn fair() -> Self {
        let ms = Duration::from_millis;
        Self { round_trip: ms(1), jitter: ms(2), resets: 0.0, late: (0.0, Duration::ZERO) }
    }
}

/// A simulated registry with a prober before it.
pub(crate) struct Simulation {
    backends: Vec<Backend>,
    clock: Clock,
    prober: Prober,
    /// The second registry, if there is one.
    second: Option<(Vec<Backend>, Prober)>,
    /// Other probers of the same registry.
    others: Vec<Prober>,
    registry: Arc<Registry>,
    shared: Arc<Shared>,
}

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrived {
    pub(crate) entry: Entry,
    pub(crate) method: http::Method,
    pub(crate) path: String,
    /// Whether it carried a session that a node gave.
    pub(crate) session: bool,
    /// Whether the answer gave it a new one.
    pub(crate) new_session: bool,
    /// Whether it carried a token.
    pub(crate) token: bool,
    /// Of the answer, if there was one.
    pub(crate) status: Option<u16>,
    /// Since the simulation began.
    pub(crate) at: Duration,
}

impl Simulation {
    /// Builds a scenario; the runtime's clock must be paused. The seed decides all chance.
    pub(crate) fn new(
        scenario: &Scenario,
        options: &Options,
        weather: Conditions,
        adjust: impl FnOnce(&mut Registry),
    ) -> Self {
        let options = Options { began: BEGAN, keys: KeyKind::Fast, ..options.clone() };
        let seed = options.seed;
        let mut world = World::new(scenario, &options).expect("the lab is built");
        let nodes: Vec<SocketAddr> = (1..).map(node).take(world.node_names().len()).collect();
        let (balancer, server) = (address(1, 1), address(2, 1));
        world.set_token_server(&format!("https://{server}"));
        let mut registry = registry(&world, &nodes, balancer, server);
        adjust(&mut registry);
        let next_door = world.second().map(|index| (address(3, 1), Entry::Node(index)));
        let second = next_door.map(|(at, _)| second(&registry, at));
        let backends = match &registry.backends {
            BackendSource::Static(backends) => backends.clone(),
            _ => Vec::new(),
        };
        let began = Instant::now();
        let shared = Shared {
            world: Mutex::new(world),
            began,
            balancer,
            server,
            name: if registry.balancer.address.is_none() { nodes.clone() } else { Vec::new() },
            nodes,
            weather,
            chance: Mutex::new(SmallRng::seed_from_u64(seed)),
            second: next_door,
            connections: AtomicU64::new(0),
            arrived: Mutex::default(),
        };
        let registry = Arc::new(registry);
        let shared = Arc::new(shared);
        let wire = Arc::new(Simulated(Arc::clone(&shared)));
        let second = second.map(|(backends, second)| {
            let wire = Arc::clone(&wire);
            (backends, Prober::seeded(Arc::new(second), wire, seed))
        });
        let prober = Prober::seeded(Arc::clone(&registry), wire, seed);
        let clock = Clock::anchored(DateTime::from_timestamp_nanos(BEGAN), began);
        Self { backends, clock, prober, second, others: Vec::new(), registry, shared }
    }

    /// Uploads, blobs, manifests and tags in the storages of the lab.
    pub(crate) fn counts(&self) -> [usize; 4] {
        self.shared.world().counts()
    }

    /// The requests that arrived since they were last taken.
    pub(crate) fn take_requests(&self) -> Vec<Arrived> {
        std::mem::take(&mut self.shared.arrived.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds another prober of the same registry.
    pub(crate) fn add_rival(&mut self, seed: u64) {
        let wire = Arc::new(Simulated(Arc::clone(&self.shared)));
        self.others.push(Prober::seeded(Arc::clone(&self.registry), wire, seed));
    }

    /// One round of each prober, which begin within `apart` of each other, judged.
    pub(crate) async fn rounds(&mut self, apart: Duration) -> Vec<Assessment> {
        let mut chance = SmallRng::seed_from_u64(self.shared.began.elapsed().as_secs());
        let (backends, clock) = (&self.backends, self.clock);
        let probers = std::iter::once(&mut self.prober).chain(&mut self.others);
        let rounds = probers.map(|prober| {
            let wait = apart.mul_f64(chance.random_range(0.0..1.0));
            async move {
                sleep(wait).await;
                let deadline = Instant::now() + Duration::from_secs(13);
                diagnosis::assess(&prober.round(backends, clock, deadline, &|_| {}).await)
            }
        });
        join_all(rounds).await
    }

    /// Another set of faults from now on.
    pub(crate) fn set_faults(&self, faults: Vec<FaultOrder>) {
        let elapsed = self.shared.began.elapsed();
        let mut world = self.shared.world.lock().unwrap();
        world.set_faults(faults, elapsed).expect("faults of this lab");
    }

    /// One round, judged with what earlier ones left behind.
    pub(crate) async fn round_after(&mut self, earlier: &Earlier) -> (Round, Assessment) {
        let deadline = Instant::now() + Duration::from_secs(13);
        let round = self.prober.round(&self.backends, self.clock, deadline, &|_| {}).await;
        let assessment = diagnosis::assess_after(&round, earlier);
        (round, assessment)
    }

    /// One round, judged.
    pub(crate) async fn round(&mut self) -> (Round, Assessment) {
        let deadline = Instant::now() + Duration::from_secs(13);
        let round = self.prober.round(&self.backends, self.clock, deadline, &|_| {}).await;
        let mut earlier = Earlier::default();
        if let Some((backends, prober)) = &mut self.second {
            let deadline = Instant::now() + Duration::from_secs(13);
            let second = prober.round(backends, self.clock, deadline, &|_| {}).await;
            earlier.neighbours.extend(Neighbour::of(&second));
        }
        let assessment = diagnosis::assess_after(&round, &earlier);
        (round, assessment)
    }
}

impl Simulation {
    /// One round on demand, next to the registry's own.
    pub(crate) async fn round_on_demand(&self) -> Round {
        let deadline = Instant::now() + Duration::from_secs(13);
        let mut prober = self.prober.on_demand();
        prober.round(&self.backends, self.clock, deadline, &|_| {}).await
    }

    /// One round of the registry's own, and a number on demand at the same time.
    pub(crate) async fn round_with_guests(&mut self, on_demand: usize) -> (Round, Vec<Round>) {
        let deadline = Instant::now() + Duration::from_secs(13);
        let (backends, clock) = (self.backends.clone(), self.clock);
        let guests = (0..on_demand).map(|_| {
            let (mut prober, backends) = (self.prober.on_demand(), backends.clone());
            async move { prober.round(&backends, clock, deadline, &|_| {}).await }
        });
        let guests: Vec<_> = guests.collect();
        let own = self.prober.round(&backends, clock, deadline, &|_| {});
        join(own, join_all(guests)).await
    }
}

/// The second registry, at this address, with the same accounts.
fn second(registry: &Registry, at: SocketAddr) -> (Vec<Backend>, Registry) {
    let name = BackendName::parse("second").expect("a good name");
    let address = HostPort::parse(&at.to_string(), 443).expect("an address is one");
    let backends =
        vec![Backend { name, scheme: Scheme::Https, address: address.clone(), ready: true }];
    let mut second = registry.clone();
    second.name = RegistryName::parse("second").expect("a good name");
    second.url = PublicUrl::parse(&format!("https://{SECOND_HOST}")).expect("a good URL");
    second.backends = BackendSource::Static(backends.clone());
    second.balancer.address = Some(address);
    (backends, second)
}

fn address(network: u8, host: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, network, host), 443))
}

fn node(number: u8) -> SocketAddr {
    address(0, number)
}

/// The registry as the lab's own configuration file describes it.
fn registry(
    world: &World,
    nodes: &[SocketAddr],
    balancer: SocketAddr,
    server: SocketAddr,
) -> Registry {
    let at = |address: &SocketAddr| {
        HostPort::parse(&address.to_string(), 443).expect("an address is one")
    };
    let backend = |(name, address): (String, &SocketAddr)| Backend {
        name: BackendName::parse(&name).expect("the lab's names are good"),
        scheme: Scheme::Https,
        address: at(address),
        ready: true,
    };
    let backends = world.node_names().into_iter().zip(nodes).map(backend).collect();
    let url = PublicUrl::parse(&format!("https://{PUBLIC_HOST}")).expect("the lab's URL is good");
    let name = RegistryName::parse("lab").expect("a good name");
    let mut registry = Registry::new(name, url, BackendSource::Static(backends));
    let login = world.login().expect("the lab has an account");
    registry.credentials =
        Some(Credentials { username: login.username, password: login.password.into() });
    registry.scope = Scope::parse("repository:probe/canary:pull");
    registry.timeout = Duration::from_secs(4);
    registry.balancer.address = Some(at(&balancer));
    let credentials =
        |login: Login| Credentials { username: login.username, password: login.password.into() };
    registry.system_credentials = world.system_login().map(credentials);
    registry.directory_credentials = world.directory_login().map(credentials);
    if let Some(scratch) = world.scratch() {
        registry.checks.push = Some(PushSettings { repository: scratch.to_owned() });
    }
    if world.has_token_server() {
        let authority = Authority::of_url(&format!("https://{server}")).expect("a good URL");
        registry.allowed_realms = vec![authority];
    }
    registry
}

struct Shared {
    world: Mutex<World>,
    began: Instant,
    nodes: Vec<SocketAddr>,
    second: Option<(SocketAddr, Entry)>,
    balancer: SocketAddr,
    server: SocketAddr,
    /// What the public name leads to, in the resolver's order; empty if it is not known.
    name: Vec<SocketAddr>,
    weather: Conditions,
    chance: Mutex<SmallRng>,
    connections: AtomicU64,
    arrived: Mutex<Vec<Arrived>>,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, to: &Destination) -> Option<Entry> {
        let address = match &to.connect {
            Connect::Address(address) => address,
            // As clients do: the first address that the resolver gives.
            Connect::Name { .. } => self.name.first()?,
        };
        if *address == self.balancer {
            return Some(Entry::Balancer);
        }
        if *address == self.server {
            return Some(Entry::TokenServer);
        }
        if let Some((_, entry)) = self.second.filter(|(at, _)| at == address) {
            return Some(entry);
        }
        self.nodes.iter().position(|node| node == address).map(Entry::Node)
    }

    /// Whether this request is lost, how long it travels, and how late its answer is.
    fn fate(&self) -> (bool, Duration, Duration) {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let weather = &self.weather;
        let travel = weather.round_trip + weather.jitter.mul_f64(chance.random());
        let late = chance.random::<f64>() < weather.late.0;
        let by = if late { weather.late.1.mul_f64(chance.random()) } else { Duration::ZERO };
        (chance.random::<f64>() < weather.resets, travel, by)
    }
}

/// The wire into a simulated registry.
struct Simulated(Arc<Shared>);

impl Wire for Simulated {
    fn lookup<'a>(
        &'a self,
        _: &'a str,
        _: Option<SocketAddr>,
        _: Instant,
    ) -> BoxFuture<'a, Result<Vec<DnsRecord>, Failure>> {
        let records =
            self.0.name.iter().map(|at| DnsRecord { address: at.ip(), ttl_seconds: None });
        let records: Vec<DnsRecord> = records.collect();
        let gone = || failure(Phase::Dns, Reason::DnsFailed, "the lab's name is nowhere");
        let answer = if records.is_empty() { Err(gone()) } else { Ok(records) };
        Box::pin(std::future::ready(answer))
    }

    fn open(&self, to: &Destination) -> Box<dyn Link> {
        Box::new(Connected { shared: Arc::clone(&self.0), to: to.clone(), opened: None })
    }
}

struct Connected {
    shared: Arc<Shared>,
    to: Destination,
    opened: Option<(Entry, Connection)>,
}

/// Instants of one request, kept outside of the future that a deadline may cut off.
#[derive(Default)]
struct Stamps {
    connected: Option<Instant>,
    tls: Option<Instant>,
    ready: Option<Instant>,
    answered: Option<Instant>,
}

impl Link for Connected {
    fn send(&mut self, request: Request) -> BoxFuture<'_, Exchange> {
        Box::pin(async move {
            let began = Instant::now();
            let deadline = request.deadline;
            let mut stamps = Stamps::default();
            let outcome = timeout_at(deadline, self.attempt(request, &mut stamps)).await;
            let ended = Instant::now();
            let result = outcome.unwrap_or_else(|_| {
                Err(failure(stamps.open_phase(), Reason::Timeout, "no end in time"))
            });
            if result.is_err() {
                self.opened = None;
            }
            let failed_in = result.as_ref().err().and_then(|failure| failure.phase);
            Exchange {
                timeline: stamps.timeline(began, ended, failed_in),
                result,
                sent: began,
                answered: stamps.answered.unwrap_or(ended),
                certificate: None,
            }
        })
    }
}

impl Stamps {
    fn open_phase(&self) -> Phase {
        match (self.connected, self.ready, self.answered) {
            (None, None, _) => Phase::Connect,
            (Some(_), None, _) => Phase::Tls,
            (_, Some(_), None) => Phase::Wait,
            (_, Some(_), Some(_)) => Phase::Transfer,
        }
    }

    fn timeline(&self, began: Instant, ended: Instant, failed: Option<Phase>) -> Timeline {
        let ends = [
            (Phase::Connect, self.connected),
            (Phase::Tls, self.tls),
            (Phase::Wait, self.answered),
            (Phase::Transfer, Some(ended)),
        ];
        let (mut line, mut from) = (Timeline::default(), began);
        for (phase, end) in ends {
            if failed == Some(phase) {
                return line.failed(phase, ended - from);
            }
            let Some(end) = end else { continue };
            line = line.then(phase, end - from);
            from = end;
        }
        line
    }
}

fn failure(phase: Phase, reason: Reason, detail: &str) -> Failure {
    Failure { phase: Some(phase), reason, detail: detail.to_owned() }
}

impl Connected {
    async fn attempt(&mut self, request: Request, stamps: &mut Stamps) -> Result<Reply, Failure> {
        let (lost, travel, late) = self.shared.fate();
        let (entry, connection) = match self.opened {
            Some(opened) => opened,
            None => self.connect(travel, stamps).await?,
        };
        self.opened = Some((entry, connection));
        stamps.ready = Some(Instant::now());
        sleep(travel / 2).await;
        if lost {
            return Err(failure(Phase::Wait, Reason::ConnectionReset, "reset by the weather"));
        }
        let reaction = self.react(entry, connection, request);
        let elapsed = match &reaction {
            Reaction::Answer { after, .. } | Reaction::Raw { after, .. } => *after,
            Reaction::Reset | Reaction::Hang => Duration::ZERO,
        };
        sleep(elapsed + late + travel / 2).await;
        match reaction {
            Reaction::Answer { response, .. } => {
                stamps.answered = Some(Instant::now());
                let (head, body) = response.into_parts();
                let status = head.status.as_u16();
                Ok(Reply { status, headers: head.headers, body: body.to_vec() })
            }
            Reaction::Raw { bytes, .. } if bytes.starts_with(b"HTTP/1.1 ") => {
                stamps.answered = Some(Instant::now());
                Err(failure(Phase::Transfer, Reason::Truncated, "the body ended early"))
            }
            Reaction::Raw { .. } => {
                Err(failure(Phase::Wait, Reason::NotHttp, "the answer is not HTTP"))
            }
            Reaction::Reset => Err(failure(Phase::Wait, Reason::ConnectionReset, "reset")),
            Reaction::Hang => std::future::pending().await,
        }
    }

    fn react(&self, entry: Entry, connection: Connection, request: Request) -> Reaction {
        let mut built = http::Request::builder().method(request.method).uri(request.path.as_str());
        for (name, value) in request.headers {
            built = built.header(name, value);
        }
        built = built.header("host", &self.to.host_header);
        let built = built.header("content-length", request.body.declared());
        let body = match &request.body {
            Body::Text(text) => Bytes::from(text.clone()),
            Body::Empty | Body::Declared(_) => Bytes::new(),
        };
        let built = built.body(body).expect("the prober's requests are HTTP");
        let elapsed = self.shared.began.elapsed();
        let mut world = self.shared.world();
        let reaction = match (world.before_body(entry, &built, elapsed), request.body) {
            (Some(reaction), _) => reaction,
            // The server waits for what never comes.
            (None, Body::Declared(_)) => Reaction::Hang,
            (None, _) => world.handle(entry, connection, &built, elapsed),
        };
        let sid = |headers: &http::HeaderMap, name: &str| {
            let mut values = headers.get_all(name).iter();
            values.any(|value| value.to_str().is_ok_and(|text| text.starts_with("sid=")))
        };
        // What the CSRF check shows where it writes is nobody's session.
        let made_up = |headers: &http::HeaderMap| {
            headers.get("cookie").is_some_and(|it| it.as_bytes().starts_with(b"sid=x;"))
        };
        let new_session = match &reaction {
            Reaction::Answer { response, .. } => sid(response.headers(), "set-cookie"),
            _ => false,
        };
        let arrived = Arrived {
            entry,
            method: built.method().clone(),
            path: built.uri().path().to_owned(),
            session: sid(built.headers(), "cookie") && !made_up(built.headers()),
            new_session,
            token: built.headers().get("authorization").is_some_and(|value| {
                value.as_bytes().starts_with(b"Bearer ") && value != "Bearer garbage"
            }),
            status: match &reaction {
                Reaction::Answer { response, .. } => Some(response.status().as_u16()),
                _ => None,
            },
            at: elapsed,
        };
        self.shared.arrived.lock().unwrap_or_else(PoisonError::into_inner).push(arrived);
        reaction
    }

    /// Opens the connection as far as the gate lets it come.
    async fn connect(
        &self,
        travel: Duration,
        stamps: &mut Stamps,
    ) -> Result<(Entry, Connection), Failure> {
        let shared = &self.shared;
        let unknown = || failure(Phase::Connect, Reason::Unreachable, "no such address here");
        let entry = shared.entry(&self.to).ok_or_else(unknown)?;
        sleep(travel).await;
        if shared.world().refuses(entry) {
            let detail = "nothing listens there";
            return Err(failure(Phase::Connect, Reason::ConnectionRefused, detail));
        }
        stamps.connected = Some(Instant::now());
        let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let connection = Connection { number, source: 1 };
        let gate = shared.world().gate(entry, connection, shared.began.elapsed());
        let tls = |reason, detail| Err(failure(Phase::Tls, reason, detail));
        match gate {
            Gate::Closed => tls(Reason::ConnectionReset, "closed in the handshake"),
            Gate::Silent => std::future::pending().await,
            Gate::Open { tls: false, .. } => {
                sleep(travel).await;
                tls(Reason::NotTls, "the port does not speak TLS (plain HTTP?)")
            }
            Gate::Open { entry, certificate, .. } => {
                sleep(travel).await;
                match certificate {
                    None | Some(CertificateFault::Other | CertificateFault::ExpiresSoon) => {
                        stamps.tls = Some(Instant::now());
                        Ok((entry, connection))
                    }
                    Some(_) => tls(Reason::TlsCertificate, "clients refuse the certificate"),
                }
            }
        }
    }
}

/// Runs a simulation on a runtime of its own, whose clock stands still but for its sleeps.
pub(crate) fn paused<T>(simulation: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(simulation)
}

/// Does the same with every item, on every processor but one; the results are in the items' order.
/// One is left to the tests that run at the same time: real servers miss their times where nothing
/// is free.
pub(crate) fn everywhere<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = processors.saturating_sub(1).max(1);
    let next = AtomicU64::new(0);
    let take = || usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("a small number");
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let worker = || {
            let indexes = std::iter::from_fn(|| Some(take()).filter(|at| *at < items.len()));
            indexes.map(|at| (at, work(&items[at]))).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
