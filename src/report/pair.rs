//! The words for what one route did with what another gave.

use schemars::JsonSchema;
use serde::Serialize;

/// What came of showing a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PairResult {
    /// The verifier took it.
    Accepted,
    /// The verifier answered 401 or 403.
    Refused,
    /// There was no answer about the token: the network, a gateway or a server error.
    Failed,
    /// It was not tried.
    Skipped,
}
