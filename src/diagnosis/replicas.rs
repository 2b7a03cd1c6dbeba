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

/// The key of a backend changed since a token was issued, and that token is refused now (A2).
fn rotated(case: &mut Case<'_>) {
    let changed: Vec<&Aged> = case
        .round
        .aged
        .iter()
        .filter(|aged| {
            let now = keys_of(case, &aged.backend);
            aged.accepted == Outcome::Measured(false)
                && aged.left_seconds > 0.0
                && aged.key.is_some()
                && !now.is_empty()
                && now.iter().all(|(key, _)| Some(key) != aged.key.as_ref())
        })
        .collect();
    if changed.is_empty() {
        return;
    }
    let names: Vec<BackendName> = changed.iter().map(|aged| aged.backend.clone()).collect();
    let everywhere = names.len() == case.round.backends.len();
    let evidence = changed
        .iter()
        .filter_map(|aged| {
            let (old, new) = (aged.key.as_ref()?, case.key_of(&aged.backend)?);
            Some(format!(
                "{}: a token of key {}…, {:.0} s old with {:.0} s to live, is refused; fresh \
                 tokens carry key {}…",
                aged.backend,
                old.short(),
                aged.age_seconds,
                aged.left_seconds,
                new.short()
            ))
        })
        .collect();
    case.add(
        Draft {
            name: FindingName::TokenKeyRotationWindow,
            confidence: Confidence::Proved,
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
