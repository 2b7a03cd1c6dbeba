//! Token responses and the readable part of JWTs.
//!
//! A JWT is read leniently and never verified: the verifiers are what is being measured, and an
//! opaque token is legal for them too.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use thiserror::Error;

use super::each_text;
use crate::model::{AccessEntry, KeyId, TokenFacts, one_line};

/// The longest token that is carried, in bytes.
pub const MAX_TOKEN: usize = 64 * 1024;

/// What some editors and servers write before UTF-8, and no client reads.
const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// The longest text claim that is kept, in characters.
const MAX_CLAIM: usize = 256;

/// The most access entries that are kept.
const MAX_ACCESS: usize = 64;

/// Why a token response or token cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// The body is not the JSON object that the token specification asks for.
    #[error("the token response is not JSON with a token: {0}")]
    NotJson(String),
    /// Neither `token` nor `access_token` is filled.
    #[error("neither `token` nor `access_token` of the token response is filled")]
    NoToken,
    /// Over [`MAX_TOKEN`].
    #[error("the token has {0} bytes; at most 65536 are accepted")]
    TooLarge(usize),
    /// It holds characters that no header may carry.
    #[error("the token holds characters that are not allowed in a header")]
    Characters,
    /// Not three parts, not base64url, or not JSON inside.
    #[error("the token is not a readable JWT: {0}")]
    NotJwt(&'static str),
}

/// A token as the token endpoint gave it.
#[derive(Debug)]
pub struct TokenResponse {
    /// The token; never printed.
    pub token: SecretString,
    /// `expires_in` in seconds.
    pub expires_in: Option<u64>,
}

/// Reads a token response. Harbor fills `token` and leaves `access_token` empty, `OAuth2` servers
/// do the reverse, `docker_auth` fills both. Where the two differ, `access_token` counts, as it does
/// for docker, containerd and crane.
///
/// # Errors
/// [`TokenError`] says what is wrong with the response; never with its content.
pub fn read_token_response(body: &[u8]) -> Result<TokenResponse, TokenError> {
    if body.starts_with(BYTE_ORDER_MARK) {
        return Err(TokenError::NotJson("it begins with a byte order mark".to_owned()));
    }
    // serde_json's message names line and column and never quotes a string value.
    let read: Members = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let why = || format!("line {line}, column {column}");
        TokenError::NotJson(if error.is_data() { "no object".to_owned() } else { why() })
    })?;
    let filled = |name: &str| match read.0.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(TokenError::NotJson(format!("`{name}` is not a text"))),
    };
    let (token, access_token) = (filled("token")?, filled("access_token")?);
    let token = access_token.or(token).ok_or(TokenError::NoToken)?;
    if token.len() > MAX_TOKEN {
        return Err(TokenError::TooLarge(token.len()));
    }
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(TokenError::Characters);
    }
    let expires_in = read.0.get("expires_in").and_then(seconds);
    Ok(TokenResponse { token: SecretString::from(token.to_owned()), expires_in })
}

