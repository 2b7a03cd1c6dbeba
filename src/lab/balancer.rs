//! The load balancer: which node a request goes to, and what is done to it on the way.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Bytes;
use rand::Rng as _;
use rand::rngs::SmallRng;
use serde::Deserialize;

use super::answer::{add, nginx_page, set, with_body};
use super::fault::Fault;
use super::settings::{Clock, Network};

/// How long a balancer avoids a node whose port refused it (nginx's `fail_timeout`).
const AVOIDED: Duration = Duration::from_secs(10);
const COOKIE: &str = "SERVERID";

/// The balancer of a scenario.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BalancerPlan {
    /// How it chooses.
    pub kind: BalancerKind,
    /// Whether it reads requests or only passes connections.
    pub layer: Layer,
    /// Shares by node name; 1 for those not named.
    pub weights: BTreeMap<String, u32>,
    /// Whether nodes that are down are left out by an active health check. Without it a node whose
    /// port refuses is left out for 10 s, as nginx does.
    pub health_checks: bool,
    /// Whether `Server` and `Date` are the nodes' instead of its own.
    pub transparent: bool,
}

/// How a balancer chooses a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalancerKind {
    /// One after the other, request by request.
    #[default]
    RoundRobin,
    /// By chance.
    Random,
    /// The node with the fewest requests under way.
    LeastConnections,
    /// Always the same for one client address.
    Source,
    /// Always the same for one cookie.
    Cookie,
}

/// Where a balancer works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// Ends TLS and forwards requests.
    #[default]
    Http,
    /// Passes TCP connections on; certificates are the nodes'.
    Tcp,
}

/// What is wrong with the balancer.
#[derive(Debug, Clone, Default)]
pub(super) struct BalancerFaults {
    pub(super) network: Network,
    pub(super) clock_faults: Vec<(Fault, Duration)>,
    drops_authorization: bool,
    /// The beginning of a path, and the `Host` that nodes get under it.
    hosts: Vec<(String, String)>,
    loses_proto: bool,
    html_paths: Vec<(String, u16)>,
    redirects: Vec<(String, String, u16)>,
    per_second: Option<u32>,
    all_unhealthy: bool,
}

impl BalancerFaults {
    /// Lets a fault act.
    pub(super) fn apply_fault(&mut self, fault: &Fault, since: Duration) {
        match fault {
            Fault::DropsAuthorization => self.drops_authorization = true,
            Fault::RewritesHost(host) => self.hosts.push((String::new(), host.clone())),
            Fault::RewritesHostUnder { path, host } => {
                self.hosts.push((path.clone(), host.clone()));
            }
            Fault::LosesForwardedProto => self.loses_proto = true,
            Fault::HtmlPath { path, status } => self.html_paths.push((path.clone(), *status)),
            Fault::Redirect { path, to, status } => {
                self.redirects.push((path.clone(), to.clone(), *status));
            }
            Fault::RateLimit { per_second } => self.per_second = Some(*per_second),
            Fault::HealthCheckTooStrict => self.all_unhealthy = true,
            Fault::Clock { .. } => self.clock_faults.push((fault.clone(), since)),
            other => self.network.apply_fault(other),
        }
    }

    /// The `Host` that nodes get instead of the client's under this path.
    fn host(&self, path: &str) -> Option<&str> {
        let (_, host) = self.hosts.iter().find(|(prefix, _)| path.starts_with(prefix.as_str()))?;
        Some(host)
    }
}

/// A balancer at work.
#[derive(Debug)]
pub(super) struct Balancer {
    pub(super) plan: BalancerPlan,
    pub(super) mangling: BalancerFaults,
    pub(super) clock: Clock,
    turn: u64,
    under_way: Vec<(usize, Duration)>,
    avoided: HashMap<usize, Duration>,
    second: (u64, u32),
}

/// What a balancer meets at a node's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    Refuses,
    /// Accepts and says nothing.
    Silent,
    PlainHttp,
    Tls,
}

/// A node as the balancer sees it.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    pub(super) name: String,
    pub(super) port: Port,
    /// Whether a health check of the registry passes.
    pub(super) healthy: bool,
}

impl Balancer {
    pub(super) fn new(plan: BalancerPlan) -> Self {
        Self {
            plan,
            mangling: BalancerFaults::default(),
            clock: Clock::default(),
            turn: 0,
            under_way: Vec::new(),
            avoided: HashMap::new(),
            second: (0, 0),
        }
    }

    /// The answer that the balancer gives by itself, if it does; `length` is the body's.
    pub(super) fn own_answer(
        &mut self,
        path: &str,
        length: u64,
        elapsed: Duration,
    ) -> Option<Response<Bytes>> {
        let mangling = &self.mangling;
        let begins = |prefix: &String| path.starts_with(prefix.as_str());
        if let Some((_, to, status)) = mangling.redirects.iter().find(|(path, ..)| begins(path)) {
            let mut response = nginx_page(*status, SERVER);
            set(&mut response, "location", &format!("{to}{path}"));
            return Some(response);
        }
        if let Some((_, status)) = mangling.html_paths.iter().find(|(path, _)| begins(path)) {
            let page = "<!DOCTYPE html>\n<html><head><title>Welcome</title></head>\
                        <body><h1>Welcome</h1></body></html>\n";
            let mut response = with_body(*status, "text/html", page);
            set(&mut response, "server", SERVER);
            return Some(response);
        }
        if mangling.network.refuses_body(length) {
            return Some(nginx_page(413, SERVER));
        }
        if let Some(limit) = mangling.per_second {
            let second = elapsed.as_secs();
            let seen = if self.second.0 == second { self.second.1 + 1 } else { 1 };
            self.second = (second, seen);
            if seen > limit {
                let mut response = nginx_page(429, SERVER);
                set(&mut response, "retry-after", "1");
                return Some(response);
            }
        }
        None
    }

