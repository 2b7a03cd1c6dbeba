//! Which keys each backend was seen to sign with in a round. No other part of the diagnosis is needed
//! for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{BackendName, KeyId, Round};

/// Every key that a backend was seen to sign with, with how many tokens, most frequent first.
pub(super) type Counted = Vec<(KeyId, u32)>;

/// The keys of every backend in a round.
pub(super) fn of_all(round: &Round) -> BTreeMap<&BackendName, Counted> {
    let mut all: BTreeMap<&BackendName, Counted> = BTreeMap::new();
    let mut add = |backend, key: &KeyId, tokens: u32| {
        let keys = all.entry(backend).or_default();
        match keys.iter_mut().find(|(known, _)| known == key) {
            Some((_, count)) => *count += tokens,
            None => keys.push((key.clone(), tokens)),
        }
    };
    for flow in &round.flows {
        let key = flow.token.measured().and_then(|facts| facts.kid.as_ref());
        if let Some((backend, key)) = flow.route.backend().zip(key) {
            add(backend, key, 1);
        }
    }
    // A row of the matrix is one token.
    let mut rows = BTreeSet::new();
    for cell in &round.matrix.cells {
        let Some(issuer) = cell.issuer.backend().filter(|issuer| rows.insert(*issuer)) else {
            continue;
        };
        if let Some(key) = &cell.key {
            add(issuer, key, 1);
        }
    }
    for census in &round.key_census {
        for count in &census.keys {
            add(&census.backend, &count.key, count.tokens);
        }
    }
    for keys in all.values_mut() {
        keys.sort_by_key(|(_, tokens)| std::cmp::Reverse(*tokens));
    }
    all
}
