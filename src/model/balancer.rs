//! What was seen through the load balancer.

use serde::Serialize;

use super::{BackendName, Failure, KeyId};

/// Events among trials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ratio {
    /// How often it happened.
    pub events: u32,
    /// How often it could have.
    pub trials: u32,
}

impl Ratio {
    /// Events over trials; `None` without trials.
    pub fn value(self) -> Option<f64> {
        (self.trials > 0).then(|| f64::from(self.events) / f64::from(self.trials))
    }
}

/// How often a signing key was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyCount {
    /// The key.
    pub key: KeyId,
    /// The tokens signed by it.
    pub tokens: u32,
}

/// The share of the balancer's answers that one backend gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// The backend; none for answers of no backend that is configured.
    pub backend: Option<BackendName>,
    /// 0 to 1.
    pub share: f64,
    /// Whether the share was seen (fingerprints tell this backend apart) or is an equal part of
    /// what several indistinguishable backends answered together.
    pub distinct: bool,
}

/// The sampling of one round. The two kinds of flow are never mixed in one figure.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BalancerRun {
    /// Independent pairs: token and access each on a fresh connection with a random number of
    /// challenges between. Events are tokens refused with 401.
    pub pairs: Ratio,
    /// Client-like flows: challenge, token and access in a row on one connection, as a docker
    /// client does. Events are flows that failed with 401.
    pub client_flows: Ratio,
    /// Challenges that name a token endpoint elsewhere than the registry and `allowed_realms`.
    pub foreign_realms: Ratio,
    /// Flows of either kind that failed otherwise; they count in neither ratio.
    pub lost: u32,
    /// The first of those failures.
    pub first_loss: Option<Failure>,
    /// The signing keys of the tokens that were issued, most frequent first.
    pub keys: Vec<KeyCount>,
    /// The certificates that were presented (SHA-256 of the leaf), with how many connections.
    pub certificates: Vec<(String, u32)>,
    /// The cookie by which the balancer ties a client to a backend, if it sets one.
    pub affinity_cookie: Option<String>,
}
