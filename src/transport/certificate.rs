//! The certificate that a peer presented, and what is read from it.

use std::fmt::Write as _;
use std::ops::Range;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::model::one_line;

/// The certificate that a peer presented.
#[derive(Debug, Clone)]
pub struct PeerCertificate {
    pub(super) leaf: Vec<u8>,
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

    /// From when to when the leaf is valid, and the names it is for (at most 16, each cut to 255
    /// characters); `None` if it does not parse.
    pub fn validity(&self) -> Option<(Range<DateTime<Utc>>, Vec<String>)> {
        names_of(&self.leaf)
    }
}

/// From when to when a certificate is valid, and the names it is for.
pub(super) fn names_of(certificate: &[u8]) -> Option<(Range<DateTime<Utc>>, Vec<String>)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.into_iter().flat_map(|extension| &extension.value.general_names);
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
            _ => {
                <[u8; 16]>::try_from(*bytes).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string())
            }
        },
        _ => None,
    };
    let clip = |name: String| one_line(&name, 255);
    let names = names.filter_map(text).take(16).map(clip).collect();
    let valid = DateTime::from_timestamp(from, 0)?..DateTime::from_timestamp(to, 0)?;
    Some((valid, names))
}
