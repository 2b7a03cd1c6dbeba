//! Every captured answer of a real server goes through the parsers of `registry`. What each says
//! stands in `tests/data/replay.txt`, which also tells its own form.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use http::header::{AUTHORIZATION, DATE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};
use registry_prober::model::{
    AccessEntry, Answer, AuthScheme, Challenge, Family, KeyForm, TokenFacts, Version,
};
use registry_prober::registry::{
    TokenError, answer_of, challenge_of, date_of, family_of, harbor_health, harbor_version,
    read_token, read_token_response,
};
use secrecy::ExposeSecret as _;

const EXPECTED: &str = include_str!("../data/replay.txt");

/// One request and the answer to it, as they were on the wire.
struct Exchange {
    label: String,
    request: String,
    sent: HeaderMap,
    /// None where the server said nothing.
    answer: Option<(u16, HeaderMap, String)>,
}

/// Every transcript by `folder/name`.
fn captures() -> BTreeMap<String, Vec<Exchange>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut all = BTreeMap::new();
    for folder in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        for file in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.file_name().unwrap().to_str().unwrap();
            match name.rsplit_once('.').unwrap() {
                (stem, "http") => {
                    let folder = folder.file_name().unwrap().to_str().unwrap();
                    let text = fs::read_to_string(&file).unwrap();
                    let exchanges = text.split("\n### ").skip(1).map(exchange).collect();
                    all.insert(format!("{folder}/{stem}"), exchanges);
                }
                ("README", "md") | ("debug-metrics-registry-only", "prom") => {}
                _ => panic!("{} is neither transcript nor known", file.display()),
            }
        }
    }
    all
}

fn exchange(text: &str) -> Exchange {
    let (label, rest) = text.split_once('\n').unwrap();
    let (request, answer) = rest.split_once("\n--- response\n").unwrap();
    let (line, head) = request.split("\n\n").next().unwrap().split_once('\n').unwrap();
    Exchange {
        label: label.to_owned(),
        request: line.trim_end_matches(" HTTP/1.1").to_owned(),
        sent: headers(head),
        answer: (!answer.starts_with("<TimeoutError>")).then(|| {
            let (head, body) = answer.split_once("\n\n").unwrap_or((answer.trim_end(), ""));
            let (line, head) = head.split_once('\n').unwrap_or((head, ""));
            let status = line.split(' ').nth(1).unwrap().parse().unwrap();
            (status, headers(head), body.trim_end_matches('\n').to_owned())
        }),
    }
}

fn headers(text: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_str(value.trim()).unwrap());
    }
    map
}

/// The table: names of tokens, what `bearer` stands for, and the lines of each file.
#[derive(Default)]
struct Table {
    tokens: BTreeMap<&'static str, &'static str>,
    bearer: BTreeMap<&'static str, (&'static str, &'static str)>,
    files: BTreeMap<&'static str, Vec<&'static str>>,
}

fn table() -> Table {
    let mut table = Table::default();
    let mut file = "";
    for line in EXPECTED.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(expected) = line.strip_prefix("  ") {
            let (expected, times) = expected.rsplit_once(" x").unwrap_or((expected, "1"));
            let lines = table.files.get_mut(file).unwrap();
            lines.extend(std::iter::repeat_n(expected, times.parse().unwrap()));
        } else if let Some(token) = line.strip_prefix("token ") {
            let (name, spec) = token.split_once(' ').unwrap();
            assert_eq!(table.tokens.insert(name, spec), None, "{name} is named twice");
        } else if let Some(bearer) = line.strip_prefix("bearer ") {
            let words: Vec<&str> = bearer.split(' ').collect();
            table.bearer.insert(words[0], (words[1], words[2]));
        } else {
            assert!(table.files.insert(line, Vec::new()).is_none(), "{line} stands twice");
            file = line;
        }
    }
    table
}

