//! The checks in addition to the token flow: how often each runs, what it needs, and
//! what it found.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    BackendName, BlobRedirects, BodyLimit, DnsReport, OfPair, OfRoute, Outcome, Skipped, UrlSaid,
};

macro_rules! checks {
    ($(
        $(#[doc = $doc:literal])+
        $variant:ident = $text:literal, $privilege:ident, $cadence:ident, $field:ident: $found:ty;
    )*) => {
        /// One check in addition to the token flow.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema,
        )]
        pub enum Check {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $variant,)*
        }

        impl Check {
            /// Every check.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in the configuration and in every output.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What it looks at, in one line.
            pub fn about(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)* }
            }

            /// The least that it needs.
            pub fn privilege(self) -> Privilege {
                match self { $(Self::$variant => Privilege::$privilege,)* }
            }

            /// How often it runs.
            pub fn cadence(self) -> Cadence {
                match self { $(Self::$variant => Cadence::$cadence,)* }
            }
        }

        /// Everything that the checks of a round found, or found last.
        #[derive(Debug, Clone, Default, PartialEq, Serialize)]
        pub struct Checks {
            $(#[doc = concat!("[`Check::", stringify!($variant), "`]: ", $($doc),+)] pub $field: Checked<$found>,)*
        }

        impl Checks {
            /// Every check with when it ran, or why not, in the order of [`Check::ALL`].
            pub fn runs(&self) -> Vec<CheckRun> {
                vec![$(run(Check::$variant, &self.$field),)*]
            }
        }
    };
}

// A check: what it looks at, its name in every output, what it needs, how often it runs, its field
// in `Checks`, and what it finds.
checks! {
    /// Does a bearer token reach the registry, or does a proxy drop the header?
    AuthorizationHeader = "authorization_header", Anonymous, Round, authorization_header: Vec<OfRoute<HeaderFate>>;
    /// Do the paths that clients meet first send them to the token endpoint that /v2/ names?
    PublicUrl = "public_url", Anonymous, Interval, public_url: Vec<OfRoute<UrlSaid>>;
    /// Where does the public name lead, and does every address answer as a backend?
    Dns = "dns", Anonymous, Interval, dns: DnsReport;
    /// What does each backend say of its own components?
    Health = "health", Anonymous, Round, health: Vec<OfRoute<Vec<ComponentHealth>>>;
    /// Which step of a slow token request is slow?
    Latency = "latency", Anonymous, Round, latency: Vec<OfRoute<Vec<Rung>>>;
    /// Do the backends take each other's CSRF cookies, as a browser brings them?
    Csrf = "csrf", Anonymous, Interval, csrf: Vec<OfPair<CsrfVerdict>>;
    /// Do the backends know each other's sessions?
    Session = "session", Anonymous, Interval, session: Vec<OfPair<SessionVerdict>>;
    /// How large a request body does each route let through?
    BodyLimit = "body_limit", Anonymous, Interval, body_limit: Vec<OfRoute<BodyLimit>>;
    /// Where does each backend send clients for a blob, and can they read it there?
    BlobRedirect = "blob_redirect", Pull, Interval, blob_redirect: BlobRedirects;
    /// Does every backend have the canary's content, and the same?
    Content = "content", Pull, Interval, content: super::Content;
    /// Can an upload that was begun at one backend go on at every other?
    Upload = "upload", Push, Interval, upload: super::Uploads;
    /// Does a push over every route succeed, and is it seen at every backend?
    Push = "push", Push, Interval, push: super::Pushed;
    /// Can an LDAP or OIDC user log in at every backend?
    DirectoryLogin = "directory_login", Directory, Interval, directory_login: Vec<OfRoute<super::DirectoryLogin>>;
    /// Which worker pools of the job service does every backend list?
    WorkerPools = "worker_pools", System, Interval, worker_pools: super::WorkerPools;
    /// Which replications failed lately, and does any backend have their logs?
    Replications = "replications", System, Interval, replications: super::Replications;
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a check needs of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Privilege {
    /// Nothing.
    Anonymous,
    /// The configured credentials and scope.
    Pull,
    /// The right to push to the scratch repository; off unless configured.
    Push,
    /// The configured credentials of an LDAP or OIDC user.
    Directory,
    /// The configured system credentials.
    System,
}

impl Privilege {
    /// The word in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Directory => "directory",
            Self::System => "system",
        }
    }
}

