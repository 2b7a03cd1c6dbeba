//! What was not measured, and why each cause that was considered is a finding or is none.

use super::super::wording::{count, list};
use super::page::{BOLD, PLAIN, Page};
use crate::model::{Assessment, Fate, TraceEntry, Unmeasured};

/// What was not measured, essential things first.
pub(super) fn unmeasured(page: &mut Page, assessment: &Assessment) {
    if assessment.unmeasured.is_empty() {
        return;
    }
    page.heading("Not measured", "");
    let mut all: Vec<&Unmeasured> = assessment.unmeasured.iter().collect();
    all.sort_by_key(|missing| !missing.essential);
    for missing in all {
        page.paragraph(&format!("  {}: ", missing.words()), BOLD, &missing.why);
    }
}

/// Every hypothesis with its fate.
pub(super) fn trace(page: &mut Page, assessment: &Assessment) {
    page.heading("Why, and why not", "every cause that was considered");
    if assessment.trace.is_empty() {
        page.paragraph("  ", PLAIN, "No cause fits anything that was observed.");
    }
    for entry in &assessment.trace {
        page.paragraph(&format!("  {}: ", subject(entry)), BOLD, &fate(entry));
    }
    let observed = count(assessment.observations.len(), "observation");
    let text = format!("{observed} in all, each in one finding.");
    page.paragraph("  ", PLAIN, &text);
}

fn subject(entry: &TraceEntry) -> String {
    if entry.backends.is_empty() {
        entry.hypothesis.to_string()
    } else {
        format!("{} at {}", entry.hypothesis, list(&entry.backends))
    }
}

fn fate(entry: &TraceEntry) -> String {
    let fits = count(usize::try_from(entry.claims).unwrap_or(usize::MAX), "observation");
    match &entry.fate {
        Fate::Kept => format!("kept; it fits {fits}"),
        Fate::MergedInto { finding } => format!("the same cause as {finding}, which reports it"),
        Fate::SuppressedBy { finding } => format!("it follows from {finding}"),
        Fate::ExplainedBy { findings } => {
            format!("it fits {fits}, and {} explains them better", list(findings))
        }
        Fate::Lacks { evidence } => {
            format!("it fits {fits}, but lacks evidence: {}", evidence.join("; "))
        }
    }
}