/// The members of a token response that are read; of a name that comes twice the last counts. Others
/// are passed over, however deep they are.
struct Members(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject;

        impl<'de> Visitor<'de> for OfObject {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if matches!(name.as_str(), "token" | "access_token" | "expires_in") {
                        members.insert(name, map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(OfObject)
    }
}

/// A number of seconds, which some servers write as text; zero says nothing.
fn seconds(value: &Value) -> Option<u64> {
    let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|seconds| *seconds > 0)
}

/// What is known of a token, with another text in the place of each for which there is one. A token
/// that is no JWT is as good: the token specification calls it opaque, and only its verifier can
/// say what it is worth.
pub fn facts_hiding(
    token: &str,
    expires_in: Option<u64>,
    change: &dyn Fn(&str) -> Option<String>,
) -> TokenFacts {
    let opaque = || TokenFacts { expires_in, ..TokenFacts::default() };
    let facts = read_token_hiding(token, expires_in, change).unwrap_or_else(|_| opaque());
    TokenFacts { length: token.len(), ..facts }
}

/// Reads header and claims of a JWT (RFC 7519).
///
/// # Errors
/// [`TokenError::NotJwt`] if it is not a readable JWT.
pub fn read_token(token: &str, expires_in: Option<u64>) -> Result<TokenFacts, TokenError> {
    read_token_hiding(token, expires_in, &|_| None)
}

/// The same, with another text in the place of each for which there is one, before it is cut.
///
/// # Errors
/// [`TokenError::NotJwt`] if it is not a readable JWT.
pub fn read_token_hiding(
    token: &str,
    expires_in: Option<u64>,
    change: &dyn Fn(&str) -> Option<String>,
) -> Result<TokenFacts, TokenError> {
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::NotJwt("it does not have three parts"));
    };
    let header = decode(header, change)?;
    let claims = decode(claims, change)?;
    let (audience, audience_is_list) = match claims.get("aud") {
        Some(Value::String(one)) => (vec![clip(one)], false),
        Some(Value::Array(list)) => {
            (list.iter().filter_map(Value::as_str).take(MAX_ACCESS).map(clip).collect(), true)
        }
        _ => (Vec::new(), false),
    };
    Ok(TokenFacts {
        length: token.len(),
        kid: header.get("kid").and_then(Value::as_str).map(KeyId::from_wire),
        alg: text(&header, "alg").unwrap_or_default(),
        has_chain: header.get("x5c").is_some_and(Value::is_array),
        issuer: text(&claims, "iss"),
        subject: text(&claims, "sub"),
        audience,
        audience_is_list,
        issued_at: time(&claims, "iat"),
        not_before: time(&claims, "nbf"),
        expires_at: time(&claims, "exp"),
        expires_in,
        access: access(&claims),
    })
}

fn decode(
    part: &str,
    change: &dyn Fn(&str) -> Option<String>,
) -> Result<serde_json::Map<String, Value>, TokenError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part.trim_end_matches('='))
        .map_err(|_| TokenError::NotJwt("a part is not base64url"))?;
    match serde_json::from_slice(&bytes) {
        Ok(mut value @ Value::Object(_)) => {
            each_text(&mut value, change);
            match value {
                Value::Object(map) => Ok(map),
                _ => Err(TokenError::NotJwt("a part is not a JSON object")),
            }
        }
        _ => Err(TokenError::NotJwt("a part is not a JSON object")),
    }
}

fn text(map: &serde_json::Map<String, Value>, key: &str) -> Option<String> {
    map.get(key).and_then(Value::as_str).map(clip)
}

/// A claim from the wire becomes evidence for people: bounded, and without control characters.
fn clip(text: impl AsRef<str>) -> String {
    one_line(text.as_ref(), MAX_CLAIM)
}

/// RFC 7519 allows fractions in a `NumericDate`; whole seconds are what is compared.
fn time(map: &serde_json::Map<String, Value>, key: &str) -> Option<i64> {
    let value = map.get(key)?;
    value.as_i64().or_else(|| {
        let seconds = value.as_f64()?.floor();
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the range check")]
        (-1e15..1e15).contains(&seconds).then_some(seconds as i64)
    })
}

