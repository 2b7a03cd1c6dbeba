//! `check` in text form, for a tired engineer: the verdict first, then what is broken, where, what
//! it does to users and what to do; what was measured comes last.
//!
//! Colour only repeats what the words say.

mod brief;
mod matrix;
mod measured;
mod page;
mod reasoning;

pub(super) use page::{BOLD, PLAIN, Page, severity_style, status_style};
use page::{LABEL, entry, when};

use super::checks::sentence;
use super::form::Form;
use super::wording::{
    checked, count, headline, list, runbook, severity_word, status_word, verdict,
};
use crate::model::{
    BackendFacts, ClockReading, Confidence, Finding, Judged, Outcome, RegistryName, RegistryState,
    Snapshot, Status,
};

/// Facts of evidence that are printed; the JSON has all.
const MOST_EVIDENCE: usize = 12;
/// Commands that are printed to show a finding; the JSON has all.
const MOST_COMMANDS: usize = 8;

pub(super) fn render(snapshot: &Snapshot, form: Form) -> String {
    let (mut page, trace) = (Page::new(form.width), form.trace);
    if snapshot.registries.is_empty() {
        page.paragraph("UNKNOWN  ", status_style(Status::Unknown), "no registry is configured");
    }
    verdicts(&mut page, snapshot);
    for (name, state) in &snapshot.registries {
        let Some(judged) = state.latest.as_deref() else { continue };
        let alone = snapshot.registries.len() == 1;
        let quiet = quiet(judged);
        if !alone && (!quiet || form.verbose) {
            page.heading(&format!("==== {name} ===="), &state.url);
        }
        if quiet && !form.verbose {
            // Among several registries the line above says enough of one that is well.
            if alone {
                healthy(&mut page, judged);
            }
        } else if form.verbose {
            everything(&mut page, judged, trace);
            continue;
        } else {
            brief::registry(&mut page, judged);
        }
        if trace {
            reasoning::trace(&mut page, judged);
        }
    }
    page.into_text()
}

/// All that was found and measured, whether or not anything is wrong.
fn everything(page: &mut Page, judged: &Judged, trace: bool) {
    for finding in &judged.assessment.findings {
        finding_block(page, finding);
    }
    reasoning::unmeasured(page, &judged.assessment);
    if trace {
        reasoning::trace(page, judged);
    }
    matrix::tokens(page, &judged.round.matrix);
    matrix::of_checks(page, &judged.round.checks);
    measured::routes(page, &judged.round);
    measured::clocks(page, judged);
    measured::keys(page, &judged.round);
    measured::balancer(page, judged);
    page.gap();
    page.paragraph("Checks  ", BOLD, &sentence(&judged.round));
    measured::checks(page, &judged.round.checks);
    page.gap();
    page.paragraph("", PLAIN, &format!("{}: {}", when(&judged.round), checked(judged)));
}

fn verdicts(page: &mut Page, snapshot: &Snapshot) {
    let longest = |width: &dyn Fn(&RegistryName, &RegistryState) -> usize| {
        snapshot.registries.iter().map(|(name, state)| width(name, state)).max().unwrap_or(0)
    };
    let word = |state: &RegistryState| {
        state.latest.as_ref().map_or(Status::Unknown, |judged| judged.assessment.status)
    };
    let words = longest(&|_, state| status_word(word(state)).len());
    let names = longest(&|name, _| name.as_str().len());
    for (name, state) in &snapshot.registries {
        let status = word(state);
        let lead = format!("{:words$}  {name:names$}  ", status_word(status));
        page.paragraph(&lead, status_style(status), &format!("{}: {}", state.url, verdict(state)));
    }
}

/// Whether there is nothing to tell beyond what was checked.
fn quiet(judged: &Judged) -> bool {
    judged.assessment.status == Status::Ok
        && judged.assessment.findings.is_empty()
        && judged.assessment.observations.is_empty()
        && judged.assessment.unmeasured.is_empty()
        && judged.round.flows.iter().all(|flow| flow.succeeded() && flow.lost_before.is_none())
        && !judged.round.matrix.cells.iter().any(matrix::wrong)
        && !matrix::refuses(&judged.round.checks)
        && !judged.round.clocks.iter().any(|clock| clock.contradiction)
}

