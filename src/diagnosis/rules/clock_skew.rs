//! `clock-skew-nbf` and `clock-skew-exp`: tokens that are refused for their time (B1 and B2 in
//! `deploy/modes.md`).
//!
//! A token is valid from the second in which its issuer says it was issued. A verifier whose clock
//! is behind refuses it for as long as it is behind, so every refusal proves a least difference:
//! the time from the token's issue to that refusal. A pair whose clocks exclude that difference was
//! refused for another reason, however soon the same token passed later.

use std::collections::BTreeSet;

use super::super::clocks::{self, beyond};
use super::super::facts::{Facts, ObservationId};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::keys;
use super::super::leeway::issuing_clock;
use super::super::wording::{describe, list, verb};
use crate::model::{
    BackendName, Cell, Evidence, FindingName, Observation, ObservationKind as Kind, Reason,
    Refusal, Step, TokenFacts,
};

/// Clocks that differ by no more than this refuse so few tokens that one refusal is no proof.
const HARMLESS_SECONDS: f64 = 0.015;

/// What the measurement of a difference and of a token's age may be off by, together.
const SLACK_SECONDS: f64 = 0.02;

/// A pair of backends of which one refused the other's token.
struct Pair<'a> {
    id: ObservationId,
    cell: &'a Cell,
    refusal: &'a Refusal,
    issuer: &'a BackendName,
    verifier: &'a BackendName,
}

type Edge<'a> = (&'a BackendName, &'a BackendName);

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let seen: Vec<Hypothesis> =
        not_yet_valid(facts).into_iter().chain(already_expired(facts)).collect();
    if seen.is_empty() { predicted(facts).into_iter().collect() } else { seen }
}

/// Refusals between backends that do not hide replicas. A backend may refuse its own tokens for
/// their time too, where its token server has another clock than its registry.
fn pairs<'a>(facts: &Facts<'a>) -> Vec<Pair<'a>> {
    let pair = |(id, cell, refusal): (ObservationId, &'a Cell, &'a Refusal)| {
        let (issuer, verifier) = (cell.issuer.backend()?, cell.verifier.backend()?);
        (!keys::is_luck(facts, cell)).then_some(Pair { id, cell, refusal, issuer, verifier })
    };
    facts.refused_pairs().into_iter().filter_map(pair).collect()
}

fn same_key(facts: &Facts<'_>, pair: &Pair<'_>) -> bool {
    pair.cell.key.is_some() && pair.cell.key.as_ref() == facts.verifies(pair.verifier)
}

/// Whether the clocks allow that this token was refused for its time for as long as it was.
/// Unknown clocks allow it.
fn may_be_time(facts: &Facts<'_>, pair: &Pair<'_>) -> bool {
    let lasted = pair.cell.age_seconds + pair.refusal.refused_until;
    beyond(facts.round, pair.cell).is_none_or(|beyond| {
        beyond.upper() > HARMLESS_SECONDS && beyond.upper() + SLACK_SECONDS > lasted
    })
}

fn is_certainly_ahead(facts: &Facts<'_>, pair: &Pair<'_>) -> bool {
    beyond(facts.round, pair.cell).is_some_and(|beyond| beyond.lower() > 0.0)
}

/// What a skew does to fresh tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tokens {
    NotYetValid,
    SomeNotYetValid,
    Expired,
}

