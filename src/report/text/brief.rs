//! What an engineer who was just paged needs first: who is affected, the cause, the first step. The
//! rest is printed with `-v`.

use super::page::{BOLD, LABEL, PLAIN, Page, entry, severity_style, when, wrap};
use super::{matrix, reasoning};
use crate::model::{Finding, Judged};
use crate::report::wording::{headline, runbook, severity_word};

/// Above this many routes the matrix fills the screen.
const SMALL: usize = 6;
/// Facts of evidence that stand below the cause.
const FACTS: usize = 3;
/// Lines for what users feel, and for the cause.
const USERS: usize = 3;
const CAUSE: usize = 2;

/// One registry that is not well.
pub(super) fn registry(page: &mut Page, judged: &Judged) {
    let findings = &judged.assessment.findings;
    page.gap();
    if let Some(worst) = findings.first() {
        first(page, worst);
    }
    for finding in findings.iter().skip(1) {
        let lead = format!("{}  ", severity_word(finding.severity));
        page.gap();
        page.paragraph(&lead, severity_style(finding.severity), &headline(finding));
        entry(page, "", &finding.summary);
        step(page, finding);
    }
    reasoning::unmeasured(page, &judged.assessment);
    let wrong = judged.round.matrix.cells.iter().any(matrix::wrong);
    if wrong && judged.round.flows.len() <= SMALL {
        matrix::tokens(page, &judged.round.matrix);
    }
    page.gap();
    let more = "-v prints commands that show it, all remedies, how to undo them, evidence, routes, \
                clocks, keys and checks.";
    page.paragraph("", PLAIN, &format!("{}. {more}", when(&judged.round)));
}

/// The worst finding, so that users, cause and the first step stand in the first ten lines: what is
/// too long for them comes after the step.
fn first(page: &mut Page, finding: &Finding) {
    let width = page.width().saturating_sub(LABEL + 2);
    let (users, more_users) = cut(&finding.effect, width, USERS);
    let (cause, more_cause) = cut(&finding.summary, width, CAUSE);
    entry(page, "Users", users);
    entry(page, "Cause", cause);
    step(page, finding);
    let facts = finding.evidence.iter().take(FACTS).map(|fact| fact.text.as_str());
    let all = [more_cause].into_iter().chain(facts).chain([more_users]);
    let facts: Vec<String> =
        all.filter(|text| !text.is_empty()).map(|text| format!("- {text}")).collect();
    for (label, fact) in ["Evidence"].into_iter().chain(std::iter::repeat(" ")).zip(&facts) {
        entry(page, label, fact);
    }
    entry(page, "Runbook", &runbook(finding.finding));
}

/// The beginning of a text that takes no more than some lines, up to the end of a sentence or of a
/// part of one, and the rest. The first part is never cut.
fn cut(text: &str, width: usize, lines: usize) -> (&str, &str) {
    if wrap(text, width).len() <= lines {
        return (text, "");
    }
    let ends = text.match_indices("; ").chain(text.match_indices(". ")).map(|(at, _)| at + 1);
    let mut ends: Vec<usize> = ends.collect();
    ends.sort_unstable();
    let fits = |end: &&usize| wrap(&text[..**end], width).len() <= lines;
    match ends.iter().rev().find(fits).or(ends.first()) {
        Some(end) => (text[..*end].trim_end_matches(';'), text[*end..].trim_start()),
        None => (text, ""),
    }
}

fn step(page: &mut Page, finding: &Finding) {
    let Some(remedy) = finding.remedies.first() else { return };
    page.paragraph(&format!("  {:LABEL$}", "Do first"), BOLD, &remedy.text);
    for command in &remedy.commands {
        page.command(LABEL + 2, command);
    }
}
