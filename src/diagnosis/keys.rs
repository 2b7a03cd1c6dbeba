//! The signing keys that were seen, and what follows from them without a rule: which backends hide
//! replicas, and whose key changed lately.

use super::facts::Facts;
use crate::model::{BackendName, Cell, KeyId};

/// The number of tokens of a backend that shows whether its address hides replicas: two with equal
/// shares stay unseen once in 128.
const COUNTED: u32 = 8;

/// Every key that a backend was seen to sign with, most frequent first.
pub(super) fn of_backend<'f>(facts: &'f Facts<'_>, backend: &BackendName) -> &'f [(KeyId, u32)] {
    facts.keys.get(backend).map_or(&[], Vec::as_slice)
}

/// Whether enough tokens of a backend were seen to show a second key.
pub(super) fn are_counted(facts: &Facts<'_>, backend: &BackendName) -> bool {
    of_backend(facts, backend).iter().map(|(_, tokens)| tokens).sum::<u32>() >= COUNTED
}

/// Whether a backend signs with more than one key: its address hides replicas that disagree.
pub(super) fn hides_replicas(facts: &Facts<'_>, backend: &BackendName) -> bool {
    of_backend(facts, backend).len() > 1
}

/// Whether a backend that hides replicas takes part in a pair: then the pair is a matter of luck.
pub(super) fn is_luck(facts: &Facts<'_>, cell: &Cell) -> bool {
    let hides = |name: Option<&BackendName>| name.is_some_and(|name| hides_replicas(facts, name));
    hides(cell.issuer.backend()) || hides(cell.verifier.backend())
}

/// Another key than was known before, first seen less than a token's life ago, in words.
pub(super) fn changed_lately(facts: &Facts<'_>, backend: &BackendName) -> Option<String> {
    let seen = facts.earlier.keys.get(backend)?;
    let now = facts.key_of(backend)?;
    let (old, since) = if seen.key == *now {
        (seen.previous.as_ref()?, seen.since)
    } else {
        (&seen.key, facts.round.started)
    };
    let lifetime = facts.round.backend_flow(backend)?.token.measured()?.lifetime()?;
    let passed = (facts.round.started - since).num_seconds();
    (old != now && passed < lifetime).then(|| {
        format!(
            "{backend}: key {}… since {}, before that {}…",
            now.short(),
            since.format("%Y-%m-%d %H:%M:%S UTC"),
            old.short()
        )
    })
}