/// Which clocks are off, to which side where the pairs that refuse tell it, and which tokens fail
/// where.
fn summary(at_fault: &[BackendName], edges: &[Edge<'_>], tokens: Tokens) -> String {
    let count = at_fault.len();
    let some = if tokens == Tokens::SomeNotYetValid { "some " } else { "" };
    let (limit, are) = match tokens {
        Tokens::Expired => ("the lifetime of a token", "have expired"),
        _ => ("the nodes tolerate", "are not valid yet"),
    };
    let (of_issuer, of_verifier) =
        if tokens == Tokens::Expired { ("behind", "ahead") } else { ("ahead", "behind") };
    let they_issue = edges.iter().all(|(issuer, _)| at_fault.contains(issuer));
    let they_verify = edges.iter().all(|(_, verifier)| at_fault.contains(verifier));
    let (side, what) = match (they_issue, they_verify) {
        (true, false) => {
            let its = verb(count, "it issues", "they issue");
            (of_issuer, format!("{some}fresh tokens that {its} {are} at other nodes"))
        }
        (false, true) => (of_verifier, format!("{some}fresh tokens of other nodes {are} there")),
        _ => ("off", format!("{some}fresh tokens {are} at other nodes")),
    };
    format!(
        "The {} of {} {} {side} by more than {limit}: {what}.",
        verb(count, "clock", "clocks"),
        list(at_fault),
        verb(count, "is", "are")
    )
}

/// Fresh tokens that are not valid yet where they are shown: the same token passes later, or the
/// measured clocks leave no doubt.
fn not_yet_valid(facts: &Facts<'_>) -> Option<Hypothesis> {
    let heals = |pair: &Pair<'_>| pair.refusal.healed_after.is_some();
    let found: Vec<Pair<'_>> = pairs(facts)
        .into_iter()
        .filter(|pair| may_be_time(facts, pair))
        .filter(|pair| heals(pair) || (same_key(facts, pair) && is_certainly_ahead(facts, pair)))
        .collect();
    if found.is_empty() {
        return None;
    }
    let edges: Vec<Edge<'_>> = found.iter().map(|pair| (pair.issuer, pair.verifier)).collect();
    let at_fault = at_fault(facts, &edges);
    let healed = found.iter().filter(|pair| heals(pair)).count();
    let keys_equal = found.iter().all(|pair| same_key(facts, pair));
    let proved = keys_equal && found.iter().any(|pair| is_certainly_ahead(facts, pair));
    let count = found.len();
    #[expect(clippy::cast_precision_loss, reason = "pairs are far fewer than 2^52")]
    let refused = Evidence::from(format!(
        "{count} {} a token that is not valid there yet; {healed} of {count} accepted it later",
        verb(count, "pair refuses", "pairs refuse")
    ))
    .with("refused_pairs", count as f64)
    .with("healed_pairs", healed as f64);
    let summary = summary(&at_fault, &edges, Tokens::NotYetValid);
    let hypothesis = Hypothesis::new(FindingName::ClockSkewNbf, at_fault, summary)
        .hits(Hits::Tokens)
        .evidence(clocks::lines(facts.round, &edges))
        .evidence([refused])
        .evidence(found.iter().take(4).filter_map(|pair| describe(pair.cell)))
        .proved_if(proved, &[FindingName::TokenKeyMismatch])
        .explains(found.iter().map(|pair| pair.id))
        .explains(own_flows(facts, &edges))
        .fits(elsewhere(facts));
    Some(hypothesis)
}

/// Fresh tokens that have already expired where they are shown.
fn already_expired(facts: &Facts<'_>) -> Option<Hypothesis> {
    let expired = |pair: &Pair<'_>| {
        let flow = facts.round.backend_flow(pair.issuer);
        let lifetime = flow.and_then(|flow| flow.token.measured()).and_then(TokenFacts::lifetime);
        // Tokens whose times make no sense are not the fault of a clock.
        let lifetime = lifetime.filter(|seconds| *seconds > 0);
        let backwards = super::super::leeway::ahead(facts.round, pair.issuer, pair.verifier);
        #[expect(clippy::cast_precision_loss, reason = "a lifetime is far below 2^52 seconds")]
        let certain = lifetime.zip(backwards).is_some_and(|(lifetime, ahead)| {
            -ahead.upper() > lifetime as f64 + tolerated(facts, pair.verifier)
        });
        certain && pair.refusal.healed_after.is_none() && same_key(facts, pair)
    };
    let found: Vec<Pair<'_>> = pairs(facts).into_iter().filter(expired).collect();
    if found.is_empty() {
        return None;
    }
    let edges: Vec<Edge<'_>> = found.iter().map(|pair| (pair.issuer, pair.verifier)).collect();
    let at_fault = at_fault(facts, &edges);
    let summary = summary(&at_fault, &edges, Tokens::Expired);
    let hypothesis = Hypothesis::new(FindingName::ClockSkewExp, at_fault, summary)
        .hits(Hits::Tokens)
        .evidence(clocks::lines(facts.round, &edges))
        .evidence(found.iter().take(4).filter_map(|pair| describe(pair.cell)))
        .explains(found.iter().map(|pair| pair.id))
        .explains(own_flows(facts, &edges))
        .fits(elsewhere(facts));
    Some(hypothesis)
}

fn tolerated(facts: &Facts<'_>, verifier: &BackendName) -> f64 {
    match facts.round.backend(verifier).map(super::super::leeway::leeway) {
        Some(crate::model::Leeway::Seconds(seconds)) => seconds,
        _ => super::super::leeway::MINUTE,
    }
}

/// Clocks that refuse a part of the tokens although no pair of nodes was refused in this round: one
/// token is a draw of luck, and the samples through the balancer may have drawn otherwise.
fn predicted(facts: &Facts<'_>) -> Option<Hypothesis> {
    let refusing = clocks::refusing(facts.round);
    if refusing.is_empty() {
        return None;
    }
    let edges: Vec<Edge<'_>> = refusing.iter().map(|it| (it.issuer, it.verifier)).collect();
    let at_fault = at_fault(facts, &edges);
    let certain = clocks::is_certain(facts.round, &refusing);
    let summary = summary(&at_fault, &edges, Tokens::SomeNotYetValid)
        + " In this check no node was shown a token at such a moment.";
    let hypothesis = Hypothesis::new(FindingName::ClockSkewNbf, at_fault, summary)
        .hits(Hits::Tokens)
        .evidence(clocks::lines(facts.round, &edges))
        .evidence(clocks::refusals(facts.round, &refusing))
        .proved_if(certain, &[])
        .fits(elsewhere(facts))
        .fits(pairs_of(facts, &edges))
        .alone();
    Some(hypothesis)
}

