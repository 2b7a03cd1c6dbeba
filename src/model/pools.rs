//! The worker pools of Harbor's job service, as each backend lists them.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{BackendName, Outcome, Reason};

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
