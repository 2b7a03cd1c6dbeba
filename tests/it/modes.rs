//! The page of all failure modes is written from the findings' pages and the lab's scenarios
//! (`UPDATE=1 cargo test --test it modes`), and no row promises more than its scenarios show.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use registry_prober::findings::{FindingName, Group};
use registry_prober::lab::Scenario;
use registry_prober::model::Confidence;

use crate::operations::repository;
use crate::support::written::is_written;

/// Modes that no finding names: group, code, name, and what would show them or why nothing does.
const UNNAMED: &[(Group, &str, &str, &str)] = &[(
    Group::Credentials,
    "D5",
    "oidc-outage-or-cli-secret-stale",
    "Not distinguished from D4: it concerns only accounts that live at the identity provider, and \
     their CLI secret goes stale by itself. With such an account as `directory_credentials` it \
     shows as D4. Robots pass.",
)];

/// How many modes each group of the catalogue has.
const GROUPS: [(char, usize); 10] = [
    ('A', 6),
    ('B', 4),
    ('C', 9),
    ('D', 9),
    ('E', 3),
    ('F', 5),
    ('G', 3),
    ('H', 2),
    ('I', 3),
    ('J', 2),
];

/// A row of one of the page's tables.
struct Row {
    /// `A1`; none for a finding that is no mode of its own.
    mode: Option<String>,
    /// The findings that it links to.
    findings: BTreeSet<String>,
    what: String,
    at_best: String,
    scenarios: BTreeSet<String>,
}

/// The tables as the findings and scenarios have them.
fn tables() -> String {
    let scenarios = Scenario::all().expect("the scenarios are right");
    let mut text = String::new();
    for group in Group::ALL {
        let of_group = FindingName::ALL.iter().filter(|name| name.definition().group == group);
        let mut rows: Vec<[String; 5]> = of_group.map(|name| cells(*name, &scenarios)).collect();
        let unnamed = UNNAMED.iter().filter(|row| row.0 == group);
        rows.extend(unnamed.map(|row| [row.1, row.2, row.3, "–", "–"].map(str::to_owned)));
        // Those without a code stand last.
        rows.sort_by_key(|row| (row[0] == "–", row[0].clone()));
        let _ = write!(text, "\n## {}\n\n{HEAD}", group.title());
        text.extend(rows.iter().map(|cells| format!("| {} |\n", cells.join(" | "))));
    }
    text
}

const HEAD: &str = "\
    | | finding | what shows it | at best | lab |\n\
    | --- | --- | --- | --- | --- |\n";

fn cells(name: FindingName, scenarios: &[Scenario]) -> [String; 5] {
    let of = name.definition();
    let shows = |scenario: &&Scenario| scenario.expect.iter().any(|it| it.finding == name);
    let lab: Vec<String> =
        scenarios.iter().filter(shows).map(|scenario| format!("`{}`", scenario.name)).collect();
    [
        of.code.unwrap_or("–").to_owned(),
        format!("[{name}](runbooks/{name}.md)"),
        of.shown_by.replace("](", "](runbooks/"),
        of.at_best.to_owned(),
        if lab.is_empty() { "–".to_owned() } else { lab.join(", ") },
    ]
}

fn page() -> String {
    fs::read_to_string(repository("deploy/modes.md")).expect("the page")
}

fn rows() -> Vec<Row> {
    let page = page();
    let lines = page.lines().filter(|line| line.starts_with("| ") && !line.contains("---"));
    let row = |line: &str| {
        let cells: Vec<&str> =
            line.trim_matches('|').split(" | ").map(|cell| cell.trim_matches([' ', '|'])).collect();
        if cells.contains(&"what shows it") {
            return None;
        }
        let [mode, name, what, at_best, lab] = cells[..] else { panic!("five cells: {line}") };
        Some(Row {
            mode: (mode != "–").then(|| mode.to_owned()),
            findings: links(name).chain(links(what)).collect(),
            what: what.to_owned(),
            at_best: at_best.to_owned(),
            scenarios: lab.split('`').skip(1).step_by(2).map(str::to_owned).collect(),
        })
    };
    lines.filter_map(row).collect()
}

/// The runbook pages that a text links to, by the text of the link, which must be their name.
fn links(text: &str) -> impl Iterator<Item = String> {
    text.split('[').skip(1).map(|rest| {
        let (name, rest) = rest.split_once("](").expect("a link");
        assert!(rest.starts_with(&format!("runbooks/{name}.md)")), "{name} leads to {rest}");
        name.to_owned()
    })
}

#[test]
fn every_mode_of_the_catalogue_has_its_row_in_order() {
    let due: Vec<String> = GROUPS
        .into_iter()
        .flat_map(|(group, count)| (1..=count).map(move |number| format!("{group}{number}")))
        .collect();
    assert_eq!(due.len(), 46);
    let written: Vec<String> = rows().into_iter().filter_map(|row| row.mode).collect();
    assert_eq!(written, due);
}

#[test]
fn the_page_is_written_from_the_findings_and_the_scenarios() {
    is_written("deploy/modes.md", "the tables", &tables());
}

#[test]
fn a_row_promises_what_its_scenarios_show() {
    for row in rows().into_iter().filter(|row| !row.findings.is_empty()) {
        let expected: Vec<_> = row
            .scenarios
            .iter()
            .flat_map(|name| Scenario::named(name).unwrap().expect)
            .filter(|expected| row.findings.contains(expected.finding.as_str()))
            .collect();
        if row.scenarios.is_empty() {
            continue;
        }
        assert!(!expected.is_empty(), "{:?}: its scenarios expect something else", row.findings);
        let proved = expected.iter().any(|expected| expected.confidence == Confidence::Proved);
        assert_eq!(row.at_best.contains("proved"), proved, "{:?}", row.findings);
    }
}

#[test]
fn a_mode_without_a_finding_says_why() {
    for row in rows().into_iter().filter(|row| row.findings.is_empty()) {
        let mode = row.mode.expect("a mode");
        assert!(row.what.starts_with("Not "), "{mode}: {}", row.what);
        assert_eq!(row.at_best, "–", "{mode}");
    }
}
