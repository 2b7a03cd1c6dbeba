//! What a configuration comes to: every rule holds in these types.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::checks::CheckSettings;
use super::pace::{INTERVAL, MAX_REQUESTS_PER_SECOND, TIMEOUT};
use super::scope::Scope;
use super::source::BackendSource;
use super::url::{Authority, HostPort, PublicUrl};
use crate::model::RegistryName;

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
    /// The account of the prober. Without it the prober is anonymous.
    pub credentials: Option<Credentials>,
    /// A system robot that may list worker pools and read replications.
    pub system_credentials: Option<Credentials>,
    /// A person of a directory.
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
    /// The `User-Agent` of all requests; without it, the program's name and version.
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
    /// Where that of the person of a directory is.
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

/// TLS towards the registry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TlsSettings {
    /// Certificates trusted in addition to the system's, as read from `ca_file` (PEM).
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