/// How often a check runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cadence {
    /// In every round.
    Round,
    /// Once in `checks.interval`; in between its last result stands.
    Interval,
}

/// A check as it last ran. What an earlier round found is carried along until the check is
/// due again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked<T> {
    /// When it ran; none if it never did.
    pub at: Option<DateTime<Utc>>,
    /// How many requests it took.
    pub requests: u32,
    /// What it found, or why it did not run.
    pub found: Outcome<T>,
}

impl<T> Checked<T> {
    /// One that did not run.
    pub fn skipped(reason: Skipped) -> Self {
        Self { at: None, requests: 0, found: Outcome::Skipped(reason) }
    }

    /// What it found.
    pub fn measured(&self) -> Option<&T> {
        self.found.measured()
    }
}

impl<T> Default for Checked<T> {
    fn default() -> Self {
        Self::skipped(Skipped::Disabled)
    }
}

/// What became of an `Authorization` header on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderFate {
    /// The answer shows that it arrived.
    Arrived,
    /// The answer is the one to a request without it.
    Dropped,
}

/// One component as `/api/v2.0/health` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComponentHealth {
    /// `database`, `redis` and so on, cut to 40 characters.
    pub component: String,
    /// Whether it is called healthy.
    pub healthy: bool,
}

/// How a backend took a CSRF cookie and its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CsrfVerdict {
    /// It could read the cookie.
    Accepted,
    /// It could not: its key is another one.
    UnknownKey,
    /// It treats the public URL as a foreign site.
    ForeignOrigin,
}

impl CsrfVerdict {
    /// Whether a browser that comes from the issuer may go on here.
    pub fn is_accepted(self) -> bool {
        self == Self::Accepted
    }
}

/// How a backend took a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionVerdict {
    /// It knows it.
    Known,
    /// It replaced it by a new one.
    Unknown,
}

/// What a request makes Harbor do, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// The challenge: core alone, and Redis for the session.
    Challenge,
    /// An anonymous token for nothing: it is signed, and no database is asked.
    Signing,
    /// An anonymous token for a repository: the database is asked for the project.
    Database,
    /// The token of the credential: the account is looked up, and its secret compared.
    Credential,
}

impl Reach {
    /// The words for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::Signing => "anonymous token",
            Self::Database => "anonymous token for the repository",
            Self::Credential => "token of the credential",
        }
    }
}

/// One rung of the ladder of latencies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rung {
    /// What was asked.
    pub reach: Reach,
    /// How long the answer took, its connection included, in seconds.
    pub seconds: f64,
}

/// One check in a list for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckRun {
    /// Which check.
    pub check: Check,
    /// When it last ran.
    pub at: Option<DateTime<Utc>>,
    /// How many requests it took.
    pub requests: u32,
    /// Whether it ran, and why not.
    pub made: Outcome<()>,
}

impl Checks {
    /// What the backends say of their components, where they were asked with success.
    pub fn components(&self) -> impl Iterator<Item = (&BackendName, &ComponentHealth)> {
        let told = self.health.measured().into_iter().flatten();
        told.filter_map(|told| Some((told.route.backend()?, told.value.measured()?)))
            .flat_map(|(backend, all)| all.iter().map(move |component| (backend, component)))
    }
}

fn run<T>(check: Check, checked: &Checked<T>) -> CheckRun {
    let made = match &checked.found {
        Outcome::Measured(_) => Outcome::Measured(()),
        Outcome::Failed(failure) => Outcome::Failed(failure.clone()),
        Outcome::Skipped(reason) => Outcome::Skipped(*reason),
    };
    CheckRun { check, at: checked.at, requests: checked.requests, made }
}
