//! TLS: trust prepared once, and a recorder that keeps the peer's certificate and the strict
//! verdict on it even when the connection is refused, or accepted in spite of it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, WebPkiServerVerifier, verify_server_name,
};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, NamedGroup, SignatureScheme,
};
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error as ThisError;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::certificate::{PeerCertificate, names_of};
use super::handshake::certificate_problem;
use super::stamps::Stamps;

/// Makes the one crypto library of the program the default of its process. Calling it again does
/// nothing.
pub fn install_crypto_provider() {
    // An error means that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Why TLS cannot be prepared.
#[derive(Debug, ThisError)]
pub enum TlsError {
    /// The extra roots are not PEM certificates.
    #[error("ca_file holds no usable PEM certificate: {0}")]
    Roots(String),
    /// The client certificate or key is not usable.
    #[error("the client certificate or key is not usable: {0}")]
    Client(String),
    /// The platform's trust store cannot be used.
    #[error("the system's trust store cannot be used: {0}")]
    Platform(String),
}

/// A client certificate chain and key, both PEM.
#[derive(Debug)]
pub struct ClientPem<'a> {
    /// The chain.
    pub certificates: &'a [u8],
    /// The key.
    pub key: &'a SecretString,
}

type Verifier = Arc<dyn ServerCertVerifier>;

/// Trust in the system's roots. They take half a megabyte and are the same for every registry, so
/// all registries share one, which ends with the last of them.
static SYSTEM: Mutex<Weak<rustls_platform_verifier::Verifier>> = Mutex::new(Weak::new());

/// TLS settings of one registry, prepared once.
#[derive(Debug, Clone)]
pub struct Tls {
    /// It is enough that one of them trusts a certificate.
    trusted: Arc<[Verifier]>,
    /// The certificates of `ca_file`, each of which a server may also present as its own.
    given: Arc<[CertificateDer<'static>]>,
    accept_invalid: bool,
    client: Option<Arc<CertifiedKey>>,
    provider: Arc<CryptoProvider>,
}

impl Tls {
    /// Prepares trust in the system's roots and `extra_roots`.
    ///
    /// # Errors
    /// [`TlsError`] names the file's setting that cannot be used.
    pub fn prepare(
        extra_roots: Option<&[u8]>,
        client: Option<&ClientPem<'_>>,
        accept_invalid: bool,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let extra = extra_roots.map(certificates).transpose().map_err(TlsError::Roots)?;
        let extra = extra.unwrap_or_default();
        let mut trusted = Vec::new();
        if !extra.is_empty() {
            trusted.push(verifier_of(&extra, &provider)?);
        }
        match system_verifier(&provider) {
            Ok(system) => trusted.push(system),
            // A machine without any system roots still verifies by `ca_file`.
            Err(_) if !trusted.is_empty() => {}
            Err(error) => return Err(error),
        }
        let client = client.map(|pem| client_identity(pem, &provider)).transpose()?;
        Ok(Self { trusted: trusted.into(), given: extra.into(), accept_invalid, client, provider })
    }

    /// Trust in these roots and in no other, as an API server with its own authority needs it.
    ///
    /// # Errors
    /// [`TlsError`] names what cannot be used.
    pub fn only(roots: &[u8], client: Option<&ClientPem<'_>>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let given = certificates(roots).map_err(TlsError::Roots)?;
        let trusted = Arc::new([verifier_of(&given, &provider)?]);
        let client = client.map(|pem| client_identity(pem, &provider)).transpose()?;
        Ok(Self { trusted, given: given.into(), accept_invalid: false, client, provider })
    }

    /// A configuration for one link: HTTP/1.1 only, since the `Host` of a pinned backend may name
    /// another port than the connection, which HTTP/2 cannot say; never a resumed session, which
    /// would hide the handshake and the certificate.
    /// None if the host is no name that TLS can ask for.
    pub(super) fn config(&self, host: &str, stamps: &Stamps) -> Option<ClientConfig> {
        let name = ServerName::try_from(host.to_owned()).ok()?;
        let recorder = Recorder {
            trusted: Arc::clone(&self.trusted),
            algorithms: self.provider.signature_verification_algorithms,
            given: Arc::clone(&self.given),
            accept_invalid: self.accept_invalid,
            name,
            stamps: stamps.clone(),
        };
        let asked = OwnCertificate { stamps: stamps.clone(), identity: self.client.clone() };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .ok()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(recorder))
            .with_client_cert_resolver(Arc::new(asked));
        config.resumption = Resumption::store(Arc::new(Forgetful(stamps.clone())));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Some(config)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(list) if list.is_empty() => Err("no BEGIN CERTIFICATE in it".to_owned()),
        Ok(list) => Ok(list),
        Err(_) => Err("it is not well-formed PEM".to_owned()),
    }
}

fn system_verifier(provider: &Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
    let mut shared = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(verifier) = shared.upgrade() {
        return Ok(verifier);
    }
    let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(provider))
        .map(Arc::new)
        .map_err(|error| TlsError::Platform(error.to_string()))?;
    *shared = Arc::downgrade(&verifier);
    Ok(verifier)
}

