//! `WWW-Authenticate` headers.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use crate::model::{AuthScheme, Challenge};

/// The longest parameter that is kept.
const MAX_PARAMETER: usize = 2048;

/// The challenge of an answer: the first Bearer challenge of all header lines, else the first of
/// any scheme; `None` without the header. A header that is there and empty is a challenge of
/// scheme [`AuthScheme::Empty`], and one that does not parse is of scheme [`AuthScheme::Other`].
pub fn challenge_of(headers: &HeaderMap) -> Option<Challenge> {
    let mut first = None;
    for line in headers.get_all(WWW_AUTHENTICATE) {
        let text = String::from_utf8_lossy(line.as_bytes());
        for challenge in parse_line(&text) {
            if challenge.scheme == AuthScheme::Bearer {
                return Some(challenge);
            }
            first.get_or_insert(challenge);
        }
    }
    first
}

fn parse_line(line: &str) -> Vec<Challenge> {
    if line.trim().is_empty() {
        return vec![bare(AuthScheme::Empty)];
    }
    match http_auth::parse_challenges(line) {
        Ok(challenges) => challenges.iter().map(read).collect(),
        Err(_) => vec![bare(AuthScheme::Other)],
    }
}

fn read(challenge: &http_auth::ChallengeRef<'_>) -> Challenge {
    let scheme = match challenge.scheme.to_ascii_lowercase().as_str() {
        "bearer" => AuthScheme::Bearer,
        "basic" => AuthScheme::Basic,
        _ => AuthScheme::Other,
    };
    let parameter = |name: &str| {
        let (_, value) = challenge.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(value.to_unescaped().chars().take(MAX_PARAMETER).collect())
    };
    Challenge {
        scheme,
        realm: parameter("realm"),
        service: parameter("service"),
        scope: parameter("scope"),
        error: parameter("error"),
    }
}

fn bare(scheme: AuthScheme) -> Challenge {
    Challenge { scheme, realm: None, service: None, scope: None, error: None }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(lines: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap());
        }
        challenge_of(&headers)
    }

    #[test]
    fn a_bearer_challenge_gives_realm_service_scope_and_error() {
        let challenge = of(&[concat!(
            r#"Bearer realm="https://h/service/token",service="harbor-registry","#,
            r#"scope="repository:p/r:pull,push",error="invalid_token""#
        )])
        .unwrap();
        assert_eq!(challenge.scheme, AuthScheme::Bearer);
        assert_eq!(challenge.realm.as_deref(), Some("https://h/service/token"));
        assert_eq!(challenge.service.as_deref(), Some("harbor-registry"));
        assert_eq!(challenge.scope.as_deref(), Some("repository:p/r:pull,push"));
        assert_eq!(challenge.error.as_deref(), Some("invalid_token"));
    }

    #[test]
    fn bearer_is_taken_wherever_it_stands_and_whatever_its_case() {
        for lines in [
            &[r#"Basic realm="x", bearer Realm="r""#][..],
            &[r#"Basic realm="x""#, r#"BEARER realm="r""#],
            &["", r#"Bearer realm="r""#],
        ] {
            let challenge = of(lines).unwrap();
            assert_eq!(challenge.scheme, AuthScheme::Bearer, "{lines:?}");
            assert_eq!(challenge.realm.as_deref(), Some("r"), "{lines:?}");
        }
    }

    #[test]
    fn an_empty_header_is_not_a_missing_one() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[""]).unwrap().scheme, AuthScheme::Empty);
        assert_eq!(of(&["Bearer realm=\"open"]).unwrap().scheme, AuthScheme::Other);
        assert_eq!(of(&["Negotiate"]).unwrap().scheme, AuthScheme::Other);
    }

    proptest! {
        #[test]
        fn any_header_value_is_read_without_a_panic(line in "[ -~]{0,200}") {
            of(&[&line]);
        }
    }
}
