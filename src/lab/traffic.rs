//! What a simulated registry does with connections and requests: no sockets, no clock of the
//! machine. A request and the time since the beginning go in, a reaction comes out; the same seed
//! gives the same reactions.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Bytes;
use rand::Rng as _;
use rand::rngs::SmallRng;

use super::answer::{Reaction, finish, http_date, nginx_page, set, with_body};
use super::balancer::{Layer, Port, SERVER, Upstream, affinity_cookie};
use super::call::{Call, Memory};
use super::gate::{Connection, Entry};
use super::settings::{Clock, Network};
use super::world::World;
use super::{distribution, harbor, token_server};

/// How long a balancer waits for a node that says nothing.
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(60);

impl World {
    /// The answer that comes before a request's body is read, if one does.
    pub fn before_body<B>(
        &mut self,
        entry: Entry,
        request: &Request<B>,
        elapsed: Duration,
    ) -> Option<Reaction> {
        let declared = request.headers().get("content-length")?.to_str().ok()?.parse().ok()?;
        let (network, server, now) = match entry {
            Entry::Balancer if self.balancer.plan.layer == Layer::Http => {
                (&self.balancer.mangling.network, SERVER, self.balancer_now(elapsed))
            }
            Entry::Node(index) => {
                let (settings, _) = self.nodes.get(index)?.replicas.first()?;
                (&settings.network, "nginx", now(self.began, elapsed, &settings.clock))
            }
            Entry::Balancer | Entry::TokenServer => return None,
        };
        if !network.refuses_body(declared) {
            return None;
        }
        let mut response = nginx_page(413, server);
        finish(&mut response, request.method(), now);
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
        let delay = match trouble(&settings.network, request, now, "nginx", &mut self.rng) {
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
            spent: Duration::ZERO,
            secure: true,
            token_realm: &self.token_realm,
            pool_owners: &self.pool_owners,
        };
        call.spend(delay);
        let own_tokens = self.token_server.is_none() && request.uri().path() == "/auth";
        let reaction = if settings.family.is_harbor() {
            harbor::answer(&mut call)
        } else {
            let mut response = if own_tokens {
                token_server::answer(&mut call)
            } else {
                distribution::answer(&mut call)
            };
            finish(&mut response, request.method(), call.now);
            Reaction::Answer { response, after: call.spent }
        };
        self.put_back(index, replica, memory_taken);
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
        let delay = match trouble(&settings.network, request, now, "nginx", &mut self.rng) {
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
            spent: Duration::ZERO,
            secure: true,
            token_realm: &self.token_realm,
            pool_owners: &self.pool_owners,
        };
        call.spend(delay);
        let mut response = match request.uri().path() {
            "/auth" => token_server::answer(&mut call),
            "/" => token_server::root(&call),
            _ => with_body(404, "text/plain; charset=utf-8", "404 page not found\n"),
        };
        finish(&mut response, request.method(), call.now);
        Reaction::Answer { response, after: call.spent }
    }

    fn at_balancer(
        &mut self,
        connection: Connection,
        request: &Request<Bytes>,
        elapsed: Duration,
    ) -> Reaction {
        let now = self.balancer_now(elapsed);
        let network = self.balancer.mangling.network.clone();
        let delay = match trouble(&network, request, now, SERVER, &mut self.rng) {
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
        match self.ask_in_turn(order, &upstreams, &forwarded, elapsed) {
            Ok((node, mut response, after)) => {
                self.balancer.returned(&mut response, &node.name, request, cookie.as_deref());
                if !self.balancer.plan.transparent {
                    let date = self.balancer_now(elapsed + delay + after);
                    set(&mut response, "date", &http_date(date));
                }
                Reaction::Answer { response, after: after + delay }
            }
            Err((status, after)) => own(status).delayed(after + delay),
        }
    }

    /// The answer of the first node that gives one and how long it took, or the status that the
    /// balancer gives instead, and after what time.
    fn ask_in_turn<'u>(
        &mut self,
        order: Vec<usize>,
        upstreams: &'u [Upstream],
        request: &Request<Bytes>,
        elapsed: Duration,
    ) -> Result<(&'u Upstream, Response<Bytes>, Duration), (u16, Duration)> {
        for index in order {
            let usable = |node: &&Upstream| matches!(node.port, Port::Tls | Port::Silent);
            let Some(node) = upstreams.get(index).filter(usable) else {
                self.balancer.avoid(index, elapsed);
                continue;
            };
            let reaction = if node.port == Port::Silent {
                Reaction::Hang
            } else {
                self.at_node(index, request, elapsed)
            };
            match reaction {
                Reaction::Answer { response, after } => {
                    self.balancer.busy(index, elapsed + after);
                    return Ok((node, response, after));
                }
                // nginx asks the next node after a reset, unless the request changes something.
                Reaction::Reset if *request.method() == Method::GET => {}
                Reaction::Hang => return Err((504, GATEWAY_TIMEOUT)),
                Reaction::Raw { .. } | Reaction::Reset => return Err((502, Duration::ZERO)),
            }
        }
        Err((502, Duration::ZERO))
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

/// How much later an answer comes, or what comes instead of it.
fn trouble(
    network: &Network,
    request: &Request<Bytes>,
    now: i64,
    server: &str,
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
            let mut response = nginx_page(*code, server);
            finish(&mut response, request.method(), now);
            return Err(Box::new(Reaction::from(response).delayed(delay)));
        }
    }
    if network.refuses_body(u64::try_from(request.body().len()).unwrap_or(u64::MAX)) {
        let mut response = nginx_page(413, server);
        finish(&mut response, request.method(), now);
        return Err(Box::new(Reaction::from(response).delayed(delay)));
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
