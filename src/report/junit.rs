//! `check --output=junit`: a test suite for each registry, as CI servers read it.
//!
//! Every route's flow and every pair is a test case, and so is every finding that fails users or
//! soon will. A pair that was not tried is skipped; one without an answer about the token is an
//! error, not a failure.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::wording::{clean, headline, runbook};
use crate::model::{
    Cell, CellResult, Finding, Flow, RegistryName, RegistryState, Remedy, Severity, Snapshot,
    Status, Unmeasured,
};

pub(super) fn render(snapshot: &Snapshot) -> String {
    let mut report = Report::new("registry-prober");
    let rounds = snapshot.registries.values().filter_map(|state| state.latest.as_deref());
    report.set_time(seconds(rounds.map(|judged| judged.round.seconds).sum()));
    report.add_test_suites(snapshot.registries.iter().map(|(name, state)| suite(name, state)));
    // Fails only where a writer does.
    report.to_string().unwrap_or_default()
}

fn suite(name: &RegistryName, state: &RegistryState) -> TestSuite {
    let name = name.to_string();
    let mut suite = TestSuite::new(name.as_str());
    suite.add_property(Property::new("url", clean(&state.url)));
    let case = |(class, mut case): (&str, TestCase)| {
        case.set_classname(format!("{name}.{class}"));
        case
    };
    let judged = state.latest.as_deref();
    if let Some(judged) = judged {
        let round = &judged.round;
        suite.set_timestamp(round.started.fixed_offset()).set_time(seconds(round.seconds));
        suite.add_test_cases(round.flows.iter().map(flow).map(case));
        suite.add_test_cases(round.matrix.cells.iter().map(pair).map(case));
        let telling = |finding: &&Finding| finding.severity >= Severity::Warning;
        let findings = judged.assessment.findings.iter().filter(telling);
        suite.add_test_cases(findings.map(finding).map(case));
    }
    let unmeasured = judged.map_or(&[][..], |judged| &judged.assessment.unmeasured);
    suite.add_test_cases(unmeasured.iter().map(missing).map(case));
    let unknown = judged.is_none_or(|judged| judged.assessment.status == Status::Unknown);
    if unknown && !unmeasured.iter().any(|missing| missing.essential) {
        let ending = error("unknown", "too little was measured");
        suite.add_test_case(case(("round", TestCase::new("round", ending))));
    }
    suite
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn failure(kind: &str, message: &str, text: String) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type(kind).set_message(clean(message)).set_description(text);
    status
}

fn error(kind: &str, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_type(kind).set_message(clean(message));
    status
}

fn skipped(message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(clean(message));
    status
}

fn flow(flow: &Flow) -> (&'static str, TestCase) {
    let ending = match flow.failure() {
        None => TestCaseStatus::success(),
        Some((step, failed)) => failure(
            failed.reason.as_str(),
            &format!("failed at {}: {}", step.as_str(), failed.reason),
            clean(&failed.detail),
        ),
    };
    let mut case = TestCase::new(clean(flow.route.as_str()), ending);
    case.set_time(seconds(flow.seconds()));
    ("flow", case)
}

fn pair(cell: &Cell) -> (&'static str, TestCase) {
    let ending = match &cell.result {
        CellResult::Accepted => TestCaseStatus::success(),
        CellResult::Skipped { reason } => skipped(reason.as_str()),
        CellResult::Failed { failure, .. } => error(failure.reason.as_str(), &failure.to_string()),
        CellResult::Refused(refusal) => failure(
            cell.reason().unwrap_or("refused"),
            &match refusal.healed_after {
                Some(seconds) => format!("refused at first, accepted after {seconds:.1} s"),
                None => format!("refused in each of {} tries", refusal.tries),
            },
            clean(refusal.answer.error_message.as_deref().unwrap_or_default()),
        ),
    };
    let name = clean(&format!("{} to {}", cell.issuer, cell.verifier));
    ("pair", TestCase::new(name, ending))
}

/// What was not measured: an error where no one can say that all is well without it.
fn missing(missing: &Unmeasured) -> (&'static str, TestCase) {
    let ending =
        if missing.essential { error("unknown", &missing.why) } else { skipped(&missing.why) };
    ("unmeasured", TestCase::new(clean(&missing.words()), ending))
}

fn finding(finding: &Finding) -> (&'static str, TestCase) {
    let to_do = |remedy: &Remedy| {
        let lines = [format!("To do: {}", clean(&remedy.text))].into_iter();
        lines.chain(remedy.commands.iter().map(|command| clean(command))).collect::<Vec<_>>()
    };
    let evidence = finding.evidence.iter().map(|fact| format!("Evidence: {}", clean(fact)));
    let text: Vec<String> = [clean(&finding.effect)]
        .into_iter()
        .chain(finding.remedies.iter().flat_map(to_do))
        .chain(evidence)
        .chain([format!("Runbook: {}", runbook(finding.finding))])
        .collect();
    let message = format!("{}: {}", headline(finding), finding.summary);
    let ending = failure(finding.severity.as_str(), &message, text.join("\n"));
    ("finding", TestCase::new(finding.finding.to_string(), ending))
}

#[cfg(test)]
mod tests {
    use super::super::sample::{add, finding as sample, key_mismatch, snapshot};
    use super::*;
    use crate::model::{Confidence, FindingName};

    #[test]
    fn the_counts_are_those_of_the_cases() {
        let mut judged = key_mismatch(3, 2);
        let note = sample(FindingName::MixedVersions, Severity::Info, Confidence::Proved, &[]);
        add(&mut judged, note);
        let xml = render(&snapshot([judged]));
        let number = |what: &str| xml.matches(what).count();
        // 4 flows, 16 pairs and the finding that fails users; the note is no test.
        assert_eq!(number("<testcase "), 21);
        assert_eq!(number("<failure "), 1 + 6 + 1);
        assert_eq!(number("tests=\"21\" skipped=\"0\""), 2);
        assert_eq!(number("errors=\"0\" failures=\"8\""), 1, "{xml}");
        assert_eq!(number("failures=\"8\" errors=\"0\""), 1, "{xml}");
        assert!(!xml.contains("mixed-versions"));
    }
}
