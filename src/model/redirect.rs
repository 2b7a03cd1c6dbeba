//! Where backends send clients for blobs.

use serde::Serialize;

use super::{OfRoute, Outcome};

/// How every backend serves one blob.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlobRedirects {
    /// The blob: the configuration of the canary.
    pub digest: String,
    /// How each backend serves it.
    pub at: Vec<OfRoute<BlobWay>>,
}

/// How a blob is served.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BlobWay {
    /// By the registry itself.
    Served,
    /// By another server, to which clients are redirected.
    Redirected {
        /// Scheme and authority, without path and query: they carry a signature.
        to: String,
        /// What one byte of it took, asked for without credentials.
        fetched: Outcome<Fetched>,
    },
}

/// The answer of the server to which clients are redirected for a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// Its status.
    pub status: u16,
    /// Whether it complains of the time in the signature.
    pub about_time: bool,
}

impl Fetched {
    /// Whether it gave the blob.
    pub fn is_good(self) -> bool {
        (200..300).contains(&self.status)
    }
}
