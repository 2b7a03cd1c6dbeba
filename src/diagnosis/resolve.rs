//! Third step: which hypotheses stand. Relations of [`super::precedence`] first, then every
//! observation goes to exactly one cause, and what explains nothing is not said.
//!
//! An observation belongs to the first of: a cause that claims it directly, in the order of the
//! table; a cause from whose observations it follows ([`super::consequence`]); a cause that it
//! fits. What is left is unexplained.

use std::collections::BTreeMap;

use super::consequence;
use super::facts::{Facts, ObservationId};
use super::hypothesis::{Claim, Hypothesis};
use super::precedence::{RELATIONS, Relation, Scope, rank};
use crate::model::{Fate, FindingName, TraceEntry};

/// What stands, and what became of the rest.
pub(super) struct Resolved {
    /// The hypotheses that are findings, each with the observations that it explains.
    pub(super) kept: Vec<(Hypothesis, Vec<ObservationId>)>,
    /// Observations that nothing explains.
    pub(super) unexplained: Vec<ObservationId>,
    /// What became of every hypothesis.
    pub(super) trace: Vec<TraceEntry>,
}

/// Decides between hypotheses. Their order does not matter.
pub(super) fn resolve(facts: &Facts<'_>, mut all: Vec<Hypothesis>) -> Resolved {
    all.sort_by_key(key);
    let mut trace = Vec::new();
    all.retain(|h| {
        let lacking = !h.lacks.is_empty();
        if lacking {
            trace.push(entry(h, Fate::Lacks { evidence: h.lacks.clone() }));
        }
        !lacking
    });
    // A cause that turns out to explain nothing must not have suppressed others, so all is judged
    // again without it.
    loop {
        let mut fates = Vec::new();
        let active = merged(related(&all, &mut fates), &mut fates);
        let owners = assign(facts, &active);
        let losers = losers(facts, &active, &owners);
        if losers.is_empty() {
            trace.extend(fates);
            return finish(facts, active, &owners, trace);
        }
        for (name, fate) in losers {
            for loser in all.iter().filter(|h| h.name == name) {
                trace.push(entry(loser, fate.clone()));
            }
            all.retain(|h| h.name != name);
        }
    }
}

fn key(h: &Hypothesis) -> (usize, std::cmp::Reverse<crate::model::Confidence>, String, String) {
    let backends: Vec<&str> = h.backends.iter().map(crate::model::BackendName::as_str).collect();
    (rank(h.name), std::cmp::Reverse(h.confidence), backends.join(","), h.summary.clone())
}

fn entry(h: &Hypothesis, fate: Fate) -> TraceEntry {
    TraceEntry {
        hypothesis: h.name,
        backends: h.backends.iter().map(ToString::to_string).collect(),
        claims: u32::try_from(h.claims.len()).unwrap_or(u32::MAX),
        fate,
    }
}

fn holds(scope: Scope, cause: &Hypothesis, consequence: &Hypothesis) -> bool {
    match scope {
        Scope::Anywhere => true,
        Scope::SameBackends => {
            cause.backends.is_empty()
                || (!consequence.backends.is_empty()
                    && consequence.backends.iter().all(|name| cause.backends.contains(name)))
        }
    }
}

/// Applies the table of relations. A consequence of two causes follows the first.
fn related(all: &[Hypothesis], fates: &mut Vec<TraceEntry>) -> Vec<Hypothesis> {
    let relation = |consequence: &Hypothesis| {
        RELATIONS.iter().find_map(|(cause, relation, name, scope)| {
            let here = |h: &&Hypothesis| h.name == *cause && holds(*scope, h, consequence);
            (*name == consequence.name).then(|| all.iter().find(here))?.map(|_| (*cause, *relation))
        })
    };
    let mut kept: Vec<Hypothesis> = Vec::new();
    let mut followed: Vec<(FindingName, Relation, Hypothesis)> = Vec::new();
    for h in all {
        match relation(h) {
            None => kept.push(h.clone()),
            Some((cause, relation)) => {
                let fate = match relation {
                    Relation::Suppresses => Fate::SuppressedBy { finding: cause },
                    Relation::Absorbs => Fate::MergedInto { finding: cause },
                };
                fates.push(entry(h, fate));
                followed.push((cause, relation, h.clone()));
            }
        }
    }
    // What follows from a cause, that cause explains.
    for (cause, relation, h) in followed {
        let Some(into) = kept.iter_mut().find(|kept| kept.name == cause) else { continue };
        if relation == Relation::Absorbs {
            let new = h.evidence.into_iter().filter(|line| !into.evidence.contains(line));
            let new: Vec<_> = new.collect();
            into.evidence.extend(new);
        }
        into.claims.extend(h.claims);
    }
    kept
}

