//! Something answers a path of the API that is not the registry: at a backend its proxy leads to
//! another container, through the load balancer a rule sends the path elsewhere.

use super::http_https_mismatch::{is_plain_port, went_through_tls};
use super::server_errors::lines;
use crate::diagnosis::facts::{Facts, ObservationId, backends_of};
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::diagnosis::wording::{list, verb};
use crate::model::{
    Answer, AuthScheme, Evidence, FindingName, Flow, Observation, ObservationKind, Page, Reason,
    Step,
};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let found = facts.flows_that(|flow, step, reason| {
        let foreign = is_foreign(step, reason, flow.answer(step)) && !flow.knows_one_method();
        // Through TLS, what is no HTTP is no matter of the port's protocol.
        let no_http = reason == Reason::NotHttp && went_through_tls(flow);
        !is_plain_port(facts, flow) && (foreign || no_http)
    });
    let backends = backends_of(found.iter().map(|(_, flow)| *flow));
    let at_first =
        |(_, flow): &(ObservationId, &Flow)| flow.failure().is_some_and(|f| f.0 == Step::Challenge);
    let hypothesis = if !found.is_empty()
        && found.len() == facts.round.flows.len()
        && found.iter().all(at_first)
    {
        Some(everywhere(&found))
    } else if backends.is_empty() {
        through_balancer(facts, &found)
    } else {
        let summary = format!(
            "{} {} a path of the registry's API with something that is not the registry.",
            list(&backends),
            verb(backends.len(), "answers", "answer")
        );
        Some(
            Hypothesis::new(FindingName::NotARegistry, backends, summary)
                .suspected(&[FindingName::LbMisroutesApiPath, FindingName::ServerErrors])
                .evidence(lines(&found))
                .flows(&found),
        )
    };
    hypothesis.into_iter().collect()
}

fn is_refused(seen: &Observation) -> bool {
    matches!(seen.kind, ObservationKind::SampleRefused | ObservationKind::ClientRefused)
}

/// Whether a proxy asks for a login of its own: not in a registry's words, and with no challenge
/// that leads to a token.
fn is_own_login(answer: &Answer) -> bool {
    let scheme = answer.challenge.as_ref().map(|challenge| challenge.scheme);
    let basic = matches!(scheme, Some(AuthScheme::Basic | AuthScheme::Other));
    let of_registry = answer.api_version || answer.request_id || answer.error_code.is_some();
    answer.status == 401 && !of_registry && (basic || (answer.html && scheme.is_none()))
}

/// Whether something other than a registry wrote an answer.
fn is_foreign(step: Step, reason: Reason, answer: Option<&Answer>) -> bool {
    let page = answer.and_then(|answer| answer.page);
    if page.is_some_and(|page| !is_of_a_stranger(page)) {
        return false;
    }
    match reason {
        Reason::Html => true,
        Reason::Unauthorized | Reason::BadChallenge => {
            step == Step::Challenge && answer.is_some_and(is_own_login)
        }
        // A path that leads nowhere, or to a login page, while /v2/ itself may be right.
        Reason::NotFound | Reason::Redirected | Reason::UnexpectedStatus | Reason::NoChallenge => {
            answer.is_some_and(|answer| {
                // No registry leads away from /v2/, nor to another host.
                let elsewhere = reason == Reason::Redirected
                    && (step == Step::Challenge || answer.location.as_deref() != Some("/"));
                let of_registry =
                    answer.api_version || answer.request_id || answer.error_code.is_some();
                elsewhere || !of_registry
            })
        }
        Reason::BadTokenResponse => answer.is_some_and(|answer| answer.html),
        _ => false,
    }
}

/// Whether a page says that no registry is there; the others have causes of their own.
fn is_of_a_stranger(page: Page) -> bool {
    !matches!(
        page,
        Page::PlainToTls
            | Page::ClientCertificateMissing
            | Page::ClientCertificateRefused
            | Page::HeadersTooLarge
            | Page::UrlTooLong
            | Page::Filter
    )
}

/// No route leads to a registry: the URL is another one's, or nothing behind it is up.
fn everywhere(found: &[(ObservationId, &Flow)]) -> Hypothesis {
    let summary = "No route answers as a registry does: is the URL right?".to_owned();
    Hypothesis::new(FindingName::NotARegistry, Vec::new(), summary)
        .suspected(&[FindingName::LbMisroutesApiPath, FindingName::ServerErrors])
        .hits(Hits::Prober)
        .evidence(lines(found))
        .explains(found.iter().map(|(id, _)| *id))
}

/// Only the balancer answers so, and no backend. If all requests get this answer, it is a rule of
/// the balancer. If some do, a node behind it may be one that is not configured.
fn through_balancer(facts: &Facts<'_>, found: &[(ObservationId, &Flow)]) -> Option<Hypothesis> {
    let foreign = |seen: &Observation| {
        let step = seen.step.unwrap_or(Step::Check);
        is_foreign(step, seen.reason(), seen.answer.as_ref()) && !facts.is_of_content_at_nodes(seen)
    };
    let seen = facts.through_balancer(foreign);
    if seen.is_empty() {
        return None;
    }
    let line = |id: &ObservationId| {
        let seen = facts.observation(*id);
        let step = seen.step.map_or("", Step::as_str);
        let (count, of) = (seen.count, seen.of);
        let text = format!("{count} of {of} {step} requests: {}", seen.failure);
        Evidence::from(text).of_requests(count, of)
    };
    let evidence: Vec<Evidence> =
        if found.is_empty() { seen.iter().map(line).collect() } else { lines(found) };
    let login =
        |(_, flow): &(ObservationId, &Flow)| flow.answer(Step::Challenge).is_some_and(is_own_login);
    let own_login = !found.is_empty() && found.iter().all(login);
    let summary = if own_login {
        "The load balancer asks for a login of its own before the registry is asked: no client can \
         answer both."
    } else {
        "The load balancer answers a path of the registry's API with something that is not the \
         registry."
    };
    Some(
        Hypothesis::new(FindingName::LbMisroutesApiPath, Vec::new(), summary.to_owned())
            .proved_if(!found.is_empty(), &[FindingName::UnknownBackend])
            .evidence(evidence)
            .fits(seen)
            // Where another login is asked for first, a good token is refused too.
            .fits(if own_login { facts.through_balancer(is_refused) } else { Vec::new() }),
    )
}