fn access(claims: &serde_json::Map<String, Value>) -> Vec<AccessEntry> {
    let entry = |value: &Value| {
        let field = |key| value.get(key).and_then(Value::as_str).map(clip);
        let actions = value.get("actions").and_then(Value::as_array);
        Some(AccessEntry {
            resource: field("type")?,
            name: field("name")?,
            actions: actions
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .take(MAX_ACCESS)
                .map(clip)
                .collect(),
        })
    };
    let list = claims.get("access").and_then(Value::as_array);
    list.into_iter().flatten().take(MAX_ACCESS).filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn jwt(header: &str, claims: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn whichever_token_field_is_filled_counts() {
        for (body, token) in [
            (r#"{"token":"t","access_token":"","expires_in":1800}"#, "t"),
            (r#"{"access_token":"a"}"#, "a"),
            (r#"{"token":"","access_token":"a"}"#, "a"),
            (r#"{"token":null,"access_token":"a"}"#, "a"),
            (r#"{"token":"t","access_token":null}"#, "t"),
            (r#"{"token":"t","access_token":"a","extra":[]}"#, "a"),
            (r#"{"token":"old","token":"t"}"#, "t"),
            ("\n {\"token\":\"t\",\"errors\":[]}\n", "t"),
        ] {
            assert_eq!(read_token_response(body.as_bytes()).unwrap().token.expose_secret(), token);
        }
    }

    #[test]
    fn a_lifetime_that_says_nothing_costs_no_token() {
        for (told, seconds) in [
            ("300", Some(300)),
            ("\"300\"", Some(300)),
            ("0", None),
            ("-1", None),
            ("300.5", None),
            ("1e30", None),
            ("\"soon\"", None),
            ("null", None),
            ("true", None),
            ("[]", None),
        ] {
            let body = format!(r#"{{"token":"t","expires_in":{told},"issued_at":{told}}}"#);
            let read = read_token_response(body.as_bytes()).unwrap();
            assert_eq!(read.expires_in, seconds, "{told}");
        }
    }

    #[test]
    fn what_is_no_token_response_is_refused_without_quoting_it() {
        for (body, error) in [
            ("<html>", "line 1, column 1"),
            (r#"{"token":"","access_token":""}"#, "neither"),
            ("{}", "neither"),
            ("[]", "no object"),
            ("null", "no object"),
            (r#"{"token":"secret\nX: y"}"#, "characters"),
            (r#"{"token":7}"#, "`token` is not a text"),
            ("\u{feff}{\"token\":\"t\"}", "byte order mark"),
        ] {
            let message = read_token_response(body.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(error), "{body}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
        let huge = format!(r#"{{"token":"{}"}}"#, "x".repeat(MAX_TOKEN + 1));
        assert_eq!(
            read_token_response(huge.as_bytes()).unwrap_err(),
            TokenError::TooLarge(MAX_TOKEN + 1)
        );
    }

    #[test]
    fn claims_are_read_in_every_form_that_servers_write() {
        let token = jwt(
            r#"{"alg":"RS256","kid":"K","typ":"JWT"}"#,
            concat!(
                r#"{"iss":"i","sub":"robot$p","aud":"harbor-registry","exp":1800,"nbf":0,"#,
                r#""iat":0,"access":[{"type":"repository","name":"p/r","actions":["pull"]}]}"#
            ),
        );
        let facts = read_token(&token, Some(1800)).unwrap();
        assert_eq!(facts.kid, Some(KeyId::from_wire("K")));
        assert_eq!(facts.lifetime(), Some(1800));
        assert!(facts.grants("p/r", "pull") && !facts.grants("p/r", "push"));
        assert!(!facts.is_anonymous() && !facts.audience_is_list);

        let token = jwt("{}", r#"{"aud":["a","b"],"access":null,"exp":10.9,"sub":""}"#);
        let facts = read_token(&token, None).unwrap();
        assert!(facts.audience_is_list && facts.is_anonymous() && facts.access.is_empty());
        assert_eq!((facts.audience.len(), facts.expires_at), (2, Some(10)));
    }

    #[test]
    fn what_is_no_jwt_is_named() {
        for token in ["", "opaque", "a.b", "a.b.c.d", "!.!.!", "e30.W10.x"] {
            assert!(matches!(read_token(token, None), Err(TokenError::NotJwt(_))), "{token}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(body: Vec<u8>, header: String, claims: String) {
            let _ = read_token_response(&body);
            let _ = read_token(&jwt(&header, &claims), None);
            let _ = read_token(&String::from_utf8_lossy(&body), None);
        }
    }
}