/// Merges the hypotheses that name the same cause.
fn merged(all: Vec<Hypothesis>, fates: &mut Vec<TraceEntry>) -> Vec<Hypothesis> {
    let mut kept: Vec<Hypothesis> = Vec::new();
    for h in all {
        match kept.iter_mut().find(|known| known.name == h.name) {
            Some(known) => {
                fates.push(entry(&h, Fate::MergedInto { finding: h.name }));
                known.merge(h);
            }
            None => kept.push(h),
        }
    }
    kept
}

/// Which hypothesis, by its place in the list, each observation belongs to.
type Owners = BTreeMap<ObservationId, usize>;

fn assign(facts: &Facts<'_>, active: &[Hypothesis]) -> Owners {
    let mut owners = Owners::new();
    claim(active, Claim::Direct, &mut owners);
    follow(facts, &mut owners);
    claim(active, Claim::Fits, &mut owners);
    follow(facts, &mut owners);
    owners
}

/// Gives every observation without an owner to the first hypothesis that claims it in this way.
fn claim(active: &[Hypothesis], how: Claim, owners: &mut Owners) {
    for (number, h) in active.iter().enumerate() {
        for (id, claim) in &h.claims {
            if *claim == how {
                owners.entry(*id).or_insert(number);
            }
        }
    }
}

/// Gives each observation without an owner to the cause that it follows from, then what follows
/// from that observation, until nothing changes.
fn follow(facts: &Facts<'_>, owners: &mut Owners) {
    loop {
        let mut found = Vec::new();
        for (id, effect) in facts.observed(|_| true) {
            if owners.contains_key(&id) {
                continue;
            }
            let causes = owners.iter().filter(|(cause, _)| {
                consequence::follows(facts, effect, facts.observation(**cause))
            });
            found.extend(causes.map(|(_, owner)| *owner).min().map(|owner| (id, owner)));
        }
        if found.is_empty() {
            return;
        }
        owners.extend(found);
    }
}

/// The causes that explain nothing beyond what others explain, each with those others.
fn losers(facts: &Facts<'_>, active: &[Hypothesis], owners: &Owners) -> Vec<(FindingName, Fate)> {
    let loses = |(number, h): (usize, &Hypothesis)| {
        let wins = owners.values().any(|owner| *owner == number);
        if h.stands_alone || wins {
            return None;
        }
        debug_assert!(h.claims.iter().all(|(id, _)| id.0 < facts.observations.len()), "known");
        let mut by: Vec<FindingName> = h
            .claims
            .iter()
            .filter_map(|(id, _)| owners.get(id))
            .map(|owner| active[*owner].name)
            .collect();
        by.sort();
        by.dedup();
        Some((h.name, Fate::ExplainedBy { findings: by }))
    };
    active.iter().enumerate().filter_map(loses).collect()
}

fn finish(
    facts: &Facts<'_>,
    active: Vec<Hypothesis>,
    owners: &Owners,
    mut trace: Vec<TraceEntry>,
) -> Resolved {
    let of = |number: usize| {
        let won = owners.iter().filter(move |(_, owner)| **owner == number);
        won.map(|(id, _)| *id).collect::<Vec<_>>()
    };
    let free = facts.observed(|_| true).map(|(id, _)| id);
    let unexplained = free.filter(|id| !owners.contains_key(id)).collect();
    trace.extend(active.iter().map(|h| entry(h, Fate::Kept)));
    trace.sort_by_key(|entry| rank(entry.hypothesis));
    let kept = active.into_iter().enumerate().map(|(number, h)| (h, of(number))).collect();
    Resolved { kept, unexplained, trace }
}
