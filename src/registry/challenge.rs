//! `WWW-Authenticate` headers.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use crate::model::{AuthScheme, Challenge};

/// The longest parameter that is used; of a longer one, one character more is kept.
pub const MAX_PARAMETER: usize = 2048;

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

/// The longest text of challenges that is shown.
const MAX_SHOWN: usize = 160;

/// The header as it came, for people: bounded, on one line, in quotes, and without the account that
/// a realm may hold.
pub fn shown_challenge(headers: &HeaderMap) -> String {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter();
    let lines: Vec<String> = lines
        .take(8)
        .map(|line| String::from_utf8_lossy(line.as_bytes()).chars().take(MAX_PARAMETER).collect())
        .collect();
    let public = without_accounts(&lines.join(" | "));
    let cut: String = public.chars().take(MAX_SHOWN).collect();
    let more = if cut.len() < public.len() { "…" } else { "" };
    let shown: String = cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("`{shown}{more}`")
}

/// A text without the account of any URL in it.
fn without_accounts(text: &str) -> String {
    let mut parts = text.split("//");
    let mut public = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['/', '?', '#', '"']).unwrap_or(part.len());
        public.push_str("//");
        match part[..end].rfind('@') {
            Some(at) => {
                public.push('…');
                public.push_str(&part[at..]);
            }
            None => public.push_str(part),
        }
    }
    public
}

fn parse_line(line: &str) -> Vec<Challenge> {
    if line.trim().is_empty() {
        return vec![bare(AuthScheme::Empty)];
    }
    let challenges = Parser { rest: line }.challenges();
    if challenges.is_empty() { vec![bare(AuthScheme::Other)] } else { challenges }
}

/// Reads a header line as leniently as clients do (RFC 9110, section 11.6.1, and what servers make
/// of it): any white space after the scheme, values with and without quotes, and a parameter that
/// cannot be read costs itself and no other.
struct Parser<'a> {
    rest: &'a str,
}

/// The characters of a token (RFC 9110, section 5.6.2).
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

impl<'a> Parser<'a> {
    fn challenges(mut self) -> Vec<Challenge> {
        let mut all: Vec<Challenge> = Vec::new();
        loop {
            self.skip(|c| c == ',' || c.is_whitespace());
            if self.rest.is_empty() {
                return all;
            }
            let word = self.take(is_token);
            if word.is_empty() {
                self.skip_item();
                continue;
            }
            self.skip(char::is_whitespace);
            // `name=value` belongs to the challenge before it; any other word begins a new one. A
            // `token68` such as Negotiate sends ends in `=` and is no parameter. A word alone in the
            // middle is a parameter that lost its value, unless it is known to be a scheme.
            let parameter =
                !is_scheme(word) && self.rest.starts_with('=') && !self.rest.starts_with("==");
            let alone = self.rest.is_empty() || self.rest.starts_with(',');
            if alone && !is_scheme(word) && !all.is_empty() {
                continue;
            }
            match all.last_mut() {
                Some(challenge) if parameter => {
                    self.rest = &self.rest[1..];
                    self.skip(char::is_whitespace);
                    if let Some(value) = self.value() {
                        keep(challenge, word, &value);
                    }
                }
                _ if parameter => self.skip_item(),
                _ => all.push(bare(scheme(word))),
            }
        }
    }

    fn take(&mut self, wanted: fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn skip(&mut self, unwanted: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(unwanted);
    }

    /// Goes on behind the next comma.
    fn skip_item(&mut self) {
        self.rest = self.rest.split_once(',').map_or("", |(_, rest)| rest);
    }

    /// The value of a parameter; none if its quotes never end, which loses what follows.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([',', ' ', '\t']).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(value.to_owned());
        };
        let (mut value, mut escaped) = (String::new(), false);
        for (at, c) in quoted.char_indices() {
            match c {
                _ if escaped => {
                    value.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => {
                    self.rest = &quoted[at + 1..];
                    return Some(value);
                }
                _ => value.push(c),
            }
        }
        self.rest = "";
        None
    }
}

/// Whether a word is the name of a scheme (the registry of IANA, and NTLM).
fn is_scheme(word: &str) -> bool {
    const KNOWN: [&str; 12] = [
        "basic",
        "bearer",
        "concealed",
        "digest",
        "dpop",
        "gnap",
        "hoba",
        "mutual",
        "negotiate",
        "ntlm",
        "vapid",
        "kerberos",
    ];
    KNOWN.contains(&word.to_ascii_lowercase().as_str())
}

