//! Harbor's CSRF protection, which `/v2/`, `/api/` and `/service/` meet only with a `sid` cookie.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use http::{Method, Response};
use hyper::body::Bytes;
use rand::Rng as _;

use super::super::Family;
use super::super::answer::{http_date, set};
use super::super::call::Call;
use super::super::mac::hmac_sha256;
use super::answers::json_error;

const COOKIE: &str = "_gorilla_csrf";
const TOKEN: &str = "x-harbor-csrf-token";
/// Seconds that the cookie lives.
const LIFETIME: i64 = 43_200;

/// What the check leads to.
#[derive(Default)]
pub(super) struct CsrfCheck {
    /// The answer, if the request goes no further.
    pub(super) refused: Option<Response<Bytes>>,
    /// Headers for the answer otherwise.
    pub(super) headers: Vec<(&'static str, String)>,
}

/// Checks a request, if it is one that is checked.
pub(super) fn check(call: &mut Call<'_>) -> CsrfCheck {
    let skipped = ["/v2/", "/api/", "/service/"].iter().any(|at| call.path().starts_with(at))
        && call.cookie("sid").is_none();
    if skipped || call.settings.family == Family::Harbor1 {
        return CsrfCheck::default();
    }
    let stored = call.cookie(COOKIE).and_then(|cookie| open(call, cookie));
    let secret = stored.unwrap_or_else(|| call.rng.random());
    let mut headers = Vec::new();
    if stored.is_none() {
        headers.push(("set-cookie", set_cookie(call, &secret)));
    }
    headers.push((TOKEN, mask(call, &secret)));
    let safe = matches!(*call.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let shown = call.header(TOKEN).map(unmask);
    let foreign = call.settings.foreign_origin;
    if !safe && (foreign || stored.is_none() || shown != Some(Some(secret))) {
        let message = match shown {
            _ if foreign => "origin invalid",
            None if tells_absence(call.settings.family) => "CSRF token not found in request",
            _ => "CSRF token invalid",
        };
        let mut refused = json_error(403, "FORBIDDEN", message);
        for (name, value) in &headers {
            set(&mut refused, name, value);
        }
        return CsrfCheck { refused: Some(refused), headers: Vec::new() };
    }
    headers.push(("vary", "Cookie".to_owned()));
    CsrfCheck { refused: None, headers }
}

/// Later versions tell a missing token from a wrong one.
fn tells_absence(family: Family) -> bool {
    matches!(family, Family::Harbor213 | Family::Harbor215)
}

fn set_cookie(call: &Call<'_>, secret: &[u8; 32]) -> String {
    let expires = http_date(call.now.saturating_add(LIFETIME * 1_000_000_000));
    let secure = if call.settings.external_url.starts_with("http://") { "" } else { " Secure;" };
    format!(
        "{COOKIE}={}; Path=/; Expires={expires}; Max-Age={LIFETIME}; HttpOnly;{secure} \
         SameSite=Strict",
        seal(call, secret)
    )
}

/// Packs the secret: the clock in seconds, the secret as JSON, and an authentication code.
fn seal(call: &Call<'_>, secret: &[u8; 32]) -> String {
    let json = format!("\"{}\"\n", STANDARD.encode(secret));
    let mut packed = format!("{}|{}|", call.now.div_euclid(1_000_000_000), URL_SAFE.encode(json));
    let mac = hmac_sha256(&key(call), packed.as_bytes());
    let mut bytes = std::mem::take(&mut packed).into_bytes();
    bytes.extend_from_slice(&mac);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn open(call: &Call<'_>, cookie: &str) -> Option<[u8; 32]> {
    let bytes = URL_SAFE_NO_PAD.decode(cookie.trim_end_matches('=')).ok()?;
    let (packed, mac) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if hmac_sha256(&key(call), packed) != *mac {
        return None;
    }
    let value = std::str::from_utf8(packed).ok()?.split('|').nth(1)?;
    let json: String = serde_json::from_slice(&URL_SAFE.decode(value).ok()?).ok()?;
    STANDARD.decode(json).ok()?.try_into().ok()
}

fn key(call: &Call<'_>) -> Vec<u8> {
    format!("csrf_key {}", call.settings.csrf_key).into_bytes()
}

/// The token of one answer: a random pad and the secret under it.
fn mask(call: &mut Call<'_>, secret: &[u8; 32]) -> String {
    let pad: [u8; 32] = call.rng.random();
    let masked = pad.iter().zip(secret).map(|(pad, byte)| pad ^ byte);
    STANDARD.encode(pad.iter().copied().chain(masked).collect::<Vec<u8>>())
}

fn unmask(token: &str) -> Option<[u8; 32]> {
    let bytes = STANDARD.decode(token).ok()?;
    let (pad, masked) = bytes.split_at_checked(32)?;
    let secret: Vec<u8> = pad.iter().zip(masked).map(|(pad, byte)| pad ^ byte).collect();
    secret.try_into().ok()
}
