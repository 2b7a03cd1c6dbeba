//! From a YAML file to a [`Config`] in which every rule already holds.
//!
//! `node` reads YAML into values that know their line and column, `file` has the raw shape,
//! `resolve` checks it and collects every problem at once, `secret` reads passwords from files and
//! docker's own configuration, `source` where backends come from, `targets` and `kubeconfig` the files
//! that discovery reads while it runs. The only room that knows YAML. Nothing here opens a connection.
//!
//! A new key: declare and document it in `file`, check it in `resolve`, print it in `show`, and
//! give each way of being wrong a sentence in `problem` and a file under `tests/data/config`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::model::RegistryName;

mod ad_hoc;
mod checks;
mod file;
mod kubeconfig;
mod load;
mod node;
mod pace;
mod problem;
mod read;
mod resolve;
mod schema;
mod secret;
mod shard;
mod show;
mod source;
mod targets;
mod url;
mod web;

pub use ad_hoc::{AdHoc, ad_hoc};
pub use checks::{CheckSettings, PushSettings};
pub use kubeconfig::{ClusterAccess, ClusterError, cluster_access};
pub use load::{Fingerprint, Loaded, fingerprint, load};
pub use problem::{AdHocErrors, ConfigErrors, Mistake, Place, Problem, ReadError};
pub use schema::schema_json;
pub use secret::docker_account;
pub use shard::Shard;
pub use show::show;
pub use source::{Backend, BackendSource, DnsSource, FileSource, KubernetesSource, ServicePort};
pub use targets::{TargetsError, targets};
pub use url::{Authority, HostPort, PublicUrl, Scheme, UrlError};
pub use web::{WebConfig, WebTls, web_config};

/// Time between rounds, if nothing else is said.
const INTERVAL: Duration = Duration::from_secs(15);
/// Limit of each request, if nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Requests per second to one backend, if nothing else is said.
const MAX_REQUESTS_PER_SECOND: u32 = 50;

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// At least one, with distinct names.
    pub registries: Vec<Registry>,
}

/// One registry to probe. Equal where a change of configuration makes no difference to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Registry {
    /// Its name in every output.
    pub name: RegistryName,
    /// The public URL: scheme, host and port, no path, no credentials.
    pub url: PublicUrl,
    /// Where its backends come from.
    pub backends: BackendSource,
    /// Who the prober is; anonymous without.
    pub credentials: Option<Credentials>,
    /// A system robot that may list worker pools and read replications.
    pub system_credentials: Option<Credentials>,
    /// A person whom a directory knows.
    pub directory_credentials: Option<Credentials>,
    /// The repository scope to ask for.
    pub scope: Option<Scope>,
    /// Trust and client certificate.
    pub tls: TlsSettings,
    /// How to go through the load balancer.
    pub balancer: BalancerSettings,
    /// Which pairs are tried each round.
    pub matrix: MatrixMode,
    /// How tokens are asked for.
    pub token_method: TokenMethod,
    /// Authorities other than the registry's own that may see credentials.
    pub allowed_realms: Vec<Authority>,
    /// What requests say in `User-Agent`; the program's name and version without.
    pub user_agent: Option<String>,
    /// Checks in addition to the token flow.
    pub checks: CheckSettings,
    /// Time between rounds.
    pub interval: Duration,
    /// Limit of each request.
    pub timeout: Duration,
    /// Requests per second to one backend, at most; at least 1.
    pub max_requests_per_second: u32,
    /// Credentials may cross a network unencrypted.
    pub allow_plaintext: bool,
    /// Where secrets and certificates were read from.
    pub sources: Sources,
}