impl Table {
    /// A challenge in the table's words.
    fn challenge(&self, folder: &str, challenge: &Challenge) -> String {
        let realm = challenge.realm.clone().unwrap_or_default();
        let mut text = match challenge.scheme {
            AuthScheme::Empty => "empty".to_owned(),
            AuthScheme::Other => "other".to_owned(),
            AuthScheme::Basic => format!("basic({realm})"),
            AuthScheme::Bearer => {
                let (usual, service) = self.bearer[folder];
                assert_eq!(challenge.service.as_deref(), Some(service));
                if realm == usual { "bearer".to_owned() } else { format!("bearer({realm})") }
            }
        };
        text.extend(challenge.scope.iter().map(|scope| format!("+{scope}")));
        text.extend(challenge.error.iter().map(|error| format!("#{error}")));
        text
    }

    /// The name of a token, or why it is none.
    fn token(&self, token: &str) -> String {
        match read_token(token, None) {
            Ok(facts) => {
                let spec = spec(&facts);
                let name = self.tokens.iter().find(|(_, known)| **known == spec);
                name.map_or(format!("({spec})"), |(name, _)| (*name).to_owned())
            }
            Err(TokenError::NotJwt("it does not have three parts")) => "not-three".to_owned(),
            Err(TokenError::NotJwt("a part is not base64url")) => "not-base64".to_owned(),
            Err(error) => format!("({error})"),
        }
    }

    /// An exchange in the table's words.
    fn line(&self, folder: &str, exchange: &Exchange) -> String {
        let mut words = Vec::new();
        match &exchange.answer {
            None => words.push("silence".to_owned()),
            Some((status, headers, body)) => {
                let answer = answer_of(*status, headers, body.as_bytes());
                assert_eq!(answer.challenge, challenge_of(headers));
                words.push(answer.status.to_string());
                words.extend(answer.error_code.clone());
                words.extend(answer.challenge.iter().map(|it| self.challenge(folder, it)));
                if exchange.request == "GET /v2/" && !exchange.sent.contains_key(AUTHORIZATION) {
                    words.push(format!("family={}", family_of(&answer)));
                }
                words.extend(answer.location.iter().map(|to| format!("to={to}")));
                words.extend(answer.html.then(|| "html".to_owned()));
            }
        }
        let authorization = exchange.sent.get(AUTHORIZATION).map(|it| it.to_str().unwrap());
        words.extend(
            authorization
                .and_then(|text| text.split_at_checked(6))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, token)| format!("sent={}", self.token(token.trim()))),
        );
        if let Some((200, _, body)) = &exchange.answer
            && (body.contains("\"token\"") || body.contains("\"access_token\""))
        {
            let got = read_token_response(body.as_bytes()).expect("a token response");
            words.push(format!("got={}", self.token(got.token.expose_secret())));
        }
        words.join(" ")
    }
}

/// A token in the table's words.
fn spec(facts: &TokenFacts) -> String {
    let kid = facts.kid.as_ref().map_or("none".to_owned(), |kid| {
        let form = match kid.form() {
            KeyForm::Libtrust => "L",
            KeyForm::Thumbprint => "T",
            KeyForm::Other => "?",
        };
        format!("{}/{form}", &kid.as_str()[..4])
    });
    let number = |value: Option<i64>| value.map_or("none".to_owned(), |value| value.to_string());
    let text = |value: &Option<String>| value.clone().unwrap_or("none".to_owned());
    let audience = facts.audience.join(",");
    let entry = |entry: &AccessEntry| {
        format!("{}:{}:{}", entry.resource, entry.name, entry.actions.join(","))
    };
    let access: Vec<String> = facts.access.iter().map(entry).collect();
    let before = facts.not_before.zip(facts.issued_at).map(|(nbf, iat)| nbf - iat);
    format!(
        "{} kid={kid}{} iss={} sub={} aud={} life={} nbf={} access={}",
        facts.alg,
        if facts.has_chain { " x5c" } else { "" },
        text(&facts.issuer),
        if facts.is_anonymous() { "nobody".to_owned() } else { text(&facts.subject) },
        match (facts.audience_is_list, audience.as_str()) {
            (true, list) => format!("[{list}]"),
            (false, "") => "empty".to_owned(),
            (false, one) => one.to_owned(),
        },
        number(facts.lifetime()),
        number(before),
        if access.is_empty() { "none".to_owned() } else { access.join(";") },
    )
}

