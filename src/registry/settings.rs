//! Settings that servers tell by the way: Harbor in its system information, and any of them in its
//! headers (captures/harbor-2.15.2/30-api.http and 74-external-url.http).

use http::HeaderMap;
use http::header::{SET_COOKIE, STRICT_TRANSPORT_SECURITY};
use serde_json::{Map, Value};

use super::CSRF_COOKIE;
use super::family::version;
use crate::model::{Setting, one_line};

/// Longer values are cut.
const MAX_VALUE: usize = 120;

/// The settings in Harbor's `/api/v2.0/systeminfo`; to accounts it tells more of them than
/// to anyone. Empty if the body is something else.
pub fn system_settings(body: &[u8]) -> Vec<(Setting, String)> {
    let Ok(info) = serde_json::from_slice::<Map<String, Value>>(body) else { return Vec::new() };
    let told = [
        Setting::HarborVersion,
        Setting::AuthMode,
        Setting::PrimaryAuthMode,
        Setting::SelfRegistration,
        Setting::ExternalUrl,
    ];
    let value = |setting: &Setting| match (setting, info.get(setting.as_str())?) {
        (Setting::HarborVersion, Value::String(text)) => Some(version(text)?.to_string()),
        (Setting::ExternalUrl, Value::String(url)) => public_part(url),
        (Setting::AuthMode, Value::String(text)) => Some(cut(text)),
        (Setting::PrimaryAuthMode | Setting::SelfRegistration, Value::Bool(on)) => Some(word(*on)),
        _ => None,
    };
    told.into_iter().filter_map(|setting| Some((setting, value(&setting)?))).collect()
}

/// Whether the CSRF cookie that an answer sets is for TLS only; none if it sets none.
pub fn csrf_cookie_secure(headers: &HeaderMap) -> Option<String> {
    headers.get_all(SET_COOKIE).iter().find_map(|value| {
        let mut parts = value.to_str().ok()?.split(';').map(str::trim);
        let (name, _) = parts.next()?.split_once('=')?;
        (name == CSRF_COOKIE).then(|| word(parts.any(|it| it.eq_ignore_ascii_case("secure"))))
    })
}

/// Whether an answer asks browsers for TLS from now on.
pub fn strict_transport(headers: &HeaderMap) -> String {
    word(headers.contains_key(STRICT_TRANSPORT_SECURITY))
}

fn word(on: bool) -> String {
    if on { "yes" } else { "no" }.to_owned()
}

/// A URL without user, query and fragment, which no reader needs.
fn public_part(url: &str) -> Option<String> {
    let (scheme, rest) = url.trim().split_once("://")?;
    let rest = rest.split(['?', '#']).next()?;
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit('@').next()?;
    Some(cut(&format!("{scheme}://{host}{}", path.trim_end_matches('/'))))
}

fn cut(text: &str) -> String {
    one_line(text, MAX_VALUE)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn settings(body: &str) -> Vec<(Setting, String)> {
        system_settings(body.as_bytes())
    }

    #[test]
    fn settings_are_read_as_both_harbors_tell_them() {
        let anonymous = r#"{"auth_mode":"db_auth","banner_message":"","oidc_provider_name":"","primary_auth_mode":false,"self_registration":false}"#;
        let told = |more: &[(Setting, &str)]| {
            let mut all = vec![
                (Setting::AuthMode, "db_auth".to_owned()),
                (Setting::PrimaryAuthMode, "no".to_owned()),
                (Setting::SelfRegistration, "no".to_owned()),
            ];
            all.extend(more.iter().map(|(setting, value)| (*setting, (*value).to_owned())));
            all
        };
        assert_eq!(settings(anonymous), told(&[]));
        let more = r#","external_url":"https://harbor.test","harbor_version":"v2.15.2-"}"#;
        let mut account = told(&[(Setting::ExternalUrl, "https://harbor.test")]);
        account.insert(0, (Setting::HarborVersion, "2.15.2".to_owned()));
        assert_eq!(settings(&anonymous.replace('}', more)), account);
    }

    #[test]
    fn what_is_no_setting_is_none() {
        for body in ["", "[]", "<html>", "{}", r#"{"auth_mode":7,"self_registration":"x"}"#] {
            assert_eq!(settings(body), [], "{body}");
        }
    }

    #[test]
    fn an_external_url_keeps_nothing_that_could_be_secret() {
        for (url, expected) in [
            ("https://user:pass@hub.test:8443/harbor/?key=1#x", "https://hub.test:8443/harbor"),
            ("http://hub.test/", "http://hub.test"),
            ("https://[::1]:443", "https://[::1]:443"),
        ] {
            let body = format!(r#"{{"external_url":"{url}"}}"#);
            assert_eq!(settings(&body), [(Setting::ExternalUrl, expected.to_owned())], "{url}");
        }
        assert_eq!(settings(r#"{"external_url":"hub.test"}"#), []);
        let long = format!(r#"{{"auth_mode":"{}"}}"#, "x".repeat(1_000));
        assert_eq!(settings(&long)[0].1.len(), MAX_VALUE);
    }

    #[test]
    fn the_csrf_cookie_and_no_other_says_whether_it_is_secure() {
        let of = |lines: &[&'static str]| {
            let line = |text: &&'static str| (SET_COOKIE, HeaderValue::from_static(text));
            csrf_cookie_secure(&lines.iter().map(line).collect::<HeaderMap>())
        };
        let plain = "_gorilla_csrf=MTc5; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict";
        let secure = "_gorilla_csrf=MTc5; Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Strict";
        assert_eq!(of(&[plain]).as_deref(), Some("no"));
        assert_eq!(of(&["sid=1; Path=/", secure]).as_deref(), Some("yes"));
        assert_eq!(of(&["sid=1; Path=/; Secure"]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn strict_transport_security_is_there_or_not() {
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("strict-transport-security"),
            HeaderValue::from_static("max-age=31536000"),
        )]);
        assert_eq!(strict_transport(&headers), "yes");
        assert_eq!(strict_transport(&HeaderMap::new()), "no");
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_a_panic(body: Vec<u8>, url in "[ -~]{0,60}") {
            system_settings(&body);
            public_part(&url);
        }
    }
}
