//! One HTTP answer reduced to what a diagnosis may need: who gave it, and what it said.

use http::header::{AGE, CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER, SERVER, SET_COOKIE};
use http::{HeaderMap, HeaderName};
use serde::Deserialize;

use super::challenge_of;
use super::page::page_of;
use crate::model::{Answer, one_line};

/// Names of cookies that load balancers set to tie a client to a backend.
const AFFINITY_COOKIES: [&str; 10] = [
    "route",
    "serverid",
    "srv",
    "awsalb",
    "awsalbcors",
    "awselb",
    "ingresscookie",
    "lb",
    "stickounet",
    "jsessionid",
];

/// Where caches write `HIT` or `MISS`.
const CACHE_HEADERS: [&str; 4] = ["x-cache", "x-cache-status", "x-proxy-cache", "cf-cache-status"];

/// Reads an answer. Only bounded, cleaned texts are kept, and nothing that could be a secret.
pub fn answer_of(status: u16, headers: &HeaderMap, body: &[u8]) -> Answer {
    let (error_code, error_message) = first_error(body);
    Answer {
        status,
        server: text(headers, &SERVER),
        content_type: text(headers, &CONTENT_TYPE),
        api_version: headers.contains_key("docker-distribution-api-version"),
        request_id: headers.contains_key("x-request-id"),
        log_id: text(headers, &HeaderName::from_static("x-request-id")),
        html: is_html(headers, body),
        page: page_of(status, headers, body),
        body_bytes: body.len(),
        challenge: challenge_of(headers),
        error_code,
        error_message,
        location: headers.get(LOCATION).and_then(|value| location(value.as_bytes())),
        affinity_cookie: affinity_cookie(headers),
        retry_after: text(headers, &RETRY_AFTER).and_then(|value| value.parse().ok()),
        kept: is_cached(headers),
    }
}

/// The `Date` header in seconds since 1970, in any of the three forms of RFC 9110. Of several
/// lines the first counts. `None` too where a cache gave the answer: its date was true once.
pub fn date_of(headers: &HeaderMap) -> Option<i64> {
    if is_cached(headers) {
        return None;
    }
    let text = headers.get(DATE)?.to_str().ok()?;
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// Whether an answer says that it was kept: `Age` above zero, or one of the headers by which
/// caches tell of a hit.
fn is_cached(headers: &HeaderMap) -> bool {
    let aged = text(headers, &AGE).is_some_and(|age| age.trim() != "0");
    let hit = |name: &&str| {
        let value = headers.get(*name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.to_ascii_lowercase().contains("hit"))
    };
    aged || CACHE_HEADERS.iter().any(hit)
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = String::from_utf8_lossy(headers.get(name)?.as_bytes());
    Some(one_line(&value, 60))
}

fn is_html(headers: &HeaderMap, body: &[u8]) -> bool {
    let declared = text(headers, &CONTENT_TYPE)
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("text/html"));
    let start = String::from_utf8_lossy(&body[..body.len().min(64)]).to_ascii_lowercase();
    let start = start.trim_start();
    // Some registries call their JSON a page (Quay: `true` as text/html).
    let json = || serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    start.starts_with("<!doctype html") || start.starts_with("<html") || (declared && !json())
}

/// Scheme and authority only: a path or query may carry a state or a signature.
fn location(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    if text.starts_with('/') {
        return Some("/".to_owned());
    }
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?.rsplit('@').next()?;
    Some(one_line(&format!("{scheme}://{authority}"), 160))
}

fn affinity_cookie(headers: &HeaderMap) -> Option<String> {
    headers.get_all(SET_COOKIE).iter().find_map(|value| {
        let name = value.to_str().ok()?.split('=').next()?.trim().to_ascii_lowercase();
        AFFINITY_COOKIES.contains(&name.as_str()).then_some(name)
    })
}

/// `code` and `message` of the first error in a registry error body (distribution specification,
/// "Errors"). Harbor passes raw driver texts through: addresses in them are kept out.
fn first_error(body: &[u8]) -> (Option<String>, Option<String>) {
    #[derive(Deserialize)]
    struct Body {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: Option<String>,
        #[serde(default)]
        message: Option<String>,
    }
    let Ok(parsed) = serde_json::from_slice::<Body>(body) else { return (None, None) };
    let Some(entry) = parsed.errors.into_iter().next() else { return (None, None) };
    let message = entry.message.map(|message| {
        let hidden: Vec<String> = one_line(&message, 400).split(' ').map(hide_address).collect();
        one_line(&hidden.join(" "), 160)
    });
    (entry.code.map(|code| one_line(&code, 60)), message)
}

