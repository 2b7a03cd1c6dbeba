//! What was not measured, and why each cause that was considered is a finding or is none.

use super::super::checks::sentence;
use super::super::wording::{checked, count, list};
use super::page::{BOLD, PLAIN, Page};
use crate::findings::Group;
use crate::model::{Assessment, Fate, FindingName, Judged, TraceEntry, Unmeasured};

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

/// Every hypothesis with its fate. Where nothing is wrong, what was looked for and could have shown.
pub(super) fn trace(page: &mut Page, judged: &Judged) {
    let assessment = &judged.assessment;
    page.heading("Why, and why not", "every cause that was considered");
    for entry in &assessment.trace {
        page.paragraph(&format!("  {}: ", subject(entry)), BOLD, &fate(entry));
    }
    if assessment.observations.is_empty() {
        let text = format!(
            "{} found only what a healthy registry shows too, so there is nothing to explain.",
            checked(judged)
        );
        page.paragraph("  ", PLAIN, &text);
        page.paragraph("  ", PLAIN, &sentence(&judged.round));
    } else {
        let observed = count(assessment.observations.len(), "observation");
        page.paragraph("  ", PLAIN, &format!("{observed} in all, each in one finding."));
    }
    considered(page, assessment);
}

/// The causes for which nothing spoke, by what they are about.
fn considered(page: &mut Page, assessment: &Assessment) {
    let fits = |name: &FindingName| assessment.trace.iter().any(|it| it.hypothesis == *name);
    page.paragraph("  ", PLAIN, "Nothing fits these causes:");
    for group in Group::ALL {
        let of_group = |name: &&FindingName| name.definition().group == group;
        let none: Vec<&FindingName> =
            FindingName::ALL.iter().filter(of_group).filter(|name| !fits(name)).collect();
        if !none.is_empty() {
            let names: Vec<String> = none.iter().map(ToString::to_string).collect();
            page.paragraph(&format!("  {}: ", group.title()), BOLD, &names.join(", "));
        }
    }
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
