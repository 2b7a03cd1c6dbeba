//! What becomes of a person's account whose password a directory knows, not the registry.

use serde::Serialize;

/// A login with the directory's account at one backend.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DirectoryLogin {
    /// How it ended.
    pub verdict: LoginVerdict,
    /// How long the answer took, its connection included, in seconds.
    pub seconds: f64,
}

/// How a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginVerdict {
    /// A token came.
    Accepted,
    /// 401.
    Refused,
    /// The answer did not come within the timeout.
    TimedOut,
}
