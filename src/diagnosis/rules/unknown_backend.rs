//! `unknown-backend`: the load balancer leads to a node that is not configured here, with a signing
//! key of its own.

use super::super::facts::{Facts, ObservationId, is_lb};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::keys;
use super::super::wording::describe;
use crate::model::{
    Cell, Evidence, Family, FindingName, KeyCount, KeyId, Observation, ObservationKind as Kind,
    Reason, Route, Step,
};

const NAME: FindingName = FindingName::UnknownBackend;

/// A node with a key of its own refuses the tokens of others. This number of tokens of a strange
/// key is accepted by luck in one of a hundred rounds, where it is one node of three.
const ENOUGH_ACCEPTED: u32 = 4;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let Some(run) = facts.sampling() else { return Vec::new() };
    let backends = || facts.round.backends.iter().map(|backend| &backend.name);
    let known: Vec<KeyId> = backends()
        .flat_map(|name| keys::of_backend(facts, name))
        .map(|(key, _)| key.clone())
        .collect();
    // The strange key may be that of a backend whose key is not known.
    let keyless = backends().any(|name| {
        let flow = facts.round.backend_flow(name);
        let answers = flow.is_some_and(|flow| flow.challenge.measured().is_some());
        answers && keys::of_backend(facts, name).is_empty()
    });
    if known.is_empty() || keyless {
        return Vec::new();
    }
    let strange: Vec<&KeyCount> =
        run.keys.iter().filter(|count| !known.contains(&count.key)).collect();
    if strange.is_empty() {
        return by_elimination(facts).into_iter().collect();
    }
    let total: u32 = run.keys.iter().map(|count| count.tokens).sum();
    let is_strange = |key: Option<&KeyId>| key.is_some_and(|key| !known.contains(key));
    let pairs = facts.refused_pairs().into_iter().filter(|(_, cell, _)| {
        is_lb(cell) && (is_strange(cell.key.as_ref()) || cell.verifier == Route::Balancer)
    });
    // A key that a replica behind a known address may have is no proof of another node.
    let counted = backends().all(|name| keys::are_counted(facts, name));
    let refused = refused_samples(facts);
    // Several keys that all accept do no harm, whoever has them.
    let shown: u32 = strange.iter().map(|count| count.tokens).sum();
    let none_refused = refused.is_empty() && facts.refused_pairs().is_empty();
    if none_refused && (!counted || shown >= ENOUGH_ACCEPTED) {
        return Vec::new();
    }
    let summary = "The load balancer leads to a node that is not configured here, with a signing \
                   key of its own."
        .to_owned();
    let lines = strange.iter().map(|count| {
        let text = format!(
            "{} of {total} tokens through the load balancer were signed by key {}…, which no \
             configured backend has",
            count.tokens,
            count.key.short()
        );
        Evidence::from(text)
            .with("tokens_of_key", f64::from(count.tokens))
            .with("tokens", f64::from(total))
    });
    let hypothesis = Hypothesis::new(NAME, Vec::new(), summary)
        .hits(Hits::Tokens)
        .evidence(lines)
        .proved_if(counted && !none_refused, &[FindingName::TokenKeyMismatch])
        .explains(pairs.map(|(id, ..)| id))
        .fits(refused)
        .alone();
    vec![hypothesis]
}

/// Samples and flows through the balancer whose token was refused.
fn refused_samples(facts: &Facts<'_>) -> Vec<ObservationId> {
    let refused = |seen: &Observation| match seen.kind {
        Kind::SampleRefused => true,
        Kind::ClientRefused => !facts.is_of_content_at_nodes(seen),
        Kind::FlowFailed => {
            seen.place.involves_balancer()
                && seen.step >= Some(Step::Access)
                && seen.reason() == Reason::Unauthorized
        }
        _ => false,
    };
    facts.observed(refused).map(|(id, _)| id).collect()
}

/// Every backend accepts an issuer's tokens and the balancer refused one: whoever refused it is not
/// among the backends. None of its keys was met by luck.
fn by_elimination(facts: &Facts<'_>) -> Option<Hypothesis> {
    let family = facts.common_family();
    let accepted_by_all = |cell: &Cell| {
        let cells = facts.round.matrix.cells.iter();
        let mut others =
            cells.filter(|other| other.issuer == cell.issuer && other.verifier.backend().is_some());
        others.all(|other| other.accepted() == Some(true))
    };
    let found: Vec<_> = facts
        .refused_pairs()
        .into_iter()
        .filter(|(_, cell, refusal)| {
            // Every backend accepts this issuer, so the refusal came from elsewhere.
            cell.issuer.backend().is_some()
                && is_lb(cell)
                && !looks_unseen(refusal, family)
                && accepted_by_all(cell)
        })
        .collect();
    // Or samples were refused, where every backend accepts every other's tokens.
    let unseen = facts.sampling().and_then(|run| run.first_refusal.as_ref());
    let unseen = unseen.is_some_and(|answer| is_first_contact(answer, family));
    let agree = facts
        .round
        .matrix
        .cells
        .iter()
        .filter(|cell| !is_lb(cell))
        .all(|cell| cell.accepted() == Some(true));
    let sampled = agree && !unseen && !refused_samples(facts).is_empty();
    if found.is_empty() && !sampled {
        return None;
    }
    let summary = "A token that every backend accepts is refused through the load balancer. The \
                   load balancer seems to lead to a node that is not configured here."
        .to_owned();
    let hypothesis = Hypothesis::new(NAME, Vec::new(), summary)
        .hits(Hits::Tokens)
        .suspected(&[FindingName::TokenKeyMismatch])
        .evidence(found.iter().take(6).filter_map(|(_, cell, _)| describe(cell)))
        .evidence(["every backend accepts the tokens of the same issuers".to_owned()])
        .fits(found.iter().map(|(id, ..)| *id))
        .fits(refused_samples(facts));
    Some(hypothesis)
}

/// A good token that got the challenge of a first contact did not arrive.
fn looks_unseen(refusal: &crate::model::Refusal, family: Family) -> bool {
    is_first_contact(&refusal.answer, family)
}

fn is_first_contact(answer: &crate::model::Answer, family: Family) -> bool {
    let Some(challenge) = &answer.challenge else { return false };
    let bearer = challenge.scheme == crate::model::AuthScheme::Bearer;
    bearer && challenge.error.is_none() && family != Family::Unknown
}
