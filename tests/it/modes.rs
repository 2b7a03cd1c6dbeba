//! The page of all failure modes says the same as the program: every finding is on it, every name
//! and scenario on it exists, and no row promises more than its scenarios show.

use std::collections::BTreeSet;
use std::fs;

use registry_prober::lab::Scenario;
use registry_prober::model::{Confidence, FindingName};

use crate::operations::repository;

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
    /// `A1`; none for a finding beside the catalogue.
    mode: Option<String>,
    /// The findings that it links to.
    findings: BTreeSet<String>,
    what: String,
    at_best: String,
    scenarios: BTreeSet<String>,
}

fn page() -> String {
    fs::read_to_string(repository("deploy/modes.md")).expect("the page")
}

fn rows() -> Vec<Row> {
    let page = page();
    let lines = page.lines().filter(|line| line.starts_with("| ") && !line.contains("---"));
    let row = |line: &str| {
        let mut cells: Vec<&str> =
            line.trim_matches('|').split(" | ").map(|cell| cell.trim_matches([' ', '|'])).collect();
        let heading = cells.contains(&"what shows it");
        let mode = (cells.len() == 5).then(|| cells.remove(0).to_owned());
        let [name, what, at_best, lab] = cells[..] else { panic!("four cells: {line}") };
        (!heading).then(|| Row {
            mode,
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
fn every_finding_is_on_the_page_and_every_finding_on_the_page_exists() {
    let written: BTreeSet<String> = rows().into_iter().flat_map(|row| row.findings).collect();
    let due = FindingName::ALL.iter().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(written, due);
}

#[test]
fn every_scenario_is_on_the_page_and_every_scenario_on_the_page_exists() {
    let written: BTreeSet<String> = rows().into_iter().flat_map(|row| row.scenarios).collect();
    let all = Scenario::all().unwrap().into_iter();
    let due = all.filter(|scenario| !scenario.expect.is_empty()).map(|scenario| scenario.name);
    assert_eq!(written, due.collect());
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
