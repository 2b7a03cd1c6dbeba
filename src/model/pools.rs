//! The worker pools of Harbor's job service, as each backend lists them.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{BackendName, Outcome, Reason, RegistryName, Round};

/// What every backend lists.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WorkerPools {
    /// Every backend, in the order of the configuration.
    pub at: Vec<PoolsAt>,
}

/// What one backend lists.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolsAt {
    /// The backend.
    pub backend: BackendName,
    /// The ids of the pools that gave a sign of life lately, in their order.
    pub ids: Outcome<Vec<String>>,
}

impl PoolsAt {
    fn is_refused(&self) -> bool {
        matches!(&self.ids, Outcome::Failed(failure) if failure.reason == Reason::Unauthorized)
    }
}

impl WorkerPools {
    /// Whether the account was refused and nowhere accepted.
    pub fn is_refused(&self) -> bool {
        self.at.iter().any(PoolsAt::is_refused)
            && self.at.iter().all(|at| at.ids.measured().is_none())
    }

    /// Whether this backend refused the account.
    pub fn refused_by(&self, backend: &BackendName) -> bool {
        self.at.iter().any(|at| at.backend == *backend && at.is_refused())
    }

    /// Every pool that any backend lists.
    pub fn all(&self) -> BTreeSet<&str> {
        let lists = self.at.iter().filter_map(|at| at.ids.measured());
        lists.flatten().map(String::as_str).collect()
    }
}

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
