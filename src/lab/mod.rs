//! A simulated highly-available registry with faults to order, true to the real servers.
//!
//! What others call:
//!
//! - [`Scenario::all`], [`Scenario::named`]: files of data with what is wrong and what ought to be
//!   found ([`Scenario::expect`], [`Scenario::effect`]).
//! - [`Cluster::start`]`(&scenario, &options)`: listens on loopback for every node, the balancer
//!   and the token server. [`Cluster::public_url`], [`Cluster::nodes`] (names and addresses),
//!   [`Cluster::balancer`], [`Cluster::ca_pem`], [`Cluster::login`], [`Cluster::config_yaml`] (a
//!   ready configuration), [`Cluster::control`] and [`Cluster::set_faults`] (faults on and off while
//!   it runs). Everything ends when it is dropped.
//! - [`Options`]: another family, number of nodes, balancer, seed, more faults, cheap keys
//!   ([`KeyKind::Fast`]), the wall time at which the lab begins.
//! - [`World`]: the same registry without sockets. [`World::gate`] says what happens to a
//!   connection and where its requests enter; [`World::handle`] takes a request and the time since
//!   the beginning and returns a [`Reaction`]. Nothing in it waits or asks a clock; many thousand
//!   rounds run in virtual time.
//! - [`Issuer`]: a token issuer by itself, for real registries.
//! - [`Fault`], [`FaultOrder`]: what can be wrong and where. A list of them composes.
//!
//! The lab shares no parser with the rooms that probe, so that a common mistake cannot hide
//! itself. Key pairs are made once per process; everything else follows from the seed.

use std::time::SystemTime;

use thiserror::Error;

mod answer;
mod balancer;
mod call;
mod cluster;
mod config_text;
mod content;
mod control;
mod credentials;
mod distribution;
mod family;
mod fault;
mod gate;
mod harbor;
mod issuer;
mod jwt;
mod keys;
mod mac;
mod pki;
mod resource;
mod scenario;
mod serve;
mod settings;
mod stores;
mod token_server;
mod traffic;
mod upload;
mod world;

pub use answer::Reaction;
pub use balancer::{BalancerKind, BalancerPlan, Layer};
pub use cluster::{Cluster, NodeAddress};
pub use credentials::Login;
pub use family::Family;
pub use fault::{CertificateFault, Fault, FaultOrder};
pub use gate::{Connection, Entry, Gate};
pub use issuer::{Issuer, IssuerSettings, KidForm};
pub use keys::{KeyKind, SigningKey};
pub use scenario::{Expectation, Scenario, TokenPlan};
pub use world::{ActiveFault, World};

/// The public name of every lab.
pub const PUBLIC_HOST: &str = "hub.lab.invalid";

/// The public name of an installation beside the lab's own.
pub const BESIDE_HOST: &str = "hub.lab.invalid:8443";

/// Why a lab cannot be built.
#[derive(Debug, Error)]
pub enum LabError {
    /// A signing key could not be made.
    #[error("no signing key: {0}")]
    Key(String),
    /// A certificate could not be made.
    #[error("no certificate: {0}")]
    Certificate(String),
    /// No scenario has this name.
    #[error("there is no scenario {name:?}; there are {}", known.join(", "))]
    UnknownScenario {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A scenario's text is wrong.
    #[error("scenario {name}: {reason}")]
    Scenario {
        /// Its name.
        name: String,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// A fault is ordered for a place that does not exist.
    #[error("there is no {place:?} here; there are {}, lb, token-server and *", known.join(", "))]
    UnknownPlace {
        /// The place.
        place: String,
        /// The nodes.
        known: Vec<String>,
    },
    /// A socket or a file.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
}

/// How a scenario is to be played.
#[derive(Debug, Clone)]
pub struct Options {
    /// Another family than the scenario's.
    pub family: Option<Family>,
    /// Another number of nodes.
    pub nodes: Option<u32>,
    /// Another kind of balancer.
    pub balancer: Option<BalancerKind>,
    /// Another layer of the balancer.
    pub layer: Option<Layer>,
    /// More faults than the scenario's.
    pub faults: Vec<FaultOrder>,
    /// What chance follows from.
    pub seed: u64,
    /// What tokens are signed with.
    pub keys: KeyKind,
    /// The true wall time at which the lab begins, nanoseconds since 1970.
    pub began: i64,
}

impl Default for Options {
    /// The scenario as it is, beginning now.
    fn default() -> Self {
        Self {
            family: None,
            nodes: None,
            balancer: None,
            layer: None,
            faults: Vec::new(),
            seed: 1,
            keys: KeyKind::Rsa,
            began: wall_clock(),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the lab plays the servers' clocks; it may not share the prober's"
)]
fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
