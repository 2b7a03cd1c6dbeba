//! A round as it is kept: already shown, so that a later version can show it as it was.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Round, Status};

/// The name of a kept round: its registry and when it began, to the millisecond. It is part of a
/// path and the name of a file.
pub fn round_id(round: &Round) -> String {
    format!("{}-{}", round.registry, round.started.format("%Y%m%dT%H%M%S%.3fZ"))
}

/// A round in the forms in which it was shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownRound {
    /// The registry's part of the status page.
    pub page: String,
    /// What the API said of it.
    pub document: serde_json::Value,
}

/// One of the last rounds, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoundLine {
    /// Its id.
    pub id: String,
    /// Its registry.
    pub registry: String,
    /// When it began.
    pub started: DateTime<Utc>,
    /// What it came to.
    pub status: Status,
    /// The findings in it, by name.
    pub findings: Vec<String>,
}
