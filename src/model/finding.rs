//! Findings: named causes with subjects, evidence and remedy. The vocabulary is closed.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::BackendName;

macro_rules! finding_names {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// The name of a cause, as the failure catalogue and the runbooks call it.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema,
        )]
        pub enum FindingName {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl FindingName {
            /// Every name, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The kebab-case name: label value, JSON value and name of the runbook page.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

finding_names! {
    /// Nodes sign and check with different keys (A1).
    TokenKeyMismatch = "token-key-mismatch",
    /// A key changed and old tokens or nodes that were not restarted disagree (A2).
    TokenKeyRotationWindow = "token-key-rotation-window",
    /// One node cannot verify its own tokens, or cannot sign (A3).
    SigningKeyUnusable = "signing-key-unusable",
    /// libtrust key ids shown to a verifier that wants RFC 7638 ones, or the reverse (A4).
    KeyIdFormatMismatch = "key-id-format-mismatch",
    /// The verifier expects another issuer or audience (A5).
    IssuerAudienceMismatch = "issuer-audience-mismatch",
    /// A robot secret that is itself a token of another key (A6).
    RobotTokenOfOldKey = "robot-token-of-old-key",
    /// Fresh tokens are not valid yet at a verifier whose clock is behind (B1).
    ClockSkewNbf = "clock-skew-nbf",
    /// Fresh tokens are expired at a verifier whose clock is ahead (B2).
    ClockSkewExp = "clock-skew-exp",
    /// The project is younger than the token, by the clocks involved (B3).
    ProjectNewerThanToken = "project-newer-than-token",
    /// Tokens live shorter than a large transfer takes (B4).
    TokenLifetimeTooShort = "token-lifetime-too-short",
    /// The challenge sends clients to the wrong token endpoint (C1).
    RealmWrongEndpoint = "realm-wrong-endpoint",
    /// Uploads are sent on to another scheme, host or port than the public ones (C2).
    UploadLocationWrong = "upload-location-wrong",
    /// The public name leads to addresses that do not answer alike (C3).
    DnsAddressNotABackend = "dns-address-not-a-backend",
    /// The load balancer routes an API path to something that answers HTML (C4).
    LbMisroutesApiPath = "lb-misroutes-api-path",
    /// A proxy drops the `Authorization` header (C5).
    AuthorizationHeaderDropped = "authorization-header-dropped",
    /// The balancer's health check keeps a broken node or refuses sound ones (C6).
    LbHealthCheckWrong = "lb-health-check-wrong",
    /// A proxy limits the size of request bodies (C7).
    BodySizeLimited = "body-size-limited",
    /// A node's nginx holds an old address of a container (C8).
    NotARegistry = "not-a-registry",
    /// Affinity hides a disagreement until failover (C9).
    LbAffinityHidesMismatch = "lb-affinity-hides-mismatch",
    /// The configured credential is refused everywhere (D1).
    CredentialRefused = "credential-refused",
    /// The token endpoint answers 200 with an anonymous token (D2).
    AnonymousDowngrade = "anonymous-downgrade",
    /// A failed login locks the account for 1.5 s (D3).
    LoginLocked = "login-locked",
    /// The directory of people (LDAP, OIDC) does not answer, or late (D4).
    DirectoryUnavailable = "directory-unavailable",
    /// A node cannot decrypt what the others stored (D6).
    SecretkeyMismatch = "secretkey-mismatch",
    /// The registry behind core refuses core's password (D7).
    CoreRegistryPasswordMismatch = "core-registry-password-mismatch",
    /// The token is good and the permission or project is missing (D8).
    RepositoryAccessDenied = "repository-access-denied",
    /// The database is down or out of connections (D9).
    DatabaseUnavailable = "database-unavailable",
    /// Nodes protect browsers' forms with different keys (E1).
    CsrfKeyMismatch = "csrf-key-mismatch",
    /// A node takes the public URL for a foreign site (E2).
    CsrfOriginRejected = "csrf-origin-rejected",
    /// Nodes do not know each other's sessions (E3).
    SessionStoreNotShared = "session-store-not-shared",
    /// Nodes sign the state of uploads with different secrets (F1).
    HttpSecretMismatch = "http-secret-mismatch",
    /// Nodes store blobs in different places (F2).
    StorageNotShared = "storage-not-shared",
    /// The storage is shared, and what was just written is not seen everywhere (F3).
    StorageStaleReads = "storage-stale-reads",
    /// Blobs are redirected to a place that gives none (F4).
    BlobRedirectUnreachable = "blob-redirect-unreachable",
    /// The registry takes no writes (F5).
    ReadOnlyMode = "read-only-mode",
    /// Job services of another installation take jobs from a shared Redis (G1).
    ForeignJobserviceOnSharedRedis = "foreign-jobservice-on-shared-redis",
    /// Redis cannot be reached (G2).
    RedisUnavailable = "redis-unavailable",
    /// Nodes have databases of their own (G3).
    ContentDiffers = "content-differs",
    /// A route presents another or an invalid certificate (H1).
    CertificateInvalid = "certificate-invalid",
    /// Plain HTTP meets an HTTPS port, or the reverse (H2).
    HttpHttpsMismatch = "http-https-mismatch",
    /// Something that speaks TLS ends the handshake: client certificate, version or name (H2).
    TlsHandshakeRefused = "tls-handshake-refused",
    /// The token endpoint answers too slowly for clients (I1).
    TokenEndpointSlow = "token-endpoint-slow",
    /// A limiter answers 429 (I2).
    RateLimited = "rate-limited",
    /// A layer answers 5xx or times out (I3).
    ServerErrors = "server-errors",
    /// Nodes run different versions (J1).
    MixedVersions = "mixed-versions",
    /// Nodes differ in a setting (J2).
    SettingsDiffer = "settings-differ",
    /// A filter before the registry refuses the prober.
    RequestFiltered = "request-filtered",
    /// A proxy refuses a request for the size of its headers.
    HeaderSizeLimited = "header-size-limited",
    /// A backend's address does not answer.
    BackendUnreachable = "backend-unreachable",
    /// Harbor calls a part of itself unhealthy.
    ComponentUnhealthy = "component-unhealthy",
    /// The balancer led to a signing key or certificate of no configured backend.
    UnknownBackend = "unknown-backend",
    /// Every backend's clock is off by the same amount: the prober's own is.
    ProberClockSuspect = "prober-clock-suspect",
    /// A refusal that no other finding explains.
    UnexplainedRefusal = "unexplained-refusal",
    /// Lost requests or connections that no other finding explains.
    UnexplainedLoss = "unexplained-loss",
}

impl fmt::Display for FindingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How bad a finding is for users. Ordered: `Critical` is greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
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
    pub evidence: Vec<String>,
    /// What to do, best first. The first line of each says it; further lines are commands to copy.
    pub remedies: Vec<String>,
    /// Other causes that fit the same evidence; empty where the cause is proved.
    pub alternatives: Vec<FindingName>,
    /// What would confirm it.
    pub confirm: String,
    /// How many refused pairs and failed flows of this round it explains.
    pub explains: u32,
}
