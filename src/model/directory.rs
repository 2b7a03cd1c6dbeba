//! What becomes of a person's account whose password a directory knows, not the registry.

use chrono::{DateTime, Utc};
use serde::Serialize;

/// A login with the directory's account at one backend.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DirectoryLogin {
    /// How it ended.
    pub verdict: LoginVerdict,
    /// How long the answer took, its connection included, in seconds.
    pub seconds: f64,
    /// How long the token of the robot took there a moment before, in seconds.
    pub robot_seconds: f64,
    /// When it was tried. One that was refused stands for an hour.
    pub at: DateTime<Utc>,
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
