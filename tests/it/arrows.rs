//! The house has walls: a room uses only the rooms that an arrow leads from, and a foreign crate
//! only where it belongs. ARCHITECTURE.md gives the reasons.
//!
//! What counts is the text of the sources, tests included: every path that begins with `crate` or
//! climbs out of its room with `super`, and every path that begins with a crate of the table.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::support::rust_source::{sources, tokens};
use crate::support::written::is_written;

/// Every room, and the rooms that it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("findings", &[]),
    ("model", &["findings"]),
    ("clock", &["model"]),
    ("config", &["model"]),
    ("registry", &["model"]),
    ("transport", &["model"]),
    ("discovery", &["config", "model", "transport"]),
    ("probe", &["clock", "config", "model", "registry", "transport"]),
    ("diagnosis", &["findings", "model"]),
    ("history", &["model"]),
    ("metrics", &["model"]),
    ("report", &["findings", "model"]),
    ("web", &["findings", "model"]),
    (
        "schedule",
        &[
            "clock",
            "config",
            "diagnosis",
            "discovery",
            "history",
            "metrics",
            "model",
            "probe",
            "transport",
        ],
    ),
    ("lab", &["model"]),
    (
        "cli",
        &[
            "clock",
            "config",
            "findings",
            "history",
            "lab",
            "metrics",
            "model",
            "probe",
            "report",
            "schedule",
            "transport",
            "web",
        ],
    ),
    ("main", &["cli", "transport"]),
];

/// Crates that belong to some rooms only.
const FOREIGN: &[(&str, &[&str])] = &[
    ("flate2", &["history", "lab", "transport"]),
    ("reqwest", &["transport"]),
    ("rustls", &["lab", "transport", "web"]),
    ("rustls_platform_verifier", &["transport"]),
    ("tokio_rustls", &["lab", "transport", "web"]),
    ("bcrypt", &["web"]),
    ("prometheus", &["metrics"]),
    ("serde_saphyr", &["config"]),
    ("docker_credential", &["config"]),
    ("axum", &["lab", "web"]),
    ("askama", &["web"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("pulldown_cmark", &["report", "web"]),
    ("quick_junit", &["report"]),
    ("strsim", &["findings"]),
    ("anyhow", &["cli", "main"]),
    ("rcgen", &["lab"]),
    ("jsonwebtoken", &["lab"]),
    // Pure rooms wait for nothing.
    (
        "tokio",
        &[
            "cli",
            "clock",
            "discovery",
            "lab",
            "main",
            "metrics",
            "probe",
            "schedule",
            "transport",
            "web",
        ],
    ),
];

#[test]
fn no_source_uses_what_no_arrow_leads_to() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 50, "the sources are there");
    let mut wrong = Vec::new();
    for path in files {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        let text = fs::read_to_string(&path).unwrap();
        wrong.extend(violations(&name, &text));
    }
    assert!(wrong.is_empty(), "arrows that are not drawn:\n{}", wrong.join("\n"));
}

#[test]
fn every_room_is_in_the_table_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms: BTreeSet<String> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "lib")
        .collect();
    let drawn: BTreeSet<String> = ARROWS.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(rooms, drawn);
}

#[test]
fn every_arrow_of_the_table_is_used_and_drawn() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut drawn: BTreeSet<(String, String)> = BTreeSet::new();
    for path in files {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        let room = name.split(['/', '.']).next().unwrap().to_owned();
        let (rooms, _) = used(&name, &tokens(&fs::read_to_string(&path).unwrap()));
        drawn.extend(rooms.into_iter().map(|used| (room.clone(), used)));
    }
    let unused: Vec<String> = ARROWS
        .iter()
        .flat_map(|(room, uses)| uses.iter().map(|used| ((*room).to_owned(), (*used).to_owned())))
        .filter(|arrow| !drawn.contains(arrow))
        .map(|(room, used)| format!("{room} -> {used}"))
        .collect();
    assert!(unused.is_empty(), "arrows that lead nowhere: {unused:?}");
    let mut table = "| room | uses |\n| --- | --- |\n".to_owned();
    for (room, uses) in ARROWS {
        let _ = writeln!(table, "| {room} | {} |", uses.join(", "));
    }
    is_written("ARCHITECTURE.md", "the arrows", &table);
}

#[test]
fn the_arrows_go_round_in_no_circle() {
    // Each room may use those above it in the table only.
    for (index, (room, uses)) in ARROWS.iter().enumerate() {
        for used in *uses {
            let above = ARROWS[..index].iter().any(|(name, _)| name == used);
            assert!(above, "{room} uses {used}, which stands below it");
        }
    }
}

