//! A port that speaks another protocol than it is asked in: TLS where plain HTTP is, or the other
//! way round.

use crate::diagnosis::facts::{Facts, backends_of, flow_lines, subject, verb};
use crate::diagnosis::hypothesis::Hypothesis;
use crate::model::{FindingName, Flow, Phase, Reason, Step};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let wrong = facts.flows_that(|flow, _, reason| {
        matches!(reason, Reason::TlsHandshake | Reason::NotHttp) || is_plain_port(flow)
    });
    if wrong.is_empty() {
        return Vec::new();
    }
    let backends = backends_of(wrong.iter().map(|(_, flow)| *flow));
    let decisive = wrong.iter().all(|(_, flow)| {
        is_plain_port(flow)
            || flow.failure().is_some_and(|(_, failure)| {
                failure.reason == Reason::TlsHandshake && failure.phase == Some(Phase::Tls)
            })
    });
    let summary = format!(
        "{} {} another protocol than asked for.",
        subject(&backends),
        verb(backends.len(), "speaks", "speak")
    );
    let lost = facts
        .through_balancer(|seen| matches!(seen.reason(), Reason::TlsHandshake | Reason::NotHttp));
    let others = [FindingName::ServerErrors, FindingName::BackendUnreachable];
    vec![
        Hypothesis::new(FindingName::HttpHttpsMismatch, backends, summary)
            .proved_if(decisive, &others)
            .evidence(flow_lines(&wrong))
            .flows(&wrong)
            .fits(lost),
    ]
}

/// Whether a plain request met a port of TLS, or one that sends everybody to TLS.
pub(super) fn is_plain_port(flow: &Flow) -> bool {
    let reason = flow.failure().map(|(_, failure)| failure.reason);
    let no_registry =
        matches!(reason, Some(Reason::Html | Reason::UnexpectedStatus | Reason::Redirected));
    no_registry
        && flow.answer(Step::Challenge).is_some_and(|answer| {
            let to_tls = answer.location.as_deref().is_some_and(|to| to.starts_with("https://"));
            answer.status == 400 || ((300..400).contains(&answer.status) && to_tls)
        })
}
