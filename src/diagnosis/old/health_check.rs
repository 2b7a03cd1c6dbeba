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
