//! A load balancer that misjudges its nodes (C6): too strict, it finds none though all are well;
//! blind, it keeps one that has failed for a while.

use chrono::TimeDelta;

use super::case::{Case, Draft, Impact, list};
use crate::model::{
    Answer, BackendName, Confidence, FindingName, Flow, Reason, Route, Severity, Step,
};

/// Every health check has taken a node out by then: three failures, ten seconds apart, twice over.
const PATIENCE: TimeDelta = TimeDelta::seconds(60);

/// Findings by which a backend is lost to whoever is led there.
const LOST: [FindingName; 5] = [
    FindingName::BackendUnreachable,
    FindingName::ServerErrors,
    FindingName::NotARegistry,
    FindingName::CoreRegistryPasswordMismatch,
    FindingName::SigningKeyUnusable,
];

/// The balancer says that it has no node, and every node passes its own flow.
pub(super) fn too_strict(case: &mut Case<'_>) {
    let flows = &case.round.flows;
    let backends = || flows.iter().filter(|flow| flow.route.backend().is_some());
    if backends().count() == 0 || !backends().all(Flow::succeeded) {
        return;
    }
    let lb = flows.iter().enumerate().find(|(_, flow)| flow.route == Route::Balancer);
    let Some((index, lb)) = lb else { return };
    let unavailable = lb.failure().is_some_and(|(step, failure)| {
        step == Step::Challenge && failure.reason == Reason::Unavailable
    });
    let Some(answer) = lb.answer(Step::Challenge).filter(|a| unavailable && is_balancers(a)) else {
        return;
    };
    let who = answer.server.as_ref().map_or_else(String::new, |name| format!(" ({name:?})"));
    case.add(
        Draft {
            name: FindingName::LbHealthCheckWrong,
            confidence: Confidence::Suspected,
            impact: Impact::Balancer,
            backends: Vec::new(),
            summary: "The load balancer finds no node it would use, while every node passes the \
                      whole token flow: its health check expects the wrong answer."
                .to_owned(),
            evidence: vec![
                format!("the load balancer itself{who} answers 503 to GET /v2/"),
                format!(
                    "{} of {} backends pass their flow",
                    backends().count(),
                    backends().count()
                ),
            ],
            alternatives: vec![FindingName::ServerErrors],
        },
        &[],
        &[index],
    );
}

/// Whether a 503 was written in front of the nodes: neither core nor distribution answered.
fn is_balancers(answer: &Answer) -> bool {
    !answer.request_id && !answer.api_version && answer.error_code.is_none()
}

