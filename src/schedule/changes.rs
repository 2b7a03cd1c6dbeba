//! What a round changed, as log lines: one for each change of state, none for a round that is like
//! the one before.

use std::collections::BTreeMap;

use tracing::{info, warn};

use crate::model::{
    BackendName, Finding, FindingName, Flow, Judged, Reason, RegistryName, Route, Severity, Status,
    Step, Subject, one_line,
};

/// One change of state.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// The registry as a whole is better or worse than before.
    Status {
        /// None before the first round.
        before: Option<Status>,
        after: Status,
    },
    /// A finding is new at these backends, or its severity changed there.
    Appeared(Finding),
    /// A finding is gone at these backends.
    Cleared { finding: FindingName, backends: Vec<BackendName> },
    /// A route's flow fails, or fails elsewhere than before.
    Failing { route: Route, step: Step, reason: Reason, detail: String },
    /// A route's flow succeeds again.
    Recovered(Route),
}

/// What is different from the round before. For a first round: everything that is wrong, and its
/// status.
pub(super) fn changes(before: Option<&Judged>, after: &Judged) -> Vec<Change> {
    let mut changes = Vec::new();
    let status = before.map(|judged| judged.assessment.status);
    if status != Some(after.assessment.status) {
        changes.push(Change::Status { before: status, after: after.assessment.status });
    }
    let earlier = before.map_or(&[][..], |judged| &judged.assessment.findings);
    let known = subjects(earlier);
    for finding in &after.assessment.findings {
        let as_before = |subject: &Subject| known.get(subject) == Some(&finding.severity);
        changes.extend(at_those(finding, |s| !as_before(s)).map(Change::Appeared));
    }
    let still = subjects(&after.assessment.findings);
    for finding in earlier {
        let gone = at_those(finding, |subject| !still.contains_key(subject));
        changes.extend(
            gone.map(|gone| Change::Cleared { finding: gone.finding, backends: gone.backends }),
        );
    }
    for flow in &after.round.flows {
        let earlier = before.and_then(|judged| judged.round.flow(&flow.route));
        changes.extend(route(earlier, flow));
    }
    changes
}

/// Every subject with its worst severity.
fn subjects(findings: &[Finding]) -> BTreeMap<Subject, Severity> {
    let mut all = BTreeMap::new();
    for finding in findings {
        for subject in Subject::all(finding.finding, &finding.backends) {
            let known = all.entry(subject).or_insert(finding.severity);
            *known = finding.severity.max(*known);
        }
    }
    all
}

/// The finding, limited to the subjects that fit; none if no subject does.
fn at_those(finding: &Finding, fits: impl Fn(&Subject) -> bool) -> Option<Finding> {
    let mut subjects = Subject::all(finding.finding, &finding.backends);
    subjects.retain(fits);
    if subjects.is_empty() {
        return None;
    }
    let backends = subjects.into_iter().filter_map(|subject| subject.backend).collect();
    Some(Finding { backends, ..finding.clone() })
}

fn route(before: Option<&Flow>, after: &Flow) -> Option<Change> {
    let place = |flow: &Flow| flow.failure().map(|(step, failure)| (step, failure.reason));
    match (before.and_then(place), after.failure()) {
        (Some(_), None) => Some(Change::Recovered(after.route.clone())),
        (earlier, Some((step, failure))) if earlier != Some((step, failure.reason)) => {
            Some(Change::Failing {
                route: after.route.clone(),
                step,
                reason: failure.reason,
                detail: one_line(&failure.detail, usize::MAX),
            })
        }
        _ => None,
    }
}

impl Change {
    /// Writes the change to the log.
    pub(super) fn log(&self, registry: &RegistryName) {
        match self {
            Self::Status { before, after } => {
                let before = before.map_or("none", Status::as_str);
                let status = after.as_str();
                if *after == Status::Ok {
                    info!(%registry, status, before, "the registry is healthy");
                } else {
                    warn!(%registry, status, before, "the registry is not healthy");
                }
            }
            Self::Appeared(finding) => {
                let (name, severity) = (finding.finding, finding.severity.as_str());
                let confidence = finding.confidence.as_str();
                let (backends, summary) =
                    (list(&finding.backends), one_line(&finding.summary, usize::MAX));
                if finding.severity == Severity::Info {
                    info!(
                        %registry, finding = %name, severity, confidence, backends, summary,
                        "a finding appeared"
                    );
                } else {
                    warn!(
                        %registry, finding = %name, severity, confidence, backends, summary,
                        "a finding appeared"
                    );
                }
            }
            Self::Cleared { finding, backends } => {
                info!(%registry, %finding, backends = list(backends), "a finding cleared");
            }
            Self::Failing { route, step, reason, detail } => {
                let step = step.as_str();
                warn!(%registry, %route, step, %reason, detail, "a token flow fails");
            }
            Self::Recovered(route) => {
                info!(%registry, %route, "the token flow succeeds again");
            }
        }
    }
}

