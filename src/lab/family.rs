//! The families of servers that the lab plays, and what tells them apart.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One family of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Family {
    /// Harbor 1.10: its registry verifies tokens, core only issues them.
    #[serde(rename = "harbor-1.10")]
    Harbor1,
    /// Harbor 2.2 to 2.10: no leeway, issuer and future `iat` checked.
    #[serde(rename = "harbor-2.10")]
    Harbor210,
    /// Harbor 2.11 and 2.12: 60 s leeway, issuer not checked.
    #[serde(rename = "harbor-2.11")]
    Harbor211,
    /// Harbor 2.13: its version is hidden from anonymous callers.
    #[serde(rename = "harbor-2.13")]
    Harbor213,
    /// Harbor 2.15: the realm's host comes from `Host`, tokens older than a project are refused.
    #[serde(rename = "harbor-2.15")]
    Harbor215,
    /// distribution 2.6 to 2.8.
    #[serde(rename = "distribution-2.8")]
    Distribution2,
    /// distribution from 3.0.
    #[serde(rename = "distribution-3")]
    Distribution3,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 7] = [
        Self::Harbor1,
        Self::Harbor210,
        Self::Harbor211,
        Self::Harbor213,
        Self::Harbor215,
        Self::Distribution2,
        Self::Distribution3,
    ];

    /// The name in scenario files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Harbor1 => "harbor-1.10",
            Self::Harbor210 => "harbor-2.10",
            Self::Harbor211 => "harbor-2.11",
            Self::Harbor213 => "harbor-2.13",
            Self::Harbor215 => "harbor-2.15",
            Self::Distribution2 => "distribution-2.8",
            Self::Distribution3 => "distribution-3",
        }
    }

    /// The family of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.as_str() == name)
    }

    /// Whether it is a Harbor of any version.
    pub fn is_harbor(self) -> bool {
        !matches!(self, Self::Distribution2 | Self::Distribution3)
    }

    /// The tolerance for `exp` and `nbf`, in seconds.
    pub fn leeway_seconds(self) -> i64 {
        if self == Self::Harbor210 { 0 } else { 60 }
    }

    /// Whether the `iss` claim is looked at.
    pub(super) fn checks_issuer(self) -> bool {
        matches!(self, Self::Harbor1 | Self::Harbor210 | Self::Distribution2 | Self::Distribution3)
    }

    /// Whether the realm's host is the one that the client wrote.
    pub(super) fn realm_follows_host(self) -> bool {
        self == Self::Harbor215
    }

    /// Whether anonymous callers may read the version.
    pub(super) fn tells_version(self) -> bool {
        matches!(self, Self::Harbor1 | Self::Harbor210 | Self::Harbor211)
    }

    /// Whether a token older than the project is refused (catalogue: B3).
    pub(super) fn compares_project_age(self) -> bool {
        self == Self::Harbor215
    }

    /// What Harbor says of itself.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Harbor1 => "v1.10.19",
            Self::Harbor210 => "v2.10.3-",
            Self::Harbor211 => "v2.11.2-",
            Self::Harbor213 => "v2.13.1-",
            Self::Harbor215 => "v2.15.2-",
            Self::Distribution2 => "v2.8.2",
            Self::Distribution3 => "v3.1.1",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