fn verifier_of(
    roots: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Verifier, TlsError> {
    let mut store = rustls::RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
    let verifier = builder.build().map_err(|error| TlsError::Roots(error.to_string()))?;
    Ok(verifier)
}

fn client_identity(
    pem: &ClientPem<'_>,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(pem.certificates).map_err(TlsError::Client)?;
    let key = PrivateKeyDer::from_pem_slice(pem.key.expose_secret().as_bytes())
        .map_err(|_| TlsError::Client("no PEM private key in key_file".to_owned()))?;
    let unusable = |error: Error| {
        let why = match error {
            Error::InconsistentKeys(_) => "key_file holds the key of another certificate",
            _ => "key_file holds a key of a kind that is not supported",
        };
        TlsError::Client(why.to_owned())
    };
    CertifiedKey::from_der(chain, key, provider).map(Arc::new).map_err(unusable)
}

/// Gives the client certificate, if there is one, and notes that it was asked for.
#[derive(Debug)]
struct OwnCertificate {
    stamps: Stamps,
    identity: Option<Arc<CertifiedKey>>,
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.stamps.note(|n| n.client_certificate = Some(self.identity.is_some()));
        self.identity.clone()
    }

    fn has_certs(&self) -> bool {
        self.identity.is_some()
    }
}

/// Keeps the certificate and the strict verdict, then enforces it unless configured not to.
#[derive(Debug)]
struct Recorder {
    trusted: Arc<[Verifier]>,
    algorithms: WebPkiSupportedAlgorithms,
    given: Arc<[CertificateDer<'static>]>,
    accept_invalid: bool,
    /// The public name, whatever the connection was dialled by.
    name: ServerName<'static>,
    stamps: Stamps,
}

impl Recorder {
    /// It is enough that one of the verifiers trusts the certificate. If none does, one that knows
    /// the issuer says more than one that does not.
    fn verified(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = Error::from(CertificateError::UnknownIssuer);
        let mut refused = unknown.clone();
        for verifier in &*self.trusted {
            let (name, ocsp) = (&self.name, ocsp_response);
            match verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
                Ok(verified) => return Ok(verified),
                Err(error) if refused == unknown => refused = error,
                Err(_) => {}
            }
        }
        Err(refused)
    }

    /// A certificate that stands in `ca_file` itself is trusted as a server's, whatever it says of
    /// authorities: so do Go's clients and curl. Its name and its time have to be right.
    fn given_itself(
        &self,
        end_entity: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, &self.name)?;
        let encoding = || Error::from(CertificateError::BadEncoding);
        let (_, certificate) = X509Certificate::from_der(end_entity).map_err(|_| encoding())?;
        let seconds = i64::try_from(now.as_secs()).map_err(|_| encoding())?;
        let at = |time: i64| {
            UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time).unwrap_or(0)))
        };
        let validity = certificate.validity();
        let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        if seconds < from {
            return Err(
                CertificateError::NotValidYetContext { time: now, not_before: at(from) }.into()
            );
        }
        if seconds > to {
            return Err(CertificateError::ExpiredContext { time: now, not_after: at(to) }.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    /// Each version has its own way to prove the key, which comes after the certificate.
    fn note_version(&self, version: &'static str) {
        self.stamps.note(|n| {
            if let Some(certificate) = &mut n.certificate {
                Arc::make_mut(certificate).tls_version = Some(version);
            }
        });
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = if self.given.iter().any(|given| given == end_entity) {
            self.given_itself(end_entity, now)
        } else {
            self.verified(end_entity, intermediates, ocsp_response, now)
        };
        let invalid = verdict.as_ref().err().map(|error| words(error, end_entity));
        self.stamps.note(|n| {
            n.certificate = Some(Arc::new(PeerCertificate {
                leaf: end_entity.to_vec(),
                chain_length: 1 + intermediates.len(),
                invalid,
                tls_version: None,
            }));
        });
        if self.accept_invalid { Ok(ServerCertVerified::assertion()) } else { verdict }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.note_version("1.2");
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.note_version("1.3");
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Why a certificate is refused, with what it says of itself where that matters.
fn words(error: &Error, end_entity: &CertificateDer<'_>) -> String {
    let Error::InvalidCertificate(problem) = error else {
        return "not acceptable for a server".to_owned();
    };
    let why = certificate_problem(problem);
    match problem {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = names_of(end_entity).map(|(_, names)| names).unwrap_or_default();
            match names.as_slice() {
                [] => "for another name: it has no subjectAltName, and a common name alone does \
                       not count"
                    .to_owned(),
                names => format!("{why}: it is for {}", names.join(", ")),
            }
        }
        CertificateError::Other(_) if is_authority(end_entity) => {
            "the certificate of an authority (CA:TRUE), which is not for servers unless it is \
             trusted itself"
                .to_owned()
        }
        _ => why,
    }
}

fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    let parsed = X509Certificate::from_der(certificate).ok();
    let constraints = parsed.as_ref().and_then(|(_, c)| c.basic_constraints().ok().flatten());
    constraints.is_some_and(|constraints| constraints.value.ca)
}

/// A session store that remembers nothing. It is asked for a hint while the first TLS message is
/// created: that is the moment at which TCP is done and TLS begins.
#[derive(Debug)]
struct Forgetful(Stamps);

impl ClientSessionStore for Forgetful {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.note(|n| n.tls_begun = Some(Instant::now()));
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}
