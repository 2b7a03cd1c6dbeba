//! What one HTTP answer says of who gave it, as far as a diagnosis may need it.

use std::fmt;

use serde::Serialize;

use super::Step;

/// The scheme of a `WWW-Authenticate` challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthScheme {
    /// RFC 6750.
    Bearer,
    /// RFC 7617.
    Basic,
    /// Any other scheme.
    Other,
    /// The header is there and empty: Harbor's answer when a project look-up failed
    /// (captures/harbor-2.15.2/70-database-down.http).
    Empty,
}

/// A parsed `WWW-Authenticate` header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Challenge {
    /// The scheme.
    pub scheme: AuthScheme,
    /// `realm`; for Bearer the token endpoint's URL.
    pub realm: Option<String>,
    /// `service`.
    pub service: Option<String>,
    /// `scope`; the order of its actions is random in distribution.
    pub scope: Option<String>,
    /// `error`, such as `invalid_token`; a hint, never a verdict.
    pub error: Option<String>,
}

/// A kind of server, known by its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Harbor 1.x: distribution in front, `harbor-registry` as service.
    Harbor1,
    /// Harbor 2.0 and later: core answers.
    Harbor2,
    /// distribution 2.x.
    Distribution2,
    /// distribution 3.x.
    Distribution3,
    /// Not recognised.
    Unknown,
}

impl Family {
    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Harbor1 => "harbor-1",
            Self::Harbor2 => "harbor-2",
            Self::Distribution2 => "distribution-2",
            Self::Distribution3 => "distribution-3",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A version as a server tells it, cut to what can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Version {
    /// Major number.
    pub major: u16,
    /// Minor number.
    pub minor: u16,
    /// Patch number.
    pub patch: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A page that is known for what it is, by the words that its writer puts into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Page {
    /// A TLS port complains of a plain request.
    PlainToTls,
    /// A client certificate is wanted, and none was sent.
    ClientCertificateMissing,
    /// The client certificate that was sent is refused.
    ClientCertificateRefused,
    /// The header block, or one line of it, is over a limit.
    HeadersTooLarge,
    /// The address is over a limit.
    UrlTooLong,
    /// A web application firewall or a rule against robots refuses the client.
    Filter,
    /// The start page of a web server without a configuration of its own.
    Welcome,
    /// Traefik, or another server in Go: no route for this name or path.
    NoRoute,
    /// The default backend of a Kubernetes ingress.
    IngressDefault,
    /// `HAProxy` has no server left.
    HaproxyNoServer,
    /// Envoy has no healthy upstream, or no cluster.
    EnvoyNoUpstream,
    /// An AWS load balancer answers itself.
    AwsBalancer,
    /// Cloudflare cannot reach the origin.
    CloudflareOrigin,
}

impl Page {
    /// What it is, in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PlainToTls => "a TLS port complains of a plain HTTP request",
            Self::ClientCertificateMissing => "a proxy wants a client certificate and got none",
            Self::ClientCertificateRefused => "a proxy refuses the client certificate",
            Self::HeadersTooLarge => "a proxy says that the request's headers are too large",
            Self::UrlTooLong => "a proxy says that the request's address is too long",
            Self::Filter => "the page of a web filter",
            Self::Welcome => "the start page of a web server without configuration",
            Self::NoRoute => "Traefik's or another Go server's page for an unknown route",
            Self::IngressDefault => "the default backend of a Kubernetes ingress",
            Self::HaproxyNoServer => "HAProxy's page where no server is left",
            Self::EnvoyNoUpstream => "Envoy's answer where no upstream is left",
            Self::AwsBalancer => "the answer of an AWS load balancer itself",
            Self::CloudflareOrigin => "Cloudflare's page where the origin does not answer",
        }
    }
}

/// One answer without its secrets: status, who gave it, and what kind of body it had.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a sign that is there or not")]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Server`, cut to 60 characters.
    pub server: Option<String>,
    /// `Content-Type`, cut to 60 characters.
    pub content_type: Option<String>,
    /// Whether `Docker-Distribution-Api-Version` is there.
    pub api_version: bool,
    /// Whether `X-Request-Id` is there: Harbor's core answered.
    pub request_id: bool,
    /// The `X-Request-Id` of the answer, or else of the request: the server logs the request under
    /// it. Cut to 60 characters.
    pub log_id: Option<String>,
    /// Whether the body begins like HTML.
    pub html: bool,
    /// Which page it is, if it is one that is known.
    pub page: Option<Page>,
    /// Length of the body in bytes.
    pub body_bytes: usize,
    /// The first challenge, if any.
    pub challenge: Option<Challenge>,
    /// `code` of the first error in a registry error body.
    pub error_code: Option<String>,
    /// `message` of the first error, cut to 160 characters, without addresses or secrets.
    pub error_message: Option<String>,
    /// Scheme and authority of `Location`, without path and query.
    pub location: Option<String>,
    /// Name of a cookie that a load balancer sets for affinity.
    pub affinity_cookie: Option<String>,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u32>,
    /// Whether it says that a cache kept it: `Age`, or a header by which caches tell of a hit.
    pub kept: bool,
}

impl Answer {
    /// Whether it is the success of a step that shows a token or password. Some registries call
    /// what they answer on `/v2/` a page: nothing, or any text with the header of registries.
    pub fn lets_in(&self, step: Step) -> bool {
        let of_registry = self.body_bytes == 0 || self.api_version;
        self.status == 200 && (!self.html || (step == Step::Access && of_registry))
    }
}
