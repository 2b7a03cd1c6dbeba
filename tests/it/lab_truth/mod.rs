//! The lab is held to the truth: every captured request is sent to it in the matching state, and
//! what real servers said must be what it says. What remains different is listed here with its
//! reason, and an entry that nothing needs fails the test.

mod capture;
mod compare;
mod replay;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use registry_prober::lab::{Entry, Family, Fault, FaultOrder};

use capture::Exchange;
use replay::{Replay, WRONG_SIGNATURE};

/// A difference that is known: file, a part of the label, field, reason.
type Known = (&'static str, &'static str, &'static str, &'static str);

/// Exchanges that are not sent: file, a part of the label, reason.
type Skipped = (&'static str, &'static str, &'static str);

/// What a folder needs in addition to its transcripts.
struct Folder<'a> {
    name: &'static str,
    scenario: &'static str,
    /// Faults of one file, in addition to those of all.
    faults: fn(&str) -> Vec<FaultOrder>,
    /// Where a request enters.
    entry: fn(&Exchange) -> Entry,
    /// How far the asked node's clock is ahead, in seconds, in this file.
    offset: fn(&Exchange) -> i64,
    known: &'a [Known],
    skipped: &'a [Skipped],
}

fn at(place: &str, fault: Fault) -> FaultOrder {
    FaultOrder::at(place, fault)
}

fn clock(offset_seconds: f64) -> Fault {
    Fault::Clock { offset_seconds, drift_ppm: 0.0, step_seconds: 0.0, step_after_seconds: 0.0 }
}