/// Refusals through the balancer that a skew explains as it does those between nodes: of samples
/// and of its own flow. Pairs with the balancer in them follow from those of nodes.
fn elsewhere<'f>(facts: &'f Facts<'_>) -> impl Iterator<Item = ObservationId> + 'f {
    let refused = |seen: &Observation| match seen.kind {
        Kind::SampleRefused | Kind::ClientRefused => true,
        Kind::FlowFailed => {
            seen.step >= Some(Step::Access) && seen.reason() == Reason::Unauthorized
        }
        _ => false,
    };
    facts.observed(move |seen| seen.place.involves_balancer() && refused(seen)).map(|(id, _)| id)
}

/// Refused pairs with the balancer in them that one of these pairs of nodes may be.
fn pairs_of(facts: &Facts<'_>, edges: &[Edge<'_>]) -> Vec<ObservationId> {
    let fits = |issuer: Option<&BackendName>, verifier: Option<&BackendName>| {
        edges.iter().any(|(ahead, behind)| {
            issuer.is_none_or(|name| name == *ahead) && verifier.is_none_or(|name| name == *behind)
        })
    };
    let pairs = facts.refused_pairs().into_iter().filter(|(_, cell, _)| {
        super::super::facts::is_lb(cell) && fits(cell.issuer.backend(), cell.verifier.backend())
    });
    pairs.map(|(id, ..)| id).collect()
}

/// The flows of backends that refuse their own tokens for their time.
fn own_flows(facts: &Facts<'_>, edges: &[Edge<'_>]) -> Vec<ObservationId> {
    let own = facts.flows_that(|flow, step, _| {
        let name = flow.route.backend();
        step >= Step::Access && name.is_some_and(|name| edges.contains(&(name, name)))
    });
    own.into_iter().map(|(id, _)| id).collect()
}

/// The fewest backends that take part in every refusal; among equals those furthest from the
/// prober's clock. A backend that is merely refused by a wrong one is not among them.
fn at_fault(facts: &Facts<'_>, edges: &[Edge<'_>]) -> Vec<BackendName> {
    let names: BTreeSet<&BackendName> = edges.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let off = |name: &BackendName| off_by(facts, name);
    let mut chosen: BTreeSet<BackendName> = BTreeSet::new();
    let mut open: Vec<Edge<'_>> = edges.to_vec();
    while !open.is_empty() {
        let times =
            |name: &BackendName| open.iter().filter(|(a, b)| *a == name || *b == name).count();
        let most = names.iter().copied().filter(|name| times(name) > 0).max_by(|a, b| {
            // Two that take part equally often are distinguished by their clocks.
            times(a).cmp(&times(b)).then(off(a).total_cmp(&off(b))).then(b.cmp(a))
        });
        let Some(most) = most else { break };
        let equals: Vec<&BackendName> = names
            .iter()
            .copied()
            .filter(|name| *name != most && times(name) == times(most))
            .filter(|name| (off(name) - off(most)).abs() < 1e-9)
            .collect();
        let undecided = open.iter().all(|(a, b)| {
            let other = if *a == most { *b } else { *a };
            equals.contains(&other)
        });
        chosen.insert(most.clone());
        if undecided && open.len() <= 2 {
            chosen.extend(equals.into_iter().cloned());
            break;
        }
        open.retain(|(a, b)| *a != most && *b != most);
    }
    chosen.into_iter().collect()
}

/// How far a clock is off at the least: zero where its interval includes zero.
fn off_by(facts: &Facts<'_>, name: &BackendName) -> f64 {
    issuing_clock(facts.round, name).map_or(0.0, |clock| {
        if clock.contains(0.0) { 0.0 } else { clock.lower().abs().min(clock.upper().abs()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::backend;

    #[test]
    fn the_side_of_a_clock_follows_from_whose_tokens_fail_where() {
        let [a, b, c] = ["a", "b", "c"].map(backend);
        let fault = [c.clone()];
        let refused_at_c: [Edge<'_>; 2] = [(&a, &c), (&b, &c)];
        let refused_of_c: [Edge<'_>; 2] = [(&c, &a), (&c, &b)];
        let both: [Edge<'_>; 2] = [(&a, &c), (&c, &b)];
        for (edges, tokens, expected) in [
            (
                refused_at_c,
                Tokens::NotYetValid,
                "The clock of c is behind by more than the nodes tolerate: fresh tokens of other \
                 nodes are not valid yet there.",
            ),
            (
                refused_of_c,
                Tokens::SomeNotYetValid,
                "The clock of c is ahead by more than the nodes tolerate: some fresh tokens that it \
                 issues are not valid yet at other nodes.",
            ),
            (
                refused_at_c,
                Tokens::Expired,
                "The clock of c is ahead by more than the lifetime of a token: fresh tokens of \
                 other nodes have expired there.",
            ),
            (
                both,
                Tokens::NotYetValid,
                "The clock of c is off by more than the nodes tolerate: fresh tokens are not valid \
                 yet at other nodes.",
            ),
        ] {
            assert_eq!(summary(&fault, &edges, tokens), expected);
        }
    }
}