/// Drivers write addresses in many ways: `10.1.2.3:5432:`, `host=10.1.2.3`, `a->b`, in brackets.
fn hide_address(word: &str) -> String {
    let between = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '[' | ']'));
    word.split_inclusive(between)
        .map(|piece| {
            let core = piece.trim_end_matches(between).trim_end_matches([':', '.']);
            let bare = core.trim_start_matches('[').trim_end_matches(']');
            let is_address = core.parse::<std::net::SocketAddr>().is_ok()
                || bare.parse::<std::net::IpAddr>().is_ok();
            match piece.strip_prefix(core) {
                Some(rest) if is_address => format!("(address){rest}"),
                _ => piece.to_owned(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        lines.iter().map(|(name, text)| (HeaderName::from_static(name), value(text))).collect()
    }

    #[test]
    fn all_three_date_forms_are_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(date_of(&headers(&[("date", text)])), Some(784_111_777), "{text}");
        }
        assert_eq!(date_of(&headers(&[("date", "tomorrow")])), None);
        assert_eq!(date_of(&headers(&[])), None);
    }

    #[test]
    fn the_date_of_an_answer_that_was_kept_is_no_time() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        for (name, value, told) in [
            ("age", "0", true),
            ("age", "5", false),
            ("x-cache", "HIT from cdn-7", false),
            ("x-cache", "MISS", true),
            ("x-cache-status", "HIT", false),
            ("cf-cache-status", "DYNAMIC", true),
        ] {
            assert_eq!(
                date_of(&headers(&[date, (name, value)])).is_some(),
                told,
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn who_answered_is_seen() {
        let core = headers(&[("x-request-id", "1"), ("docker-distribution-api-version", "x")]);
        let answer = answer_of(401, &core, b"{}\n");
        assert!(answer.request_id && answer.api_version && !answer.html);
        assert_eq!(answer.log_id.as_deref(), Some("1"));
        let proxy = headers(&[("server", "nginx"), ("content-type", "text/html; charset=utf-8")]);
        let answer = answer_of(502, &proxy, b"");
        assert!(answer.html && !answer.request_id);
        assert!(answer_of(200, &headers(&[]), b"  <!DOCTYPE html>").html);
        let page = headers(&[("content-type", "text/html; charset=utf-8")]);
        assert!(!answer_of(200, &page, b"true").html, "JSON that is called a page");
    }

    #[test]
    fn error_bodies_of_every_family_are_read_and_addresses_hidden() {
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"dial tcp 10.1.2.3:5432: refused","detail":null}]}"#;
        let answer = answer_of(401, &headers(&[]), body);
        assert_eq!(answer.error_code.as_deref(), Some("UNAUTHORIZED"));
        assert_eq!(answer.error_message.as_deref(), Some("dial tcp (address): refused"));
        assert_eq!(answer_of(200, &headers(&[]), b"Pong").error_code, None);
        assert_eq!(answer_of(500, &headers(&[]), br#"{"errors":[]}"#).error_code, None);
    }

    #[test]
    fn an_address_is_hidden_however_a_driver_writes_it() {
        for (word, expected) in [
            ("10.1.2.3:5432:", "(address):"),
            ("`host=10.1.2.3", "`host=(address)"),
            ("(10.1.2.3)", "((address))"),
            ("10.1.2.3:1->10.1.2.4:2:", "(address)->(address):"),
            ("\"http://[fd00::1]:5000/\":", "\"http://(address)/\":"),
            ("[::1]", "(address)"),
            ("fe80::1%eth0", "(address)%eth0"),
            ("v2.10.3", "v2.10.3"),
            ("12:30:45", "12:30:45"),
            ("std::fmt", "std::fmt"),
            ("", ""),
        ] {
            assert_eq!(hide_address(word), expected, "{word}");
        }
    }

    #[test]
    fn a_location_keeps_its_authority_and_loses_its_query() {
        for (text, expected) in [
            ("https://h:1/v2/x?_state=secret", Some("https://h:1")),
            ("https://u:p@h/x", Some("https://h")),
            ("/v2/x?_state=secret", Some("/")),
            ("nonsense", None),
        ] {
            let answer = answer_of(202, &headers(&[("location", text)]), b"");
            assert_eq!(answer.location.as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(status in 100u16..1000, body: Vec<u8>, v in "[ -~]*") {
            let lines = [("content-type", v.as_str()), ("location", &v), ("set-cookie", &v),
                ("date", &v), ("retry-after", &v)];
            answer_of(status, &headers(&lines), &body);
        }
    }
}
