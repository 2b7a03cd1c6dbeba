//! Signing keys of the lab's token issuers, generated once per process.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, RsaKeySize};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::error::LabError;

/// Which keys a lab signs with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA with 2048 bits, RS256, as every real installation has.
    #[default]
    Rsa,
    /// P-256, ES256: some twenty times cheaper to sign, for tests of many thousand rounds.
    Fast,
}

/// The keys that exist, by kind and number.
type Made = HashMap<(KeyKind, u32), Arc<SigningKey>>;

/// One key pair with its two key ids.
pub struct SigningKey {
    /// The name of the algorithm in a token's header.
    pub(super) algorithm: &'static str,
    pub(super) libtrust_id: String,
    pub(super) thumbprint: String,
    certificate: String,
    kind: Algorithm,
    private: EncodingKey,
    public: DecodingKey,
    /// Signature → message of tokens signed lately: verifying is most of what many rounds cost.
    signed: Mutex<HashMap<String, String>>,
}

/// How many signatures are remembered.
const REMEMBERED: usize = 4_096;

impl SigningKey {
    /// The key number `number` of this kind. The same number is the same key in the whole process.
    /// Nodes share number 0; the first node's own is 1, the second's 2 and so on.
    ///
    /// # Errors
    /// [`LabError::Key`] if the cryptography refuses to make one.
    pub fn numbered(kind: KeyKind, number: u32) -> Result<Arc<Self>, LabError> {
        static KEYS: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);
        let mut keys = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(&(kind, number)) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(Self::generate(kind)?);
        keys.insert((kind, number), Arc::clone(&key));
        Ok(key)
    }

    /// The key id of libtrust, 59 characters: Harbor, distribution up to 2.8.
    pub fn libtrust_id(&self) -> &str {
        &self.libtrust_id
    }

    /// The key id of RFC 7638, 43 characters: distribution from 3.0.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// A certificate of the public key, signed by itself, PEM: what real registries are
    /// configured to trust (`rootcertbundle`).
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// A token with this header and these claims (JSON), whatever they say; none if the
    /// cryptography refuses. Tests forge tokens with it.
    pub fn token(&self, header: &str, claims: &str) -> Option<String> {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.sign(&message)?;
        Some(format!("{message}.{signature}"))
    }

    /// Signs the two first parts of a token; the third part, base64url.
    pub(super) fn sign(&self, message: &str) -> Option<String> {
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, self.kind).ok()?;
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if signed.len() >= REMEMBERED {
            signed.clear();
        }
        signed.insert(signature.clone(), message.to_owned());
        Some(signature)
    }

    /// Whether the signature of a token is this key's.
    pub(super) fn verify(&self, algorithm: &str, message: &str, signature: &str) -> bool {
        if algorithm != self.algorithm {
            return false;
        }
        let own = self
            .signed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(signature)
            .is_some_and(|known| known == message);
        own || jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.public, self.kind)
            .unwrap_or(false)
    }

    fn generate(kind: KeyKind) -> Result<Self, LabError> {
        let failed = |error: &dyn std::fmt::Display| LabError::Key(error.to_string());
        let pair = match kind {
            KeyKind::Rsa => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
            KeyKind::Fast => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        }
        .map_err(|error| failed(&error))?;
        let pem = pair.serialize_pem();
        let public_pem = pair.public_key_pem();
        let (kind, algorithm, private, public) = match kind {
            KeyKind::Rsa => (
                Algorithm::RS256,
                "RS256",
                EncodingKey::from_rsa_pem(pem.as_bytes()),
                DecodingKey::from_rsa_pem(public_pem.as_bytes()),
            ),
            KeyKind::Fast => (
                Algorithm::ES256,
                "ES256",
                EncodingKey::from_ec_pem(pem.as_bytes()),
                DecodingKey::from_ec_pem(public_pem.as_bytes()),
            ),
        };
        let spki = pair.subject_public_key_info();
        let certificate = CertificateParams::new(Vec::new())
            .and_then(|params| params.self_signed(&pair))
            .map_err(|error| failed(&error))?;
        Ok(Self {
            algorithm,
            libtrust_id: libtrust_id(&spki),
            thumbprint: thumbprint(&spki)
                .ok_or_else(|| LabError::Key("a public key does not parse".to_owned()))?,
            certificate: certificate.pem(),
            kind,
            private: private.map_err(|error| failed(&error))?,
            public: public.map_err(|error| failed(&error))?,
            signed: Mutex::default(),
        })
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.libtrust_id)
    }
}

/// libtrust's id of a public key: 240 bits of the SHA-256 over its DER form, in base32, twelve
/// groups of four.
fn libtrust_id(spki: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Sha256::digest(spki);
    let mut id = String::with_capacity(59);
    let (mut bits, mut held, mut written) = (0_u32, 0_u32, 0_u32);
    for byte in hash.iter().take(30) {
        bits = (bits << 8) | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            if written > 0 && written % 4 == 0 {
                id.push(':');
            }
            let index = usize::try_from((bits >> held) & 31).unwrap_or(0);
            id.push(ALPHABET.get(index).copied().map_or('A', char::from));
            written += 1;
        }
        bits &= (1 << held) - 1;
    }
    id
}

/// The JWK thumbprint of RFC 7638 with SHA-256.
fn thumbprint(spki: &[u8]) -> Option<String> {
    let (_, info) = SubjectPublicKeyInfo::from_der(spki).ok()?;
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let json = match info.parsed().ok()? {
        PublicKey::RSA(key) => {
            let trim = |bytes: &[u8]| {
                let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                encode(bytes.get(zeros..).unwrap_or_default())
            };
            format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, trim(key.exponent), trim(key.modulus))
        }
        PublicKey::EC(point) => {
            let data = point.data();
            format!(
                r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                encode(data.get(1..33)?),
                encode(data.get(33..65)?)
            )
        }
        _ => return None,
    };
    Some(encode(&Sha256::digest(json.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_have_the_two_known_shapes_and_the_same_number_is_the_same_key() {
        for kind in [KeyKind::Rsa, KeyKind::Fast] {
            let key = SigningKey::numbered(kind, 1).unwrap();
            assert_eq!(key.libtrust_id.len(), 59);
            assert_eq!(key.libtrust_id.split(':').count(), 12);
            assert_eq!(key.thumbprint.len(), 43);
            assert_eq!(SigningKey::numbered(kind, 1).unwrap().libtrust_id, key.libtrust_id);
            assert_ne!(SigningKey::numbered(kind, 2).unwrap().libtrust_id, key.libtrust_id);
        }
    }

    #[test]
    fn a_signature_is_accepted_by_its_own_key_alone() {
        let [one, two] = [1, 2].map(|n| SigningKey::numbered(KeyKind::Fast, n).unwrap());
        let signature = one.sign("a.b").unwrap();
        assert!(one.verify("ES256", "a.b", &signature));
        assert!(!two.verify("ES256", "a.b", &signature));
        assert!(!one.verify("ES256", "a.c", &signature));
        assert!(!one.verify("none", "a.b", ""));
    }
}
