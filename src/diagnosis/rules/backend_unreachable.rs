//! Nothing listens, or nothing answers, at a backend, at the load balancer or at a token server of
//! its own. What accepted the connection and answers late is another cause: see
//! `token_endpoint_slow`.

use crate::diagnosis::facts::{Facts, ObservationId, backends_of, flow_lines, token_server};
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::diagnosis::wording::{list, verb};
use crate::model::{FindingName, Flow, Phase, Reason, Route, Step};

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
/// accepted: a server is there.
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

/// Whether only the balancer's own flow is lost, and requests that took the same way were answered:
/// some are lost, and who answers at all answers in time.
pub(super) fn only_now_and_then(facts: &Facts<'_>, lost: &[(ObservationId, &Flow)]) -> bool {
    let accepted = |flow: &Flow| {
        let refused = [Reason::ConnectionRefused, Reason::Unreachable];
        flow.failure().is_some_and(|(_, failure)| !refused.contains(&failure.reason))
    };
    let through = lost.iter().all(|(_, flow)| flow.route == Route::Balancer && accepted(flow));
    let mut nodes = facts.round.flows.iter().filter(|flow| flow.route.backend().is_some());
    let Some(run) = facts.sampling().filter(|_| through && nodes.all(Flow::succeeded)) else {
        return false;
    };
    let some_lost = run.lost_to_network() + run.outside.events > 0 || run.cut > 0;
    // What else is asked through the balancer says nothing of tokens.
    let at_token = |(_, flow): &(ObservationId, &Flow)| {
        flow.failure().is_some_and(|(step, _)| step == Step::Token)
    };
    let answered =
        run.requests() > run.lost_to_network() || run.outside.trials > 2 * run.outside.events;
    let others = answered && !lost.iter().any(at_token);
    some_lost && (run.pairs.trials + run.client_flows.trials > 0 || others)
}

