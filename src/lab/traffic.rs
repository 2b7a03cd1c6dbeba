//! What a simulated registry does with connections and requests: no sockets, no clock of the
//! machine. A request and the time since the beginning go in, a reaction comes out; the same seed
//! gives the same reactions.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use hyper::body::Bytes;
use rand::Rng as _;
use rand::rngs::SmallRng;

use super::answer::{Reaction, finish, http_date, nginx_page, set, with_body};
use super::balancer::{Layer, SERVER, Upstream, affinity_cookie};
use super::call::{Call, Memory};
use super::fault::CertificateFault;
use super::settings::{Clock, Network};
use super::world::{Node, World};
use super::{distribution, harbor, token_server};

/// Where a request enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// At the node of this number, from 0.
    Node(usize),
    /// At the balancer.
    Balancer,
    /// At the token server.
    TokenServer,
}

/// The connection that a request comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Unlike for every connection.
    pub number: u64,
    /// The client's address, as a number.
    pub source: u32,
}

/// What happens to a connection before its first request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Gate {
    /// The port is closed.
    Closed,
    /// It is accepted and nothing is said.
    Silent,
    /// Requests are served, through TLS with this certificate or without.
    Open { entry: Entry, tls: bool, certificate: Option<CertificateFault>, place: String },
}

impl World {
    /// Whether nothing listens at an entry.
    pub(super) fn refuses(&self, entry: Entry) -> bool {
        match entry {
            Entry::Node(index) => {
                self.nodes.get(index).is_none_or(|node| network_of(node).unreachable)
            }
            Entry::Balancer => self.balancer.manglers.network.unreachable,
            Entry::TokenServer => {
                self.token_server.as_ref().is_none_or(|(settings, _)| settings.network.unreachable)
            }
        }
    }

    /// What happens to a new connection.
    pub(super) fn gate(&mut self, entry: Entry, connection: Connection, elapsed: Duration) -> Gate {
        let (network, place, entry) = match entry {
            Entry::Balancer if self.balancer.plan.layer == Layer::Tcp => {
                let own = self.balancer.manglers.network.clone();
                if own.unreachable || own.hang || own.stalled_handshake {
                    (own, "lb".to_owned(), entry)
                } else {
                    let Some(index) = self.pick(connection.source, None, elapsed) else {
                        return Gate::Closed;
                    };
                    return self.gate(Entry::Node(index), connection, elapsed);
                }
            }
            Entry::Balancer => (self.balancer.manglers.network.clone(), "lb".to_owned(), entry),
            Entry::TokenServer => match &self.token_server {
                Some((settings, _)) => (settings.network.clone(), "token-server".to_owned(), entry),
                None => return Gate::Closed,
            },
            Entry::Node(index) => match self.nodes.get(index) {
                Some(node) => (network_of(node), node.name.clone(), entry),
                None => return Gate::Closed,
            },
        };
        if network.unreachable {
            Gate::Closed
        } else if network.stalled_handshake {
            Gate::Silent
        } else {
            Gate::Open { entry, tls: !network.plain_http, certificate: network.certificate, place }
        }
    }

    /// The first node that a balancer would connect to.
    fn pick(&mut self, source: u32, cookie: Option<&str>, elapsed: Duration) -> Option<usize> {
        let upstreams = self.upstreams();
        let order = self.balancer.order(&upstreams, source, cookie, elapsed, &mut self.rng);
        let found = order
            .iter()
            .copied()
            .find(|index| upstreams.get(*index).is_some_and(|node| node.reachable));
        for index in order.iter().take_while(|index| Some(**index) != found) {
            self.balancer.avoid(*index, elapsed);
        }
        found
    }

    fn upstreams(&self) -> Vec<Upstream> {
        self.nodes
            .iter()
            .map(|node| {
                let network = network_of(node);
                let healthy = node.replicas.first().is_some_and(|(settings, _)| {
                    settings.core_up
                        && !settings.stale_upstream
                        && settings.health_check
                        && (settings.family.is_harbor() || settings.registry_up)
                });
                Upstream {
                    name: node.name.clone(),
                    reachable: !network.unreachable && !network.plain_http,
                    silent: network.stalled_handshake,
                    healthy: healthy && !network.hang && !network.stalled_handshake,
                }
            })
            .collect()
    }

