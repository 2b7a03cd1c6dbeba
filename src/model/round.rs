//! The central type: everything measured of one registry in one interval.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    BackendName, BalancerRun, ClockReading, Family, Flow, Matrix, Outcome, RegistryName, Route,
    Version,
};

/// What is known of one backend beside its flow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackendFacts {
    /// Its name.
    pub name: BackendName,
    /// The address as configured or resolved.
    pub address: String,
    /// Its family, told from its answers.
    pub family: Family,
    /// The version it tells without credentials. Harbor 2.13 and later tell none; then this is
    /// `Measured(None)`.
    pub version: Outcome<Option<Version>>,
}

/// The certificate that a route presented.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Certificate {
    /// Where it was met.
    pub route: Route,
    /// SHA-256 of the leaf in lower-case hex.
    pub fingerprint: String,
    /// The end of its validity.
    pub not_after: DateTime<Utc>,
    /// The names it is for, at most 16.
    pub names: Vec<String>,
    /// How many certificates were sent.
    pub chain_length: usize,
    /// Nothing if it is valid for the public name, else why not.
    pub invalid: Option<String>,
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
    /// Whether credentials were sent.
    pub authenticated: bool,
    /// When it began, by the prober's clock.
    pub started: DateTime<Utc>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Every backend, in the order of the configuration.
    pub backends: Vec<BackendFacts>,
    /// One flow for each route, backends first.
    pub flows: Vec<Flow>,
    /// The pairs.
    pub matrix: Matrix,
    /// The sampling through the load balancer.
    pub balancer: Outcome<BalancerRun>,
    /// Clocks by backend and source.
    pub clocks: Vec<ClockReading>,
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
