//! What a token says about itself, without the token.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A signing key's id from a JWT header (`kid`), cleaned so that it can be a label.
///
/// A key id is a pure function of the public key in every family, so equal ids mean equal keys
/// on the issuing side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct KeyId(String);

impl From<String> for KeyId {
    fn from(text: String) -> Self {
        Self::from_wire(&text)
    }
}

impl From<KeyId> for String {
    fn from(key: KeyId) -> Self {
        key.0
    }
}

/// The shape of a key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyForm {
    /// libtrust: 12 groups of 4 base32 characters; Harbor, distribution up to 2.8.
    Libtrust,
    /// RFC 7638 thumbprint: 43 characters of base64url; distribution 3.
    Thumbprint,
    /// Anything else.
    Other,
}

impl KeyId {
    /// The longest key id that is kept; both known forms are shorter.
    pub const MAX: usize = 128;

    /// Takes a key id from the wire: cut to [`KeyId::MAX`] and with every character that is not
    /// printable ASCII replaced, since it becomes a label value.
    pub fn from_wire(text: &str) -> Self {
        let clean = |c: char| if c.is_ascii_graphic() && c != '"' && c != '\\' { c } else { '?' };
        Self(text.chars().take(Self::MAX).map(clean).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough of the id for people to tell two apart.
    pub fn short(&self) -> &str {
        &self.0[..self.0.len().min(9)]
    }

    /// Which known form it has.
    pub fn form(&self) -> KeyForm {
        let groups: Vec<&str> = self.0.split(':').collect();
        let base32 = |c: char| c.is_ascii_uppercase() || ('2'..='7').contains(&c);
        let base64url = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if groups.len() == 12 && groups.iter().all(|g| g.len() == 4 && g.chars().all(base32)) {
            KeyForm::Libtrust
        } else if self.0.len() == 43 && self.0.chars().all(base64url) {
            KeyForm::Thumbprint
        } else {
            KeyForm::Other
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One entry of a token's `access` claim (distribution's token specification).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccessEntry {
    /// `repository`, `registry` or another type.
    pub resource: String,
    /// The resource's name.
    pub name: String,
    /// The granted actions; their order means nothing.
    pub actions: Vec<String>,
}

/// The readable part of a token: header and claims, no signature. Of a token that is no JWT nothing
/// is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TokenFacts {
    /// Length of the token in bytes.
    pub length: usize,
    /// `kid` of the header; absent where the header carries a certificate instead.
    pub kid: Option<KeyId>,
    /// `alg` of the header.
    pub alg: String,
    /// Whether the header carries a certificate chain (`x5c`).
    pub has_chain: bool,
    /// `iss`.
    pub issuer: Option<String>,
    /// `sub`; absent or empty means anonymous.
    pub subject: Option<String>,
    /// `aud`.
    pub audience: Vec<String>,
    /// Whether `aud` is a list; distribution 2 refuses that.
    pub audience_is_list: bool,
    /// `iat` in seconds since 1970, by the issuer's clock.
    pub issued_at: Option<i64>,
    /// `nbf` in seconds since 1970.
    pub not_before: Option<i64>,
    /// `exp` in seconds since 1970.
    pub expires_at: Option<i64>,
    /// `expires_in` of the token response, in seconds.
    pub expires_in: Option<u64>,
    /// `access`; empty where the claim is null or missing.
    pub access: Vec<AccessEntry>,
}

impl TokenFacts {
    /// Whether the token is no JWT, so that only its verifier can say what it is worth.
    pub fn is_opaque(&self) -> bool {
        self.alg.is_empty()
    }

    /// Whether the token names no account. Of an opaque one that says nothing.
    pub fn is_anonymous(&self) -> bool {
        self.subject.as_deref().is_none_or(str::is_empty)
    }

    /// How long the token lives, in seconds, by its own claims.
    pub fn lifetime(&self) -> Option<i64> {
        let from = self.issued_at.or(self.not_before)?;
        self.expires_at.map(|expiry| expiry.saturating_sub(from))
    }

    /// Whether the token grants an action on a repository.
    pub fn grants(&self, repository: &str, action: &str) -> bool {
        self.access.iter().any(|entry| {
            entry.resource == "repository"
                && entry.name == repository
                && entry.actions.iter().any(|a| a == action || a == "*")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_key_id_is_seen_from_its_shape() {
        let libtrust = "ROZD:ZLAK:BIJH:7DHL:6KGU:MRHU:CSG3:JQUX:P4QU:EQIE:ABJS:MSDK";
        let cases = [
            (libtrust, KeyForm::Libtrust),
            ("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", KeyForm::Thumbprint),
            ("roZD:ZLAK", KeyForm::Other),
            ("", KeyForm::Other),
        ];
        for (text, form) in cases {
            assert_eq!(KeyId::from_wire(text).form(), form, "{text}");
        }
    }

    #[test]
    fn a_hostile_key_id_becomes_a_harmless_label() {
        let id = KeyId::from_wire(&format!("a\"b\\c\nd\u{1F600}{}", "x".repeat(500)));
        assert!(id.as_str().starts_with("a?b?c?d?x"));
        assert_eq!(id.as_str().len(), KeyId::MAX);
    }
}