    /// The answer that comes before a request's body is read, if one does.
    pub fn before_body<B>(
        &mut self,
        entry: Entry,
        request: &Request<B>,
        elapsed: Duration,
    ) -> Option<Reaction> {
        let declared = request.headers().get("content-length")?.to_str().ok()?.parse().ok()?;
        let limited = entry == Entry::Balancer && self.balancer.plan.layer == Layer::Http;
        if !limited || declared == 0 {
            return None;
        }
        let path = request.uri().path();
        let mut response = self.balancer.own_answer(path, declared, elapsed)?;
        finish(&mut response, request.method(), self.balancer_now(elapsed));
        Some(response.into())
    }

    /// Answers a request that enters at `entry`, `elapsed` after the beginning.
    pub fn handle(
        &mut self,
        entry: Entry,
        connection: Connection,
        request: &Request<Bytes>,
        elapsed: Duration,
    ) -> Reaction {
        match entry {
            Entry::Node(index) => self.at_node(index, request, elapsed),
            Entry::TokenServer => self.at_token_server(request, elapsed),
            Entry::Balancer if self.balancer.plan.layer == Layer::Tcp => {
                match self.pick(connection.source, None, elapsed) {
                    Some(index) => self.at_node(index, request, elapsed),
                    None => Reaction::Reset,
                }
            }
            Entry::Balancer => self.at_balancer(connection, request, elapsed),
        }
    }

    fn at_node(&mut self, index: usize, request: &Request<Bytes>, elapsed: Duration) -> Reaction {
        let Some(count) = self.nodes.get(index).map(|node| node.replicas.len()) else {
            return Reaction::Reset;
        };
        let replica = if count > 1 { self.rng.random_range(0..count) } else { 0 };
        let Some((settings, memory)) =
            self.nodes.get_mut(index).and_then(|node| node.replicas.get_mut(replica))
        else {
            return Reaction::Reset;
        };
        let settings = Arc::clone(settings);
        let mut memory_taken = std::mem::take(memory);
        let now = now(self.began, elapsed, &settings.clock);
        let delay = match trouble(&settings.network, request, now, &mut self.rng) {
            Ok(delay) => delay,
            Err(reaction) => {
                self.put_back(index, replica, memory_taken);
                return *reaction;
            }
        };
        let mut call = Call {
            request,
            settings: &settings,
            stores: &mut self.stores,
            memory: &mut memory_taken,
            keys: &self.keys,
            rng: &mut self.rng,
            now,
            true_now: now_true(self.began, elapsed),
            began: self.began,
            elapsed,
            secure: true,
            token_realm: &self.token_realm,
            pool_owners: &self.pool_owners,
        };
        let own_tokens = self.token_server.is_none() && request.uri().path() == "/auth";
        let reaction = if settings.family.is_harbor() {
            harbor::answer(&mut call)
        } else {
            let mut response = if own_tokens {
                token_server::answer(&mut call)
            } else {
                distribution::answer(&mut call)
            };
            finish(&mut response, request.method(), now);
            response.into()
        };
        self.put_back(index, replica, memory_taken);
        let reaction = reaction.delayed(delay);
        if settings.network.truncated { truncated(reaction) } else { reaction }
    }

    fn put_back(&mut self, index: usize, replica: usize, memory: Memory) {
        if let Some((_, place)) =
            self.nodes.get_mut(index).and_then(|node| node.replicas.get_mut(replica))
        {
            *place = memory;
        }
    }

    fn at_token_server(&mut self, request: &Request<Bytes>, elapsed: Duration) -> Reaction {
        let Some((settings, memory)) = &mut self.token_server else { return Reaction::Reset };
        let now = now(self.began, elapsed, &settings.clock);
        let delay = match trouble(&settings.network, request, now, &mut self.rng) {
            Ok(delay) => delay,
            Err(reaction) => return *reaction,
        };
        let mut call = Call {
            request,
            settings,
            stores: &mut self.stores,
            memory,
            keys: &self.keys,
            rng: &mut self.rng,
            now,
            true_now: now_true(self.began, elapsed),
            began: self.began,
            elapsed,
            secure: true,
            token_realm: &self.token_realm,
            pool_owners: &self.pool_owners,
        };
        let mut response = match request.uri().path() {
            "/auth" => token_server::answer(&mut call),
            "/" => token_server::root(),
            _ => with_body(404, "text/plain; charset=utf-8", "404 page not found\n"),
        };
        finish(&mut response, request.method(), now);
        Reaction::from(response).delayed(delay)
    }