impl Registry {
    /// A registry with every default: anonymous, all pairs up to 12 backends, 20 samples, a round
    /// every 15 s, 5 s for a request.
    pub fn new(name: RegistryName, url: PublicUrl, backends: BackendSource) -> Self {
        Self {
            name,
            url,
            backends,
            credentials: None,
            system_credentials: None,
            directory_credentials: None,
            scope: None,
            tls: TlsSettings::default(),
            balancer: BalancerSettings::default(),
            matrix: MatrixMode::Auto,
            token_method: TokenMethod::Get,
            allowed_realms: Vec::new(),
            user_agent: None,
            checks: CheckSettings::default(),
            interval: INTERVAL,
            timeout: TIMEOUT,
            max_requests_per_second: MAX_REQUESTS_PER_SECOND,
            allow_plaintext: false,
            sources: Sources::default(),
        }
    }
}

/// Where a registry's secrets and certificates were read from, as the file says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Where the password is; none if anonymous or given on the command line.
    pub password: Option<PasswordSource>,
    /// Where the system robot's is.
    pub system_password: Option<PasswordSource>,
    /// Where that of the person whom a directory knows is.
    pub directory_password: Option<PasswordSource>,
    /// Additional trust.
    pub ca_file: Option<PathBuf>,
    /// Client certificate chain.
    pub cert_file: Option<PathBuf>,
    /// Client key.
    pub key_file: Option<PathBuf>,
}

/// Where a password is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// A file of its own.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// Docker's configuration, which also has the user name.
    DockerConfig(PathBuf),
}

/// A user name with its password.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user or robot.
    pub username: String,
    /// Never printed.
    pub password: SecretString,
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.username == other.username
            && self.password.expose_secret() == other.password.expose_secret()
    }
}

/// A repository scope such as `repository:probe/canary:pull`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The repository's name.
    pub repository: String,
    /// The actions, in the order given.
    pub actions: Vec<String>,
}

impl Scope {
    /// The scope as it goes into a query (distribution's token specification).
    pub fn text(&self) -> String {
        format!("repository:{}:{}", self.repository, self.actions.join(","))
    }

    /// Reads `repository:NAME:ACTION[,ACTION]`.
    pub fn parse(text: &str) -> Option<Self> {
        let (repository, actions) = text.strip_prefix("repository:")?.rsplit_once(':')?;
        let component = |part: &str| {
            !part.is_empty()
                && part.chars().all(|c| {
                    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-')
                })
        };
        let actions: Vec<String> = actions.split(',').map(str::to_owned).collect();
        let word = |a: &String| !a.is_empty() && a.chars().all(|c| c.is_ascii_lowercase());
        (repository.len() <= 255
            && repository.split('/').all(component)
            && actions.iter().all(word))
        .then(|| Self { repository: repository.to_owned(), actions })
    }
}

/// TLS towards the registry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TlsSettings {
    /// Certificates trusted beside the system's, as read from `ca_file` (PEM).
    pub extra_roots: Option<Vec<u8>>,
    /// Accept every certificate; the strict verdict is still reported.
    pub insecure_skip_verify: bool,
    /// Client certificate chain and key (PEM).
    pub client: Option<ClientIdentity>,
}

/// A client certificate.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The chain, PEM.
    pub certificates: Vec<u8>,
    /// The key, PEM.
    pub key: SecretString,
}

impl PartialEq for ClientIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
            && self.key.expose_secret() == other.key.expose_secret()
    }
}

/// Shows nothing: files that hold chain and key together are common.
impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity(..)")
    }
}

/// The way through the load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalancerSettings {
    /// Independent pairs a round; 0 switches the sampling off.
    pub samples: u32,
    /// Connect here instead of asking DNS for the public name.
    pub address: Option<HostPort>,
}

impl Default for BalancerSettings {
    fn default() -> Self {
        Self { samples: 20, address: None }
    }
}

/// Which pairs are tried each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatrixMode {
    /// All up to 12 backends; above, one per key and a sample, and all every tenth round.
    Auto,
    /// All, always.
    Full,
    /// One per key and this many more for each verifier.
    Sampled(u32),
}

/// How tokens are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenMethod {
    /// `GET` with Basic authentication.
    Get,
    /// OAuth2 `POST` with the password grant.
    Post,
}