#[test]
fn every_captured_answer_is_read_as_the_table_says() {
    let (table, captures) = (table(), captures());
    let known: BTreeSet<&str> = table.files.keys().copied().collect();
    let there: BTreeSet<&str> = captures.keys().map(String::as_str).collect();
    assert_eq!(known, there, "the table and the folders name the same files");
    let mut wrong = Vec::new();
    for (file, exchanges) in &captures {
        let expected = &table.files[file.as_str()];
        assert_eq!(expected.len(), exchanges.len(), "exchanges in {file}");
        let folder = file.split('/').next().unwrap();
        for (exchange, expected) in exchanges.iter().zip(expected) {
            let read = table.line(folder, exchange);
            if read != *expected {
                let label = &exchange.label;
                wrong.push(format!("{file} | {label}\n  table: {expected}\n  read:  {read}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_name_of_the_table_is_used() {
    let table = table();
    let words: BTreeSet<&str> =
        table.files.values().flatten().flat_map(|line| line.split(' ')).collect();
    for name in table.tokens.keys() {
        let used =
            ["sent=", "got="].iter().any(|key| words.contains(format!("{key}{name}").as_str()));
        assert!(used, "no exchange has the token {name}");
    }
    let specs: BTreeSet<&str> = table.tokens.values().copied().collect();
    assert_eq!(specs.len(), table.tokens.len(), "two names for one token");
}

/// The first midnight of the captures, 20 November 2026, in seconds since 1970.
const MIDNIGHT: i64 = 20_777 * 86_400;

#[test]
fn the_date_of_every_answer_is_read() {
    let mut without = BTreeSet::new();
    for (file, exchanges) in captures() {
        for Exchange { answer, label, .. } in exchanges {
            let Some((_, headers, _)) = answer else { continue };
            let Some(text) = headers.get(DATE).map(|value| value.to_str().unwrap()) else {
                assert_eq!(date_of(&headers), None);
                without.insert(file.clone());
                continue;
            };
            let day = match text.get(..17).unwrap() {
                "Fri, 20 Nov 2026 " => 0,
                "Sat, 21 Nov 2026 " => 86_400,
                other => panic!("{file}: another day, {other}"),
            };
            let number = |at: usize| text.get(at..at + 2).unwrap().parse::<i64>().unwrap();
            let expected = MIDNIGHT + day + number(17) * 3_600 + number(20) * 60 + number(23);
            assert_eq!(date_of(&headers), Some(expected), "{file} | {label}");
        }
    }
    let without: Vec<&str> = without.iter().map(String::as_str).collect();
    assert_eq!(without, ["distribution-2.8.2/73-plain-http-to-tls-port"]);
}

#[test]
fn the_lifetime_next_to_the_token_is_read() {
    let seconds = |folder: &str| match folder {
        "docker_auth-1.9" => None,
        "distribution-2.8.2" => Some(300),
        _ => Some(1_800),
    };
    let mut seen = 0;
    for (file, exchanges) in captures() {
        for Exchange { answer, label, .. } in exchanges {
            let Some((200, _, body)) = answer else { continue };
            let Ok(response) = read_token_response(body.as_bytes()) else { continue };
            assert_eq!(response.expires_in, seconds(file.split('/').next().unwrap()), "{label}");
            let facts = read_token(response.token.expose_secret(), response.expires_in).unwrap();
            assert_eq!(facts.expires_in, response.expires_in);
            seen += 1;
        }
    }
    assert_eq!(seen, 51, "token responses in all folders");
}

/// Answers of one file whose request is this, in order.
fn bodies(file: &str, request: &str) -> Vec<String> {
    let exchanges = captures().remove(file).unwrap();
    let asked = exchanges.into_iter().filter(|exchange| exchange.request == request);
    asked.filter_map(|exchange| exchange.answer).map(|(_, _, body)| body).collect()
}

#[test]
fn harbors_version_is_read_where_it_is_told() {
    let version = |minor, patch| Some(Version { major: 2, minor, patch });
    // In order: the anonymous, a robot, an administrator; and the anonymous again.
    for (folder, patch, anonymous) in [("harbor-2.10.3", 3, true), ("harbor-2.15.2", 2, false)] {
        let full = version(if patch == 3 { 10 } else { 15 }, patch);
        let anonymous = if anonymous { full } else { None };
        for (file, expected) in [
            ("30-api", vec![anonymous, full, full]),
            ("51-read-only", vec![full]),
            ("61-clock-3s", vec![full, full, full]),
            ("70-database-down", vec![anonymous]),
        ] {
            let bodies = bodies(&format!("{folder}/{file}"), "GET /api/v2.0/systeminfo");
            let read: Vec<Option<Version>> =
                bodies.iter().map(|body| harbor_version(body.as_bytes()).unwrap()).collect();
            assert_eq!(read, expected, "{folder}/{file}");
        }
    }
}

#[test]
fn harbors_sick_components_are_read() {
    for folder in ["harbor-2.10.3", "harbor-2.15.2"] {
        for (file, sick) in [
            ("30-api", &[][..]),
            // A registry that refuses core's password is healthy all the same.
            ("68-registry-password", &[]),
            ("70-database-down", &["database"]),
            ("71-redis-down", &["jobservice", "redis"]),
            ("72-registry-and-core-down", &["registry"]),
        ] {
            let bodies = bodies(&format!("{folder}/{file}"), "GET /api/v2.0/health");
            assert!(!bodies.is_empty(), "{folder}/{file}");
            for body in bodies {
                let all = harbor_health(body.as_bytes()).unwrap();
                assert_eq!(all.len(), 7, "{folder}/{file}");
                let unhealthy = all.iter().filter(|component| !component.healthy);
                let names: Vec<&str> = unhealthy.map(|it| it.component.as_str()).collect();
                assert_eq!(names, sick, "{folder}/{file}");
            }
        }
    }
}

#[test]
fn only_system_information_and_health_are_taken_for_them() {
    for (file, exchanges) in captures() {
        for Exchange { request, label, answer, .. } in exchanges {
            let Some((_, _, body)) = answer else { continue };
            let is = |path: &str| request == format!("GET /api/v2.0/{path}");
            assert_eq!(harbor_version(body.as_bytes()).is_ok(), is("systeminfo"), "{file} {label}");
            assert_eq!(harbor_health(body.as_bytes()).is_ok(), is("health"), "{file} {label}");
        }
    }
}

#[test]
fn a_cut_answer_is_a_named_error_and_never_a_panic() {
    for (_, exchanges) in captures() {
        for Exchange { answer, label, .. } in exchanges {
            let Some((status, headers, body)) = answer else { continue };
            let whole = read_token_response(body.as_bytes()).is_ok();
            for end in (0..body.len()).step_by(37).filter(|end| body.is_char_boundary(*end)) {
                let cut = &body.as_bytes()[..end];
                let read: Answer = answer_of(status, &headers, cut);
                assert_eq!(read.error_code, None, "{label}: cut after {end}");
                if whole {
                    let error = read_token_response(cut).unwrap_err();
                    assert!(matches!(error, TokenError::NotJson(_)), "{label}: {error}");
                }
            }
        }
    }
}

#[test]
fn no_text_kept_for_people_holds_an_address_of_the_servers_inside() {
    let mut texts = 0;
    for (file, exchanges) in captures() {
        for Exchange { answer, label, .. } in exchanges {
            let Some((status, headers, body)) = answer else { continue };
            let Some(message) = answer_of(status, &headers, body.as_bytes()).error_message else {
                continue;
            };
            assert!(!message.contains("127."), "{file} | {label}: {message}");
            texts += 1;
        }
    }
    assert!(texts > 100, "{texts}");
}

#[test]
fn a_family_is_not_told_from_an_answer_with_another_meaning() {
    // What a proxy or a refused token says must not look like the challenge of a healthy node.
    let mut seen = 0;
    for (file, exchanges) in captures() {
        for Exchange { request, sent, answer, .. } in exchanges {
            let Some((status, headers, body)) = answer else { continue };
            if request != "GET /v2/" || sent.contains_key(AUTHORIZATION) || status == 401 {
                continue;
            }
            let answer = answer_of(status, &headers, body.as_bytes());
            assert_eq!(family_of(&answer), Family::Unknown, "{file}");
            assert!(!headers.contains_key(WWW_AUTHENTICATE));
            seen += 1;
        }
    }
    assert_eq!(seen, 2);
}
