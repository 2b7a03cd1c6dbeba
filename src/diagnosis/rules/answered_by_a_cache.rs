//! A cache in front that does not look at `Authorization`: it gives the answer for one client to
//! others. Some caches say so in a header; of the others it is only seen that no node would answer
//! so.

use crate::diagnosis::facts::{Facts, ObservationId};
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::model::{
    Check, FindingName, Flow, Observation, ObservationKind, Place, Reason, Route, Step,
};

const NAME: FindingName = FindingName::LbMisroutesApiPath;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let all = [kept(facts).or_else(|| unasked(facts)), tokens(facts)];
    all.into_iter().flatten().collect()
}

/// Whether what went wrong through the balancer was answered by a cache that says so.
pub(super) fn is_seen(facts: &Facts<'_>) -> bool {
    !facts.through_balancer(is_kept).is_empty()
}

fn is_kept(seen: &Observation) -> bool {
    let about_access =
        matches!(seen.reason(), Reason::Unauthorized | Reason::Forbidden | Reason::NoChallenge);
    about_access && seen.answer.as_ref().is_some_and(|answer| answer.kept)
}

/// Answers that say that they were kept.
fn kept(facts: &Facts<'_>) -> Option<Hypothesis> {
    let ids = facts.through_balancer(is_kept);
    if ids.is_empty() {
        return None;
    }
    let summary = "A cache in front of the registry does not look at Authorization: it gives the \
                   answer for one client to another client.";
    let fate = |seen: &Observation| {
        let alike = seen.kind == ObservationKind::CheckRefused
            && seen.check == Some(Check::AuthorizationHeader);
        // Of each kind of failure only the first is known, and it need not be a hit of the cache.
        let sampled = seen.check.is_none() && seen.reason() == Reason::Unauthorized;
        seen.place.involves_balancer() && (alike || sampled)
    };
    let others: Vec<ObservationId> = facts.observed(fate).map(|(id, _)| id).collect();
    let h = Hypothesis::new(NAME, Vec::new(), summary.to_owned())
        .evidence(ids.iter().take(4).map(|id| line(facts, *id)));
    Some(h.explains(ids).explains(others).explains(of_repository(facts)))
}

/// Without a token 200 through the balancer, while every node asks for one. Where it is so for each
/// request the balancer answers itself, else it may be a cache or another server.
fn unasked(facts: &Facts<'_>) -> Option<Hypothesis> {
    let open = |seen: &Observation| {
        seen.reason() == Reason::NoChallenge && seen.step == Some(Step::Challenge)
    };
    let ids = facts.through_balancer(open);
    let nodes = || facts.round.flows.iter().filter(|flow| flow.route.backend().is_some());
    let asks = |flow: &Flow| flow.passed(Step::Challenge) == Some(true);
    if ids.is_empty() || nodes().count() == 0 || !nodes().all(asks) {
        return None;
    }
    let always = facts.round.flow(&Route::Balancer).is_some_and(|flow| !asks(flow));
    let summary = if always {
        "The load balancer itself answers /v2/ and asks for no token, although every node asks for \
         one: docker then sends none."
    } else {
        "Through the load balancer some requests without a token get 200, although every node asks \
         for a token. Either a cache ignores the Authorization header, or a server that is not \
         among the nodes answers."
    };
    let h = Hypothesis::new(NAME, Vec::new(), summary.to_owned())
        .suspected(&[FindingName::UnknownBackend])
        .evidence(ids.iter().take(4).map(|id| line(facts, *id)));
    Some(h.explains(ids).explains(of_repository(facts)))
}

/// What the balancer answered for a repository in place of the challenge that nodes give.
fn of_repository(facts: &Facts<'_>) -> Vec<ObservationId> {
    facts.met(Check::PublicUrl, &Place::route(&Route::Balancer))
}

/// Tokens that a cache gave: they work, for whoever gets them.
fn tokens(facts: &Facts<'_>) -> Option<Hypothesis> {
    let kept = |flow: &&Flow| flow.answer(Step::Token).is_some_and(|answer| answer.kept);
    let flows: Vec<&Flow> = facts.round.flows.iter().filter(kept).collect();
    let sampled = facts.sampling().map_or(0, |run| run.kept_tokens);
    if flows.is_empty() && sampled == 0 {
        return None;
    }
    let summary = "A cache answers in place of the token endpoint.".to_owned();
    let of_flows = flows.iter().map(|flow| format!("{}: the token came from a cache", flow.route));
    let of_samples = (sampled > 0)
        .then(|| format!("{sampled} tokens through the load balancer came from a cache"));
    let effect = "Anyone who sends the same request, with any password, may get the token of \
                  another user; logins work.";
    let h = Hypothesis::new(NAME, Vec::new(), summary).hits(Hits::Background(effect)).alone();
    Some(h.evidence(of_flows).evidence(of_samples))
}

fn line(facts: &Facts<'_>, id: ObservationId) -> String {
    let seen = facts.observation(id);
    let step = seen.step.map_or("", Step::as_str);
    let kept = seen.answer.as_ref().is_some_and(|answer| answer.kept);
    let kept = if kept { "; the answer says that a cache kept it (Age, X-Cache)" } else { "" };
    format!("{}: {step}, {}{kept}", seen.place.answering(), seen.failure)
}
