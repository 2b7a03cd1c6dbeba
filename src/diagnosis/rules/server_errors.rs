//! 5xx by a gateway or by the server behind it.

use std::collections::BTreeSet;

use super::verifiers::token_without_key;
use crate::diagnosis::facts::{Facts, ObservationId, backends_of, token_server};
use crate::diagnosis::hypothesis::Hypothesis;
use crate::diagnosis::wording::{subject, verb};
use crate::model::{
    Answer, Evidence, Family, FindingName, Flow, Observation, ObservationKind, Step,
};

const NAME: FindingName = FindingName::ServerErrors;

/// More wrong answers among the samples than the last ones of a fault that is over.
const SEVERAL: u32 = 2;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    // A token endpoint that answers 500 with an empty body is about the key.
    let found =
        facts.flows_that(|flow, _, reason| reason.is_server_error() && !token_without_key(flow));
    let (servers, routes): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(_, flow)| token_server(flow).is_some());
    let by_nodes = at_routes(facts, &routes).or_else(|| for_content(facts));
    let sampled = if by_nodes.is_none() { sampled(facts) } else { None };
    [at_a_token_server(&servers), by_nodes, sampled].into_iter().flatten().collect()
}

fn at_a_token_server(found: &[(ObservationId, &Flow)]) -> Option<Hypothesis> {
    let server = token_server(found.first()?.1)?;
    let summary = format!("The token server {server} answers with server errors.");
    let h = Hypothesis::new(NAME, Vec::new(), summary).evidence(lines(found));
    Some(h.explains(found.iter().map(|(id, _)| *id)))
}

fn at_routes(facts: &Facts<'_>, found: &[(ObservationId, &Flow)]) -> Option<Hypothesis> {
    if found.is_empty() {
        return None;
    }
    let backends = backends_of(found.iter().map(|(_, flow)| *flow));
    let by_nginx = found.iter().all(|(_, flow)| {
        flow.failure().and_then(|(step, _)| flow.answer(step)).is_some_and(|answer| {
            let direct = facts.family_of(&flow.route) == Family::Distribution2;
            answer.html && !answer.request_id && !direct
        })
    });
    let summary = format!(
        "{} {} with server errors.",
        subject(&backends),
        verb(backends.len(), "answers", "answer")
    );
    let mut h = Hypothesis::new(NAME, backends, summary)
        .evidence(lines(found))
        .flows(found)
        .fits(facts.through_balancer(|seen| seen.reason().is_server_error()));
    if by_nginx && !h.backends.is_empty() {
        h.alternatives.push(FindingName::NotARegistry);
    }
    Some(h)
}

/// Nodes whose token flow works, and which answer requests for manifests or blobs with server errors.
fn for_content(facts: &Facts<'_>) -> Option<Hypothesis> {
    let (ids, seen): (Vec<ObservationId>, Vec<&Observation>) =
        facts.of_content().filter(|(_, seen)| seen.reason().is_server_error()).unzip();
    let mut backends: Vec<_> =
        seen.iter().filter_map(|seen| seen.place.backend()).cloned().collect();
    backends.sort();
    backends.dedup();
    let line = |seen: &&Observation| {
        let who = seen.answer.as_ref().map_or("", who_answered);
        let backend = seen.place.backend()?;
        Some(format!("{backend}: {}{who}", seen.failure))
    };
    let summary = format!(
        "{} {} requests for manifests or blobs with server errors.",
        subject(&backends),
        verb(backends.len(), "answers", "answer")
    );
    (!ids.is_empty()).then(|| {
        Hypothesis::new(NAME, backends, summary)
            .evidence(seen.iter().filter_map(line).collect::<BTreeSet<_>>())
            .explains(ids)
            .fits(facts.through_balancer(|seen| seen.reason().is_server_error()))
    })
}

/// Samples that ended in server errors although every route's own flow met none.
fn sampled(facts: &Facts<'_>) -> Option<Hypothesis> {
    let failed = |seen: &Observation| {
        matches!(seen.kind, ObservationKind::SampleFailed | ObservationKind::ClientFailed)
            && seen.reason().is_server_error()
    };
    let seen: Vec<&Observation> = facts.observed(failed).map(|(_, seen)| seen).collect();
    let count: u32 = seen.iter().map(|seen| seen.count).sum();
    let line = |seen: &&Observation| {
        let (step, of) = (seen.step.map_or("", Step::as_str), seen.of);
        let who = seen.answer.as_ref().map_or("", who_answered);
        let text = format!(
            "{} of {of} {step} requests failed; the first: {}{who}",
            seen.count, seen.failure
        );
        Evidence::from(text).of_requests(seen.count, of)
    };
    let evidence: Vec<Evidence> = seen.iter().map(line).collect();
    let summary = "Some requests through the load balancer end in server errors, and no node shows \
                   them when it is asked directly.";
    (!seen.is_empty()).then(|| {
        Hypothesis::new(NAME, Vec::new(), summary.to_owned())
            .proved_if(count >= SEVERAL, &[])
            .evidence(evidence)
            .fits(facts.through_balancer(|seen| seen.reason().is_server_error()))
    })
}

/// One line of evidence for each failed flow, with who wrote the answer.
pub(super) fn lines(flows: &[(ObservationId, &Flow)]) -> Vec<Evidence> {
    let line = |(_, flow): &(ObservationId, &Flow)| {
        let (step, failure) = flow.failure()?;
        let who = flow.answer(step).map_or("", who_answered);
        let text = format!("{}: {} failed, {failure}{who}", flow.route, step.as_str());
        let status = flow.answer(step).map(|answer| f64::from(answer.status));
        let line = Evidence::from(text);
        Some(status.into_iter().fold(line, |line, status| line.with("status", status)))
    };
    flows.iter().filter_map(line).collect()
}

/// The five shapes of a gateway's answer (I3): who answers tells where it broke.
fn who_answered(answer: &Answer) -> &'static str {
    if answer.request_id && answer.body_bytes == 0 {
        "; Harbor's core answered with an empty body: the registry behind it is not reached"
    } else if answer.request_id {
        "; Harbor's core answered"
    } else if answer.error_code.as_deref() == Some("UNAVAILABLE") {
        "; the registry's own health check fails"
    } else if answer.html {
        "; a proxy answered in place of the registry"
    } else {
        ""
    }
}