fn list(names: &[BackendName]) -> String {
    names.iter().map(BackendName::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::{changed, fail, finding, judged, round, route as named};

    const MISMATCH: FindingName = FindingName::TokenKeyMismatch;

    fn well() -> std::sync::Arc<Judged> {
        judged(round(&["a", "b"]), Vec::new())
    }

    fn failing(at: &str, reason: Reason) -> std::sync::Arc<Judged> {
        let changed = changed(&["a", "b"], |round| fail(round, at, Step::Token, reason));
        judged(changed, Vec::new())
    }

    fn with(severity: Severity, backends: &[&str]) -> std::sync::Arc<Judged> {
        judged(round(&["a", "b"]), vec![finding(MISMATCH, severity, backends)])
    }

    #[test]
    fn a_round_like_the_one_before_changes_nothing() {
        for judged in [well(), failing("a", Reason::Timeout), with(Severity::Critical, &["b"])] {
            assert_eq!(changes(Some(&judged), &judged), []);
        }
    }

    #[test]
    fn the_first_round_tells_its_status_and_all_that_is_wrong() {
        let status = |after| Change::Status { before: None, after };
        assert_eq!(changes(None, &well()), [status(Status::Ok)]);
        let told = changes(None, &with(Severity::Critical, &["b"]));
        assert!(
            matches!(&told[..], [first, Change::Appeared(_)] if *first == status(Status::Critical))
        );
        let told = changes(None, &failing("lb", Reason::Timeout));
        assert!(matches!(&told[..], [_, Change::Failing { route, .. }] if *route == named("lb")));
    }

    #[test]
    fn findings_appear_get_worse_and_clear() {
        let (warning, critical) =
            (with(Severity::Warning, &["b"]), with(Severity::Critical, &["b"]));
        let names = |before: &Judged, after: &Judged| -> Vec<&'static str> {
            let word = |change: &Change| match change {
                Change::Status { .. } => "status",
                Change::Appeared(_) => "appeared",
                Change::Cleared { .. } => "cleared",
                Change::Failing { .. } | Change::Recovered(_) => "route",
            };
            changes(Some(before), after).iter().map(word).collect()
        };
        assert_eq!(names(&well(), &warning), ["status", "appeared"]);
        assert_eq!(
            names(&warning, &critical),
            ["status", "appeared"],
            "as bad as it was not before"
        );
        assert_eq!(names(&critical, &well()), ["status", "cleared"]);
        let elsewhere = with(Severity::Critical, &["a"]);
        assert_eq!(names(&critical, &elsewhere), ["appeared", "cleared"]);
        let both = with(Severity::Critical, &["a", "b"]);
        let told = changes(Some(&critical), &both);
        assert!(
            matches!(&told[..], [Change::Appeared(f)] if f.backends == elsewhere.assessment.findings[0].backends),
            "only what is new is told: {told:?}"
        );
        let told = changes(Some(&both), &critical);
        assert!(matches!(&told[..], [Change::Cleared { backends, .. }] if backends.len() == 1));
    }

    #[test]
    fn a_route_is_told_when_it_fails_fails_elsewhere_and_recovers() {
        let (late, refused) = (failing("a", Reason::Timeout), failing("a", Reason::Unauthorized));
        let reason = |before: &Judged, after: &Judged| match &changes(Some(before), after)[..] {
            [Change::Failing { reason, .. }] => Some(*reason),
            _ => None,
        };
        assert_eq!(reason(&well(), &late), Some(Reason::Timeout));
        assert_eq!(reason(&late, &refused), Some(Reason::Unauthorized));
        assert_eq!(changes(Some(&late), &well()), [Change::Recovered(named("a"))]);
    }

    #[test]
    fn text_from_servers_cannot_forge_a_line() {
        assert_eq!(one_line("a\nINFO b\x1b[2J\u{85}c", usize::MAX), "a INFO b [2J c");
    }
}
