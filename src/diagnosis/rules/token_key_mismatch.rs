//! `token-key-mismatch`: nodes sign and check tokens with different keys (A1 of the failure
//! catalogue), each by itself, or several replicas behind one address.

use std::collections::BTreeMap;

use super::super::clocks::beyond;
use super::super::facts::{Facts, ObservationId, behind_core, is_lb, odd_ones};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::keys::{self, changed_lately, hides_replicas};
use super::super::partition::Partition;
use super::super::wording::{describe, list, verb};
use crate::model::{BackendName, Cell, FindingName, Issuer, Refusal, Route, Step};

const NAME: FindingName = FindingName::TokenKeyMismatch;

/// Of two replicas with keys of their own, one in two refuses a token: this number of tokens is
/// accepted by luck in less than one of a hundred rounds, seven with those of the flows.
const ENOUGH_ACCEPTED: usize = 5;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    [replicas(facts), different_keys(facts), unknown_keys(facts), key_ids_alone(facts)]
        .into_iter()
        .flatten()
        .collect()
}

/// A refused token of one backend at another.
type Refused<'a> = (ObservationId, &'a Cell, &'a Refusal);

/// Refusals between backends that stay, where no replicas make them a matter of luck.
fn lasting<'a>(facts: &Facts<'a>) -> Vec<Refused<'a>> {
    let mut all = facts.refused_pairs();
    all.retain(|(_, cell, refusal)| {
        let between = cell.issuer.backend().zip(cell.verifier.backend());
        between.is_some_and(|(issuer, verifier)| issuer != verifier)
            && refusal.healed_after.is_none()
            && !keys::is_luck(facts, cell)
    });
    all
}

/// Whether a backend accepts its own token; nothing where that was not measured.
fn takes_own(facts: &Facts<'_>, name: &BackendName) -> Option<bool> {
    let route = Route::Backend(name.clone());
    let own = facts.round.matrix.cell(&Issuer::Route(route.clone()), &route)?;
    let by_itself = own.refusal().is_none_or(|refusal| !behind_core(&refusal.answer));
    own.accepted().filter(|_| by_itself)
}

fn accepts_own(facts: &Facts<'_>, name: &BackendName) -> bool {
    takes_own(facts, name) == Some(true)
}

/// Between backends that sign with different keys, where each verifier accepts its own.
fn different_keys(facts: &Facts<'_>) -> Option<Hypothesis> {
    let mut found = lasting(facts);
    found.retain(|(_, cell, _)| {
        let own = cell.verifier.backend().and_then(|name| facts.verifies(name));
        // Two forms of key id cannot be compared: see `key_id_format_mismatch`.
        cell.key
            .as_ref()
            .zip(own)
            .is_some_and(|(shown, own)| shown != own && shown.form() == own.form())
    });
    // A verifier that refuses even its own token says nothing about others' keys. One that was not
    // shown a good token of its own proves nothing, but its refusals have the same cause.
    let sound = |(_, cell, _): &Refused<'_>| {
        cell.verifier.backend().is_some_and(|name| accepts_own(facts, name))
    };
    let untried = |(_, cell, _): &Refused<'_>| {
        cell.verifier.backend().is_some_and(|name| takes_own(facts, name).is_none())
    };
    let mut likewise = Vec::new();
    if found.iter().any(sound) {
        likewise = found.iter().filter(|refused| untried(refused)).map(|(id, ..)| *id).collect();
        found.retain(sound);
    }
    if found.is_empty() {
        return None;
    }
    let groups = groups(facts);
    let total: usize = groups.values().map(Vec::len).sum();
    let (odd, majority) = odd_ones(&groups, total);
    let asked_again = found.iter().any(|(_, _, refusal)| refusal.tries > 1);
    let own = found.iter().filter_map(|(_, cell, _)| cell.verifier.backend());
    let proved =
        asked_again && own.clone().count() > 0 && own.clone().all(|n| accepts_own(facts, n));
    let hypothesis = Hypothesis::new(NAME, odd.clone(), summary(&odd, majority))
        .hits(Hits::Tokens)
        .evidence(group_lines(&groups))
        .evidence(facts.round.backends.iter().filter_map(|b| changed_lately(facts, &b.name)))
        .evidence([
            "nodes with different keys refuse each other's tokens, even after 5 s; each accepts \
             its own tokens"
                .to_owned(),
        ])
        .evidence(found.iter().take(4).filter_map(|(_, cell, _)| describe(cell)))
        .proved_if(proved, &[FindingName::ClockSkewNbf])
        .explains(found.iter().map(|(id, ..)| *id))
        .explains(likewise);
    Some(hypothesis)
}

