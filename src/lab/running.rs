//! What the tasks of a running lab share: its world, its clock and its certificates.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::error::LabError;
use super::fault::FaultOrder;
use super::pki::Pki;
use super::world::World;

/// A node and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its name in the configuration.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
}

/// What every task of a lab shares.
pub(super) struct Running {
    pub(super) world: Mutex<World>,
    pub(super) pki: Pki,
    pub(super) harbor: bool,
    pub(super) began: Instant,
    pub(super) connections: AtomicU64,
    /// Counts the changes of faults, so that closed ports open and open ones close.
    pub(super) changes: watch::Sender<u64>,
}

impl Running {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the faults and lets the ports follow.
    pub(super) fn set_faults(&self, orders: Vec<FaultOrder>) -> Result<(), LabError> {
        let elapsed = self.elapsed();
        self.world().set_faults(orders, elapsed)?;
        self.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    /// The time in the lab.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}
