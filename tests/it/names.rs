//! Tests need nobody's name server: what they let the program look up lies under `.invalid`, of
//! which no resolver and no hosts file may know anything. Under `.test` many a developer's machine
//! answers for every name.

use std::fs;
use std::path::Path;

use registry_prober::lab::{PUBLIC_HOST, SECOND_HOST};

use crate::operations::repository;

/// What is asked with real sockets and a real resolver.
const REAL: [&str; 4] =
    ["src/lab", "tests/it/real", "tests/it/support", "tests/it/hostile/rounds.rs"];

fn names(path: &Path, found: &mut Vec<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            names(&entry.unwrap().path(), found);
        }
        return;
    }
    let text = fs::read_to_string(path).unwrap();
    for (at, end) in text.match_indices(".test") {
        let letter = |it: Option<char>| it.is_some_and(|it| it.is_alphanumeric() || it == '_');
        let (before, after) = (&text[..at], &text[at + end.len()..]);
        if letter(before.chars().next_back()) && !letter(after.chars().next()) {
            found.push(format!("{}: …{}", path.display(), &text[at.saturating_sub(10)..at + 5]));
        }
    }
}

#[test]
fn what_the_program_looks_up_in_tests_lies_under_invalid() {
    let hosts = [PUBLIC_HOST, SECOND_HOST.split_once(':').map_or(SECOND_HOST, |it| it.0)];
    for host in hosts {
        assert!(host.ends_with(".invalid"), "{host}");
    }
    let mut found = Vec::new();
    for place in REAL {
        names(&repository(place), &mut found);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