fn at_routes(facts: &Facts<'_>, gone: &[(ObservationId, &Flow)]) -> Option<Hypothesis> {
    if gone.is_empty() || only_now_and_then(facts, gone) {
        return None;
    }
    let backends = backends_of(gone.iter().map(|(_, flow)| *flow));
    let closed = gone.iter().all(|(_, flow)| is_closed(flow));
    let proxied = expects_proxy_protocol(facts, gone);
    let summary = if proxied {
        format!(
            "{} {} every connection immediately, but {} through the load balancer: {} may expect \
             the PROXY protocol.",
            list(&backends),
            verb(backends.len(), "closes", "close"),
            verb(backends.len(), "answers", "answer"),
            verb(backends.len(), "it", "they"),
        )
    } else if closed && backends.is_empty() && !facts.round.backends.is_empty() {
        "The load balancer accepts connections and closes them before it answers. No backend does \
         so."
        .to_owned()
    } else if closed && !backends.is_empty() {
        format!(
            "{} {} connections and {} them without an answer. A second try ended in the same way.",
            list(&backends),
            verb(backends.len(), "accepts", "accept"),
            verb(backends.len(), "closes", "close"),
        )
    } else if !backends.is_empty() {
        format!(
            "{} {} not answer, and a second try failed too.",
            list(&backends),
            verb(backends.len(), "does", "do")
        )
    } else if facts.round.backends.is_empty() {
        "No server answers under the public name, and no backend is known.".to_owned()
    } else {
        "The load balancer's address does not answer. No backend fails in this way.".to_owned()
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
    // What closes a connection is there: it may be a TLS port that is asked by http, or a balancer
    // without a live server.
    let others: &[FindingName] = if closed {
        &[FindingName::HttpHttpsMismatch, FindingName::ServerErrors]
    } else {
        &[FindingName::ServerErrors]
    };
    Some(
        Hypothesis::new(FindingName::BackendUnreachable, backends, summary)
            .proved_if(never && !gone.iter().any(|(_, flow)| is_closed(flow)), others)
            .hits(if proxied { Hits::Prober } else { Hits::Requests })
            .evidence(flow_lines(gone))
            .flows(gone)
            .fits(lost),
    )
}

/// Whether every node takes connections and closes them before it answers, and yet answers those who
/// come through the load balancer: it expects the PROXY header first.
fn expects_proxy_protocol(facts: &Facts<'_>, gone: &[(ObservationId, &Flow)]) -> bool {
    let through = facts.round.flow(&Route::Balancer).is_some_and(Flow::succeeded);
    let all = gone.len() == facts.round.backends.len();
    through && all && gone.iter().all(|(_, flow)| is_closed(flow))
}

/// Whether the connection for the first request was accepted, and closed before an answer.
fn is_closed(flow: &Flow) -> bool {
    flow.failure().is_some_and(|(step, failure)| {
        let accepted = failure.phase.is_some_and(|phase| phase > Phase::Connect);
        step == Step::Challenge && failure.reason == Reason::ConnectionReset && accepted
    })
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::verdict::judge;
    use crate::model::sample::{changed, fail};
    use crate::model::{
        Confidence, Earlier, FlowResult, Phase, Reason, Round, Severity, Status, Step,
    };

    fn closed(round: &mut Round, routes: &[&str], phase: Phase) {
        for at in routes {
            fail(round, at, Step::Challenge, Reason::ConnectionReset);
        }
        for flow in &mut round.flows {
            if let FlowResult::Failed { failure, .. } = &mut flow.result {
                failure.phase = Some(phase);
            }
        }
    }

    #[test]
    fn a_node_that_starts_and_is_not_ready_worries_no_one() {
        for (ready, severity, status) in
            [(true, Severity::Warning, Status::Warning), (false, Severity::Info, Status::Ok)]
        {
            let round = changed(&["a", "b"], |round| {
                closed(round, &["b"], Phase::Connect);
                round.backends[1].ready = ready;
            });
            let judged = judge(&round, &Earlier::default());
            let [finding] = judged.findings.as_slice() else { panic!("{judged:#?}") };
            assert_eq!((finding.severity, judged.status), (severity, status));
            let said =
                finding.effect.contains("b is not ready, so Kubernetes sends it no user request");
            assert_eq!(said, !ready, "{}", finding.effect);
        }
    }

    #[test]
    fn what_accepts_a_connection_and_closes_it_is_there_and_may_be_something_else() {
        use crate::model::FindingName::{HttpHttpsMismatch, ServerErrors};
        let closes = "b accepts connections and closes them without an answer";
        for (phase, confidence, others, words) in [
            (Phase::Connect, Confidence::Proved, &[][..], "b does not answer"),
            (Phase::Tls, Confidence::Suspected, &[HttpHttpsMismatch, ServerErrors], closes),
            (Phase::Wait, Confidence::Suspected, &[HttpHttpsMismatch, ServerErrors], closes),
        ] {
            let round = changed(&["a", "b"], |round| closed(round, &["b"], phase));
            let judged = judge(&round, &Earlier::default());
            let [finding] = judged.findings.as_slice() else { panic!("{judged:#?}") };
            assert_eq!((finding.confidence, &finding.alternatives[..]), (confidence, others));
            assert!(finding.summary.starts_with(words), "{}", finding.summary);
        }
    }

    #[test]
    fn nodes_that_answer_only_through_the_balancer_may_expect_the_proxy_protocol() {
        for (routes, phase, suspected) in [
            (&["a", "b"][..], Phase::Wait, true),
            (&["a", "b"], Phase::Tls, true),
            (&["a", "b"], Phase::Connect, false),
            (&["a"], Phase::Wait, false),
            (&["a", "b", "lb"], Phase::Wait, false),
        ] {
            let round = changed(&["a", "b"], |round| closed(round, routes, phase));
            let judged = judge(&round, &Earlier::default());
            let [finding] = judged.findings.as_slice() else { panic!("{judged:#?}") };
            assert_eq!(finding.summary.contains("PROXY"), suspected, "{routes:?} {phase:?}");
            if suspected {
                let told = (finding.confidence, finding.severity, judged.status);
                assert_eq!(told, (Confidence::Suspected, Severity::Warning, Status::Unknown));
            }
        }
    }
}
