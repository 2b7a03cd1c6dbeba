//! Findings: named causes with subjects, evidence and remedy. The vocabulary is closed.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BackendName;
pub use crate::findings::{FindingName, nearest};

/// How bad a finding is for users. Ordered: `Critical` is greatest.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; no request fails because of it.
    Info,
    /// Nothing fails for users now; it will after a failover, or soon.
    Warning,
    /// Requests of users through the load balancer fail.
    Critical,
}

impl Severity {
    /// Every severity, mildest first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// It fits; so do the alternatives that it lists.
    Suspected,
    /// The decisive evidence of the catalogue is there.
    Proved,
}

impl Confidence {
    /// The word of the JSON contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Suspected => "suspected",
            Self::Proved => "proved",
        }
    }
}

/// The state of a registry or of everything. Ordered: `Critical` is greatest.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Everything essential was measured, and no finding is above `info`.
    Ok,
    /// A finding of severity `warning`.
    Warning,
    /// Too little was measured to say more.
    #[default]
    Unknown,
    /// A finding of severity `critical`.
    Critical,
}

impl Status {
    /// The word of the JSON contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Critical => "critical",
        }
    }

    /// The status that a set of findings makes.
    pub fn of(findings: &[Finding]) -> Self {
        match findings.iter().map(|finding| finding.severity).max() {
            Some(Severity::Critical) => Self::Critical,
            Some(Severity::Warning) => Self::Warning,
            Some(Severity::Info) | None => Self::Ok,
        }
    }
}

/// One measured fact.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Evidence {
    /// The fact, for people.
    pub text: String,
    /// The numbers in it that programs may want, by name and unit, such as `offset_seconds`.
    pub numbers: BTreeMap<&'static str, f64>,
}

impl Evidence {
    /// Adds a number.
    #[must_use]
    pub fn with(mut self, name: &'static str, number: f64) -> Self {
        self.numbers.insert(name, number);
        self
    }

    /// Adds a count.
    #[must_use]
    pub fn counting(self, name: &'static str, count: usize) -> Self {
        self.with(name, f64::from(u32::try_from(count).unwrap_or(u32::MAX)))
    }

    /// Adds how many requests failed, of how many.
    #[must_use]
    pub fn of_requests(self, failed: u32, requests: u32) -> Self {
        self.with("failed_requests", f64::from(failed)).with("requests", f64::from(requests))
    }
}

impl From<String> for Evidence {
    fn from(text: String) -> Self {
        Self { text, numbers: BTreeMap::new() }
    }
}

impl From<&str> for Evidence {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// What looks for words in evidence reads its text.
impl Deref for Evidence {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// One thing to do about a cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Remedy {
    /// What to do, in a sentence.
    pub text: String,
    /// Commands to copy, one an entry; none where the sentence says all. An entry that begins with `#`
    /// says what the ones after it are for.
    pub commands: Vec<String>,
}

/// A command that shows one thing of what a finding explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reproduction {
    /// What it does, and what the prober saw.
    pub text: String,
    /// The status that the prober saw, which the command prints last; null if no answer came.
    pub status: Option<u16>,
    /// One line of bash with curl. It asks for the password and prints no secret.
    pub command: String,
}

/// One named cause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The cause.
    pub finding: FindingName,
    /// How bad it is for users.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// The backends at fault; empty if the cause lies elsewhere or cannot be placed.
    pub backends: Vec<BackendName>,
    /// Since when it lasts: the beginning of the first round that found it, without one free of it
    /// since.
    pub since: DateTime<Utc>,
    /// One sentence: what is wrong, and where.
    pub summary: String,
    /// What it does to users, in numbers where they are known.
    pub effect: String,
    /// What was measured, one fact an entry.
    pub evidence: Vec<Evidence>,
    /// What to do, best first.
    pub remedies: Vec<Remedy>,
    /// Other causes that fit the same evidence; empty where the cause is proved.
    pub alternatives: Vec<FindingName>,
    /// What would confirm it.
    pub confirm: String,
    /// How many refused pairs and failed flows of this round it explains.
    pub explains: u32,
    /// Commands that show them: failed flows and pairs, those through the load balancer only where no
    /// node failed; at most 144.
    pub reproduce: Vec<Reproduction>,
}
