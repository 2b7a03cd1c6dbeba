//! What all handlers share.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::names::Names;
use super::program::Program;
use crate::model::Snapshot;

/// Everything the router needs from other rooms.
pub struct State {
    /// The newest rounds.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// The rest of the program.
    pub program: Box<dyn Program>,
    /// The token that allows to reload from elsewhere than loopback; none without it.
    pub reload_token: Option<SecretString>,
    /// The names under which the daemon is reached.
    pub names: Names,
}

/// The state, and how much is done at once.
pub(super) struct Shared {
    pub(super) state: State,
    pub(super) probes: Semaphore,
    pub(super) pages: Semaphore,
    pub(super) started: Instant,
}

impl Shared {
    /// The newest rounds.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.state.snapshots.borrow().clone()
    }
}
