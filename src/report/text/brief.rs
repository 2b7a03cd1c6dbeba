//! What an engineer who was just paged needs first: who is affected, the first step, the cause. The
//! rest is printed with `-v`.

use super::page::{BOLD, PLAIN, Page, entry, severity_style, when};
use super::{matrix, reasoning};
use crate::model::{Finding, Judged};
use crate::report::wording::{headline, runbook, severity_word};

/// Above this many routes the matrix fills the screen.
const SMALL: usize = 6;
/// Facts of evidence that stand below the cause.
const FACTS: usize = 3;

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
    let more = "-v prints all remedies, evidence, routes, clocks, keys and checks.";
    page.paragraph("", PLAIN, &format!("{}. {more}", when(&judged.round)));
}

/// The worst finding: users and the first step come before the cause.
fn first(page: &mut Page, finding: &Finding) {
    entry(page, "Users", &finding.effect);
    step(page, finding);
    entry(page, "Cause", &finding.summary);
    for (label, fact) in
        ["Evidence"].into_iter().chain(std::iter::repeat(" ")).zip(&finding.evidence).take(FACTS)
    {
        entry(page, label, &format!("- {fact}"));
    }
    entry(page, "Runbook", &runbook(finding.finding));
}

fn step(page: &mut Page, finding: &Finding) {
    let Some(remedy) = finding.remedies.first() else { return };
    page.paragraph("  Do first    ", BOLD, &remedy.text);
    for command in &remedy.commands {
        page.command(14, command);
    }
}