/// A backend has failed for longer than any health check needs, and users are still led there.
pub(super) fn blind(case: &mut Case<'_>) {
    let lasting = case.findings.iter().find(|finding| {
        LOST.contains(&finding.finding)
            && finding.severity == Severity::Critical
            && !finding.backends.is_empty()
            && case.round.started - finding.since >= PATIENCE
    });
    let Some((name, since, backends)) =
        lasting.map(|finding| (finding.finding, finding.since, finding.backends.clone()))
    else {
        return;
    };
    let led = |backend: &BackendName| {
        case.shares.iter().any(|share| share.backend.as_ref() == Some(backend) && share.share > 0.0)
    };
    let lost = case.sampling().map_or(0, |run| run.lost());
    let led_to: Vec<BackendName> = backends.iter().filter(|name| led(name)).cloned().collect();
    if case.lb_fails() || (lost < 2 && led_to.is_empty()) {
        return;
    }
    let mut evidence = vec![format!(
        "{} has been failing since {} ({name})",
        list(&backends),
        since.format("%H:%M:%S UTC")
    )];
    if lost > 0 {
        evidence.push(format!("{lost} flows through the balancer were lost in this round"));
    }
    if !led_to.is_empty() {
        evidence.push(format!("the balancer still led the prober to {}", list(&led_to)));
    }
    case.add(
        Draft {
            name: FindingName::LbHealthCheckWrong,
            confidence: Confidence::Proved,
            impact: Impact::BackendLoss,
            backends: Vec::new(),
            summary: format!(
                "The load balancer still sends users to {}, which has failed for {} s: its \
                 health check does not see it.",
                list(&backends),
                (case.round.started - since).num_seconds()
            ),
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use chrono::{DateTime, Utc};

    use super::super::{assess, assess_after};
    use crate::model::{
        Answer, Confidence, Earlier, FindingName, KeyCount, KeyId, OpenFinding, Outcome, Reason,
        Round, Severity, Step, Subject, sample,
    };

    const NAME: FindingName = FindingName::LbHealthCheckWrong;

    fn has(round: &Round, earlier: &Earlier) -> bool {
        assess_after(round, earlier).findings.iter().any(|finding| finding.finding == NAME)
    }

    fn no_server(round: &mut Round) {
        sample::fail(round, "lb", Step::Challenge, Reason::Unavailable);
        let lb = round.flows.last_mut().unwrap();
        let answer = lb.steps[0].answer.as_mut().unwrap();
        (answer.status, answer.html) = (503, true);
    }

    #[test]
    fn a_balancer_without_a_node_before_sound_nodes_is_too_strict() {
        let mut round = sample::bent(&["a", "b"], no_server);
        assert!(has(&round, &Earlier::default()));
        assert_eq!(assess(&round).findings.len(), 1);
        sample::fail(&mut round, "b", Step::Challenge, Reason::Unavailable);
        assert!(!has(&round, &Earlier::default()), "a node that fails is the cause by itself");
        let mut round = sample::bent(&["a", "b"], no_server);
        let lb = round.flows.last_mut().unwrap();
        lb.steps[0].answer.as_mut().unwrap().request_id = true;
        assert!(!has(&round, &Earlier::default()), "core answered, not the balancer");
        for by_registry in [
            Answer { status: 503, api_version: true, ..Answer::default() },
            Answer { status: 503, error_code: Some("UNAVAILABLE".into()), ..Answer::default() },
        ] {
            let mut round = sample::bent(&["a", "b"], no_server);
            round.flows.last_mut().unwrap().steps[0].answer = Some(by_registry);
            assert!(!has(&round, &Earlier::default()), "the registry answered");
        }
        let later = sample::bent(&["a", "b"], |round| {
            sample::fail(round, "lb", Step::Access, Reason::Unavailable);
        });
        assert!(!has(&later, &Earlier::default()), "the balancer did lead to a node");
    }

    #[test]
    fn a_node_that_has_failed_for_a_minute_and_still_gets_users_shows_a_blind_check() {
        let round = sample::bent(&["a", "b"], |round| {
            sample::fail(round, "b", Step::Challenge, Reason::ConnectionRefused);
            if let Outcome::Measured(run) = &mut round.balancer {
                sample::lose(run, 9, Reason::ConnectionReset);
            }
        });
        let open_for = |seconds| {
            let since = sample::started() - Duration::from_secs(seconds);
            Earlier { open: open(FindingName::BackendUnreachable, since), ..Earlier::default() }
        };
        assert!(has(&round, &open_for(75)));
        assert!(has(&round, &open_for(60)), "that is the time");
        assert!(!has(&round, &open_for(45)), "a health check needs its time");
        assert!(!has(&round, &Earlier::default()));
        let mut spared = round.clone();
        if let Outcome::Measured(run) = &mut spared.balancer {
            run.failures.clear();
        }
        assert!(!has(&spared, &open_for(75)), "nobody is led there any more");
        let mut failing = round.clone();
        sample::fail(&mut failing, "lb", Step::Challenge, Reason::ConnectionRefused);
        assert!(!has(&failing, &open_for(75)), "the balancer itself fails");
    }

    /// A minute ago `b` began to answer requests with a token by 502; its key is its own.
    fn failing_at_access(tokens_of_b: u32, refused: u32) -> bool {
        let round = sample::bent(&["a", "b"], |round| {
            sample::sign_with(round, "b", sample::OTHER_KEY);
            sample::fail(round, "b", Step::Access, Reason::BadGateway);
            if let Outcome::Measured(run) = &mut round.balancer {
                run.pairs.events = refused;
                let key = KeyId::from_wire(sample::OTHER_KEY);
                run.keys.push(KeyCount { key, tokens: tokens_of_b });
            }
        });
        has(&round, &lasting(FindingName::ServerErrors))
    }

    fn lasting(name: FindingName) -> Earlier {
        let since = sample::started() - Duration::from_secs(75);
        Earlier { open: open(name, since), ..Earlier::default() }
    }

    fn open(finding: FindingName, since: DateTime<Utc>) -> BTreeMap<Subject, OpenFinding> {
        let (confidence, severity) = (Confidence::Proved, Severity::Warning);
        let subject = Subject { finding, backend: Some(sample::backend("b")) };
        [(subject, OpenFinding { since, confidence, severity })].into()
    }

    #[test]
    fn the_prober_being_led_there_shows_it_too_if_users_are_failed() {
        assert!(failing_at_access(5, 3));
        assert!(!failing_at_access(0, 3), "the balancer leads nobody there");
        assert!(!failing_at_access(5, 0), "no user is failed");
        // Errors of no known node are no node's that a check should have seen.
        let nobodys = sample::bent(&["a", "b"], |round| {
            if let Outcome::Measured(run) = &mut round.balancer {
                sample::lose(run, 9, Reason::BadGateway);
            }
        });
        assert!(!has(&nobodys, &lasting(FindingName::ServerErrors)));
    }
}
