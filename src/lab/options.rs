//! How a lab is set up.

use std::time::SystemTime;

use super::balancer::{BalancerKind, Layer};
use super::family::Family;
use super::fault::FaultOrder;
use super::keys::KeyKind;

/// The public name of every lab.
pub const PUBLIC_HOST: &str = "hub.lab.invalid";

/// The public name of the second installation, where a scenario has one.
pub const SECOND_HOST: &str = "hub.lab.invalid:8443";

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
    /// Another public host, with its port unless that is 443; for a real load balancer.
    pub public_host: Option<String>,
    /// More faults than the scenario's.
    pub faults: Vec<FaultOrder>,
    /// The seed of everything that is random.
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
            public_host: None,
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
pub(super) fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