    fn at_balancer(
        &mut self,
        connection: Connection,
        request: &Request<Bytes>,
        elapsed: Duration,
    ) -> Reaction {
        let now = self.balancer_now(elapsed);
        let network = self.balancer.manglers.network.clone();
        let delay = match trouble(&network, request, now, &mut self.rng) {
            Ok(delay) => delay,
            Err(reaction) => return *reaction,
        };
        let own = |status: u16| {
            let mut response = nginx_page(status, SERVER);
            finish(&mut response, request.method(), now);
            Reaction::from(response)
        };
        let length = u64::try_from(request.body().len()).unwrap_or(u64::MAX);
        if let Some(mut response) = self.balancer.own_answer(request.uri().path(), length, elapsed)
        {
            finish(&mut response, request.method(), now);
            return Reaction::from(response).delayed(delay);
        }
        let forwarded = self.balancer.forwarded(request);
        let cookie = affinity_cookie(request).map(str::to_owned);
        let upstreams = self.upstreams();
        let order = self.balancer.order(
            &upstreams,
            connection.source,
            cookie.as_deref(),
            elapsed,
            &mut self.rng,
        );
        if order.is_empty() {
            return own(503).delayed(delay);
        }
        for index in order {
            let Some(node) = upstreams.get(index).filter(|node| node.reachable) else {
                self.balancer.avoid(index, elapsed);
                continue;
            };
            let reaction =
                if node.silent { Reaction::Hang } else { self.at_node(index, &forwarded, elapsed) };
            match reaction {
                Reaction::Answer { mut response, after } => {
                    self.balancer.busy(index, elapsed + after);
                    self.balancer.returned(&mut response, &node.name, cookie.as_deref());
                    if !self.balancer.plan.transparent {
                        set(&mut response, "date", &http_date(now));
                    }
                    return Reaction::Answer { response, after: after + delay };
                }
                // nginx asks the next node after a reset, unless the request changes something.
                Reaction::Reset if *request.method() == Method::GET => {}
                Reaction::Hang => return own(504).delayed(Duration::from_secs(60) + delay),
                Reaction::Raw { .. } | Reaction::Reset => return own(502).delayed(delay),
            }
        }
        own(502).delayed(delay)
    }

    fn balancer_now(&self, elapsed: Duration) -> i64 {
        now(self.began, elapsed, &self.balancer.clock)
    }
}

fn now_true(began: i64, elapsed: Duration) -> i64 {
    began.saturating_add(i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX))
}

fn now(began: i64, elapsed: Duration, clock: &Clock) -> i64 {
    now_true(began, elapsed).saturating_add(clock.offset(elapsed))
}

/// The network faults of a node lie in front of its replicas.
fn network_of(node: &Node) -> Network {
    node.replicas.first().map(|(settings, _)| settings.network.clone()).unwrap_or_default()
}

/// How much later an answer comes, or what comes instead of it.
fn trouble(
    network: &Network,
    request: &Request<Bytes>,
    now: i64,
    rng: &mut SmallRng,
) -> Result<Duration, Box<Reaction>> {
    let path = request.uri().path();
    if network.reset > 0.0 && rng.random::<f64>() < network.reset {
        return Err(Box::new(Reaction::Reset));
    }
    if network.hang {
        return Err(Box::new(Reaction::Hang));
    }
    let delay = network
        .slow
        .iter()
        .filter(|(_, _, prefix)| path.starts_with(prefix.as_str()))
        .map(|(min, max, _)| Duration::from_millis(rng.random_range(*min..=(*max).max(*min))))
        .sum();
    if network.garbage {
        let bytes = Bytes::from_static(b"\x15\x03\x01 SSH-2.0-lab this is no HTTP\r\n\r\n");
        return Err(Box::new(Reaction::Raw { bytes, after: delay }));
    }
    for (code, probability, prefix) in &network.statuses {
        if path.starts_with(prefix.as_str()) && rng.random::<f64>() < *probability {
            let mut response = nginx_page(*code, "nginx");
            finish(&mut response, request.method(), now);
            return Err(Box::new(Reaction::from(response).delayed(delay)));
        }
    }
    if network.html {
        let page = "<!DOCTYPE html>\n<html><head><title>It works</title></head></html>\n";
        let mut response = with_body(200, "text/html; charset=utf-8", page);
        finish(&mut response, request.method(), now);
        return Err(Box::new(Reaction::from(response).delayed(delay)));
    }
    Ok(delay)
}

