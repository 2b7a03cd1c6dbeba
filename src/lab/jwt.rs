//! Tokens as the lab's issuers write them and as its verifiers judge them.
//!
//! Written by hand, claim by claim, because the servers that the lab plays differ exactly in what
//! they check and in the order of the fields. Shares nothing with the prober's own reader.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys::SigningKey;

/// What a token allows on one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Access {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) actions: Vec<String>,
}

/// The claims of a token that is issued; times in whole seconds since 1970.
#[derive(Debug, Serialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sub: Option<String>,
    pub(super) aud: String,
    pub(super) exp: i64,
    pub(super) nbf: i64,
    pub(super) iat: i64,
    pub(super) jti: String,
    pub(super) access: Option<Vec<Access>>,
}

/// The order of a token header's fields, by which implementations differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderOrder {
    /// Harbor from 2.2: sorted.
    AlgKidTyp,
    /// Harbor up to 2.1 and `docker_auth`.
    TypAlgKid,
    /// No key id at all: robot secrets of Harbor up to 2.1.
    AlgTyp,
}

/// Writes and signs a token.
pub(super) fn issue(
    key: &SigningKey,
    kid: &str,
    order: HeaderOrder,
    claims: &Claims,
) -> Option<String> {
    let algorithm = key.algorithm;
    let header = match order {
        HeaderOrder::AlgKidTyp => {
            format!(r#"{{"alg":"{algorithm}","kid":"{kid}","typ":"JWT"}}"#)
        }
        HeaderOrder::TypAlgKid => {
            format!(r#"{{"typ":"JWT","alg":"{algorithm}","kid":"{kid}"}}"#)
        }
        HeaderOrder::AlgTyp => format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#),
    };
    let claims = serde_json::to_vec(claims).ok()?;
    let mut token =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key.sign(&token)?;
    token.push('.');
    token.push_str(&signature);
    Some(token)
}

/// How a verifier finds the key of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyChoice {
    /// Harbor's core: its own key, whatever the token says.
    Own,
    /// distribution up to 2.8: the libtrust id.
    Libtrust,
    /// distribution from 3.0: the RFC 7638 thumbprint.
    Thumbprint,
}

/// What a verifier asks of a token.
#[derive(Debug)]
pub(super) struct Policy<'a> {
    pub(super) keys: &'a [Arc<SigningKey>],
    pub(super) choice: KeyChoice,
    pub(super) issuer: Option<&'a str>,
    pub(super) audience: &'a str,
    pub(super) audience_list: bool,
    pub(super) future_iat_refused: bool,
    pub(super) exp_needed: bool,
    /// Nanoseconds.
    pub(super) leeway: i64,
}

/// Why a token is refused; only what the servers' answers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The key is known, but it did not make the signature.
    Signature,
    /// Anything else.
    Invalid,
}

/// What a verifier learns from a good token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verified {
    /// Empty for anonymous tokens.
    pub(super) subject: String,
    pub(super) access: Vec<Access>,
    /// Seconds since 1970.
    pub(super) issued_at: Option<i64>,
}

/// Judges a token at the verifier's time `now`, in nanoseconds since 1970.
pub(super) fn verify(token: &str, policy: &Policy<'_>, now: i64) -> Result<Verified, Refusal> {
    let (message, signature) = token.rsplit_once('.').ok_or(Refusal::Invalid)?;
    let (header, claims) = message.split_once('.').ok_or(Refusal::Invalid)?;
    let decode = |part: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let (header, claims) = decode(header).zip(decode(claims)).ok_or(Refusal::Invalid)?;
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(String::from);
    let algorithm = text(&header, "alg").ok_or(Refusal::Invalid)?;
    let kid = text(&header, "kid").unwrap_or_default();
    let key = policy
        .keys
        .iter()
        .find(|key| match policy.choice {
            KeyChoice::Own => true,
            KeyChoice::Libtrust => key.libtrust_id == kid,
            KeyChoice::Thumbprint => key.thumbprint == kid,
        })
        .ok_or(Refusal::Invalid)?;
    if !key.verify(&algorithm, message, signature) {
        return Err(Refusal::Signature);
    }
    if !times_fit(&claims, policy, now)
        || policy.issuer.is_some_and(|issuer| text(&claims, "iss").as_deref() != Some(issuer))
        || !audience_fits(claims.get("aud"), policy)
    {
        return Err(Refusal::Invalid);
    }
    Ok(Verified {
        subject: text(&claims, "sub").unwrap_or_default(),
        access: claims
            .get("access")
            .and_then(|access| Vec::<Access>::deserialize(access).ok())
            .unwrap_or_default(),
        issued_at: claims.get("iat").and_then(Value::as_i64),
    })
}

fn times_fit(claims: &Value, policy: &Policy<'_>, now: i64) -> bool {
    let nanos = |name: &str| {
        claims
            .get(name)
            .and_then(Value::as_i64)
            .map(|seconds| seconds.saturating_mul(1_000_000_000))
    };
    let unexpired = match nanos("exp") {
        Some(exp) => now < exp.saturating_add(policy.leeway),
        None => !policy.exp_needed,
    };
    unexpired
        && nanos("nbf").is_none_or(|nbf| now >= nbf.saturating_sub(policy.leeway))
        && (!policy.future_iat_refused || nanos("iat").is_none_or(|iat| now >= iat))
}

fn audience_fits(audience: Option<&Value>, policy: &Policy<'_>) -> bool {
    match audience {
        Some(Value::String(audience)) => audience == policy.audience,
        Some(Value::Array(list)) => {
            policy.audience_list && list.iter().any(|entry| entry == policy.audience)
        }
        _ => false,
    }
}
