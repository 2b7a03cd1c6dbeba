//! The lab's certificate authority and the certificates that its places present.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Datelike as _, Days, NaiveDate};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::error::LabError;
use super::fault::CertificateFault;

/// What lies between the day on which the lab began and both ends of a certificate.
const YEAR: Days = Days::new(365);
/// What is left of a certificate that expires soon, and a part of the day.
const SOON: Days = Days::new(3);

/// A certificate authority with what it has signed.
pub(super) struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
    public_host: String,
    /// The day on which the lab began.
    today: NaiveDate,
    made: Mutex<Made>,
}

/// A place and how its certificate is wrong.
type Who = (String, Option<CertificateFault>);

/// What was asked for before.
#[derive(Default)]
struct Made {
    leaves: HashMap<Who, Leaf>,
    configs: HashMap<Who, Arc<ServerConfig>>,
}

/// A certificate with its key.
struct Leaf {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Pki {
    /// A new authority for a lab that began at `began`, in nanoseconds since 1970. A port of the
    /// public host is in no certificate.
    pub(super) fn new(public_host: &str, began: i64) -> Result<Self, LabError> {
        let public_host = public_host.rsplit_once(':').map_or(public_host, |(host, _)| host);
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "registry-prober lab");
        let key = KeyPair::generate().map_err(failed)?;
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(params, key).map_err(failed)?,
            public_host: public_host.to_owned(),
            today: DateTime::from_timestamp_nanos(began).date_naive(),
            made: Mutex::default(),
        })
    }

    /// The authority's certificate, PEM.
    pub(super) fn ca_pem(&self) -> String {
        self.issuer.pem()
    }

    /// How a place presents itself. Without a fault all places have one certificate together, as
    /// in a good installation, but each remembers its own TLS sessions.
    pub(super) fn config(
        &self,
        place: &str,
        fault: Option<CertificateFault>,
    ) -> Result<Arc<ServerConfig>, LabError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = made.configs.get(&(place.to_owned(), fault)) {
            return Ok(Arc::clone(config));
        }
        let owner = if fault.is_some() { place } else { "" };
        let leaf = match made.leaves.entry((owner.to_owned(), fault)) {
            Entry::Occupied(leaf) => leaf.into_mut(),
            Entry::Vacant(place) => place.insert(self.leaf(fault)?),
        };
        let config = Arc::new(server_config(leaf)?);
        made.configs.insert((place.to_owned(), fault), Arc::clone(&config));
        Ok(config)
    }

    fn leaf(&self, fault: Option<CertificateFault>) -> Result<Leaf, LabError> {
        let host = match fault {
            Some(CertificateFault::WrongName) => "another.lab.invalid",
            _ => self.public_host.as_str(),
        };
        let mut names = vec![host.to_owned()];
        if fault != Some(CertificateFault::WrongName) {
            names.push("127.0.0.1".to_owned());
        }
        names.dedup();
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, host);
        let midnight = |day: NaiveDate| {
            let part = |n: u32| u8::try_from(n).unwrap_or(1);
            rcgen::date_time_ymd(day.year(), part(day.month()), part(day.day()))
        };
        params.not_before = midnight(self.today - YEAR);
        params.not_after = midnight(match fault {
            // Midnight of the day on which the lab began lies behind it.
            Some(CertificateFault::Expired) => self.today,
            Some(CertificateFault::ExpiresSoon) => self.today + SOON,
            _ => self.today + YEAR,
        });
        let key = KeyPair::generate().map_err(failed)?;
        let leaf = if fault == Some(CertificateFault::SelfSigned) {
            params.self_signed(&key)
        } else {
            params.signed_by(&key, &self.issuer)
        }
        .map_err(failed)?;
        Ok(Leaf {
            certificate: leaf.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }
}

fn server_config(leaf: &Leaf) -> Result<ServerConfig, LabError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| LabError::Certificate(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.certificate.clone()],
            PrivateKeyDer::Pkcs8(leaf.key.clone_key()),
        )
        .map_err(|error| LabError::Certificate(error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err calls")]
fn failed(error: rcgen::Error) -> LabError {
    LabError::Certificate(error.to_string())
}
