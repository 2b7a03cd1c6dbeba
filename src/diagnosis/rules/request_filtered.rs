//! A web filter, or a rule against robots, that refuses this prober before the registry sees it: a
//! refusal of its own making to a request that carries nothing, or to one for a token.

use super::server_errors::lines;
use crate::diagnosis::facts::{Facts, ObservationId, backends_of};
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::diagnosis::wording::list;
use crate::model::{
    AccessScheme, Answer, AuthScheme, Failure, FindingName, Flow, Page, Reason, Step,
};

const NAME: FindingName = FindingName::RequestFiltered;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    filtered(facts).into_iter().chain(two_logins(facts)).collect()
}

/// Something in front asks for a login of its own, and the registry behind it for a token: one
/// header cannot hold both.
fn two_logins(facts: &Facts<'_>) -> Option<Hypothesis> {
    let found = facts.flows_that(|flow, _, _| asks_twice(flow));
    if found.is_empty() {
        return None;
    }
    let sampled = facts.through_balancer(|seen| seen.reason() == Reason::Unauthorized);
    let summary = "Something in front of the registry asks for Basic authentication, and the \
                   registry behind it for a token: no client can send both in one header.";
    let h = Hypothesis::new(NAME, Vec::new(), summary.to_owned()).evidence(lines(&found));
    Some(h.explains(found.iter().map(|(id, _)| *id)).fits(sampled))
}

/// Whether a password that was asked for by Basic is answered with the challenge for a token.
pub(super) fn asks_twice(flow: &Flow) -> bool {
    let challenge = flow.answer(Step::Access).and_then(|answer| answer.challenge.as_ref());
    flow.scheme == AccessScheme::Basic
        && challenge.is_some_and(|challenge| challenge.scheme == AuthScheme::Bearer)
}

/// Whether a filter ended a flow, before the registry or its token endpoint saw the request.
pub(super) fn ended_by_filter(flow: &Flow) -> bool {
    let Some((step, _)) = flow.failure() else { return false };
    let before = step == Step::Challenge || (step == Step::Token && !flow.knows_one_method());
    before && flow.answer(step).is_some_and(is_filter)
}

/// The page of a filter, if a flow ended with one.
fn page(flow: &Flow) -> Option<Page> {
    flow.answer(flow.failure()?.0)?.page
}

fn filtered(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let found = facts.flows_that(|flow, _, _| ended_by_filter(flow));
    if found.is_empty() {
        return Vec::new();
    }
    let mut backends = backends_of(found.iter().map(|(_, flow)| *flow));
    let everywhere = found.len() == facts.round.flows.len();
    let nodes = || facts.round.flows.iter().filter(|flow| flow.route.backend().is_some());
    let at_token =
        found.iter().all(|(_, flow)| flow.failure().is_some_and(|(step, _)| step == Step::Token));
    let what = if at_token { "this prober's requests for tokens" } else { "this prober" };
    let summary = if everywhere {
        backends.clear();
        format!("A filter refuses {what} on every route.")
    } else if !backends.is_empty() {
        format!("A filter in front of {} refuses {what}.", list(&backends))
    } else if nodes().all(Flow::succeeded) {
        format!("A filter in front of the registry refuses {what}: the nodes are healthy.")
    } else {
        format!("A filter in front of the registry refuses {what}.")
    };
    let known = found.iter().all(|(_, flow)| page(flow) == Some(Page::Filter));
    // Some token endpoints may refuse an account in words of their own.
    let others: &[FindingName] = if at_token {
        &[FindingName::CredentialRefused, FindingName::LbMisroutesApiPath]
    } else {
        &[FindingName::LbMisroutesApiPath]
    };
    // Pairs with a route that does not answer carry the failure of its flow.
    let alike =
        |told: &Failure| found.iter().any(|(_, flow)| flow.failure().map(|f| f.1) == Some(told));
    let seen = facts.through_balancer(|seen| {
        seen.answer.as_ref().is_some_and(is_filter) || alike(&seen.failure)
    });
    let h = Hypothesis::new(NAME, backends, summary)
        .proved_if(known, others)
        .hits(if by_chance(facts, &seen) { Hits::Requests } else { Hits::Prober })
        .evidence(lines(&found));
    // The answer itself shows the filter, wherever it was met.
    vec![h.explains(found.iter().map(|(id, _)| *id)).fits(seen)]
}

