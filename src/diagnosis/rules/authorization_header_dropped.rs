//! The `Authorization` header that does not arrive. A token that is none, shown on every route,
//! tells it apart from everything else; without that check good tokens that look unseen do.

use super::answered_by_a_cache;
use super::credential_refused::{Refusals, lines};
use crate::diagnosis::facts::{Facts, ObservationId};
use crate::diagnosis::hypothesis::Hypothesis;
use crate::diagnosis::observe::header_is_dropped;
use crate::diagnosis::wording::{list, verb};
use crate::model::{
    Answer, AuthScheme, BackendName, Check, Family, FindingName, HeaderFate, Observation,
    ObservationKind, Reason, Route, Step,
};

const NAME: FindingName = FindingName::AuthorizationHeaderDropped;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    // Whoever keeps answers never looks at the header, and drops it from no request.
    if answered_by_a_cache::is_seen(facts) {
        return Vec::new();
    }
    let all = [shown(facts), password_lost(facts), tokens_unseen(facts)];
    all.into_iter().flatten().collect()
}

/// The check shows on which routes the header is dropped.
fn shown(facts: &Facts<'_>) -> Option<Hypothesis> {
    let routes = facts.round.flows.iter().map(|flow| &flow.route);
    let dropped: Vec<&Route> =
        routes.filter(|route| header_is_dropped(facts.round, route)).collect();
    if dropped.is_empty() {
        return None;
    }
    let backends: Vec<BackendName> =
        dropped.iter().filter_map(|route| route.backend().cloned()).collect();
    let whose = if backends.is_empty() {
        "The load balancer".to_owned()
    } else {
        format!("A proxy in front of {}", list(&backends))
    };
    let arrived = fates(facts, HeaderFate::Arrived);
    let seen = (!arrived.is_empty()).then(|| format!("{}: the header arrives", list(&arrived)));
    let words = format!(
        "{}: an invalid token gets the same answer as no token (checked twice)",
        list(&dropped)
    );
    let claims = follows_from_drop(facts, &dropped);
    // Where no backend drops it, the balancer does; else it only leads to one that does.
    let by_balancer = backends.is_empty();
    let (through, direct): (Vec<_>, Vec<_>) = claims
        .into_iter()
        .partition(|id| !by_balancer && facts.observation(*id).place.involves_balancer());
    let summary = format!("{whose} drops the Authorization header.");
    let h = Hypothesis::new(NAME, backends, summary).evidence([words]).evidence(seen);
    Some(h.explains(direct).fits(through))
}

fn fates<'a>(facts: &Facts<'a>, wanted: HeaderFate) -> Vec<&'a Route> {
    let found = facts.round.checks.authorization_header.measured().into_iter().flatten();
    let wanted = found.filter(|fate| fate.value.measured() == Some(&wanted));
    wanted.map(|fate| &fate.route).collect()
}

/// What fails on these routes as it does where a password or a token does not arrive.
fn follows_from_drop(facts: &Facts<'_>, dropped: &[&Route]) -> Vec<ObservationId> {
    let follows = |seen: &Observation| {
        let here = dropped.contains(&seen.place.answering());
        here && match seen.kind {
            ObservationKind::CheckRefused => seen.check == Some(Check::AuthorizationHeader),
            ObservationKind::PairRefused => answer_unseen(facts, seen),
            ObservationKind::FlowFailed
            | ObservationKind::SampleFailed
            | ObservationKind::ClientFailed => match seen.step {
                Some(Step::Token) => seen.reason().refuses_credential(),
                _ => answer_unseen(facts, seen),
            },
            ObservationKind::SampleRefused | ObservationKind::ClientRefused => {
                answer_unseen(facts, seen)
            }
            _ => false,
        }
    };
    facts.observed(follows).map(|(id, _)| id).collect()
}

/// A good token is answered with the challenge of a first contact: the header did not arrive.
pub(super) fn looks_unseen(answer: &Answer, family: Family) -> bool {
    let Some(challenge) = &answer.challenge else { return false };
    let first_contact = challenge.scheme == AuthScheme::Bearer && challenge.error.is_none();
    first_contact && family != Family::Unknown
}

fn answer_unseen(facts: &Facts<'_>, seen: &Observation) -> bool {
    seen.answer.as_ref().is_some_and(|answer| looks_unseen(answer, facts.common_family()))
}

/// How many requests of this kind passed through the balancer: a header that is dropped is
/// dropped from all of them.
fn passed(facts: &Facts<'_>, step: Step) -> u32 {
    let Some(run) = facts.sampling() else { return 0 };
    match step {
        // Where tokens name no key, only that they were shown tells of them.
        Step::Token => {
            let named: u32 = run.keys.iter().map(|count| count.tokens).sum();
            named.max(run.pairs.trials)
        }
        _ => run.pairs.trials.saturating_sub(run.pairs.events),
    }
}

/// The credential is good at every backend, and not through the balancer: it does not arrive.
fn password_lost(facts: &Facts<'_>) -> Option<Hypothesis> {
    let refusals = Refusals::of(facts);
    if !refusals.are_at_the_balancer() {
        return None;
    }
    let sampled = facts.through_balancer(|seen| {
        seen.step == Some(Step::Token)
            && seen.kind != ObservationKind::FlowFailed
            && seen.reason().refuses_credential()
    });
    let summary = "Through the load balancer the credential does not arrive at the token endpoint.";
    let h = Hypothesis::new(NAME, Vec::new(), summary.to_owned())
        .suspected(&[FindingName::AnonymousDowngrade, FindingName::UnknownBackend])
        .evidence(lines(&refusals.flows))
        .evidence(["every backend accepts the same credential directly".to_owned()])
        .flows(&refusals.flows)
        .fits(sampled);
    Some(if passed(facts, Step::Token) > 0 {
        h.lacking("other requests through the load balancer get a token with the same credential")
    } else {
        h
    })
}

