//! No file of the sources uses a file that uses it, not even by a long way round: a reader can
//! begin at the files that use no other, and needs to know no file before reading it.
//!
//! A file uses the file in which a name that it writes is defined, so re-exports are followed to
//! their end. Tests are left out: they may look at anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::support::rust_source::{sources, tokens};

/// A path of names, from the root of the crate.
type Names = Vec<String>;

/// What a file says of others.
#[derive(Default)]
struct File {
    uses: Vec<Names>,
    /// Re-exports: the name under which a file passes on something of another.
    passes_on: BTreeMap<String, Names>,
}

#[test]
fn no_file_uses_one_that_uses_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    assert!(paths.len() > 50, "the sources are there");
    let texts: Vec<(String, String)> = paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    let arrows = arrows(&texts);
    assert!(arrows.len() > 500, "the arrows are seen: {}", arrows.len());
    let left = in_circles(arrows);
    assert!(left.is_empty(), "files in circles:\n{}", shown(&left).join("\n"));
}

#[test]
fn a_planted_circle_is_found_however_it_is_written() {
    for (files, found) in [
        // Two files of a room, and what one passes on for the other.
        (
            &[
                ("web/mod.rs", "mod a; mod b; pub use a::A;"),
                ("web/a.rs", "use super::b::B; pub struct A;"),
                ("web/b.rs", "fn f(a: super::A) {} pub struct B;"),
            ][..],
            &["web/a -> web/b", "web/b -> web/a"][..],
        ),
        // A room's first file and another.
        (
            &[
                ("web/mod.rs", "mod a; use self::a::{A, C as D}; struct Shared;"),
                ("web/a.rs", "use crate::web::{Shared, x};"),
            ],
            &["web -> web/a", "web/a -> web"],
        ),
        // A long way round, with a file that only leads into it.
        (
            &[
                ("a.rs", "use crate::b::X;"),
                ("b.rs", "use crate::{c, x::{y}};"),
                ("c.rs", "fn f() { crate::d::g() }"),
                ("d.rs", "pub(crate) use crate::b::X as Y;\nfn f(_: crate::b::Z) {}"),
                ("main.rs", "use registry_prober::a;"),
            ],
            &["b -> c", "c -> d", "d -> b"],
        ),
        // What is right, or only looks wrong.
        (
            &[
                ("lib.rs", "pub mod web;"),
                (
                    "web/mod.rs",
                    "mod a; #[cfg(test)] mod tests; pub use a::A; pub(in crate::web) fn f() {}",
                ),
                (
                    "web/a.rs",
                    "// use super::b::B;\n#[cfg(test)] mod tests { use super::super::b::B; }",
                ),
                ("web/b.rs", "use super::{A, c,};"),
                ("web/c.rs", ""),
                ("web/tests.rs", "use super::b;"),
            ],
            &[],
        ),
    ] {
        let texts: Vec<(String, String)> =
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        assert_eq!(shown(&in_circles(arrows(&texts))), found, "{files:?}");
    }
}

/// Every arrow from a file to another.
fn arrows(texts: &[(String, String)]) -> BTreeSet<(Names, Names)> {
    let modules: BTreeSet<Names> = texts.iter().map(|(name, _)| module(name)).collect();
    let mut tests = Vec::new();
    let mut files: BTreeMap<Names, File> = texts
        .iter()
        .map(|(name, text)| {
            let at = module(name);
            let file = read(&at, &tokens(text), &modules, &mut tests);
            (at, file)
        })
        .collect();
    files.retain(|at, _| !tests.iter().any(|test: &Names| at.starts_with(test)));
    let mut arrows = BTreeSet::new();
    for (at, file) in &files {
        for used in file.uses.iter().filter_map(|names| defined_in(names, &files)) {
            if used != *at && !used.is_empty() {
                arrows.insert((at.clone(), used));
            }
        }
    }
    arrows
}

/// The arrows on the way from a circle to a circle; none if there are no circles.
fn in_circles(mut arrows: BTreeSet<(Names, Names)>) -> BTreeSet<(Names, Names)> {
    loop {
        let before = arrows.len();
        let from: BTreeSet<Names> = arrows.iter().map(|(from, _)| from.clone()).collect();
        let to: BTreeSet<Names> = arrows.iter().map(|(_, to)| to.clone()).collect();
        arrows.retain(|arrow| to.contains(&arrow.0) && from.contains(&arrow.1));
        if arrows.len() == before {
            return arrows;
        }
    }
}

fn shown(arrows: &BTreeSet<(Names, Names)>) -> Vec<String> {
    arrows.iter().map(|(from, to)| format!("{} -> {}", from.join("/"), to.join("/"))).collect()
}