    /// The nodes to try, best first. Empty if none may be used.
    pub(super) fn order(
        &mut self,
        upstreams: &[Upstream],
        source: u32,
        cookie: Option<&str>,
        elapsed: Duration,
        rng: &mut SmallRng,
    ) -> Vec<usize> {
        if self.mangling.all_unhealthy {
            return Vec::new();
        }
        self.avoided.retain(|_, until| *until > elapsed);
        let usable: Vec<usize> = (0..upstreams.len())
            .filter(|index| {
                !self.avoided.contains_key(index)
                    && (!self.plan.health_checks
                        || upstreams.get(*index).is_some_and(|node| node.healthy))
            })
            .collect();
        // If no node is left, nginx tries those again that refused it before.
        let usable = if usable.is_empty() && !self.plan.health_checks {
            (0..upstreams.len()).collect()
        } else {
            usable
        };
        let slots: Vec<usize> =
            usable.iter().flat_map(|index| self.slots(upstreams, *index)).collect();
        let Some(first) = self.choose(upstreams, &slots, source, cookie, elapsed, rng) else {
            return Vec::new();
        };
        let at = usable.iter().position(|index| *index == first).unwrap_or(0);
        usable.iter().cycle().skip(at).take(usable.len()).copied().collect()
    }

    fn slots(&self, upstreams: &[Upstream], index: usize) -> Vec<usize> {
        let weight = upstreams
            .get(index)
            .and_then(|node| self.plan.weights.get(&node.name))
            .copied()
            .unwrap_or(1);
        vec![index; usize::try_from(weight).unwrap_or(1)]
    }

    fn choose(
        &mut self,
        upstreams: &[Upstream],
        slots: &[usize],
        source: u32,
        cookie: Option<&str>,
        elapsed: Duration,
        rng: &mut SmallRng,
    ) -> Option<usize> {
        let count = u64::try_from(slots.len()).ok().filter(|count| *count > 0)?;
        let slot = |number: u64| slots.get(usize::try_from(number % count).ok()?).copied();
        match self.plan.kind {
            BalancerKind::Random => slot(rng.random()),
            BalancerKind::Source => slot(u64::from(source).wrapping_mul(0x9E37_79B9) >> 7),
            BalancerKind::LeastConnections => {
                self.under_way.retain(|(_, until)| *until > elapsed);
                self.turn += 1;
                let start = usize::try_from(self.turn % count).ok()?;
                let busy =
                    |index: &usize| self.under_way.iter().filter(|(node, _)| node == index).count();
                slots.iter().cycle().skip(start).take(slots.len()).copied().min_by_key(busy)
            }
            BalancerKind::Cookie => {
                let named = cookie.and_then(|cookie| {
                    slots
                        .iter()
                        .copied()
                        .find(|index| upstreams.get(*index).is_some_and(|node| node.name == cookie))
                });
                named.or_else(|| {
                    self.turn += 1;
                    slot(self.turn - 1)
                })
            }
            BalancerKind::RoundRobin => {
                self.turn += 1;
                slot(self.turn - 1)
            }
        }
    }

    /// Remembers that a node's port refused.
    pub(super) fn avoid(&mut self, index: usize, elapsed: Duration) {
        self.avoided.insert(index, elapsed + AVOIDED);
    }

    /// Remembers a request that lasts until then.
    pub(super) fn busy(&mut self, index: usize, until: Duration) {
        if self.plan.kind == BalancerKind::LeastConnections {
            self.under_way.push((index, until));
        }
    }

    /// The request as the node gets it.
    pub(super) fn forwarded(&self, request: &Request<Bytes>) -> Request<Bytes> {
        let mut forwarded = request.clone();
        let headers = forwarded.headers_mut();
        if self.mangling.drops_authorization {
            headers.remove("authorization");
        }
        let host = self.mangling.host(request.uri().path());
        if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
            headers.insert("host", host);
        }
        let proto = if self.mangling.loses_proto { "http" } else { "https" };
        headers.insert("x-forwarded-proto", HeaderValue::from_static(proto));
        forwarded
    }

    /// The answer as the client gets it.
    pub(super) fn returned(
        &self,
        response: &mut Response<Bytes>,
        node: &str,
        request: &Request<Bytes>,
        cookie: Option<&str>,
    ) {
        let host = request.headers().get("host").and_then(|host| host.to_str().ok());
        let host = host.unwrap_or_default();
        // nginx's proxy_redirect repairs a Location that names the upstream.
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        if let Some(upstream) = self.mangling.host(request.uri().path())
            && let Some((_, place)) = location.and_then(|location| location.split_once("://"))
            && let Some(rest) = place.strip_prefix(upstream)
        {
            let repaired = format!("https://{host}{rest}");
            set(response, "location", &repaired);
        }
        if !self.plan.transparent {
            set(response, "server", SERVER);
        }
        if self.plan.kind == BalancerKind::Cookie && cookie != Some(node) {
            add(response, "set-cookie", &format!("{COOKIE}={node}; path=/"));
        }
    }
}

/// How the balancer signs.
pub(super) const SERVER: &str = "nginx/1.22.1";

/// The balancer's affinity cookie in a request.
pub(super) fn affinity_cookie(request: &Request<Bytes>) -> Option<&str> {
    request
        .headers()
        .get_all("cookie")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().split_once('=').filter(|(name, _)| *name == COOKIE))
        .map(|(_, value)| value)
}
