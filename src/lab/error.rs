//! Why a lab cannot be built.

use thiserror::Error;

/// Why a lab cannot be built.
#[derive(Debug, Error)]
pub enum LabError {
    /// A signing key could not be generated.
    #[error("no signing key: {0}")]
    Key(String),
    /// A certificate could not be generated.
    #[error("no certificate: {0}")]
    Certificate(String),
    /// No scenario has this name.
    #[error("there is no scenario {name:?}; there are {}", known.join(", "))]
    UnknownScenario {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A scenario's text is wrong.
    #[error("scenario {name}: {reason}")]
    Scenario {
        /// Its name.
        name: String,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// A fault is ordered for a place that does not exist.
    #[error("there is no {place:?} here; there are {}, lb, token-server and *", known.join(", "))]
    UnknownPlace {
        /// The place.
        place: String,
        /// The nodes.
        known: Vec<String>,
    },
    /// A socket or a file.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
}

impl LabError {
    /// What was tried, and what went wrong.
    pub(super) fn io(what: &str, source: std::io::Error) -> Self {
        Self::Io { what: what.to_owned(), source }
    }
}
