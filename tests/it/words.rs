//! What people read is plain English: no word of STYLE.md's list stands in the program's texts, its
//! help, templates, runbooks, examples, README, SECURITY and CONTRIBUTING, or in a comment.

use std::fs;
use std::path::Path;

use crate::operations::repository;
use crate::shown::walk;
use crate::support::rust_source::strings;

/// Words and phrases of the left column of the table in STYLE.md.
fn listed() -> Vec<String> {
    let page = fs::read_to_string(repository("STYLE.md")).unwrap();
    let rows = page.lines().skip_while(|line| *line != "| not | but |").skip(2);
    let cells = rows.filter_map(|row| row.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(|cell| cell.split(", ").map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The listed words in a text, as whole words and in any case. What stands in code style is a name
/// or a command, and so is a placeholder.
fn found(text: &str, listed: &[String]) -> Vec<String> {
    let prose: String = text.split('`').step_by(2).collect::<Vec<_>>().join(" ").to_lowercase();
    let words: Vec<&str> = prose
        .split(|c: char| !(c.is_alphanumeric() || "-_/.{}'".contains(c)))
        .map(|word| word.trim_matches(['.', '\'', '/']))
        .filter(|word| !word.is_empty())
        .collect();
    let line = format!(" {} ", words.join(" "));
    listed.iter().filter(|word| line.contains(&format!(" {word} "))).cloned().collect()
}

/// The texts of a file that people read; none if it has only code.
fn texts(path: &str, content: &str) -> Vec<String> {
    match Path::new(path).extension().and_then(|it| it.to_str()) {
        Some("rs") => source(path, content),
        // A sentence goes on in the next line, and paragraphs and fences end it.
        Some("md") => {
            let prose = content.split("```").step_by(2);
            prose.flat_map(|part| part.split("\n\n").map(str::to_owned)).collect()
        }
        Some("json") if path.starts_with("src/lab") => shown_values(content, &["title", "effect"]),
        Some("json") => shown_values(content, &["title", "description"]),
        Some("html" | "yml" | "service") => content.lines().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The sentences among the strings of a source without its tests, and what `--help` and editors
/// take from doc comments.
fn source(path: &str, content: &str) -> Vec<String> {
    let test = |part: &str| part == "tests" || part == "tests.rs";
    let only_for_tests = ["report/golden.rs", "report/sample.rs", "clock/simulation.rs"];
    if path.split('/').any(test) || only_for_tests.iter().any(|file| path.ends_with(file)) {
        return Vec::new();
    }
    let code = content.split("mod tests {").next().unwrap_or_default();
    let mut all = strings(code);
    all.retain(|text| text.trim().contains(' '));
    let helps = ["src/cli/", "src/config/file.rs", "src/model/check.rs"];
    if helps.iter().any(|place| path.starts_with(place)) {
        let docs = code.lines().filter_map(|line| line.trim().strip_prefix("/// "));
        all.push(docs.collect::<Vec<_>>().join(" "));
    }
    all
}

/// The values of these keys, wherever they are.
fn shown_values(json: &str, keys: &[&str]) -> Vec<String> {
    fn collect(value: &serde_json::Value, keys: &[&str], into: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                for (key, value) in fields {
                    match value.as_str() {
                        Some(text) if keys.contains(&key.as_str()) => into.push(text.to_owned()),
                        _ => collect(value, keys, into),
                    }
                }
            }
            serde_json::Value::Array(items) => {
                for item in items {
                    collect(item, keys, into);
                }
            }
            _ => {}
        }
    }
    let mut texts = Vec::new();
    collect(&serde_json::from_str(json).unwrap(), keys, &mut texts);
    texts
}

#[test]
fn no_text_that_people_read_has_a_word_of_the_list() {
    let listed = listed();
    assert!(listed.len() > 10, "{listed:?}");
    let mut files = ["README.md", "SECURITY.md", "CONTRIBUTING.md"].map(repository).to_vec();
    for folder in ["src", "deploy", "dashboards"] {
        walk(&repository(folder), &mut files);
    }
    let (mut wrong, mut read) = (Vec::new(), 0);
    for file in files {
        let Ok(content) = fs::read_to_string(&file) else { continue };
        let path = file.strip_prefix(repository("")).unwrap().to_str().unwrap();
        for text in texts(path, &content) {
            read += 1;
            wrong
                .extend(found(&text, &listed).iter().map(|word| format!("{path}: {word}: {text}")));
        }
    }
    assert!(read > 2000, "texts are read: {read}");
    assert!(wrong.is_empty(), "{} texts:\n{}", wrong.len(), wrong.join("\n"));
}

/// The comments of a source, a paragraph each.
fn comments(content: &str) -> Vec<String> {
    let lines = content.lines().map(|line| {
        let text = line.trim().strip_prefix("//");
        text.map(|text| text.trim_start_matches(['/', '!']).trim())
    });
    let mut all = vec![String::new()];
    for line in lines {
        match (line, all.last_mut()) {
            (Some(text), Some(last)) if !text.is_empty() => {
                last.push_str(text);
                last.push(' ');
            }
            _ => all.push(String::new()),
        }
    }
    all.retain(|text| !text.is_empty());
    all
}

#[test]
fn no_comment_has_a_word_of_the_list() {
    let listed = listed();
    let mut files = vec![repository("build.rs")];
    for folder in ["src", "tests/it"] {
        walk(&repository(folder), &mut files);
    }
    let (mut wrong, mut read) = (Vec::new(), 0);
    for file in files.iter().filter(|file| file.extension().is_some_and(|it| it == "rs")) {
        let path = file.strip_prefix(repository("")).unwrap().display();
        for text in comments(&fs::read_to_string(file).unwrap()) {
            read += 1;
            wrong
                .extend(found(&text, &listed).iter().map(|word| format!("{path}: {word}: {text}")));
        }
    }
    assert!(read > 4000, "comments are read: {read}");
    assert!(wrong.is_empty(), "{} comments:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_listed_word_is_found_in_prose_and_not_in_names() {
    let listed = ["made".to_owned(), "so many".to_owned(), "be failed".to_owned()];
    let in_text = |text| found(text, &listed).len();
    assert_eq!(in_text("Checks are Made."), 1);
    assert_eq!(in_text("Of so\nmany, users would be  failed"), 2);
    assert_eq!(in_text("`made`, home-made, {made}, remade and somany"), 0);
    let code = "const A: &str = \"is made\";\n#[cfg(test)]\nmod tests {\n \"was made\" }";
    assert_eq!(source("src/web/page.rs", code), ["is made"]);
    assert_eq!(source("src/web/tests/page.rs", code), [""; 0]);
    assert_eq!(source("src/cli/run.rs", "/// It is\n    /// made\nfn f() {}"), ["It is made"]);
    assert_eq!(texts("a.md", "one\n```sh\nmade\n```\ntwo\nlines"), ["one\n", "\ntwo\nlines"]);
    assert_eq!(shown_values(r#"{"a": [{"title": "made"}]}"#, &["title"]), ["made"]);
    let source = "//! one\n\n/// two\n/// lines\nfn f() {} // not this";
    assert_eq!(comments(source), ["one ", "two lines "]);
}
