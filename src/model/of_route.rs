//! What a check found, with where it found it.

use serde::Serialize;

use super::{BackendName, Outcome, Route};

/// A value of one route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OfRoute<T> {
    /// The route.
    pub route: Route,
    /// The value, or why there is none.
    pub value: Outcome<T>,
}

/// What one backend did with what another gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OfPair<T> {
    /// Who gave it.
    pub issuer: BackendName,
    /// Who was shown it.
    pub verifier: BackendName,
    /// What it did with it.
    pub value: Outcome<T>,
}
