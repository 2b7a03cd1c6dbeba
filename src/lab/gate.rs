//! The doors of a simulated registry: what happens to a connection before its first request.

use std::time::Duration;

use rand::Rng as _;

use super::balancer::{Layer, Port, Upstream};
use super::fault::CertificateFault;
use super::settings::Network;
use super::world::{Node, World};

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
    /// A number of its own for every connection.
    pub number: u64,
    /// The client's address, as a number.
    pub source: u32,
}

/// What happens to a connection before its first request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// The port refuses.
    Closed,
    /// It is accepted and nothing is said.
    Silent,
    /// Requests are served.
    Open {
        /// Where they enter: behind a TCP balancer, the node that it chose.
        entry: Entry,
        /// Whether through TLS.
        tls: bool,
        /// How the certificate is wrong, if it is.
        certificate: Option<CertificateFault>,
        /// Whose certificate it is: equal places with equal faults have equal certificates, and
        /// without a fault all places have one.
        place: String,
    },
}

impl World {
    /// Whether nothing listens at an entry.
    pub fn refuses(&self, entry: Entry) -> bool {
        match entry {
            Entry::Node(index) => {
                self.nodes.get(index).is_none_or(|node| network_of(node).unreachable)
            }
            Entry::Balancer => self.balancer.mangling.network.unreachable,
            Entry::TokenServer => {
                self.token_server.as_ref().is_none_or(|(settings, _)| settings.network.unreachable)
            }
        }
    }

    /// What happens to a new connection.
    pub fn gate(&mut self, entry: Entry, connection: Connection, elapsed: Duration) -> Gate {
        match entry {
            Entry::Balancer => {
                let own = door(&self.balancer.mangling.network, entry, "lb".to_owned());
                let passes_on = self.balancer.plan.layer == Layer::Tcp;
                if !passes_on || !matches!(own, Gate::Open { .. }) {
                    return own;
                }
                match self.pick(connection.source, None, elapsed) {
                    Some(index) => self.gate(Entry::Node(index), connection, elapsed),
                    None => Gate::Closed,
                }
            }
            Entry::TokenServer => {
                self.token_server.as_ref().map_or(Gate::Closed, |(settings, _)| {
                    door(&settings.network, entry, "token-server".to_owned())
                })
            }
            Entry::Node(index) => {
                let Some(node) = self.nodes.get(index) else { return Gate::Closed };
                if network_of(node).unreachable {
                    return Gate::Closed;
                }
                // A connection meets one replica, though its requests may meet others.
                let count = node.replicas.len();
                let replica = if count > 1 { self.rng.random_range(0..count) } else { 0 };
                node.replicas.get(replica).map_or(Gate::Closed, |(settings, _)| {
                    door(&settings.network, entry, format!("{} {replica}", node.name))
                })
            }
        }
    }

    /// The first node that a balancer would connect to.
    pub(super) fn pick(
        &mut self,
        source: u32,
        cookie: Option<&str>,
        elapsed: Duration,
    ) -> Option<usize> {
        let upstreams = self.upstreams();
        let order = self.balancer.order(&upstreams, source, cookie, elapsed, &mut self.rng);
        let found = order
            .iter()
            .copied()
            .find(|index| upstreams.get(*index).is_some_and(|node| node.port != Port::Refuses));
        for index in order.iter().take_while(|index| Some(**index) != found) {
            self.balancer.avoid(*index, elapsed);
        }
        found
    }

    pub(super) fn upstreams(&self) -> Vec<Upstream> {
        // Behind another balancer.
        let second = usize::from(self.second().is_some());
        self.nodes
            .iter()
            .take(self.nodes.len().saturating_sub(second))
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
                    port: if network.unreachable {
                        Port::Refuses
                    } else if network.stalled_handshake {
                        Port::Silent
                    } else if network.plain_http {
                        Port::PlainHttp
                    } else {
                        Port::Tls
                    },
                    healthy: healthy
                        && !network.hang
                        && !network.unreachable
                        && !network.stalled_handshake,
                }
            })
            .collect()
    }
}

fn door(network: &Network, entry: Entry, place: String) -> Gate {
    if network.unreachable {
        Gate::Closed
    } else if network.stalled_handshake {
        Gate::Silent
    } else {
        Gate::Open { entry, tls: !network.plain_http, certificate: network.certificate, place }
    }
}

/// The network faults of a node as a whole: those of its first replica.
fn network_of(node: &Node) -> Network {
    node.replicas.first().map(|(settings, _)| settings.network.clone()).unwrap_or_default()
}
