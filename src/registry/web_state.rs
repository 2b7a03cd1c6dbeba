//! What Harbor keeps in a browser: the CSRF cookie with its token, and the session.

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};

/// The CSRF cookie of Harbor from 2.1 on; its key is the `CSRF_KEY` of core.
pub const CSRF_COOKIE: &str = "_gorilla_csrf";
/// The header that carries the CSRF token, in answers and requests alike.
pub const CSRF_TOKEN: &str = "x-harbor-csrf-token";
/// The session cookie.
pub const SESSION_COOKIE: &str = "sid";

/// Longer cookies belong to no registry.
const MAX_COOKIE: usize = 1_024;

/// The cookie of that name that an answer sets, as `name=value` without attributes, marked
/// sensitive.
pub fn set_cookie(headers: &HeaderMap, name: &str) -> Option<HeaderValue> {
    headers.get_all(SET_COOKIE).iter().find_map(|value| {
        let pair = value.to_str().ok()?.split(';').next()?.trim();
        let (found, content) = pair.split_once('=')?;
        if found != name || content.is_empty() || pair.len() > MAX_COOKIE {
            return None;
        }
        let mut cookie = HeaderValue::from_str(pair).ok()?;
        cookie.set_sensitive(true);
        Some(cookie)
    })
}

/// The CSRF token of an answer, marked sensitive.
pub fn csrf_token(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut token = headers.get(CSRF_TOKEN).filter(|token| token.len() <= MAX_COOKIE)?.clone();
    token.set_sensitive(true);
    Some(token)
}

/// What Harbor's CSRF protection says where it answers 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CsrfRefusal {
    /// The cookie or the token does not fit its key
    /// (captures/harbor-2.15.2/31-csrf.http and 65-csrf-split.http).
    Token,
    /// The page is not believed to be the site's own (`origin invalid`, Harbor 2.12.3).
    Origin,
}

/// Reads the message of a 403; none if it is not about CSRF.
pub fn csrf_refusal(message: &str) -> Option<CsrfRefusal> {
    let message = message.to_ascii_lowercase();
    if message.contains("csrf token") {
        Some(CsrfRefusal::Token)
    } else if ["origin", "referer"].iter().any(|word| message.starts_with(word)) {
        Some(CsrfRefusal::Origin)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_name_and_loses_its_attributes() {
        let mut headers = HeaderMap::new();
        for value in [
            "x_gorilla_csrf=no",
            "_gorilla_csrf=MTc5|x==; Path=/; HttpOnly; Secure",
            "sid=c80145bc; Path=/; HttpOnly",
        ] {
            headers.append(SET_COOKIE, HeaderValue::from_static(value));
        }
        let cookie = set_cookie(&headers, CSRF_COOKIE).unwrap();
        assert_eq!(cookie, "_gorilla_csrf=MTc5|x==");
        assert!(cookie.is_sensitive());
        assert_eq!(set_cookie(&headers, SESSION_COOKIE).unwrap(), "sid=c80145bc");
        assert_eq!(set_cookie(&headers, "other"), None);
        let long = format!("other={}", "x".repeat(2_000));
        headers.append(SET_COOKIE, HeaderValue::from_str(&long).unwrap());
        headers.append(SET_COOKIE, HeaderValue::from_static("empty=; Max-Age=0"));
        assert_eq!(set_cookie(&headers, "other"), None);
        assert_eq!(set_cookie(&headers, "empty"), None);
    }

    #[test]
    fn the_message_of_a_refusal_tells_the_key_from_the_origin() {
        for (message, refusal) in [
            ("CSRF token invalid", Some(CsrfRefusal::Token)),
            ("CSRF token not found in request", Some(CsrfRefusal::Token)),
            ("origin invalid", Some(CsrfRefusal::Origin)),
            ("referer not supplied", Some(CsrfRefusal::Origin)),
            ("The system is in read only mode. Any modification is prohibited.", None),
            ("", None),
        ] {
            assert_eq!(csrf_refusal(message), refusal, "{message}");
        }
    }
}
