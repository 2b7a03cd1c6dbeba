//! Times that servers write in addition to `Date`: in Harbor's CSRF cookie, in its system
//! information, and in the state of an upload.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use chrono::DateTime;
use http::HeaderMap;
use http::header::{LOCATION, SET_COOKIE};
use serde_json::Value;

/// A time that a server wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds since 1970, cut to the resolution.
    pub shown: i64,
    /// The resolution in nanoseconds.
    pub resolution: i64,
}

const SECOND: i64 = 1_000_000_000;
const MILLISECOND: i64 = 1_000_000;

/// The `state` begins with an HMAC-SHA256.
const HMAC_BYTES: usize = 32;

impl Stamp {
    /// A time in whole seconds since 1970; `None` if no clock of this age shows it.
    pub fn of_seconds(seconds: i64) -> Option<Self> {
        Some(Self { shown: seconds.checked_mul(SECOND)?, resolution: SECOND })
    }
}

/// When a new `_gorilla_csrf` cookie was issued: it begins with the seconds since 1970
/// (captures/harbor-2.15.2/31-csrf.http).
pub fn csrf_time(headers: &HeaderMap) -> Option<Stamp> {
    let mut cookies = headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let value = cookies.find_map(|cookie| cookie.strip_prefix("_gorilla_csrf="))?;
    let value = value.split(';').next()?.trim_end_matches('=');
    let bytes = URL_SAFE_NO_PAD.decode(value).or_else(|_| STANDARD.decode(value)).ok()?;
    let seconds = bytes.split(|byte| *byte == b'|').next()?;
    Stamp::of_seconds(std::str::from_utf8(seconds).ok()?.parse().ok()?)
}

/// `current_time` of Harbor's `/api/v2.0/systeminfo`, for those who logged in, from 2.5 on
/// (captures/harbor-2.15.2/30-api.http).
pub fn systeminfo_time(body: &[u8]) -> Option<Stamp> {
    let value: Value = serde_json::from_slice(body).ok()?;
    nanoseconds(value.get("current_time")?.as_str()?, MILLISECOND)
}

/// When an upload began, from the `_state` in the `Location` that answers its `POST`: by the clock
/// of the registry, to the nanosecond (captures/harbor-2.15.2/40-upload.http).
pub fn upload_time(headers: &HeaderMap) -> Option<Stamp> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let (_, query) = location.split_once('?')?;
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    let state = pairs.into_iter().find(|(name, _)| name == "_state")?.1;
    let bytes = URL_SAFE.decode(state.as_bytes()).ok()?;
    let value: Value = serde_json::from_slice(bytes.get(HMAC_BYTES..)?).ok()?;
    let text = value.get("StartedAt")?.as_str()?;
    // Without a fraction it was read again from a file that keeps whole seconds.
    nanoseconds(text, if text.contains('.') { 1 } else { SECOND })
}

fn nanoseconds(text: &str, resolution: i64) -> Option<Stamp> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(Stamp { shown: time.timestamp_nanos_opt()?, resolution })
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn header(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn times_that_harbor_tells_are_read_to_their_resolution() {
        let cookie = "_gorilla_csrf=MTc5NTIxOTY4OXxJbWNyUjBOelIxUXlZWGhEWVdsc1dsRkVjMGcyUjBKVGRGWXlj\
                      ek5tT1ZaWlRDOXZjRWwyVlc1cGNHczlJZ289fBXtiNOlP4hUCirMmnHKpfqYw102poUuObTi7yWQIT\
                      tI; Path=/; HttpOnly";
        let made = csrf_time(&header(SET_COOKIE, cookie)).unwrap();
        assert_eq!(made, Stamp { shown: 1_795_219_689 * SECOND, resolution: SECOND });

        let body = br#"{"auth_mode":"db_auth","current_time":"2026-11-21T00:08:09.401Z"}"#;
        let told = systeminfo_time(body).unwrap();
        assert_eq!(told, Stamp { shown: 1_795_219_689_401 * MILLISECOND, resolution: MILLISECOND });

        let place = "https://harbor.test/v2/probe/canary/blobs/uploads/fe65ed0f?_state=4A6lJOvYgcI0\
                     pb1_SMRkN0XpRYl2l7CrKBdpO0RUB9J7Ik5hbWUiOiJwcm9iZS9jYW5hcnkiLCJVVUlEIjoiZmU2NW\
                     VkMGYtNjc5YS00ZTE2LWE1YjEtNjk0YmUzN2NhNjRhIiwiT2Zmc2V0IjowLCJTdGFydGVkQXQiOiIy\
                     MDI2LTExLTIxVDAwOjA4OjA5Ljc1NTM4OTk1M1oifQ%3D%3D";
        let begun = upload_time(&header(LOCATION, place)).unwrap();
        assert_eq!(begun, Stamp { shown: 1_795_219_689_755_389_953, resolution: 1 });
    }

    #[test]
    fn what_holds_no_time_gives_none() {
        for cookie in ["sid=1", "_gorilla_csrf=", "_gorilla_csrf=%%%", "_gorilla_csrf=fHw"] {
            assert_eq!(csrf_time(&header(SET_COOKIE, cookie)), None, "{cookie}");
        }
        for body in ["", "{}", r#"{"current_time":7}"#, r#"{"current_time":"noon"}"#] {
            assert_eq!(systeminfo_time(body.as_bytes()), None, "{body}");
        }
        for place in ["/v2/x", "/v2/x?_state=", "/v2/x?_state=AAAA", "/v2/x?state=1"] {
            assert_eq!(upload_time(&header(LOCATION, place)), None, "{place}");
        }
        assert_eq!(Stamp::of_seconds(i64::MAX), None);
    }
}
