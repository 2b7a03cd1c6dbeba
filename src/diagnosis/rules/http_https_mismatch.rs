//! A port that speaks another protocol than it is asked in: TLS where plain HTTP is, or the other
//! way round. A handshake that fails is an answer of something that speaks TLS, and no such thing.

use crate::diagnosis::facts::{Facts, backends_of, flow_lines};
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::diagnosis::wording::{subject, verb};
use crate::model::{FindingName, Flow, Page, Phase, Reason, Step};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let wrong = facts.flows_that(|flow, _, reason| {
        reason == Reason::NotTls || is_no_http(flow) || is_plain_port(facts, flow)
    });
    if wrong.is_empty() {
        return Vec::new();
    }
    let mut backends = backends_of(wrong.iter().map(|(_, flow)| *flow));
    let decisive = wrong.iter().all(|(_, flow)| {
        is_plain_port(facts, flow)
            || flow.failure().is_some_and(|(_, failure)| failure.reason == Reason::NotTls)
    });
    let lost =
        facts.through_balancer(|seen| matches!(seen.reason(), Reason::NotTls | Reason::NotHttp));
    let others = [FindingName::ServerErrors, FindingName::BackendUnreachable];
    let everywhere = wrong.len() == facts.round.flows.len();
    let summary = if everywhere {
        backends.clear();
        let other = if facts.round.url.starts_with("https:") { "http" } else { "https" };
        format!(
            "Every route speaks a different protocol than the URL says. Does the URL need \
                 {other}://?"
        )
    } else {
        format!(
            "{} {} a different protocol than the prober expects.",
            subject(&backends),
            verb(backends.len(), "speaks", "speak")
        )
    };
    let h = Hypothesis::new(FindingName::HttpHttpsMismatch, backends, summary)
        .proved_if(decisive, &others)
        .hits(if everywhere { Hits::Prober } else { Hits::Requests })
        .evidence(flow_lines(&wrong));
    let h = if everywhere { h.explains(wrong.iter().map(|(id, _)| *id)) } else { h.flows(&wrong) };
    vec![h.fits(lost)]
}

/// Whether a plain request was answered with something that is no HTTP. What comes through TLS is
/// not about the protocol of the port.
fn is_no_http(flow: &Flow) -> bool {
    flow.failure().is_some_and(|(_, failure)| failure.reason == Reason::NotHttp)
        && !went_through_tls(flow)
}

/// Whether the step that failed had a connection with TLS.
pub(super) fn went_through_tls(flow: &Flow) -> bool {
    let failed = flow.failure().and_then(|(step, _)| flow.steps.iter().find(|r| r.step == step));
    failed.is_some_and(|step| step.timeline.phases().iter().any(|(phase, _)| *phase == Phase::Tls))
}

/// Whether a plain request met a port of TLS, or one that redirects all requests to TLS on the same
/// host.
pub(super) fn is_plain_port(facts: &Facts<'_>, flow: &Flow) -> bool {
    let reason = flow.failure().map(|(_, failure)| failure.reason);
    let no_registry =
        matches!(reason, Some(Reason::Html | Reason::UnexpectedStatus | Reason::Redirected));
    no_registry
        && flow.answer(Step::Challenge).is_some_and(|answer| {
            let to = answer.location.as_deref().and_then(|to| to.strip_prefix("https://"));
            let same = to.is_some_and(|to| host(to) == host(&facts.round.url));
            let moved = (300..400).contains(&answer.status) && same;
            answer.page == Some(Page::PlainToTls) || moved
        })
}

/// The host of a URL or an authority, without its port.
fn host(text: &str) -> &str {
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or(authority);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}