fn healthy(page: &mut Page, judged: &Judged) {
    let round = &judged.round;
    page.gap();
    let slowest = round.flows.iter().max_by(|a, b| a.seconds().total_cmp(&b.seconds()));
    if let Some(flow) = slowest {
        let text = format!(
            "the token flow passed on {}; the slowest is {} with {:.0} ms",
            list(&round.flows.iter().map(|flow| &flow.route).collect::<Vec<_>>()),
            flow.route,
            flow.seconds() * 1000.0
        );
        page.paragraph("  Routes    ", BOLD, &text);
    }
    let accepted = round.matrix.cells.iter().filter(|cell| cell.accepted() == Some(true)).count();
    if accepted > 0 {
        let text = format!("{} tried, each token accepted", count(accepted, "pair"));
        page.paragraph("  Matrix    ", BOLD, &text);
    }
    if let Outcome::Measured(run) = &round.balancer {
        let text = format!(
            "{} of {} independent flows and {} of {} flows of clients were answered 401",
            run.pairs.events, run.pairs.trials, run.client_flows.events, run.client_flows.trials
        );
        page.paragraph("  Balancer  ", BOLD, &text);
    }
    page.paragraph("  Checks    ", BOLD, &sentence(round));
    // Of each backend the source that knows best.
    let bound =
        |clock: &ClockReading| clock.interval.lower().abs().max(clock.interval.upper().abs());
    let nearest = |backend: &BackendFacts| {
        let own = round.clocks.iter().filter(|clock| clock.backend == backend.name);
        own.map(bound).min_by(f64::total_cmp)
    };
    let furthest = round.backends.iter().filter_map(nearest).max_by(f64::total_cmp);
    if let Some(furthest) = furthest {
        let furthest = (furthest * 1000.0).ceil();
        let text = format!("each backend's clock is within {furthest:.0} ms of the prober's");
        page.paragraph("  Clocks    ", BOLD, &text);
    }
    page.gap();
    page.paragraph("", PLAIN, &when(&judged.round));
}

fn finding_block(page: &mut Page, finding: &Finding) {
    page.gap();
    let lead = format!("{}  ", severity_word(finding.severity));
    page.paragraph(&lead, severity_style(finding.severity), &headline(finding));
    entry(page, "", &finding.summary);
    page.gap();
    entry(page, "Users", &finding.effect);
    entry(page, "Confidence", &confidence(finding));
    for (number, remedy) in finding.remedies.iter().enumerate() {
        let label = if number == 0 { "To do" } else { " " };
        entry(page, label, &format!("{}. {}", number + 1, remedy.text));
        for command in &remedy.commands {
            page.command(LABEL + 5, command);
        }
    }
    let facts = finding.evidence.iter().take(MOST_EVIDENCE);
    for (label, fact) in ["Evidence"].into_iter().chain(std::iter::repeat(" ")).zip(facts) {
        entry(page, label, &format!("- {fact}"));
    }
    if finding.evidence.len() > MOST_EVIDENCE {
        let more = finding.evidence.len() - MOST_EVIDENCE;
        entry(page, " ", &format!("and {more} more, all in --output=json"));
    }
    entry(page, "To confirm", &finding.confirm);
    if finding.explains > 0 {
        let explained = match finding.explains {
            1 => "1 refused pair or failed flow of this check".to_owned(),
            number => format!("{number} refused pairs or failed flows of this check"),
        };
        entry(page, "Explains", &explained);
    }
    reproduce(page, finding);
    entry(page, "Runbook", &runbook(finding.finding));
}

/// The commands that show it, each with what the prober saw.
fn reproduce(page: &mut Page, finding: &Finding) {
    if !finding.reproduce.is_empty() {
        entry(page, "To see it", "in bash; curl asks for the password");
    }
    let shown = finding.reproduce.iter().take(MOST_COMMANDS);
    for shown in shown {
        entry(page, " ", &format!("- {}", shown.text));
        page.command(LABEL + 4, &shown.command);
    }
    if finding.reproduce.len() > MOST_COMMANDS {
        let more = finding.reproduce.len() - MOST_COMMANDS;
        entry(page, " ", &format!("and {more} more, all in --output=json"));
    }
}

fn confidence(finding: &Finding) -> String {
    match (finding.confidence, finding.alternatives.is_empty()) {
        (Confidence::Proved, _) => "proved".to_owned(),
        (Confidence::Suspected, true) => "suspected".to_owned(),
        (Confidence::Suspected, false) => {
            format!("suspected; the same evidence also fits {}", list(&finding.alternatives))
        }
    }
}