fn unseen_line(pairs: usize, flows: usize) -> String {
    let parts = [(pairs, "good token", "good tokens"), (flows, "flow", "flows")];
    let met = parts.into_iter().filter(|(count, ..)| *count > 0);
    let met: Vec<String> =
        met.map(|(count, one, many)| format!("{count} {}", verb(count, one, many))).collect();
    format!(
        "{} through the load balancer got the same challenge as requests without a token",
        list(&met)
    )
}

/// Good tokens through the balancer look unseen.
fn tokens_unseen(facts: &Facts<'_>) -> Option<Hypothesis> {
    let family = facts.common_family();
    // distribution 3 answers a bad signature of a known key in the same way
    // (captures/distribution-3.1.1/21-right-kid-wrong-signature.http): what arrives is not dropped.
    let arrives = fates(facts, HeaderFate::Arrived).contains(&&Route::Balancer);
    if arrives && family == Family::Distribution3 {
        return None;
    }
    let at_balancer = |seen: &Observation| *seen.place.answering() == Route::Balancer;
    let unseen = |seen: &Observation| {
        at_balancer(seen)
            && seen.reason() == Reason::Unauthorized
            && seen.step >= Some(Step::Access)
            && answer_unseen(facts, seen)
    };
    let ids = facts.through_balancer(unseen);
    let count = |kind| ids.iter().filter(|id| facts.observation(**id).kind == kind).count();
    let (pairs, flows) = (count(ObservationKind::PairRefused), count(ObservationKind::FlowFailed));
    if pairs + flows == 0 {
        return None;
    }
    let line = unseen_line(pairs, flows);
    let always = passed(facts, Step::Access) == 0;
    let proved = family != Family::Distribution3 && always;
    let others: &[FindingName] = if family == Family::Distribution3 {
        &[FindingName::TokenKeyMismatch]
    } else {
        &[FindingName::UnknownBackend]
    };
    let summary = "The load balancer drops the Authorization header.".to_owned();
    let h = Hypothesis::new(NAME, Vec::new(), summary).proved_if(proved, others);
    Some(h.evidence([line]).fits(ids))
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::verdict::judge;
    use crate::model::{
        Checked, Confidence, Earlier, FindingName, HeaderFate, OfRoute, Outcome, Reason, Round,
        Severity, Step, sample,
    };

    const NAME: FindingName = FindingName::AuthorizationHeaderDropped;

    /// Lets the header be dropped on these routes and arrive on the others.
    fn drop_on(round: &mut Round, routes: &[&str]) {
        let fate = |flow: &crate::model::Flow| {
            let dropped = routes.contains(&flow.route.as_str());
            let value = if dropped { HeaderFate::Dropped } else { HeaderFate::Arrived };
            OfRoute { route: flow.route.clone(), value: Outcome::Measured(value) }
        };
        let found = Outcome::Measured(round.flows.iter().map(fate).collect());
        let at = Some(sample::started());
        round.checks.authorization_header = Checked { at, requests: 4, found };
    }

    #[test]
    fn the_check_proves_it_and_claims_what_failed_for_it() {
        for (route, backends) in [("lb", vec![]), ("b", vec![sample::backend("b")])] {
            let round = sample::changed(&["a", "b"], |round| {
                drop_on(round, &[route]);
                sample::fail(round, route, Step::Token, Reason::AnonymousToken);
            });
            let judged = judge(&round, &Earlier::default());
            let [finding] = judged.findings.as_slice() else { panic!("{judged:#?}") };
            assert_eq!((finding.finding, finding.confidence), (NAME, Confidence::Proved));
            assert_eq!((&finding.backends, finding.explains), (&backends, 2));
            let critical = finding.severity == Severity::Critical;
            assert_eq!(critical, route == "lb", "users of the balancer pass in the other case");
        }
    }

    #[test]
    fn the_evidence_counts_what_there_is_and_nothing_else() {
        for (pairs, flows, begin) in [
            (0, 1, "1 flow through"),
            (1, 0, "1 good token through"),
            (2, 2, "2 good tokens and 2 flows through"),
        ] {
            let line = super::unseen_line(pairs, flows);
            assert!(line.starts_with(begin), "{line}");
        }
    }

    #[test]
    fn what_the_balancer_meets_of_a_backends_proxy_is_no_second_cause() {
        let round = sample::changed(&["a", "b"], |round| {
            drop_on(round, &["b"]);
            for route in ["b", "lb"] {
                sample::fail(round, route, Step::Token, Reason::Unauthorized);
            }
        });
        let judged = judge(&round, &Earlier::default());
        let [finding] = judged.findings.as_slice() else { panic!("{judged:#?}") };
        assert_eq!((finding.finding, finding.confidence), (NAME, Confidence::Proved));
        assert_eq!((&finding.backends, finding.explains), (&vec![sample::backend("b")], 3));
        assert_eq!(finding.severity, Severity::Critical);
    }

    #[test]
    fn a_route_that_takes_a_good_token_drops_nothing() {
        let round = sample::changed(&["a", "b"], |round| drop_on(round, &["a", "b", "lb"]));
        assert_eq!(judge(&round, &Earlier::default()).findings, []);
    }

    #[test]
    fn an_anonymous_token_where_the_header_arrives_has_another_cause() {
        let round = sample::changed(&["a", "b"], |round| {
            drop_on(round, &[]);
            sample::fail(round, "b", Step::Token, Reason::AnonymousToken);
        });
        assert!(
            !judge(&round, &Earlier::default())
                .findings
                .iter()
                .any(|finding| finding.finding == NAME)
        );
    }
}
