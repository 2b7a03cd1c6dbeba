//! Kinds of clients, by what they do on the wire, and what each of them feels.

use schemars::JsonSchema;
use serde::Serialize;

use super::Ratio;

/// A kind of client. What decides is whether it keeps its connection, and what it does when a
/// request with a fresh token is answered 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// docker engines until early 2026, podman and skopeo until early 2023: a new connection for
    /// each request, and no second try.
    Docker,
    /// podman and skopeo since 2023, docker engines since 2026: a connection is kept, and there is
    /// no second try.
    Podman,
    /// containerd, which Kubernetes nodes, nerdctl and buildkit use: a connection is kept, and a
    /// request that is refused is sent again, as the challenge of the refusal says.
    Containerd,
}

impl ClientKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Docker, Self::Podman, Self::Containerd];

    /// The label value and the word of the JSON contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
        }
    }

    /// Who that is, for people.
    pub fn who(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "Kubernetes nodes (containerd)",
        }
    }
}

/// The flows of one kind of client through the load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClientRun {
    /// Which kind.
    pub client: ClientKind,
    /// Logins: challenge, token and `/v2/`. Events are those that failed, for whatever reason.
    pub logins: Ratio,
    /// How many of these failed before a token was shown, or got no answer about it.
    pub lost: u32,
    /// How many of the lost ones got no token.
    pub without_token: u32,
    /// Pulls of the canary: its manifest and its configuration, with the token of the login. Events
    /// are those that failed.
    pub pulls: Ratio,
    /// How many of these failed otherwise than by a refused token.
    pub lost_pulls: u32,
}

impl ClientRun {
    /// A kind without flows.
    pub fn of(client: ClientKind) -> Self {
        let (logins, pulls) = (Ratio::default(), Ratio::default());
        Self { client, logins, lost: 0, without_token: 0, pulls, lost_pulls: 0 }
    }
}

/// A share with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Estimate {
    /// The likeliest value, 0 to 1.
    pub value: f64,
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
}

/// What users of one kind of client feel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClientView {
    /// The flows that ran.
    pub run: ClientRun,
    /// The share of logins that fail.
    pub login: Estimate,
    /// The share of pulls of an image of ten layers that fail, from matrix and shares; none where
    /// these are not known.
    pub pull: Option<Estimate>,
    /// The same for pushes.
    pub push: Option<Estimate>,
}
