//! Another registry of the same configuration, and what it may share with this one.

use std::collections::BTreeSet;

use super::{RegistryName, Round};

/// Another configured registry, as far as it may have something in common with this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name.
    pub registry: RegistryName,
    /// Its public URL.
    pub url: String,
    /// The addresses of its backends.
    pub addresses: BTreeSet<String>,
    /// The worker pools that it lists.
    pub pools: BTreeSet<String>,
}

impl Neighbour {
    /// What a round shows of its registry; none if it lists no pools.
    pub fn of(round: &Round) -> Option<Self> {
        let pools = round.checks.worker_pools.measured()?;
        let pools: BTreeSet<String> = pools.all().into_iter().map(str::to_owned).collect();
        (!pools.is_empty()).then(|| Self {
            registry: round.registry.clone(),
            url: round.url.clone(),
            addresses: round.backends.iter().map(|facts| facts.address.clone()).collect(),
            pools,
        })
    }
}
