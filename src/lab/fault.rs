//! The faults that can be ordered, one by one or together. Data only: what each does to a node is
//! in [`super::settings`], what it does to the balancer in [`super::balancer`].

use serde::{Deserialize, Serialize};

use super::Family;

/// One fault and where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultOrder {
    /// Node names, `lb`, `token-server`, or `*` for every node.
    pub at: Vec<String>,
    /// What is wrong there.
    pub fault: Fault,
}

impl FaultOrder {
    /// A fault at one place.
    pub fn at(place: &str, fault: Fault) -> Self {
        Self { at: vec![place.to_owned()], fault }
    }

    /// Whether the fault is at this node.
    pub(super) fn concerns_node(&self, name: &str) -> bool {
        self.at.iter().any(|place| place == name || place == "*")
    }

    /// Whether the fault is at the named place that is no node.
    pub(super) fn concerns(&self, place: &str) -> bool {
        self.at.iter().any(|name| name == place)
    }
}

/// A fault. Written in JSON as `"core-down"` or `{"clock": {"offset_seconds": -3}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case", deny_unknown_fields)]
pub enum Fault {
    // Keys (catalogue: A).
    /// Signs and verifies with a key of its own.
    OtherKey,
    /// The key becomes another one after some seconds.
    KeyRotated {
        /// Seconds since the fault was switched on.
        after_seconds: f64,
    },
    /// The private key is missing or unreadable.
    KeyUnreadable,
    /// Verifies with a key that does not belong to the one it signs with.
    VerifierKey,
    /// The issuer writes the key id in the other form (RFC 7638 for libtrust or the reverse).
    OtherKidForm,
    /// The issuer writes another `iss`.
    IssuerClaim(String),
    /// The issuer writes another `aud`.
    AudienceClaim(String),
    /// The verifier expects another `iss`.
    ExpectedIssuer(String),
    /// The verifier expects another `aud`; its challenge names it too.
    ExpectedAudience(String),
    /// Robot secrets are tokens of an older key, so robots are refused (Harbor up to 2.1).
    RobotSecretIsToken,

    // Time (B).
    /// The clock of the node: core, registry and nginx alike.
    Clock {
        /// Seconds ahead of the true time; negative is behind.
        #[serde(default)]
        offset_seconds: f64,
        /// Parts per million by which it runs fast.
        #[serde(default)]
        drift_ppm: f64,
        /// A jump of this many seconds …
        #[serde(default)]
        step_seconds: f64,
        /// … after this many seconds.
        #[serde(default)]
        step_after_seconds: f64,
    },
    /// Tokens live this many seconds.
    TokenLifetime(i64),
    /// The canary's project was created this many seconds ago, by the database's clock.
    ProjectCreated {
        /// Seconds; negative lies in the future.
        seconds_ago: f64,
    },

    // URLs (C).
    /// The node's `external_url`.
    ExternalUrl(String),
    /// The realm of the challenge, whatever else is configured.
    Realm(String),
    /// The node receives `X-Forwarded-Proto: http`.
    ForwardedProtoHttp,
    /// The node's nginx holds an old address of core.
    StaleUpstream,
    /// The node's nginx, or the balancer, sends this `Host` on, for paths that begin so alone.
    RewritesHostUnder {
        /// The beginning of the path.
        path: String,
        /// The `Host` that is sent instead.
        host: String,
    },

    // Credentials and the database (D).
    /// The robot's secret was changed; the prober still has the old one.
    SecretChanged,
    /// The robot is disabled.
    RobotDisabled,
    /// The robot has no permission on the canary's project.
    PermissionMissing,
    /// The canary's project does not exist.
    ProjectMissing,
    /// Another client keeps trying the prober's account with a wrong password.
    FailingLogins {
        /// Seconds between two attempts; each locks the account for 1.5 s.
        every_seconds: f64,
    },
    /// People are refused after this number of seconds, robots and the administrator are not: the
    /// directory (LDAP, OIDC) cannot be reached, or this node cannot decrypt its password.
    PeopleRefused {
        /// Seconds that core tries.
        after_seconds: f64,
    },
    /// People wait this number of seconds for the directory before they are accepted.
    PeopleSlow {
        /// Seconds.
        seconds: f64,
    },
    /// The registry behind core refuses core's password.
    RegistryPassword,
    /// The database cannot be reached.
    DatabaseDown,
    /// Whatever asks the database waits for it.
    DatabaseSlow {
        /// Milliseconds for each request.
        ms: u64,
    },
    /// The database takes no writes.
    DatabaseReadOnly,
    /// The node has a database of its own.
    DatabaseSplit,
    /// The node has a database and a storage of its own, with the same accounts and projects and an
    /// older canary: replication is behind.
    ContentBehind,