fn hold(folder: &Folder<'_>) {
    let exchanges = capture::folder(folder.name);
    let dates = exchanges.iter().filter_map(|exchange| exchange.answer.as_ref()?.header("date"));
    let first = dates.min_by_key(|date| httpdate::parse_http_date(date).unwrap()).unwrap();
    let empty_storage = folder.name.starts_with("distribution");
    let mut replay = Replay::new(folder.scenario, first, empty_storage);
    let mut used = vec![false; folder.known.len()];
    let mut left_out = vec![false; folder.skipped.len()];
    let mut wrong = Vec::new();
    let mut file = String::new();
    for mut exchange in exchanges {
        if exchange.file != file {
            file.clone_from(&exchange.file);
            replay.set_faults((folder.faults)(&file));
        }
        learn_keys(&mut replay, &exchange);
        let skip = folder.skipped.iter().position(|(file, label, _)| {
            exchange.file.starts_with(file) && exchange.label.contains(label)
        });
        if let Some(index) = skip {
            left_out[index] = true;
            continue;
        }
        if exchange.file.contains("right-kid-wrong-signature") {
            WRONG_SIGNATURE.clone_into(&mut exchange.label);
        }
        let outcome = replay.send((folder.entry)(&exchange), &exchange, (folder.offset)(&exchange));
        let mut found = match (&exchange.answer, &outcome.answer) {
            (Some(real), Some(lab)) => compare::differences(real, lab),
            (None, None) => Vec::new(),
            (real, lab) => {
                vec![("answer".to_owned(), format!("{real:?}"), format!("{lab:?}"))]
            }
        };
        let slow = |milliseconds: u128| (1_400..1_700).contains(&milliseconds).to_string();
        let (real, lab) =
            (slow(u128::from(exchange.milliseconds)), slow(outcome.after.as_millis()));
        if real != lab {
            found.push(("1.5 s".to_owned(), real, lab));
        }
        for (field, real, lab) in found {
            let known = folder.known.iter().position(|(file, label, name, _)| {
                exchange.file.starts_with(file) && exchange.label.contains(label) && *name == field
            });
            match known {
                Some(index) => used[index] = true,
                None => wrong.push(format!(
                    "{} | {} | {field}\n    real: {real}\n    lab:  {lab}",
                    exchange.file, exchange.label
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}: {} differences\n{}", folder.name, wrong.len(), wrong.join("\n"));
    for (entry, used) in folder.known.iter().zip(used) {
        assert!(used, "{}: no such difference any more: {entry:?}", folder.name);
    }
    for (entry, left_out) in folder.skipped.iter().zip(left_out) {
        assert!(left_out, "{}: nothing is skipped by {entry:?}", folder.name);
    }
}

/// The first key id of either form is the shared key, a second one that of the odd node: b in
/// Harbor's transcripts, c in the others.
fn learn_keys(replay: &mut Replay, exchange: &Exchange) {
    let bearer = exchange.header("authorization").and_then(|value| value.split_once(' '));
    let Some(header) = bearer.and_then(|(_, token)| token.trim().split('.').next()) else { return };
    let Ok(header) = URL_SAFE_NO_PAD.decode(header) else { return };
    let Ok(header) = serde_json::from_slice::<serde_json::Value>(&header) else { return };
    let Some(kid) = header["kid"].as_str().filter(|kid| matches!(kid.len(), 43 | 59)) else {
        return;
    };
    if !replay.knows_key(kid) {
        let odd = if exchange.place.is_empty() { 3 } else { 2 };
        let number = if replay.knows_form(kid.len()) { odd } else { 0 };
        replay.key(kid, number);
    }
}

fn harbor_entry(exchange: &Exchange) -> Entry {
    match exchange.place.as_str() {
        "a" => Entry::Node(0),
        "b" => Entry::Node(1),
        "c" => Entry::Node(2),
        _ => Entry::Balancer,
    }
}

fn harbor_offset(exchange: &Exchange) -> i64 {
    match (exchange.file.split('-').next().unwrap(), exchange.place.as_str()) {
        ("61", "a") => 3,
        ("61", "c") => -3,
        ("62", "a") => 90,
        ("63", "a") => -1_900,
        _ => 0,
    }
}

fn harbor_faults(file: &str) -> Vec<FaultOrder> {
    let mut faults = vec![at("*", Fault::ExternalUrl("https://harbor.test".to_owned()))];
    let http = Fault::ExternalUrl("http://old.example".to_owned());
    faults.extend(match file.split('-').next().unwrap() {
        "51" => vec![at("*", Fault::ReadOnly)],
        "60" => vec![at("b", Fault::OtherKey)],
        "61" => vec![at("a", clock(3.0)), at("c", clock(-3.0))],
        "62" => vec![at("a", clock(90.0))],
        "63" => vec![at("a", clock(-1_900.0))],
        "64" => vec![at("b", Fault::RedisSplit)],
        "65" => vec![at("b", Fault::CsrfKey)],
        "66" => vec![at("b", Fault::HttpSecret)],
        "67" => vec![at("b", Fault::StorageSplit)],
        "68" => vec![at("b", Fault::RegistryPassword)],
        "70" => vec![at("*", Fault::DatabaseDown)],
        "71" => vec![at("*", Fault::RedisDown)],
        // Core of c, which the file's name has down as well, still answered.
        "72" => vec![at("b", Fault::RegistryDown)],
        "73" => vec![at("b", Fault::KeyUnreadable)],
        "74" => vec![at("b", http), at("c", Fault::ForwardedProtoHttp)],
        "75" => vec![at("lb", Fault::DropsAuthorization)],
        "76" => {
            vec![at("lb", Fault::RewritesHost("h".to_owned())), at("lb", Fault::BodyLimit(1 << 20))]
        }
        "77" => vec![at("b", Fault::DatabaseSplit)],
        _ => Vec::new(),
    });
    faults
}

/// Differences that both Harbors have.
const HARBOR_KNOWN: &[Known] = &[
    (
        "50",
        "127.0.11.11:8080",
        "challenge",
        "that is the address of the captured core itself; the lab's core has another",
    ),
    ("50", "upload, plain http", "location", "every port of the lab speaks TLS"),
    ("71", "", "date", "how long core waits for its Redis varies; the lab has one time for it"),
];

const HARBOR_SKIPPED: &[Skipped] =
    &[("64", "user session of a", "the login that made the session is not in the transcript")];

#[test]
fn harbor_2_15_answers_as_captured() {
    hold(&Folder {
        name: "harbor-2.15.2",
        scenario: r#"{"name": "replay", "title": "", "family": "harbor-2.15", "nodes": 3, "effect": ""}"#,
        faults: harbor_faults,
        entry: harbor_entry,
        offset: harbor_offset,
        known: HARBOR_KNOWN,
        skipped: &[
            HARBOR_SKIPPED,
            &[("80", "", "two registries on one Redis, and replication, which the lab has not")],
        ]
        .concat(),
    });
}

#[test]
fn harbor_2_10_answers_as_captured() {
    hold(&Folder {
        name: "harbor-2.10.3",
        scenario: r#"{"name": "replay", "title": "", "family": "harbor-2.10", "nodes": 3, "effect": ""}"#,
        faults: harbor_faults,
        entry: harbor_entry,
        offset: harbor_offset,
        known: HARBOR_KNOWN,
        skipped: HARBOR_SKIPPED,
    });
}

/// The nodes and proxies of distribution's transcripts, by address and port.
fn distribution_entry(exchange: &Exchange) -> Entry {
    match exchange.header("host").unwrap() {
        "127.0.0.1:15000" | "127.0.0.1:15020" | "127.0.0.1:15030" => Entry::Node(0),
        "127.0.0.2:15000" | "127.0.0.2:15030" => Entry::Node(1),
        "127.0.0.3:15000" | "127.0.0.3:15030" => Entry::Node(2),
        _ => Entry::Balancer,
    }
}

fn distribution_faults(file: &str) -> Vec<FaultOrder> {
    let realm = |url: &str| at("*", Fault::Realm(url.to_owned()));
    let mut faults = vec![
        realm("http://127.0.0.1:15002/token"),
        at("*", Fault::ExpectedAudience("registry.example".to_owned())),
        at("c", Fault::OtherKey),
        at("b", Fault::HttpSecret),
    ];
    faults.extend(match file.split('-').next().unwrap() {
        "42" => vec![at("lb", Fault::DropsAuthorization)],
        "43" => vec![at("*", Fault::Unreachable)],
        "46" => vec![realm("https://127.0.0.1:15020/auth/token")],
        "58" => vec![at("a", Fault::ReadOnly)],
        "60" | "61" | "62" => vec![
            at("lb", Fault::BodyLimit(1 << 20)),
            // Behind this balancer was a alone.
            at("b", Fault::Unreachable),
            at("c", Fault::Unreachable),
        ],
        "72" => vec![at("a", Fault::StorageDown)],
        "74" => vec![at("a", Fault::HealthCheckFailed)],
        _ => Vec::new(),
    });
    faults
}

#[test]
fn distribution_2_8_answers_as_captured() {
    hold(&Folder {
        name: "distribution-2.8.2",
        scenario: r#"{"name": "replay", "title": "", "family": "distribution-2.8", "nodes": 3, "tokens": "server", "effect": ""}"#,
        faults: distribution_faults,
        entry: distribution_entry,
        offset: |_| 0,
        known: &[
            ("10", "catalog with registry", "body", "the lab's storage has the canary"),
            ("10", "catalog with registry", "content-length", "the lab's storage has the canary"),
            (
                "45",
                "nginx pass Date",
                "server",
                "this balancer was told to pass Date and Server on",
            ),
            ("45", "nginx pass Date", "header names", "the same"),
            ("53", "unknown id", "body", "the state shown is of an upload not in the transcript"),
            ("53", "unknown id", "content-length", "the same"),
        ],
        skipped: &[
            ("44", "", "the same as 41 through HAProxy, which names itself in no header"),
            ("53", "PUT with wrong digest", "the upload is not in the transcript"),
            ("05", "", "the token server of these transcripts is no real one"),
            ("06", "", "the token server of these transcripts is no real one"),
            ("32", "", "the lab's verifiers know keys by their id only"),
            ("33", "", "the lab's verifiers know keys by their id only"),
            ("57", "", "the lab has no relativeurls"),
            ("70", "", "the lab has no debug port"),
            ("72", "debug health", "the lab has no debug port"),
            ("73", "", "answered before HTTP begins; a test of the socket layer has it"),
            ("74", "debug health", "the lab has no debug port"),
        ],
    });
}

#[test]
fn distribution_3_answers_as_captured() {
    hold(&Folder {
        name: "distribution-3.1.1",
        scenario: r#"{"name": "replay", "title": "", "family": "distribution-3", "nodes": 3, "tokens": "server", "effect": ""}"#,
        faults: distribution_faults,
        entry: distribution_entry,
        offset: |_| 0,
        known: &[],
        skipped: &[("32", "", "the lab's verifiers know keys by their id only")],
    });
}

#[test]
fn docker_auth_answers_as_captured() {
    hold(&Folder {
        name: "docker_auth-1.9",
        scenario: r#"{"name": "replay", "title": "", "family": "distribution-2.8", "nodes": 3, "tokens": "server", "effect": ""}"#,
        faults: |file| {
            let mut faults = vec![
                at("*", Fault::Realm("https://auth.test:5001/auth".to_owned())),
                at("*", Fault::ExpectedAudience("registry.test".to_owned())),
                at("*", Fault::ExpectedIssuer("lab".to_owned())),
                at("c", Fault::Family(Family::Distribution3)),
                at("token-server", Fault::IssuerClaim("lab".to_owned())),
            ];
            faults.extend(file.starts_with("03").then(|| at("token-server", Fault::OtherKidForm)));
            faults
        },
        entry: |exchange| match exchange.place.as_str() {
            "token server" => Entry::TokenServer,
            _ => harbor_entry(exchange),
        },
        offset: |_| 0,
        known: &[
            ("02", "", "x-content-type-options", "the lab's registries are told to send it"),
            ("02", "", "header names", "the same"),
            ("03", "ping", "x-content-type-options", "the same"),
            ("03", "ping", "header names", "the same"),
        ],
        skipped: &[],
    });
}
