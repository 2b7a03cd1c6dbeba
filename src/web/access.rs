//! Who may use the port, and TLS on it. Both are looked at again while the program runs, so that a
//! certificate that was renewed needs no restart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::extract::{Request, State as Extract};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;

use super::operate::bearer;

/// How often the files are looked at, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Passwords that are remembered as good.
const MAX_KNOWN: usize = 64;
/// The most passwords that wait to be hashed. Each waiting request holds a place of the port.
const MAX_WAITING: usize = 8;

/// TLS and users as they are configured.
#[derive(Debug, Default)]
pub struct Rules {
    /// TLS; the port speaks http without.
    pub tls: Option<Pem>,
    /// Bcrypt hashes by user; without any, everyone may use the port.
    pub users: BTreeMap<String, SecretString>,
}

/// TLS of the port, as read from files.
#[derive(Debug)]
pub struct Pem {
    /// The certificate chain.
    pub certificates: Vec<u8>,
    /// Its key.
    pub key: SecretString,
    /// Who signs for clients, if they are asked for a certificate.
    pub client_ca: Option<Vec<u8>>,
    /// Whether a client must show one.
    pub client_required: bool,
    /// Whether TLS 1.2 is refused.
    pub only_1_3: bool,
}

/// Reads the rules, or says what is wrong with them.
pub type LoadRules = dyn Fn() -> Result<Rules, String> + Send + Sync;

/// The rules of the port, and how to read them again.
pub struct Access {
    load: Box<LoadRules>,
    current: RwLock<Arc<Current>>,
    looked: Mutex<Look>,
    /// Hashing is slow on purpose: one at a time leaves processors to the rounds.
    hashing: Arc<Semaphore>,
    waiting: Semaphore,
}

/// Whether a request may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passes,
    Refused,
    /// Too many passwords are waiting to be checked.
    Busy,
}

struct Look {
    at: Instant,
    /// What was wrong then, so that it is logged once.
    failing: Option<String>,
}

struct Current {
    /// Of everything that was read.
    digest: [u8; 32],
    acceptor: Option<TlsAcceptor>,
    users: BTreeMap<String, SecretString>,
    /// Digests of user and password that were good.
    known: Mutex<BTreeSet<[u8; 32]>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access(..)")
    }
}

/// Both directions of a connection, with TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Access {
    /// Reads the rules for the first time.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(load: Box<LoadRules>) -> Result<Self, String> {
        let current = Current::of(load()?)?;
        Ok(Self {
            load,
            current: RwLock::new(Arc::new(current)),
            looked: Mutex::new(Look { at: Instant::now(), failing: None }),
            hashing: Arc::new(Semaphore::new(1)),
            waiting: Semaphore::new(MAX_WAITING),
        })
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the files if that was not done lately. If the new rules are wrong, the old ones
    /// stay.
    fn look(&self) {
        let mut look = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if look.at.elapsed() < LOOK_AGAIN {
            return;
        }
        look.at = Instant::now();
        let read = (self.load)().and_then(|rules| {
            (digest(&rules) != self.current().digest).then(|| Current::of(rules)).transpose()
        });
        match read {
            Ok(new) => {
                look.failing = None;
                if let Some(new) = new {
                    tracing::info!("certificates and users of the port were read again");
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                }
            }
            Err(error) if look.failing.as_ref() != Some(&error) => {
                tracing::error!(%error, "the web configuration is not valid; the old one stays in use");
                look.failing = Some(error);
            }
            Err(_) => {}
        }
    }

    /// The connection to read from: after the handshake if there is TLS.
    pub(super) async fn open(self: Arc<Self>, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        let access = Arc::clone(&self);
        let looked = spawn_blocking(move || access.look()).await;
        looked.map_err(io::Error::other)?;
        match &self.current().acceptor {
            None => Ok(Box::new(stream)),
            Some(acceptor) => Ok(Box::new(acceptor.accept(stream).await?)),
        }
    }

    /// Whether a request with this header may pass.
    async fn allows(&self, given: Option<(String, SecretString)>) -> Verdict {
        let current = self.current();
        if current.users.is_empty() {
            return Verdict::Passes;
        }
        let Some((user, password)) = given else { return Verdict::Refused };
        let digest: [u8; 32] =
            Sha256::digest([user.as_bytes(), &[0], password.expose_secret().as_bytes()].concat())
                .into();
        let known = |current: &Current| {
            current.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest)
        };
        if known(&current) {
            return Verdict::Passes;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Verdict::Busy };
        let turn = Arc::clone(&self.hashing).acquire_owned().await;
        let Ok(turn) = turn else { return Verdict::Refused };
        // For an unknown user, the password is compared with another user's hash, so that the
        // answer takes as long.
        let is_user = current.users.contains_key(&user);
        let hash = current.users.get(&user).or_else(|| current.users.values().next()).cloned();
        let right = spawn_blocking(move || {
            // Held until the hash is computed, even if the client has gone meanwhile.
            let _turn = turn;
            let held = hash.as_ref().map_or("", |hash| hash.expose_secret());
            let same = bcrypt::verify(password.expose_secret(), held).unwrap_or(false);
            same && is_user
        });
        let right = right.await.unwrap_or(false);
        if right {
            let mut known = current.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            known.insert(digest);
        }
        if right { Verdict::Passes } else { Verdict::Refused }
    }
}