/// The same answer, of which the connection carries only a part.
fn truncated(reaction: Reaction) -> Reaction {
    let Reaction::Answer { response, after } = reaction else { return reaction };
    let mut bytes = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    let half = response.body().len() / 2;
    bytes.extend_from_slice(response.body().get(..half).unwrap_or_default());
    Reaction::Raw { bytes: Bytes::from(bytes), after }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use http::Response;

    use super::*;
    use crate::lab::{Family, KeyKind, Login, Options, PUBLIC_HOST, Scenario};

    const CLIENT: Connection = Connection { number: 1, source: 1 };

    fn world(name: &str, family: Option<Family>) -> World {
        let options = Options { family, keys: KeyKind::Fast, ..Options::default() };
        World::new(&Scenario::named(name).unwrap(), &options).unwrap()
    }

    fn ask(
        world: &mut World,
        entry: Entry,
        uri: &str,
        authorization: Option<&str>,
        elapsed: Duration,
    ) -> Response<Bytes> {
        let mut request = Request::builder().uri(uri).header("host", PUBLIC_HOST);
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        match world.handle(entry, CLIENT, &request.body(Bytes::new()).unwrap(), elapsed) {
            Reaction::Answer { response, .. } => response,
            other => panic!("{other:?}"),
        }
    }

    /// Asks for a token as the challenge of that entry says, and returns it.
    fn token(world: &mut World, entry: Entry, elapsed: Duration) -> Option<String> {
        let challenge = ask(world, entry, "/v2/", None, elapsed);
        let challenge = challenge.headers()["www-authenticate"].to_str().unwrap().to_owned();
        let field = |name: &str| challenge.split(name).nth(1).unwrap().split('"').next().unwrap();
        let realm: http::Uri = field("realm=\"").parse().unwrap();
        let uri = format!(
            "{}?service={}&scope=repository:probe/canary:pull",
            realm.path(),
            field("service=\"")
        );
        let login = if challenge.contains("harbor") { Login::prober() } else { Login::person() };
        let basic = STANDARD.encode(format!("{}:{}", login.username, login.password));
        let answer = ask(world, entry, &uri, Some(&format!("Basic {basic}")), elapsed);
        let body: serde_json::Value = serde_json::from_slice(answer.body()).ok()?;
        let token = body["token"].as_str()?.to_owned();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
        claims["sub"].as_str()?;
        Some(token)
    }

    /// Statuses of every node's token at every node.
    fn matrix(world: &mut World, elapsed: Duration) -> Vec<Vec<u16>> {
        let nodes: Vec<Entry> = (0..world.node_names().len()).map(Entry::Node).collect();
        let tokens: Vec<_> = nodes.iter().map(|node| token(world, *node, elapsed)).collect();
        tokens
            .iter()
            .map(|token| {
                let bearer = format!("Bearer {}", token.as_deref().unwrap_or("none"));
                nodes
                    .iter()
                    .map(|node| ask(world, *node, "/v2/", Some(&bearer), elapsed).status().as_u16())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn every_token_of_a_healthy_registry_is_good_everywhere_in_every_family() {
        for family in Family::ALL {
            let mut world = world("healthy", Some(family));
            let elapsed = Duration::from_millis(1_500);
            assert_eq!(matrix(&mut world, elapsed), [[200, 200], [200, 200]], "{family}");
            let bearer = format!("Bearer {}", token(&mut world, Entry::Node(0), elapsed).unwrap());
            let tags = "/v2/probe/canary/tags/list";
            let answer = ask(&mut world, Entry::Balancer, tags, Some(&bearer), elapsed);
            assert_eq!(answer.status(), 200, "{family}");
            assert_eq!(&answer.body()[..], b"{\"name\":\"probe/canary\",\"tags\":[\"v1\"]}\n");
        }
    }

    #[test]
    fn another_key_refuses_off_the_diagonal_in_every_family() {
        for family in Family::ALL {
            let mut world = world("token-key-mismatch", Some(family));
            let now = Duration::from_millis(1_500);
            assert_eq!(matrix(&mut world, now), [[200, 401], [401, 200]], "{family}");
        }
    }

    #[test]
    fn a_clock_behind_refuses_fresh_tokens_until_they_have_aged_where_nothing_is_forgiven() {
        let mut world = world("clock-skew-nbf", None);
        let now = Duration::from_millis(1_500);
        assert_eq!(matrix(&mut world, now), [[200, 200, 401], [200, 200, 401], [200, 200, 200]]);
        let old = format!("Bearer {}", token(&mut world, Entry::Node(0), now).unwrap());
        for (later, status) in [(2_000, 401), (3_000, 200)] {
            let elapsed = now + Duration::from_millis(later);
            let answer = ask(&mut world, Entry::Node(2), "/v2/", Some(&old), elapsed);
            assert_eq!(answer.status(), status, "after {later} ms");
        }
        let mut forgiving = self::world("clock-skew-nbf", Some(Family::Harbor215));
        assert_eq!(matrix(&mut forgiving, now), [[200; 3]; 3]);
    }

    #[test]
    fn a_strict_round_robin_takes_another_node_for_each_request() {
        let mut world = world("token-key-mismatch", None);
        let now = Duration::from_secs(1);
        let bearer = format!("Bearer {}", token(&mut world, Entry::Node(0), now).unwrap());
        let statuses: Vec<u16> = (0..4)
            .map(|_| ask(&mut world, Entry::Balancer, "/v2/", Some(&bearer), now).status().as_u16())
            .collect();
        assert_eq!(statuses, [200, 401, 200, 401]);
    }

    #[test]
    fn an_unreadable_key_fails_the_token_endpoint_and_every_token_at_its_node() {
        let mut world = world("node-local-keypair-broken", None);
        let now = Duration::from_secs(1);
        let uri = "/service/token?service=harbor-registry&scope=x:y:z";
        let answer = ask(&mut world, Entry::Node(1), uri, None, now);
        assert_eq!((answer.status().as_u16(), answer.body().len()), (500, 0));
        assert_eq!(matrix(&mut world, now), [[200, 401, 200], [401; 3], [200, 401, 200]]);
    }

    #[test]
    fn a_refused_secret_costs_time_and_yields_an_anonymous_token() {
        let mut world = world("bad-or-disabled-credential", None);
        let login = Login::prober();
        let basic = STANDARD.encode(format!("{}:{}", login.username, login.password));
        for (scope, status) in [("", 401), ("&scope=repository:probe/canary:pull", 200)] {
            let request = Request::builder()
                .uri(format!("/service/token?service=harbor-registry{scope}"))
                .header("authorization", format!("Basic {basic}"))
                .body(Bytes::new())
                .unwrap();
            // Each failure locks the name for 1.5 s, in which further ones are refused at once.
            let elapsed = Duration::from_secs(if scope.is_empty() { 10 } else { 20 });
            let reaction = world.handle(Entry::Node(0), CLIENT, &request, elapsed);
            let Reaction::Answer { response, after } = reaction else { panic!("{reaction:?}") };
            assert_eq!(response.status(), status);
            assert_eq!(after, Duration::from_millis(1_500));
        }
        assert_eq!(token(&mut world, Entry::Node(0), Duration::from_secs(30)), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_answers() {
        let began = 1_800_000_000_000_000_000;
        let [first, second] = [7, 7].map(|seed| {
            let options = Options { seed, began, keys: KeyKind::Fast, ..Options::default() };
            let mut world = World::new(&Scenario::named("healthy").unwrap(), &options).unwrap();
            (0..5)
                .map(|second| {
                    let elapsed = Duration::from_secs(second);
                    format!("{:?}", ask(&mut world, Entry::Balancer, "/v2/", None, elapsed))
                })
                .collect::<Vec<_>>()
        });
        assert_eq!(first, second);
    }
}
