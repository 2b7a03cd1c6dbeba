//! What must be alike in a real server's answer and the lab's.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::capture::Answer;

/// Headers that say nothing about the server: the capture's own, or the connection's.
const IGNORED: [&str; 3] = ["connection", "x-upstream", "transfer-encoding"];

/// Every difference, as (field, captured, lab).
pub(crate) fn differences(real: &Answer, lab: &Answer) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut check = |field: &str, real: String, lab: String| {
        if real != lab {
            found.push((field.to_owned(), real, lab));
        }
    };
    check("status", real.status.to_string(), lab.status.to_string());
    check("header names", names(real), names(lab));
    for name in [
        "content-type",
        "docker-distribution-api-version",
        "server",
        "date",
        "range",
        "vary",
        "allow",
        "x-frame-options",
        "content-security-policy",
        "x-content-type-options",
        "cache-control",
        "accept-ranges",
    ] {
        let text = |answer: &Answer| answer.header(name).unwrap_or("absent").to_owned();
        check(name, text(real), text(lab));
    }
    let challenges =
        |answer: &Answer| format!("{:?}", answer.header("www-authenticate").map(challenge));
    check("challenge", challenges(real), challenges(lab));
    let cookies =
        |answer: &Answer| answer.all("set-cookie").into_iter().map(cookie).collect::<BTreeSet<_>>();
    check("cookies", format!("{:?}", cookies(real)), format!("{:?}", cookies(lab)));
    let place = |answer: &Answer| answer.header("location").map(location).unwrap_or_default();
    check("location", place(real), place(lab));
    if real.header("content-length").is_some() && comparable_length(real) {
        let length =
            |answer: &Answer| answer.header("content-length").unwrap_or("absent").to_owned();
        check("content-length", length(real), length(lab));
    }
    check("body", body(real), body(lab));
    found
}

/// Bodies with free text of the installation or random numbers differ in length.
fn comparable_length(answer: &Answer) -> bool {
    ![
        "dial",
        "DriverName",
        "worker_pool_id",
        "schemaVersion",
        "external_url",
        "access_token\":\"ey",
    ]
    .iter()
    .any(|word| answer.body.contains(word))
        && answer.header("etag").is_none()
}

fn names(answer: &Answer) -> String {
    let names: BTreeSet<String> = answer
        .headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .filter(|name| !IGNORED.contains(&name.as_str()))
        .collect();
    names.into_iter().collect::<Vec<_>>().join(" ")
}

/// Scheme and parameters of a challenge; the actions of a scope in one order.
fn challenge(text: &str) -> (String, BTreeMap<String, String>) {
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut parameters = BTreeMap::new();
    for part in rest.split("\",") {
        if let Some((name, value)) = part.split_once('=') {
            let mut value = value.trim_matches('"').to_owned();
            if let Some((resource, actions)) = value.rsplit_once(':').filter(|_| name == "scope") {
                let actions: BTreeSet<&str> = actions.split(',').collect();
                value = format!("{resource}:{actions:?}");
            }
            parameters.insert(name.to_owned(), value);
        }
    }
    (scheme.to_owned(), parameters)
}

/// Name and attributes of a cookie, without what changes from one to the next.
fn cookie(text: &str) -> String {
    let mut parts = text.split(';').map(str::trim);
    let first = parts.next().unwrap_or_default();
    let (name, value) = first.split_once('=').unwrap_or((first, ""));
    let mut shape = format!("{name}({} characters)", value.len());
    for part in parts {
        shape.push_str("; ");
        shape.push_str(if part.starts_with("Expires=") { "Expires" } else { part });
    }
    shape
}

/// A place with every random part named instead of shown.
fn location(text: &str) -> String {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let path: Vec<&str> = path
        .split('/')
        .map(|part| if part.len() == 36 && part.split('-').count() == 5 { "UUID" } else { part })
        .collect();
    let state = query.strip_prefix("_state=").map_or_else(|| query.to_owned(), state);
    format!("{}{state}", path.join("/"))
}

/// An upload's state: 32 bytes that only the registry can make, then JSON.
fn state(text: &str) -> String {
    let packed = URL_SAFE_NO_PAD.decode(text.replace("%3D", "")).unwrap();
    let json = std::str::from_utf8(&packed[32..]).unwrap();
    let state: Value = serde_json::from_str(json).unwrap();
    let mut names: Vec<&String> = state.as_object().unwrap().keys().collect();
    names.sort_by_key(|name| json.find(&format!("\"{name}\":")));
    // Trailing zeros of the nanoseconds are left out, so their number varies.
    let fraction = state["StartedAt"].as_str().unwrap().contains('.');
    format!("?state {names:?} at {}, fraction of a second: {fraction}", state["Offset"])
}

fn body(answer: &Answer) -> String {
    match serde_json::from_str::<Value>(&answer.body) {
        Ok(json) => shape(&json, ""),
        Err(_) => answer.body.replace('\r', "").trim_end().to_owned(),
    }
}

/// JSON with its words and structure, and with the kind of what is different each time.
fn shape(value: &Value, name: &str) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}: {}", shape(value, name)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(entries) => {
            let entries: Vec<String> = entries.iter().map(|entry| shape(entry, name)).collect();
            format!("[{}]", entries.join(", "))
        }
        Value::String(text) if text.matches('.').count() == 2 && text.starts_with("ey") => {
            token(text)
        }
        Value::String(text) if text.contains("dial") => "an error of the network".to_owned(),
        Value::String(text) if text.starts_with("sha256:") => "a digest".to_owned(),
        Value::String(text) => match name {
            "current_time" | "heartbeat_at" | "start_at" | "issued_at" => {
                format!("a time of {} characters", text.len())
            }
            "worker_pool_id" => format!("{} characters", text.len()),
            "Path" => "a path".to_owned(),
            _ => text.clone(),
        },
        Value::Number(_) if matches!(name, "pid" | "concurrency" | "size") => "a number".to_owned(),
        other => other.to_string(),
    }
}

/// A token: its header in its own order, its claims without what is different each time.
fn token(text: &str) -> String {
    let part = |index: usize| {
        let bytes = URL_SAFE_NO_PAD.decode(text.split('.').nth(index).unwrap()).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let header: Value = serde_json::from_str(&part(0)).unwrap();
    let claims: Value = serde_json::from_str(&part(1)).unwrap();
    let order = |json: &str, value: &Value| {
        let mut names: Vec<&String> = value.as_object().unwrap().keys().collect();
        names.sort_by_key(|name| json.find(&format!("\"{name}\":")));
        format!("{names:?}")
    };
    let seconds = |name: &str| claims[name].as_i64().unwrap();
    let iat = seconds("iat");
    format!(
        "token {} {} alg={} kid of {} characters, iss={} sub={} aud={} exp=iat{:+} nbf=iat{:+} access={}",
        order(&part(0), &header),
        order(&part(1), &claims),
        header["alg"],
        header["kid"].as_str().unwrap_or_default().len(),
        claims["iss"],
        claims["sub"],
        claims["aud"],
        seconds("exp") - iat,
        seconds("nbf") - iat,
        access(&claims["access"]),
    )
}

/// What a token allows; the order of actions is random in Harbor.
fn access(value: &Value) -> String {
    let entries = value.as_array().into_iter().flatten().map(|entry| {
        let actions: BTreeSet<&str> =
            entry["actions"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        format!("{} {} {actions:?}", entry["type"], entry["name"])
    });
    if value.is_null() { "null".to_owned() } else { format!("{:?}", entries.collect::<Vec<_>>()) }
}
