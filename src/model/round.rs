//! The central type: everything measured of one registry in one interval.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::{
    BackendName, BalancerRun, Caller, ClockReading, Family, Flow, Matrix, Outcome, RegistryName,
    Route, Version,
};

/// What is known of one backend in addition to its flow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackendFacts {
    /// Its name.
    pub name: BackendName,
    /// The address as configured or resolved.
    pub address: String,
    /// Not so only where discovery says that no user's request is sent there, as of a pod that
    /// starts.
    pub ready: bool,
    /// Its family, inferred from its answers.
    pub family: Family,
    /// The version it tells without credentials. Harbor 2.13 and later tell none; then this is
    /// `Measured(None)`.
    pub version: Outcome<Option<Version>>,
    /// What its answers of this round say about its settings.
    pub settings: super::Settings,
}

/// Who the prober is to the registry. Harbor treats the kinds differently: users are locked after
/// a wrong password, and the secrets of old robots are tokens themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// No credentials are configured.
    Anonymous,
    /// A robot, by the prefix that Harbor gives its name.
    Robot,
    /// A robot of Harbor 2.1 or older, whose secret is a JWT.
    JwtRobot,
    /// Any other server.
    User,
}

/// The signing keys of several tokens, each asked for on a connection of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyCensus {
    /// Who issued them.
    pub backend: BackendName,
    /// The keys, most frequent first.
    pub keys: Vec<super::KeyCount>,
}

/// A token held since an earlier round, shown to its own issuer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldToken {
    /// Who issued it and was asked.
    pub backend: BackendName,
    /// The key that signed it.
    pub key: Option<super::KeyId>,
    /// Seconds since it was issued.
    pub age_seconds: f64,
    /// Seconds that it still had to live.
    pub left_seconds: f64,
    /// Whether it was accepted; a failure where nothing was learned.
    pub accepted: Outcome<bool>,
}

/// Another backend's token at the repository of a backend that issued none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ForeignToken {
    /// Where it was shown.
    pub backend: BackendName,
    /// Who issued it.
    pub issuer: super::Issuer,
    /// The answer.
    pub answer: Outcome<super::Answer>,
}

/// The certificate that a route presented.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Certificate {
    /// Where it was met.
    pub route: Route,
    /// SHA-256 of the leaf in lower-case hex.
    pub fingerprint: String,
    /// The beginning of its validity.
    pub not_before: DateTime<Utc>,
    /// The end of its validity.
    pub not_after: DateTime<Utc>,
    /// The names it is for, at most 16.
    pub names: Vec<String>,
    /// How many certificates were sent.
    pub chain_length: usize,
    /// Nothing if it is valid for the public name, else why not.
    pub invalid: Option<String>,
}

impl Certificate {
    /// Whether a renewal in good time must have failed by now: two weeks are left, or a sixth of
    /// its life where it lives shorter than twelve weeks. Tools renew with a third of the life left.
    pub fn expires_soon(&self, now: DateTime<Utc>) -> bool {
        let life = self.not_after - self.not_before;
        self.not_after - now < (life / 6).min(TimeDelta::weeks(2))
    }
}

/// Everything learned of one registry in one interval. Built in one place, `probe::round`, and
/// never changed after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Round {
    /// Which registry.
    pub registry: RegistryName,
    /// Its public URL.
    pub url: String,
    /// The scope asked for, if one is configured.
    pub scope: Option<String>,
    /// Who the prober is to the registry.
    pub account: Account,
    /// How it asks.
    pub caller: Caller,
    /// When it began, by the prober's clock.
    pub started: DateTime<Utc>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How the `X-Request-Id` of each of its requests begins; servers write it to their logs.
    pub request_ids: String,
    /// Why discovery failed, if it did; the backends are those that it found last.
    pub discovery_error: Option<String>,
    /// Every backend, in the order of the configuration.
    pub backends: Vec<BackendFacts>,
    /// One flow for each route, backends first.
    pub flows: Vec<Flow>,
    /// The pairs.
    pub matrix: Matrix,
    /// The sampling through the load balancer.
    pub balancer: Outcome<BalancerRun>,
    /// Signing keys of several tokens of one backend, counted where a refusal might mean that its
    /// address hides replicas.
    pub key_census: Vec<KeyCensus>,
    /// Tokens of good backends shown to the repository of those that issued none.
    pub foreign_tokens: Vec<ForeignToken>,
    /// The requests along each route, of whatever kind.
    pub traffic: Vec<Traffic>,
    /// Tokens held since an earlier round, shown to the backend that issued them.
    pub held_tokens: Vec<HeldToken>,
    /// What the extra checks found.
    pub checks: super::Checks,
    /// Clocks by backend and source.
    pub clocks: Vec<ClockReading>,
    /// By how many seconds the prober's own wall clock was set since the round before or during
    /// this one, if it was. In the latter case there are no clocks: half of the samples would be
    /// against another time.
    pub clock_step_seconds: Option<f64>,
    /// The longest time for which the host gave the prober no processor, seconds: a latency may be
    /// that much too long.
    pub processor_wait_seconds: f64,
    /// Certificates by route; empty for plain HTTP.
    pub certificates: Vec<Certificate>,
    /// Requests by route, step and status, for the counters.
    pub responses: Vec<ResponseCount>,
}

/// A number of answers of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResponseCount {
    /// The route that answered.
    pub route: Route,
    /// The step asked for.
    pub step: super::Step,
    /// The status.
    pub code: u16,
    /// Whether the request carried a token just issued to the prober.
    pub authenticated: bool,
    /// How many.
    pub count: u64,
}

/// The requests along one route, of flows, pairs, samples and checks, without those that a server
/// may answer by closing the connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Traffic {
    /// The route.
    pub route: Route,
    /// How many of them the network lost.
    pub lost: super::Ratio,
    /// How it lost the last of them.
    pub last: Option<super::Failure>,
}

impl Round {
    /// The flow of a route.
    pub fn flow(&self, route: &Route) -> Option<&Flow> {
        self.flows.iter().find(|flow| flow.route == *route)
    }

    /// The flow of a backend.
    pub fn backend_flow(&self, backend: &BackendName) -> Option<&Flow> {
        self.flows.iter().find(|flow| flow.route.backend() == Some(backend))
    }

    /// The flow through the load balancer.
    pub fn balancer_flow(&self) -> Option<&Flow> {
        self.flow(&Route::Balancer)
    }

    /// What is known of a backend.
    pub fn backend(&self, name: &BackendName) -> Option<&BackendFacts> {
        self.backends.iter().find(|facts| facts.name == *name)
    }
}
