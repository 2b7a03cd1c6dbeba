//! No command that the program or a runbook shows prints a secret on the screen of who copies it.
//!
//! Every command in the sources, the runbooks and the deployment files is run in a sandbox where
//! every file, container and cluster is full of planted secrets.

mod sandbox;

use std::fs;
use std::path::Path;

use self::sandbox::Sandbox;
use crate::operations::repository;
use crate::support::rust_source::strings;

/// A command with one of these words can print what it should not.
const READERS: &[&str] = &[
    "awk",
    "base64",
    "cat",
    "curl",
    "cut",
    "diff",
    "docker",
    "echo",
    "env",
    "grep",
    "head",
    "helm",
    "jq",
    "kubectl",
    "od",
    "openssl",
    "printenv",
    "printf",
    "psql",
    "redis-cli",
    "sed",
    "sort",
    "ssh",
    "strings",
    "tail",
    "tee",
    "tr",
    "xxd",
];

/// A piece of shell and where it stands.
struct Shown {
    place: String,
    command: String,
}

/// All that is shown: fenced blocks and code spans of pages, strings of the sources, lines of
/// deployment files.
fn everything() -> Vec<Shown> {
    let mut files = Vec::new();
    for folder in ["src", "deploy", "dashboards"] {
        walk(&repository(folder), &mut files);
    }
    files.extend(["README.md", "ARCHITECTURE.md", "SECURITY.md"].map(repository));
    let mut shown = Vec::new();
    for path in files {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let pieces = match path.extension().and_then(|it| it.to_str()) {
            Some("md") => runbook(&text),
            Some("rs") => strings(&text).iter().flat_map(|text| lines(text)).collect(),
            _ => lines(&text),
        };
        let place = path.strip_prefix(repository("")).unwrap().display().to_string();
        let shows = pieces.into_iter().filter(|piece| reads(piece));
        shown.extend(shows.map(|command| Shown { place: place.clone(), command }));
    }
    shown
}

pub(crate) fn walk(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}

fn reads(command: &str) -> bool {
    let words =
        command.split(|letter: char| !(letter.is_alphanumeric() || "-_/.".contains(letter)));
    let words = words.map(|word| word.rsplit('/').next().unwrap_or(word));
    command.contains(' ') && words.into_iter().any(|word| READERS.contains(&word))
}

/// The lines of the facts on top of a page, and what the page itself shows.
fn runbook(text: &str) -> Vec<String> {
    match text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")) {
        Some((facts, body)) => lines(facts).into_iter().chain(page(body)).collect(),
        None => page(text),
    }
}

/// The fenced blocks of a page, each as a whole, and its code spans.
fn page(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    for (n, part) in text.split("```").enumerate() {
        if n % 2 == 1 {
            let (kind, block) = part.split_once('\n').unwrap_or(("", part));
            if matches!(kind, "sh" | "bash" | "console" | "") {
                pieces.push(block.to_owned());
            }
        } else {
            pieces.extend(spans(&part.replace('\n', " ")));
        }
    }
    pieces
}

