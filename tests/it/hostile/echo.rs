//! A server that echoes what it is sent, in every place it can and in every writing: no output
//! holds any of it, and the healthy node next to it is measured as before.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use registry_prober::clock::Clock;
use registry_prober::config::{PushSettings, Scheme, Scope, TokenMethod};
use registry_prober::diagnosis;
use registry_prober::model::Judged;
use serde_json::json;

use super::rounds::{Asks, PASSWORD, PUBLIC, asks, end, jwt, registry, round, well};
use super::server::{Act, Server, answer};
use crate::support::outputs::outputs;

const SESSION: &str = "5e5510000000000000000000000000ff";

/// The ways in which a text is echoed.
const WRITINGS: [&str; 5] = ["plain", "base64", "percent", "hex", "upper"];

fn written(text: &str, how: &str) -> String {
    let each = |form: fn(u8) -> String| text.bytes().map(form).collect();
    match how {
        "base64" => STANDARD.encode(text),
        "percent" => each(|byte| format!("%{byte:02X}")),
        "hex" => each(|byte| format!("{byte:02x}")),
        "upper" => text.to_uppercase(),
        _ => text.to_owned(),
    }
}

/// What a request carries that no one else may see, as a server reads it.
fn carried(request: &str) -> Vec<String> {
    let mut secrets = Vec::new();
    for line in request.lines() {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match (name.to_ascii_lowercase().as_str(), value.split_once(' ')) {
            ("authorization", Some((scheme, value))) if value != "garbage" => {
                secrets.push(value.to_owned());
                let pair = STANDARD.decode(value).ok().and_then(|it| String::from_utf8(it).ok());
                let password = pair.filter(|_| scheme.eq_ignore_ascii_case("basic"));
                secrets
                    .extend(password.and_then(|it| it.split_once(':').map(|it| it.1.to_owned())));
            }
            ("cookie", _) => secrets.push(value.to_owned()),
            _ => {}
        }
    }
    let form = request.split("\r\n\r\n").nth(1).unwrap_or_default();
    let fields = url::form_urlencoded::parse(form.as_bytes());
    let password = fields.into_iter().find(|(name, _)| name == "password");
    secrets.extend(password.map(|(_, value)| value.into_owned()));
    secrets
}

