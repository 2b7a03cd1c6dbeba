//! Where the public name leads, by each resolver, and what answers there.

use std::net::IpAddr;

use serde::Serialize;

use super::{BackendName, KeyId, Outcome};

/// One address record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DnsRecord {
    /// The address.
    pub address: IpAddr,
    /// How long it may be kept, in seconds; the system's resolver does not say.
    pub ttl_seconds: Option<u32>,
}

/// What one resolver says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DnsAnswer {
    /// `system`, or the resolver's address.
    pub resolver: String,
    /// The records in the resolver's order.
    pub records: Outcome<Vec<DnsRecord>>,
}

/// One address of the public name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DnsAddress {
    /// The address.
    pub address: IpAddr,
    /// The backend that is configured with it.
    pub backend: Option<BackendName>,
    /// What answers there; not asked where it is a backend, or the only address.
    pub seen: Outcome<DnsSeen>,
}

/// What answers at an address of the public name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DnsSeen {
    /// The realm of its challenge.
    pub realm: Option<String>,
    /// The service of its challenge.
    pub service: Option<String>,
    /// The key that signs its anonymous tokens, where the family gives them.
    pub key: Option<KeyId>,
}

/// Where the public name leads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DnsReport {
    /// The name that was asked for.
    pub host: String,
    /// By each resolver, the system's first.
    pub answers: Vec<DnsAnswer>,
    /// Every distinct address, sorted.
    pub addresses: Vec<DnsAddress>,
}
