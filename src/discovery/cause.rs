//! What can go wrong in finding backends.

use std::io;

use thiserror::Error;

use crate::config::TargetsError;
use crate::model::Failure;

/// Most backends that are taken from one source.
pub(super) const MAX_BACKENDS: usize = 1000;

/// What can go wrong in finding backends.
#[derive(Debug, Error)]
pub enum DiscoveryCause {
    /// The resolver's answer is an error.
    #[error("cannot be looked up: {0}")]
    Lookup(#[source] io::Error),
    /// The resolver does not answer with servers.
    #[error("cannot be looked up: {}", .0.detail)]
    Resolver(Failure),
    /// There was no answer within the registry's timeout.
    #[error("the lookup did not end within the timeout")]
    Timeout,
    /// The name exists without an address.
    #[error("has no address")]
    NoAddress,
    /// More than one registry can have nodes.
    #[error("{0} backends are too many for one registry; at most {MAX_BACKENDS} are allowed")]
    TooMany(usize),
    /// The file is not usable.
    #[error(transparent)]
    File(#[from] TargetsError),
    /// Why the cluster does not say.
    #[error("{0}")]
    Cluster(String),
    /// A server of SRV records that cannot be a backend, and why.
    #[error("server {0}: {1}")]
    Server(String, String),
    /// A fault of this program.
    #[error("the file could not be read: a bug in registry-prober")]
    Internal,
}