/// The module of a file.
fn module(file: &str) -> Names {
    let parts = file.trim_end_matches(".rs").split('/');
    parts.filter(|part| !matches!(*part, "mod" | "lib")).map(str::to_owned).collect()
}

/// Reads what a file uses and what it passes on.
fn read(at: &Names, tokens: &[String], modules: &BTreeSet<Names>, tests: &mut Vec<Names>) -> File {
    let mut file = File::default();
    let word = |index: usize| tokens.get(index).map_or("", String::as_str);
    let mut index = 0;
    let mut public = false;
    while index < tokens.len() {
        if tokens[index..].starts_with(&test_mark()) {
            index = after_test(at, tokens, index + test_mark().len(), tests);
            continue;
        }
        match word(index) {
            "pub" => {
                public = true;
                if word(index + 1) == "(" {
                    index += tokens[index..].iter().position(|token| token == ")").unwrap();
                }
                index += 1;
                continue;
            }
            "use" => {
                let mut named = Vec::new();
                index = tree(tokens, index + 1, &Names::new(), &mut named);
                for (alias, names) in named {
                    let Some(names) = absolute(at, &names, modules) else { continue };
                    if public {
                        file.passes_on.insert(alias, names);
                    } else {
                        file.uses.push(names);
                    }
                }
            }
            _ if word(index + 1) == "::"
                && (index == 0 || !matches!(word(index - 1), "::" | ".")) =>
            {
                let mut names = vec![word(index).to_owned()];
                while word(index + 1) == "::" && is_name(word(index + 2)) {
                    names.push(word(index + 2).to_owned());
                    index += 2;
                }
                file.uses.extend(absolute(at, &names, modules));
            }
            _ => {}
        }
        public = false;
        index += 1;
    }
    file
}

/// `#[cfg(test)]`.
fn test_mark() -> Vec<String> {
    ["#", "[", "cfg", "(", "test", ")", "]"].map(str::to_owned).to_vec()
}

/// The index after what is there for tests alone. A module in a file of its own is noted.
fn after_test(at: &Names, tokens: &[String], mut index: usize, tests: &mut Vec<Names>) -> usize {
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(index) {
        match token.as_str() {
            "mod" if depth == 0 && tokens.get(index + 2).is_some_and(|token| token == ";") => {
                tests.push(at.iter().cloned().chain([tokens[index + 1].clone()]).collect());
                return index + 3;
            }
            ";" if depth == 0 => return index + 1,
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 1 => return index + 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        index += 1;
    }
    index
}

/// Reads a tree of `use` and gives the index of what ends it.
fn tree(tokens: &[String], mut at: usize, under: &Names, into: &mut Vec<(String, Names)>) -> usize {
    let mut names = under.clone();
    let (mut alias, mut empty) = (None, true);
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "{" => {
                while tokens[at] != "}" {
                    at = tree(tokens, at + 1, &names, into);
                }
                return at + 1;
            }
            "as" => {
                alias = tokens.get(at + 1).cloned();
                at += 1;
            }
            "::" => {}
            "," | "}" | ";" => break,
            // `{self}` is what stands before the braces.
            "self" if !under.is_empty() => empty = false,
            name => {
                names.push(name.to_owned());
                empty = false;
            }
        }
        at += 1;
    }
    // After the last comma nothing need follow.
    if !empty {
        let alias = alias.or_else(|| names.last().cloned()).unwrap_or_default();
        into.push((alias, names));
    }
    at
}

/// The same from the root of the crate; none for what is of another crate or of the file itself.
fn absolute(at: &Names, names: &Names, modules: &BTreeSet<Names>) -> Option<Names> {
    let climbed = names.iter().take_while(|name| *name == "super").count();
    match names.first()?.as_str() {
        "crate" | "registry_prober" => Some(names[1..].to_vec()),
        "self" => Some(at.iter().chain(&names[1..]).cloned().collect()),
        "super" => {
            let above = at.len().checked_sub(climbed)?;
            Some(at[..above].iter().chain(&names[climbed..]).cloned().collect())
        }
        first => {
            let child: Names = at.iter().cloned().chain([first.to_owned()]).collect();
            modules.contains(&child).then(|| at.iter().chain(names).cloned().collect())
        }
    }
}

/// The file in which names lead to their definition.
fn defined_in(names: &Names, files: &BTreeMap<Names, File>) -> Option<Names> {
    let module =
        (0..=names.len()).rev().map(|end| &names[..end]).find(|n| files.contains_key(*n))?;
    let rest = &names[module.len()..];
    let further = rest.first().and_then(|name| files[module].passes_on.get(name));
    match further {
        Some(further) => {
            let further: Names = further.iter().chain(&rest[1..]).cloned().collect();
            defined_in(&further, files)
        }
        None => Some(module.to_vec()),
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}