#[test]
fn a_planted_arrow_is_found_however_it_is_written() {
    for (file, text, found) in [
        ("web/mod.rs", "use crate::probe::Prober;", Some("web -> probe")),
        ("web/mod.rs", "use crate::{model::Round, report};", Some("web -> report")),
        (
            "web/page.rs",
            "use crate::{\n model::{Round, Route},\n report::render,\n};",
            Some("web -> report"),
        ),
        ("web/page.rs", "fn f() { crate::schedule::now() }", Some("web -> schedule")),
        ("web/page.rs", "use super::super::config::Config;", Some("web -> config")),
        ("web/mod.rs", "use super::config::Config;", Some("web -> config")),
        ("web/page.rs", "mod tests { use super::super::super::config; }", Some("web -> config")),
        ("model/round.rs", "use tokio::time::Instant;", Some("model -> tokio")),
        ("probe/flow.rs", "fn f() -> reqwest::Result<()> {}", Some("probe -> reqwest")),
        ("lab/serve.rs", "use ::prometheus::Encoder;", Some("lab -> prometheus")),
        ("main.rs", "use registry_prober::probe::Prober;", Some("main -> probe")),
        ("cellar/mod.rs", "use crate::model::Round;", Some("cellar is no room")),
        // What is right, or only looks wrong.
        ("web/mod.rs", "use crate::model::{Round, Route};", None),
        ("web/page.rs", "use super::panels::Panel; use crate::web::text;", None),
        ("web/page.rs", "mod tests { use super::super::panels::Panel; }", None),
        ("web/page.rs", "// use crate::probe::Prober;\nlet x = \"crate::probe::y\";", None),
        (
            "web/page.rs",
            "let raw = r#\"use crate::probe\"#; let c = '\"'; /* crate::probe */",
            None,
        ),
        ("transport/tls.rs", "use rustls::crypto::aws_lc_rs;", None),
        ("config/url.rs", "use http::header::tokio; let x = a.tokio();", None),
        ("schedule/turn.rs", "use crate::probe::{Prober, Progress};", None),
    ] {
        let wrong = violations(file, text);
        match found {
            None => assert!(wrong.is_empty(), "{file}: {text}: {wrong:?}"),
            Some(found) => {
                assert!(wrong.iter().any(|one| one.contains(found)), "{file}: {text}: {wrong:?}");
            }
        }
    }
}

/// What a source uses without an arrow.
fn violations(file: &str, text: &str) -> Vec<String> {
    let room = file.split(['/', '.']).next().unwrap();
    if room == "lib" {
        return Vec::new();
    }
    let Some((_, uses)) = ARROWS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{file}: {room} is no room of the table")];
    };
    let (rooms, crates) = used(file, &tokens(text));
    let rooms = rooms
        .into_iter()
        .filter(|used| used != room && !uses.contains(&used.as_str()))
        // Macros and re-exports of the crate's root are no rooms.
        .filter(|used| ARROWS.iter().any(|(name, _)| name == used));
    let crates = crates
        .into_iter()
        .filter(|used| FOREIGN.iter().any(|(name, rooms)| name == used && !rooms.contains(&room)));
    rooms.chain(crates).map(|used| format!("{file}: {room} -> {used}")).collect()
}

/// The rooms and the first words of all other paths that a source names.
fn used(file: &str, tokens: &[String]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut rooms, mut crates) = (BTreeSet::new(), BTreeSet::new());
    let parts = file.trim_end_matches(".rs").split('/').filter(|part| *part != "mod");
    let depth = parts.count();
    // Inline modules that are open, by the depth of their braces.
    let (mut inline, mut braces) = (Vec::new(), 0usize);
    let word = |index: usize| tokens.get(index).map_or("", String::as_str);
    let mut index = 0;
    while index < tokens.len() {
        let before = |back: usize| index.checked_sub(back).map_or("", word);
        // A path that begins with `::` begins with a crate.
        let rooted = before(1) == "::" && (before(2) == "use" || !is_word(before(2)));
        let begins = rooted || !matches!(before(1), "::" | ".");
        match word(index) {
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                inline.retain(|open| *open <= braces);
            }
            "mod" if word(index + 2) == "{" => inline.push(braces + 1),
            "crate" | "registry_prober" if begins && word(index + 1) == "::" => {
                collect(tokens, index + 2, &mut rooms);
            }
            "super" if begins => {
                let mut climbed = 1;
                while word(index + 1) == "::" && word(index + 2) == "super" {
                    climbed += 1;
                    index += 2;
                }
                if climbed >= depth + inline.len() {
                    collect(tokens, index + 2, &mut rooms);
                }
            }
            first if begins && word(index + 1) == "::" => {
                crates.insert(first.to_owned());
            }
            // `use axum;` and `use axum as web;`
            first if before(1) == "use" => {
                crates.insert(first.to_owned());
            }
            _ => {}
        }
        index += 1;
    }
    (rooms, crates)
}

/// The word at an index, or the first words of the group that begins there.
fn collect(tokens: &[String], at: usize, into: &mut BTreeSet<String>) {
    if tokens.get(at).is_none_or(|token| token != "{") {
        into.extend(tokens.get(at).cloned());
        return;
    }
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return,
            "}" => depth -= 1,
            word if depth == 1 && matches!(tokens[index - 1].as_str(), "{" | ",") => {
                into.insert(word.to_owned());
            }
            _ => {}
        }
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>')
}