fn scheme(word: &str) -> AuthScheme {
    match word.to_ascii_lowercase().as_str() {
        "bearer" => AuthScheme::Bearer,
        "basic" => AuthScheme::Basic,
        _ => AuthScheme::Other,
    }
}

/// Keeps a parameter that matters; of several with one name the first counts.
fn keep(challenge: &mut Challenge, name: &str, value: &str) {
    let place = match name.to_ascii_lowercase().as_str() {
        "realm" => &mut challenge.realm,
        "service" => &mut challenge.service,
        "scope" => &mut challenge.scope,
        "error" => &mut challenge.error,
        _ => return,
    };
    place.get_or_insert_with(|| without_userinfo(value).chars().take(MAX_PARAMETER + 1).collect());
}

/// A realm without the account that its URL may hold, which is never shown. No realm with one is
/// used.
fn without_userinfo(value: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = value.split_once("//") else { return value.into() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}//…{}", &rest[at..]).into(),
        None => value.into(),
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
    fn the_account_in_a_realm_is_kept_nowhere() {
        for (realm, kept) in [
            ("https://svc:word@h/token?x=a@b", "https://…@h/token?x=a@b"),
            ("https://h/token?to=a@b", "https://h/token?to=a@b"),
            ("a@b", "a@b"),
        ] {
            let challenge = of(&[&format!("Bearer realm=\"{realm}\"")]).unwrap();
            assert_eq!(challenge.realm.as_deref(), Some(kept));
        }
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
    fn what_servers_write_is_read_as_clients_read_it() {
        let good = Some("https://h/token".to_owned());
        for line in [
            r#"Bearer   realm="https://h/token",service="s""#,
            "Bearer\trealm=\"https://h/token\" , service=\"s\"",
            "Bearer realm=https://h/token,service=s",
            r#"Bearer realm = "https://h/token", service = "s""#,
            r#"Bearer @bad, realm="https://h/token",service="s""#,
            r#"Bearer x=, realm="https://h/token",service="s""#,
            r#"Negotiate YII=, Bearer realm="https://h/token",service="s""#,
            r#"Negotiate, Basic realm="x", Bearer realm="https://h/token",service="s""#,
            r#"Bearer realm="https://h/token",service="s",error="invalid_token", Basic realm="x""#,
            r#"Bearer realm="https://h/token",service="s",scope="unterminated"#,
            r#",, Bearer realm="https://h/token",,service="s",,"#,
            r#"Bearer =x,foo,"bar",realm="https://h/token",service="s""#,
            r#"Bearer realm="https://h/token",foo,service="s""#,
            r#"NTLM, Bearer realm="https://h/token",service="s""#,
        ] {
            let challenge = of(&[line]).unwrap();
            assert_eq!(challenge.scheme, AuthScheme::Bearer, "{line}");
            assert_eq!(challenge.realm, good, "{line}");
            assert_eq!(challenge.service.as_deref(), Some("s"), "{line}");
        }
        let escaped = of(&[r#"Bearer realm="a\"b\\c""#]).unwrap();
        assert_eq!(escaped.realm.as_deref(), Some(r#"a"b\c"#));
    }

    #[test]
    fn what_cannot_be_used_is_shown_as_it_came() {
        let shown = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            shown_challenge(&headers)
        };
        for (lines, expected) in [
            (&["Negotiate"][..], "`Negotiate`"),
            (&["NTLM", "Digest realm=\"x\""], "`NTLM | Digest realm=\"x\"`"),
            (&["Bearer\trealm=x"], "`Bearer realm=x`"),
            (&[""], "``"),
            (&["Bearer x=\"https://u:word@h/t\""], "`Bearer x=\"https://…@h/t\"`"),
            (&["A x=https://u:w@h/t", "B x=//u,:w@h"], "`A x=https://…@h/t | B x=//…@h`"),
        ] {
            assert_eq!(shown(lines), expected);
        }
        assert!(shown(&[&"x".repeat(9_000)]).chars().count() < 200);
    }

    #[test]
    fn an_empty_header_is_not_a_missing_one() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[""]).unwrap().scheme, AuthScheme::Empty);
        let open = of(&["Bearer realm=\"open"]).unwrap();
        assert_eq!((open.scheme, open.realm), (AuthScheme::Bearer, None));
        assert_eq!(of(&["=?"]).unwrap().scheme, AuthScheme::Other);
        assert_eq!(of(&["Negotiate"]).unwrap().scheme, AuthScheme::Other);
    }

    proptest! {
        #[test]
        fn any_header_value_is_read_without_a_panic(line in "[ -~]{0,200}") {
            of(&[&line]);
        }
    }
}