/// The same where the tokens do not say which key signed them, or say the same and are refused all
/// the same: who accepts which tokens divides the nodes.
fn unknown_keys(facts: &Facts<'_>) -> Option<Hypothesis> {
    let mut found = lasting(facts);
    found.retain(|(_, cell, _)| {
        let own = cell.verifier.backend().and_then(|name| facts.verifies(name));
        let differ = cell.key.as_ref().zip(own).is_some_and(|(shown, own)| shown != own);
        // What a clock may explain is no key's doing.
        let by_time = beyond(facts.round, cell).is_some_and(|beyond| beyond.upper() > 0.0);
        let ends = cell.issuer.backend().zip(cell.verifier.backend());
        let sound = ends.is_some_and(|(issuer, verifier)| {
            accepts_own(facts, issuer) && accepts_own(facts, verifier)
        });
        !differ && !by_time && sound
    });
    if found.is_empty() {
        return None;
    }
    let mut partition = Partition::default();
    for cell in &facts.round.matrix.cells {
        if let Some((issuer, verifier)) = cell.issuer.backend().zip(cell.verifier.backend())
            && cell.accepted() == Some(true)
        {
            partition.join(issuer, verifier);
        }
    }
    let (odd, majority) = partition.odd_ones();
    if odd.is_empty() {
        return None;
    }
    let hypothesis = Hypothesis::new(NAME, odd.clone(), summary(&odd, majority))
        .hits(Hits::Tokens)
        .evidence([
            "the tokens do not name their key; the nodes are grouped by whose tokens they accept"
                .to_owned(),
        ])
        .evidence(found.iter().take(4).filter_map(|(_, cell, _)| describe(cell)))
        .suspected(&[FindingName::IssuerAudienceMismatch])
        .explains(found.iter().map(|(id, ..)| *id));
    Some(hypothesis)
}

/// Different key ids where no token could be shown, as an anonymous prober sees them on Harbor.
fn key_ids_alone(facts: &Facts<'_>) -> Option<Hypothesis> {
    let groups = groups(facts);
    let nothing_tried = facts.round.matrix.cells.iter().all(|cell| cell.accepted().is_none());
    if groups.len() < 2 || !nothing_tried {
        return None;
    }
    let total: usize = groups.values().map(Vec::len).sum();
    let (odd, majority) = odd_ones(&groups, total);
    let hypothesis = Hypothesis::new(NAME, odd.clone(), summary(&odd, majority))
        .hits(Hits::Tokens)
        .evidence(group_lines(&groups))
        .evidence(["no token could be shown to another node without credentials".to_owned()])
        .suspected(&[FindingName::TokenKeyRotationWindow])
        .alone();
    Some(hypothesis)
}