    // Web state, storage, Redis (E, F, G).
    /// Another `csrf_key`.
    CsrfKey,
    /// Pages of the public URL are treated as those of a foreign site (Harbor 2.12.3).
    ForeignOrigin,
    /// The node has a Redis of its own.
    RedisSplit,
    /// Redis cannot be reached.
    RedisDown,
    /// Another `http.secret`.
    HttpSecret,
    /// The node has a storage of its own.
    StorageSplit,
    /// The node sees what the others wrote to the storage only after this number of seconds.
    StorageLag(f64),
    /// The registry's cache knows blobs that the storage has lost.
    BlobsLost,
    /// The storage fails.
    StorageDown,
    /// Writes are refused.
    ReadOnly,
    /// Blobs are redirected to this URL.
    BlobRedirect(String),
    /// This many worker pools of another installation are on the shared Redis.
    ForeignWorkers(u32),
    /// The target of replications refuses the account.
    ReplicationRefused,

    // Processes and network (H, I).
    /// Core is down.
    CoreDown,
    /// Harbor's health page calls this component unhealthy, and nothing else is wrong.
    ComponentUnhealthy(String),
    /// The registry behind core, or distribution itself, is down.
    RegistryDown,
    /// An enabled health check of distribution fails.
    HealthCheckFailed,
    /// Nothing listens on the port.
    Unreachable,
    /// Connections are accepted and never answered.
    Hang,
    /// The TLS handshake never ends.
    StalledHandshake,
    /// The TLS port speaks plain HTTP.
    PlainHttp,
    /// Connections are reset with this probability for each request.
    Reset {
        /// 0 to 1.
        probability: f64,
    },
    /// Bytes that are not HTTP.
    Garbage,
    /// Bodies end early.
    TruncatedBody,
    /// A web page with status 200 for everything.
    Html,
    /// Answers come late by a random time.
    Slow {
        /// Milliseconds at least.
        min_ms: u64,
        /// Milliseconds at most.
        max_ms: u64,
        /// Only paths that begin so; empty for all.
        #[serde(default)]
        path: String,
    },
    /// A status instead of an answer.
    Status {
        /// The status code.
        code: u16,
        /// 0 to 1; 1 if absent.
        #[serde(default = "certain")]
        probability: f64,
        /// Only paths that begin so; empty for all.
        #[serde(default)]
        path: String,
    },
    /// Another certificate.
    Certificate(CertificateFault),
    /// Refuses bodies above this many bytes with 413.
    BodyLimit(u64),
    /// More replicas behind the same address, each with faults of its own.
    Replicas {
        /// How many more, all alike.
        count: u32,
        /// What is wrong with them.
        faults: Vec<Self>,
    },

    // Drift (J).
    /// Another version.
    Family(Family),
    /// Another `auth_mode`.
    AuthMode(String),
    /// The node's nginx sends `Strict-Transport-Security`.
    StrictTransportSecurity,

    // The balancer alone.
    /// Drops `Authorization`.
    DropsAuthorization,
    /// Sends this `Host` instead of the client's.
    RewritesHost(String),
    /// Tells the nodes `http` although the client came by https.
    LosesForwardedProto,
    /// Paths that begin so get a web page.
    HtmlPath {
        /// The beginning of the path.
        path: String,
        /// The status of the page.
        status: u16,
    },
    /// Paths that begin so are redirected.
    Redirect {
        /// The beginning of the path.
        path: String,
        /// The beginning of the target; the path is appended.
        to: String,
        /// 301, 302, 307 or 308.
        status: u16,
    },
    /// More requests than this in a second get 429.
    RateLimit {
        /// Requests in each second.
        per_second: u32,
    },
    /// A node that no configuration names, with a key of its own and the faults given.
    UnknownNode {
        /// What else is wrong with it.
        faults: Vec<Self>,
    },
    /// Every node fails the balancer's health check.
    HealthCheckTooStrict,
}

/// How a certificate is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateFault {
    /// It expired yesterday.
    Expired,
    /// It expires in three days.
    ExpiresSoon,
    /// It is for another name.
    WrongName,
    /// It is signed by itself.
    SelfSigned,
    /// It is good, but not the one that the others have.
    Other,
}

fn certain() -> f64 {
    1.0
}
