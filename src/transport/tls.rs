//! TLS: trust prepared once, and a recorder that keeps the peer's certificate and the strict
//! verdict on it even when the connection is refused, or accepted in spite of it.

use std::fmt::Write as _;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue};
use rustls::client::{Tls13ClientSessionValue, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, NamedGroup, SignatureScheme,
};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use thiserror::Error as ThisError;
use tokio::time::Instant;

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

/// TLS settings of one registry, prepared once.
#[derive(Debug, Clone)]
pub struct Tls {
    verifier: Arc<dyn ServerCertVerifier>,
    accept_invalid: bool,
    client: Option<Arc<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>>,
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
        let verifier = platform_verifier(&extra, &provider)?;
        let client = client.map(client_identity).transpose()?;
        Ok(Self { verifier, accept_invalid, client, provider })
    }

    /// A configuration for one link: HTTP/1.1 only, since the `Host` of a pinned backend may name
    /// another port than the connection, which HTTP/2 cannot say; never a resumed session, which
    /// would hide the handshake and the certificate.
    pub(super) fn config(&self, host: &str, stamps: &Stamps) -> Result<ClientConfig, Error> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Error::General(format!("{host:?} is not a TLS server name")))?;
        let recorder = Recorder {
            inner: Arc::clone(&self.verifier),
            accept_invalid: self.accept_invalid,
            name,
            stamps: stamps.clone(),
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(recorder));
        let mut config = match &self.client {
            Some(identity) => {
                builder.with_client_auth_cert(identity.0.clone(), identity.1.clone_key())?
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::store(Arc::new(Forgetful(stamps.clone())));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(list) if list.is_empty() => Err("no BEGIN CERTIFICATE in it".to_owned()),
        Ok(list) => Ok(list),
        Err(error) => Err(error.to_string()),
    }
}

/// The platform's verifier; a machine without any system roots still verifies by `ca_file`.
fn platform_verifier(
    extra: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let roots = extra.iter().cloned();
    match rustls_platform_verifier::Verifier::new_with_extra_roots(roots, Arc::clone(provider)) {
        Ok(verifier) => Ok(Arc::new(verifier)),
        Err(error) if extra.is_empty() => Err(TlsError::Platform(error.to_string())),
        Err(_) => {
            let mut store = rustls::RootCertStore::empty();
            store.add_parsable_certificates(extra.iter().cloned());
            let builder =
                WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
            let verifier = builder.build().map_err(|error| TlsError::Roots(error.to_string()))?;
            Ok(verifier)
        }
    }
}

fn client_identity(
    pem: &ClientPem<'_>,
) -> Result<Arc<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, TlsError> {
    let chain = certificates(pem.certificates).map_err(TlsError::Client)?;
    let key = PrivateKeyDer::from_pem_slice(pem.key.expose_secret().as_bytes())
        .map_err(|_| TlsError::Client("no PEM private key in key_file".to_owned()))?;
    Ok(Arc::new((chain, key)))
}

/// The certificate that a peer presented.
#[derive(Debug, Clone)]
pub struct PeerCertificate {
    leaf: Vec<u8>,
    /// How many certificates were sent.
    pub chain_length: usize,
    /// Nothing if it is valid for the public name, else why not.
    pub invalid: Option<String>,
    /// The version of TLS, `1.2` or `1.3`; none if the handshake went no further.
    pub tls_version: Option<&'static str>,
}

impl PeerCertificate {
    /// SHA-256 of the leaf in lower-case hex.
    pub fn fingerprint(&self) -> String {
        Sha256::digest(&self.leaf).iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// The end of the leaf's validity and the names it is for (at most 16, each cut to 255
    /// characters); `None` if it does not parse.
    pub fn validity(&self) -> Option<(DateTime<Utc>, Vec<String>)> {
        use x509_parser::extensions::GeneralName;
        use x509_parser::prelude::{FromDer as _, X509Certificate};
        let (_, certificate) = X509Certificate::from_der(&self.leaf).ok()?;
        let not_after = certificate.validity().not_after.timestamp();
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.into_iter().flat_map(|extension| &extension.value.general_names);
        let text = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match **bytes {
                [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
                _ => <[u8; 16]>::try_from(*bytes)
                    .ok()
                    .map(|v6| std::net::Ipv6Addr::from(v6).to_string()),
            },
            _ => None,
        };
        let clip = |name: String| name.chars().filter(|c| !c.is_control()).take(255).collect();
        let names = names.filter_map(text).take(16).map(clip).collect();
        Some((DateTime::from_timestamp(not_after, 0)?, names))
    }
}

/// Why a certificate is refused, in words.
pub(super) fn certificate_problem(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("expired ({error})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("not valid yet ({error})")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("for another name ({error})")
        }
        CertificateError::UnknownIssuer => "signed by an unknown authority".to_owned(),
        // What remains where an authority was made anew under its old name.
        CertificateError::BadSignature => {
            "signed by another authority of the same name as a trusted one".to_owned()
        }
        other => other.to_string(),
    }
}

/// Keeps the certificate and the strict verdict, then enforces it unless told not to.
#[derive(Debug)]
struct Recorder {
    inner: Arc<dyn ServerCertVerifier>,
    accept_invalid: bool,
    /// The public name, whatever the connection was dialled by.
    name: ServerName<'static>,
    stamps: Stamps,
}

impl Recorder {
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
        let verdict = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            &self.name,
            ocsp_response,
            now,
        );
        let invalid = verdict.as_ref().err().map(|error| match error {
            Error::InvalidCertificate(reason) => certificate_problem(reason),
            other => other.to_string(),
        });
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
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.note_version("1.3");
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A session store that remembers nothing. It is asked for a hint while the first TLS message is
/// made: that is the moment at which TCP is done and TLS begins.
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
