//! Nothing listens, or nothing answers, at a backend, at the load balancer or at a token server of
//! its own. What accepted the connection and answers late is another cause: see
//! `token_endpoint_slow`.

use crate::diagnosis::facts::{
    Facts, ObservationId, backends_of, flow_lines, list, token_server, verb,
};
use crate::diagnosis::hypothesis::Hypothesis;
use crate::model::{FindingName, Flow, Phase, Reason, Step};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let gone = facts.flows_that(|flow, _, reason| is_gone(flow, reason));
    let (servers, routes): (Vec<_>, Vec<_>) =
        gone.into_iter().partition(|(_, flow)| token_server(flow).is_some());
    at_a_token_server(&servers).into_iter().chain(at_routes(facts, &routes)).collect()
}

fn is_gone(flow: &Flow, reason: Reason) -> bool {
    match reason {
        Reason::ConnectionRefused
        | Reason::ConnectionReset
        | Reason::Unreachable
        | Reason::Truncated => true,
        Reason::Timeout => !answers_late(flow),
        _ => false,
    }
}

/// Whether a flow ended because an answer did not come in time where the connection had been
/// accepted: somebody is there.
pub(super) fn answers_late(flow: &Flow) -> bool {
    let Some((step, failure)) = flow.failure() else { return false };
    let connected = match failure.phase {
        Some(phase) => phase >= Phase::Wait,
        // Whoever answered the challenge accepts connections.
        None => step > Step::Challenge,
    };
    failure.reason == Reason::Timeout && connected
}

/// Every node answered its challenge, which sends clients to a server that does not answer.
fn at_a_token_server(gone: &[(ObservationId, &Flow)]) -> Option<Hypothesis> {
    let server = token_server(gone.first()?.1)?;
    let summary = format!(
        "The token server {server} does not answer. The nodes that send clients there answer their \
         challenges."
    );
    Some(
        Hypothesis::new(FindingName::BackendUnreachable, Vec::new(), summary)
            .evidence(flow_lines(gone))
            .explains(gone.iter().map(|(id, _)| *id)),
    )
}

fn at_routes(facts: &Facts<'_>, gone: &[(ObservationId, &Flow)]) -> Option<Hypothesis> {
    if gone.is_empty() {
        return None;
    }
    let backends = backends_of(gone.iter().map(|(_, flow)| *flow));
    let summary = if !backends.is_empty() {
        format!(
            "{} {} not answer, and not when asked again.",
            list(&backends),
            verb(backends.len(), "does", "do")
        )
    } else if facts.round.backends.is_empty() {
        "The public name does not lead to an answer, and no backend is known.".to_owned()
    } else {
        "The load balancer's address does not answer, and no backend is lost in this way."
            .to_owned()
    };
    // Who answered before and not at this step is there: this request is what fails.
    let never = gone
        .iter()
        .all(|(_, flow)| flow.failure().is_some_and(|(step, _)| step == Step::Challenge));
    let lost = if backends.is_empty() {
        facts.through_balancer(|seen| seen.reason().is_network())
    } else {
        Vec::new()
    };
    Some(
        Hypothesis::new(FindingName::BackendUnreachable, backends, summary)
            .proved_if(never, &[FindingName::ServerErrors])
            .evidence(flow_lines(gone))
            .flows(gone)
            .fits(lost),
    )
}