/// One address that hides replicas with different keys: whatever takes part in it is luck.
fn replicas(facts: &Facts<'_>) -> Option<Hypothesis> {
    let backends = facts.round.backends.iter().map(|facts_of| &facts_of.name);
    let names: Vec<BackendName> =
        backends.filter(|name| hides_replicas(facts, name)).cloned().collect();
    if names.is_empty() {
        return None;
    }
    let keys: Vec<_> =
        names.iter().flat_map(|name| keys::of_backend(facts, name)).map(|(key, _)| key).collect();
    let member = |name: Option<&BackendName>| name.is_some_and(|name| names.contains(name));
    let (through, between): (Vec<_>, Vec<_>) =
        facts.refused_pairs().into_iter().partition(|(_, cell, _)| is_lb(cell));
    let between = between
        .into_iter()
        .filter(|(_, cell, _)| member(cell.issuer.backend()) || member(cell.verifier.backend()));
    let through = through.into_iter().filter(|(_, cell, _)| {
        cell.verifier == Route::Balancer || cell.key.as_ref().is_some_and(|k| keys.contains(&k))
    });
    let flows =
        facts.flows_that(|flow, step, _| member(flow.route.backend()) && step >= Step::Access);
    let own = |name: &BackendName| {
        let route = Route::Backend(name.clone());
        describe(facts.round.matrix.cell(&Issuer::Route(route.clone()), &route)?)
    };
    let summary = format!(
        "Behind the {} of {}, several replicas sign with different keys and refuse each other's \
         tokens.",
        verb(names.len(), "address", "addresses"),
        list(&names)
    );
    let refused_samples = facts.observed(|seen| {
        matches!(
            seen.kind,
            crate::model::ObservationKind::SampleRefused
                | crate::model::ObservationKind::ClientRefused
        )
    });
    let found = Hypothesis::new(NAME, names.clone(), summary)
        .hits(Hits::Tokens)
        .evidence(names.iter().map(|name| key_line(facts, name)))
        .evidence(names.iter().filter_map(own))
        .explains(between.map(|(id, ..)| id))
        .explains(flows.into_iter().map(|(id, _)| id))
        .explains(held_tokens(facts, &names))
        .explains(refused_checks(facts, &names))
        .fits(through.map(|(id, ..)| id))
        .fits(refused_samples.map(|(id, _)| id))
        .alone();
    if !found.claims.is_empty() {
        return Some(found);
    }
    // Many keys that all accept are no mismatch. A few tokens may have been accepted by luck.
    (accepted(facts, &names) < ENOUGH_ACCEPTED).then(|| found.suspected(&[]))
}

/// The number of tokens that these backends issued or checked, and that were accepted.
fn accepted(facts: &Facts<'_>, names: &[BackendName]) -> usize {
    let member = |name: Option<&BackendName>| name.is_some_and(|name| names.contains(name));
    let cells = facts.round.matrix.cells.iter().filter(|cell| {
        cell.accepted() == Some(true)
            && (member(cell.issuer.backend()) || member(cell.verifier.backend()))
    });
    cells.count()
}

/// Checks whose token another replica refused.
fn refused_checks(facts: &Facts<'_>, names: &[BackendName]) -> Vec<ObservationId> {
    let refused = facts.observed(|seen| {
        seen.check.is_some()
            && seen.reason() == crate::model::Reason::Unauthorized
            && seen.place.backend().is_some_and(|name| names.contains(name))
    });
    refused.map(|(id, _)| id).collect()
}

/// Tokens of an earlier round that another replica refused.
fn held_tokens(facts: &Facts<'_>, names: &[BackendName]) -> Vec<ObservationId> {
    let refused = facts.observed(|seen| {
        seen.kind == crate::model::ObservationKind::HeldTokenRefused
            && seen.place.backend().is_some_and(|name| names.contains(name))
    });
    refused.map(|(id, _)| id).collect()
}

fn key_line(facts: &Facts<'_>, name: &BackendName) -> String {
    let keys = keys::of_backend(facts, name);
    let total: u32 = keys.iter().map(|(_, tokens)| tokens).sum();
    let each: Vec<String> = keys
        .iter()
        .map(|(key, tokens)| format!("{tokens} of {total} by key {}…", key.short()))
        .collect();
    format!("{name}: signing keys of its tokens: {}", each.join(", "))
}

fn summary(odd: &[BackendName], majority: bool) -> String {
    let signs = verb(odd.len(), "signs", "sign");
    if majority {
        format!("{} {signs} tokens with a different key than the other nodes.", list(odd))
    } else {
        format!(
            "{} {signs} tokens with different keys. Without a majority, any of them may be the \
             wrong one.",
            list(odd)
        )
    }
}

/// Backends by the key that signed their token.
fn groups(facts: &Facts<'_>) -> BTreeMap<String, Vec<BackendName>> {
    let mut groups: BTreeMap<String, Vec<BackendName>> = BTreeMap::new();
    for backend in &facts.round.backends {
        if let Some(key) = facts.key_of(&backend.name) {
            groups.entry(key.as_str().to_owned()).or_default().push(backend.name.clone());
        }
    }
    groups
}

fn group_lines(groups: &BTreeMap<String, Vec<BackendName>>) -> Vec<String> {
    let line = |(key, names): (&String, &Vec<BackendName>)| {
        format!("key {}…: {}", key.get(..9).unwrap_or(key), list(names))
    };
    groups.iter().map(line).collect()
}
