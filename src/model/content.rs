//! The canary's content as each backend has it.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{BackendName, Outcome};

/// One tag of the canary repository and what every backend has of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Content {
    /// The repository.
    pub repository: String,
    /// The tag that was looked at.
    pub tag: String,
    /// The manifest's digest that most backends give for the tag.
    pub digest: String,
    /// The digest of the configuration blob that this manifest names, if it names one.
    pub config: Option<String>,
    /// Every backend, in the order of the configuration.
    pub at: Vec<ContentAt>,
    /// What came of pulls over the load balancer.
    pub through: Outcome<()>,
}

/// What one backend has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContentAt {
    /// The backend.
    pub backend: BackendName,
    /// What it has, or why that is not known.
    pub found: Outcome<ContentFound>,
}

/// What a backend has of the tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ContentFound {
    /// Whether its list of tags has the tag. Harbor answers that from its database, distribution
    /// from its storage.
    pub listed: bool,
    /// The digest that it gives for the tag; none if it knows no manifest under it.
    pub tagged: Option<String>,
    /// Whether it has the manifest under [`Content::digest`].
    pub manifest: bool,
    /// Whether it has the configuration blob; none if there is no such blob.
    pub config: Option<bool>,
    /// Whether the blob can be read where its head is answered; none if nothing was read.
    pub readable: Option<bool>,
    /// Milliseconds after the first look until everything was there, where a later look of the
    /// same run found it.
    pub healed_after_ms: Option<u64>,
    /// Since when something is missing or other than elsewhere; none if all is well.
    pub since: Option<DateTime<Utc>>,
}

impl Content {
    /// Whether a backend has everything, under the right digest.
    pub fn is_whole(&self, found: &ContentFound) -> bool {
        found.listed
            && found.tagged.as_ref() == Some(&self.digest)
            && found.manifest
            && found.config != Some(false)
            && found.readable != Some(false)
    }
}