/// User and password of a header.
fn basic(header: &str) -> Option<(String, SecretString)> {
    let (scheme, encoded) = header.split_once(' ')?;
    let decoded =
        STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"));
    let text = String::from_utf8(decoded?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), SecretString::from(password)))
}

/// Refuses everyone who is not a user. Health checks are open to all, because they name no
/// registry. The token for reloading is checked where it is used.
pub(super) async fn require_users(
    Extract(access): Extract<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let by_token = path == "/-/reload" && bearer(request.headers()).is_some();
    let open = matches!(path, "/-/healthy" | "/-/ready") || by_token;
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(basic);
    let verdict = if open { Verdict::Passes } else { access.allows(given).await };
    match verdict {
        Verdict::Passes => return next.run(request).await,
        Verdict::Busy => {
            let later = [(RETRY_AFTER, "1")];
            let text = "Too many passwords are waiting to be checked. Try again.\n";
            return (StatusCode::SERVICE_UNAVAILABLE, later, text).into_response();
        }
        Verdict::Refused => {}
    }
    let ask = [(WWW_AUTHENTICATE, "Basic realm=\"registry-prober\", charset=\"UTF-8\"")];
    (StatusCode::UNAUTHORIZED, ask, "A user and a password are needed.\n").into_response()
}

impl Current {
    fn of(rules: Rules) -> Result<Self, String> {
        let digest = digest(&rules);
        let acceptor = rules.tls.as_ref().map(acceptor).transpose()?;
        Ok(Self { digest, acceptor, users: rules.users, known: Mutex::default() })
    }
}

fn digest(rules: &Rules) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    };
    if let Some(pem) = &rules.tls {
        add(&pem.certificates);
        add(pem.key.expose_secret().as_bytes());
        add(pem.client_ca.as_deref().unwrap_or_default());
        add(&[u8::from(pem.client_required), u8::from(pem.only_1_3)]);
    }
    for (user, password) in &rules.users {
        add(user.as_bytes());
        add(password.expose_secret().as_bytes());
    }
    hash.finalize().into()
}

fn acceptor(pem: &Pem) -> Result<TlsAcceptor, String> {
    let chain = certificates(&pem.certificates, "cert_file")?;
    let key = PrivateKeyDer::from_pem_slice(pem.key.expose_secret().as_bytes())
        .map_err(|_| "key_file: contains no PEM private key".to_owned())?;
    let versions: &[&rustls::SupportedProtocolVersion] =
        if pem.only_1_3 { &[&rustls::version::TLS13] } else { rustls::ALL_VERSIONS };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?;
    let builder = match &pem.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(ca, "client_ca_file")?);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier =
                if pem.client_required { verifier } else { verifier.allow_unauthenticated() };
            let verifier = verifier.build().map_err(|error| format!("client_ca_file: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("cert_file and key_file: {error}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|_| format!("{what}: not well-formed PEM"))?;
    if found.is_empty() { Err(format!("{what}: contains no PEM certificate")) } else { Ok(found) }
}
