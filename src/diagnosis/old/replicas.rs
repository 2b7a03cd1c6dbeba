//! One address that hides several replicas which disagree (A1 behind a Service), and keys that
//! changed while a token was held (A2).

use super::case::{Case, Draft, Impact, list};
use crate::model::{
    Aged, BackendName, Census, Confidence, FindingName, KeyId, Outcome, Route, Step,
};

pub(super) fn examine(case: &mut Case<'_>) {
    rotated(case);
    disagreeing(case);
}

/// Every key that a backend was seen to sign with in this round, with how many tokens.
pub(super) fn keys_of(case: &Case<'_>, backend: &BackendName) -> Vec<(KeyId, u32)> {
    let mut keys: Vec<(KeyId, u32)> = Vec::new();
    let mut add = |key: &KeyId, tokens: u32| match keys.iter_mut().find(|(known, _)| known == key) {
        Some((_, count)) => *count += tokens,
        None => keys.push((key.clone(), tokens)),
    };
    if let Some(key) = case.key_of(backend) {
        add(key, 1);
    }
    let row = case.round.matrix.cells.iter().find(|c| c.issuer.backend() == Some(backend));
    if let Some(key) = row.and_then(|cell| cell.key.as_ref()) {
        add(key, 1);
    }
    let counted = case.round.census.iter().filter(|census| census.backend == *backend);
    for count in counted.flat_map(|Census { keys, .. }| keys) {
        add(&count.key, count.tokens);
    }
    keys.sort_by_key(|(_, tokens)| std::cmp::Reverse(*tokens));
    keys
}

/// The key of a backend changed, and tokens issued before are refused (A2). Proved by a held token
/// that is refused; a change alone is remembered for as long as such a token may live.
fn rotated(case: &mut Case<'_>) {
    let (mut names, mut evidence, mut proved) = (Vec::new(), Vec::new(), false);
    for facts in &case.round.backends {
        let held = held_and_refused(case, &facts.name);
        let Some(line) = held.clone().or_else(|| changed_lately(case, &facts.name)) else {
            continue;
        };
        proved |= held.is_some();
        evidence.push(line);
        names.push(facts.name.clone());
    }
    // Nodes that differ now have a worse trouble than old tokens; the change is its evidence.
    let mut keys: Vec<&KeyId> =
        case.round.backends.iter().filter_map(|facts| case.key_of(&facts.name)).collect();
    keys.sort();
    keys.dedup();
    if names.is_empty() || keys.len() > 1 {
        return;
    }
    let name = FindingName::TokenKeyRotationWindow;
    let before = case.earlier.open_with(name, &names);
    proved |= before.is_some_and(|open| open.confidence == Confidence::Proved);
    let everywhere = names.len() == case.round.backends.len();
    case.add(
        Draft {
            name,
            confidence: if proved { Confidence::Proved } else { Confidence::Suspected },
            impact: Impact::Latent,
            summary: format!(
                "The signing key of {} changed: tokens issued before are refused until clients \
                 fetch new ones.",
                list(&names)
            ),
            backends: if everywhere { Vec::new() } else { names },
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

/// A token held since before, still alive by its own claims, that its own issuer refuses now.
fn held_and_refused(case: &Case<'_>, backend: &BackendName) -> Option<String> {
    let aged: &Aged = case.round.aged.iter().find(|aged| aged.backend == *backend)?;
    let (old, new) = (aged.key.as_ref()?, case.key_of(backend)?);
    let refused = aged.accepted == Outcome::Measured(false) && aged.left_seconds > 0.0;
    let changed = keys_of(case, backend).iter().all(|(key, _)| key != old);
    (refused && changed).then(|| {
        format!(
            "{backend}: a token of key {}…, {:.0} s old with {:.0} s to live, is refused; fresh \
             tokens carry key {}…",
            old.short(),
            aged.age_seconds,
            aged.left_seconds,
            new.short()
        )
    })
}

/// Another key than was known before, first seen less than a token's life ago.
pub(super) fn changed_lately(case: &Case<'_>, backend: &BackendName) -> Option<String> {
    let seen = case.earlier.keys.get(backend)?;
    let now = case.key_of(backend)?;
    let (old, since) = if seen.key == *now {
        (seen.previous.as_ref()?, seen.since)
    } else {
        (&seen.key, case.round.started)
    };
    let lifetime = case.round.backend_flow(backend)?.token.measured()?.lifetime()?;
    let passed = (case.round.started - since).num_seconds();
    (old != now && passed < lifetime).then(|| {
        format!(
            "{backend}: key {}… since {}, before that {}…",
            now.short(),
            since.format("%Y-%m-%d %H:%M:%S UTC"),
            old.short()
        )
    })
}

/// Backends that sign with more than one key within a round.
pub(super) fn with_replicas(case: &Case<'_>) -> Vec<BackendName> {
    let many = |name: &&BackendName| keys_of(case, name).len() > 1;
    case.round.backends.iter().map(|facts| &facts.name).filter(many).cloned().collect()
}

fn disagreeing(case: &mut Case<'_>) {
    let names = with_replicas(case);
    if names.is_empty() {
        return;
    }
    let member = |backend: Option<&BackendName>| backend.is_some_and(|b| names.contains(b));
    let cells: Vec<usize> = case
        .open_cells()
        .into_iter()
        .filter(|(_, cell, _)| member(cell.issuer.backend()) || member(cell.verifier.backend()))
        .map(|(index, ..)| index)
        .collect();
    let flows: Vec<usize> = case
        .open_flows()
        .into_iter()
        .filter(|(_, flow)| {
            member(flow.route.backend())
                && flow.failure().is_some_and(|(step, _)| step >= Step::Access)
        })
        .map(|(index, _)| index)
        .collect();
    let mut evidence: Vec<String> = names
        .iter()
        .map(|name| {
            let keys = keys_of(case, name);
            let total: u32 = keys.iter().map(|(_, tokens)| tokens).sum();
            let each: Vec<String> = keys
                .iter()
                .map(|(key, tokens)| format!("{tokens} of {total} by key {}…", key.short()))
                .collect();
            format!("{name}: tokens were signed {}", each.join(", "))
        })
        .collect();
    let own = Route::Backend;
    evidence.extend(names.iter().filter_map(|name| {
        let cell = case
            .round
            .matrix
            .cell(&crate::model::Issuer::Route(own(name.clone())), &own(name.clone()))?;
        super::keys::describe(cell)
    }));
    case.add(
        Draft {
            name: FindingName::TokenKeyMismatch,
            confidence: Confidence::Proved,
            impact: Impact::Refusals,
            summary: format!(
                "Behind the address of {} several replicas sign with different keys and refuse \
                 each other's tokens.",
                list(&names)
            ),
            backends: names,
            evidence,
            alternatives: Vec::new(),
        },
        &cells,
        &flows,
    );
}