/// A node that tells in every header and body what it was ever sent.
async fn echoing(how: &'static str) -> (Server, Arc<Mutex<Vec<String>>>) {
    let known = Arc::new(Mutex::new(vec![PASSWORD.to_owned()]));
    let shared = Arc::clone(&known);
    let server = Server::start(None, move |request| {
        let Some(request) = request else { return Vec::new() };
        let mut known = shared.lock().unwrap();
        known.extend(carried(request));
        known.sort();
        known.dedup();
        let all: Vec<String> = known.iter().map(|it| written(it, how)).collect();
        let one = all[request.len() % all.len()].replace(['\\', '"'], "");
        let long: String = all.join(" ").chars().take(3_000).collect();
        let headers = format!(
            "Server: {one}\r\nX-Echo: {long}\r\nContent-Type: text/{one}\r\nRetry-After: {one}\r\n\
             Docker-Distribution-Api-Version: {one}\r\nX-Request-Id: {one}\r\n\
             Set-Cookie: sid={SESSION}; Path=/{one}\r\n"
        );
        let error = json!({"errors": [{"code": one, "message": format!("\u{202e}{long}")}]});
        let error = error.to_string();
        vec![match asks(request) {
            Asks::Challenge => {
                let realm = format!("{PUBLIC}/token?x={}", one.replace(' ', "%20"));
                let challenge = format!(
                    "WWW-Authenticate: Bearer realm=\"{realm}\",service=\"hub\",scope=\"{one}\",\
                     error=\"{one}\"\r\n"
                );
                answer("401 Unauthorized", &format!("{headers}{challenge}"), &error)
            }
            Asks::Token => {
                let now = Clock::read().now().timestamp();
                let head = json!({"alg": one, "kid": one}).to_string();
                let claims = json!({"iss": long, "sub": one, "aud": ["hub", one], "iat": now,
                    "exp": now + 300, "access": [{"type": one, "name": one, "actions": [one]},
                    {"type": "repository", "name": "probe/scratch", "actions": ["pull", "push"]}]});
                let part = |text: String| URL_SAFE_NO_PAD.encode(text);
                let signature = part(format!("signature of the echoing node {now}"));
                let token = format!("{}.{}.{signature}", part(head), part(claims.to_string()));
                known.push(token.clone());
                answer("200 OK", &headers, &json!({"token": token, "x": long}).to_string())
            }
            _ if request.starts_with("POST ") => {
                let place = format!(
                    "http://{}.test/v2/probe/scratch/blobs/uploads/1?_state=s",
                    one.replace(|c: char| !c.is_ascii_alphanumeric() && c != '%', "-")
                );
                answer("202 Accepted", &format!("{headers}Location: {place}\r\n"), "")
            }
            Asks::Access if request.starts_with("GET /v2/ ") => answer("200 OK", &headers, "{}"),
            Asks::Access => answer("403 Forbidden", &headers, &error),
            Asks::Time => answer("404 Not Found", &headers, &error),
        }]
    })
    .await;
    (server, known)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_echoes_of_our_secrets_is_in_no_output() {
    for how in WRITINGS {
        let method = if how == "plain" { TokenMethod::Post } else { TokenMethod::Get };
        let (ill, known) = echoing(how).await;
        let well = Server::start(None, |it| it.map(|it| well(asks(it))).unwrap_or_default()).await;
        let mut registry = registry(PUBLIC, Scheme::Http, &[&ill, &well]);
        registry.scope = Scope::parse("repository:probe/scratch:pull");
        registry.checks.push = Some(PushSettings { repository: "probe/scratch".to_owned() });
        registry.token_method = method;
        let round = round(registry, None).await;
        assert!(end(&round, "a").is_some(), "{how}");
        let assessment = diagnosis::assess(&round);
        let known = known.lock().unwrap();
        assert!(known.iter().any(|it| it.starts_with("ey")), "{how}: a token was sent");
        let basic = STANDARD.encode(format!("prober:{PASSWORD}"));
        let secrets = known.iter().chain([&basic]).flat_map(|secret| {
            let all = WRITINGS.map(|how| written(secret, how));
            let parts = secret.split('.').filter(|part| part.len() > 30).map(str::to_owned);
            all.into_iter().chain(parts.collect::<Vec<_>>())
        });
        let secrets: Vec<String> = secrets.collect();
        for (name, text) in outputs(&Arc::new(Judged { round, assessment })) {
            let found = secrets.iter().find(|secret| text.contains(secret.as_str()));
            assert!(found.is_none(), "{how}: {name} holds {found:?}");
            assert!(!text.contains('\u{202e}'), "{how}: {name} turns its text round");
            assert!(!text.contains("horse battery"), "{how}: {name} holds a part");
            assert!(name != "the round" || text.contains("[secret]"), "{how}: it was echoed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cannot_have_the_words_of_another_hidden() {
    let words = "hub.test/token-and-more-words-of-a-healthy-node-that-it-says";
    let ill = Server::start(None, move |request| {
        let Some(request) = request else { return Vec::new() };
        let mut acts = well(asks(request));
        if let Some(Act::Send(answer)) = acts.first_mut() {
            let text = String::from_utf8(std::mem::take(answer)).unwrap();
            let cookie = format!("\r\nSet-Cookie: sid={words}\r\nX-Harbor-Csrf-Token: prober\r\n");
            *answer = text.replacen("\r\n", &cookie, 1).into_bytes();
        }
        acts
    })
    .await;
    let well = Server::start(None, |it| it.map(|it| well(asks(it))).unwrap_or_default()).await;
    let round = round(registry(PUBLIC, Scheme::Http, &[&ill, &well]), None).await;
    assert_eq!((end(&round, "a"), end(&round, "b")), (None, None));
    let shown = serde_json::to_string(&round.flows).unwrap();
    assert!(!shown.contains("[secret]"), "{shown}");
    assert!(!shown.contains(&jwt()), "no token");
}