fn spans(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// Each line without what makes it a comment, and its code spans.
fn lines(text: &str) -> Vec<String> {
    let whole = text.lines().map(|line| line.trim().trim_start_matches(['#', ' ']).to_owned());
    whole.flat_map(|line| spans(&line).chain([line.clone()]).collect::<Vec<_>>()).collect()
}

#[test]
fn no_command_that_is_shown_prints_a_secret() {
    let shown = everything();
    let from = |place: &str| shown.iter().filter(|it| it.place.starts_with(place)).count();
    assert!(from("deploy/runbooks") > 200, "runbooks are read: {}", from("deploy/runbooks"));
    let remedy = |it: &&Shown| it.command.starts_with("docker exec harbor-core sh -c 'id -u; grep");
    assert!(shown.iter().any(|it| remedy(&it)), "remedies are read");
    let commands: Vec<String> = shown.iter().map(|it| it.command.clone()).collect();
    let leaks: Vec<String> = Sandbox::new()
        .printed(&commands)
        .into_iter()
        .zip(&shown)
        .filter(|(leaks, _)| *leaks)
        .map(|(_, it)| format!("{}: {}", it.place, it.command))
        .collect();
    assert!(leaks.is_empty(), "{} print a secret:\n{}", leaks.len(), leaks.join("\n"));
}

#[test]
fn a_command_that_would_print_a_secret_is_caught() {
    let bad = [
        "grep POSTGRESQL common/config/core/env   # on every node",
        "grep REGISTRY_CREDENTIAL_PASSWORD common/config/core/env",
        "grep -E '^(CORE|JOBSERVICE)_SECRET=' common/config/core/env common/config/jobservice/env",
        "grep -E '^_REDIS_URL_CORE=' common/config/core/env",
        "grep -A3 '^http:' /etc/docker/registry/config.yml",
        "grep -A8 '^storage:' common/config/registry/config.yml",
        "grep -A6 '^redis:' /opt/harbor/common/config/registry/config.yml",
        "grep -A4 redis_pool common/config/jobservice/config.yml",
        "diff <(ssh A cat harbor.yml) <(ssh B cat harbor.yml)",
        "cat /data/secret/core/private_key.pem",
        "base64 /data/secret/keys/secretkey",
        "docker exec harbor-core sh -c 'id -u; head -2 /etc/core/private_key.pem'",
        "docker exec registry cat /etc/registry/config.yml | sed -n '/^storage:/,/^[a-z]/p'",
        "docker exec -u 0 harbor-core env",
        "docker inspect harbor-core",
        "docker inspect -f '{{.Config.Env}}' harbor-core",
        "cd /opt/harbor && docker compose config",
        "kubectl -n harbor get secret harbor-core -o yaml",
        "kubectl -n harbor get secret harbor-core -o jsonpath='{.data.secretKey}' | base64 -d",
        "kubectl -n harbor exec deploy/harbor-core -- sh -c 'printf %s \"$CSRF_KEY\"'",
        "kubectl -n harbor get configmap harbor-registry -o yaml | grep -A8 'storage:'",
        "helm -n harbor get values harbor",
        "cut -d. -f1 /etc/registry-prober/password | base64 -d 2>/dev/null; echo",
        "echo $TOKEN",
        "curl -su 'robot$prober' 'https://hub.invalid/service/token?service=s' | jq -r .token",
        "curl -skv -H \"Authorization: Bearer $T\" https://hub.invalid/v2/ 2>&1 | tail -5",
        "curl -s -i https://hub.invalid/v2/ | head -8",
        "openssl pkey -in private_key.pem -text",
        "curl -vk --resolve HOST:443:ADDRESS https://HOST/v2/",
        "curl -s -w '%{redirect_url}' -H \"Authorization: Bearer $T\" https://h.invalid/v2/x/blobs/y",
        "kubectl -n harbor describe pod -l component=core | tail -20",
        "ssh NODE cat /data/secret/keys/secretkey",
    ];
    let bad = bad.map(str::to_owned);
    assert!(bad.iter().all(|command| reads(command)));
    for (leaks, command) in Sandbox::new().printed(&bad).into_iter().zip(&bad) {
        assert!(leaks, "{command}");
    }
}

#[test]
fn a_command_that_compares_by_digest_or_cuts_the_secret_off_passes() {
    let good = [
        "grep '^CSRF_KEY=' common/config/core/env | sha256sum",
        "grep '^CSRF_KEY=' common/config/core/env | cut -d= -f2 | tr -d '\\n' | wc -c     # 32",
        "kubectl -n harbor exec deploy/harbor-core -- sh -c 'printf %s \"$CSRF_KEY\" | sha256sum'",
        "kubectl -n harbor get secret harbor-registry -o jsonpath='{.data.X}' | sha256sum",
        "sed -n '/auth:/,/rootcertbundle/p' /etc/docker/registry/config.yml",
        "SID=$(curl -sk -o /dev/null -D- https://hub.invalid/api/v2.0/ping | grep -io 'sid=[^;]*')",
        "openssl pkey -in private_key.pem -pubout | sha256sum",
        "curl -si -X POST https://hub.invalid/v2/x/blobs/uploads/ | grep -i '^location' | cut -d'?' -f1",
    ];
    let good = good.map(str::to_owned);
    for (leaks, command) in Sandbox::new().printed(&good).into_iter().zip(&good) {
        assert!(!leaks, "{command}");
    }
}