/// Whether the same requests of this prober pass through the load balancer at one time and not at
/// another. A filter goes by who asks, so its refusals concern users as much; where all are
/// refused, users may pass, for they come from elsewhere and call themselves otherwise.
fn by_chance(facts: &Facts<'_>, refused: &[ObservationId]) -> bool {
    !refused.is_empty() && facts.some_logins_pass()
}

/// Whether this refusal is none of a registry's: one says why in JSON, and asks for a token first.
fn is_filter(answer: &Answer) -> bool {
    let refused = matches!(answer.status, 403 | 406 | 451);
    let of_registry =
        answer.error_code.is_some() || answer.challenge.is_some() || answer.request_id;
    answer.page == Some(Page::Filter) || (refused && !of_registry)
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::verdict::judge;
    use crate::model::sample::{changed, fail};
    use crate::model::{
        Answer, ClientKind, ClientRun, Confidence, Earlier, FindingName, Outcome, Page, Ratio,
        Reason, Round, Severity, Status, Step,
    };

    fn refuse(round: &mut Round, routes: &[&str], answer: &Answer) {
        for at in routes {
            fail(round, at, Step::Challenge, Reason::of_status(answer.status));
        }
        for flow in round.flows.iter_mut().filter(|flow| routes.contains(&flow.route.as_str())) {
            flow.steps[0].answer = Some(answer.clone());
        }
    }

    fn page(status: u16, page: Option<Page>) -> Answer {
        Answer { status, html: true, page, ..Answer::default() }
    }

    #[test]
    fn a_refusal_before_the_registry_is_a_filter_and_says_nothing_of_users() {
        for (routes, answer, confidence) in [
            (&["lb"][..], page(403, None), Confidence::Suspected),
            (&["lb"], page(403, Some(Page::Filter)), Confidence::Proved),
            (&["lb"], page(503, Some(Page::Filter)), Confidence::Proved),
            (&["a", "b", "lb"], page(406, None), Confidence::Suspected),
        ] {
            let judged =
                judge(&changed(&["a", "b"], |r| refuse(r, routes, &answer)), &Earlier::default());
            let [finding] = judged.findings.as_slice() else { panic!("{judged:#?}") };
            assert_eq!(
                (finding.finding, finding.confidence, judged.status),
                (FindingName::RequestFiltered, confidence, Status::Unknown)
            );
            assert_eq!(finding.summary.ends_with("the nodes are healthy."), routes.len() == 1);
        }
    }

    #[test]
    fn a_filter_that_some_logins_of_the_prober_pass_is_met_by_users_as_well() {
        for (failed, severity, status) in
            [(2, Severity::Critical, Status::Critical), (5, Severity::Warning, Status::Unknown)]
        {
            let judged = judge(
                &changed(&["a", "b", "c"], |round| {
                    refuse(round, &["c", "lb"], &page(403, None));
                    let Outcome::Measured(run) = &mut round.balancer else { return };
                    let logins = Ratio { events: failed, trials: 5 };
                    run.clients = vec![ClientRun { logins, ..ClientRun::of(ClientKind::Docker) }];
                }),
                &Earlier::default(),
            );
            let [finding] = judged.findings.as_slice() else { panic!("{judged:#?}") };
            assert_eq!(finding.finding, FindingName::RequestFiltered);
            assert_eq!((finding.severity, judged.status), (severity, status), "{failed} of 5");
        }
    }

    #[test]
    fn a_registry_that_refuses_in_its_own_words_is_no_filter() {
        let own = Answer {
            status: 403,
            api_version: true,
            error_code: Some("DENIED".into()),
            ..Answer::default()
        };
        let judged =
            judge(&changed(&["a", "b"], |r| refuse(r, &["lb"], &own)), &Earlier::default());
        assert!(judged.findings.iter().all(|f| f.finding != FindingName::RequestFiltered));
    }
}
