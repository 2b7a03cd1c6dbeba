//! `token-key-rotation-window`: a key changed, and tokens issued before are refused (A2 in
//! `deploy/modes.md`). Proved by a held token that is refused; a change alone is remembered for as
//! long as such a token may live.

use super::super::facts::{Facts, ObservationId};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::keys::{changed_lately, hides_replicas, of_backend};
use super::super::wording::list;
use crate::model::{BackendName, Confidence, FindingName, ObservationKind, Outcome};

const NAME: FindingName = FindingName::TokenKeyRotationWindow;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let (mut names, mut evidence, mut proved) = (Vec::new(), Vec::new(), true);
    for backend in &facts.round.backends {
        let held = held_and_refused(facts, &backend.name);
        let changed = || changed_lately(facts, &backend.name);
        let Some(line) = held.clone().or_else(changed) else { continue };
        proved &= held.is_some() || was_proved(facts, &backend.name);
        evidence.push(line);
        names.push(backend.name.clone());
    }
    if names.is_empty() {
        return Vec::new();
    }
    let everywhere = names.len() == facts.round.backends.len();
    let backends = if everywhere { Vec::new() } else { names.clone() };
    let claims: Vec<ObservationId> = facts
        .observed(|seen| {
            seen.kind == ObservationKind::HeldTokenRefused
                && seen.place.backend().is_some_and(|name| names.contains(name))
        })
        .map(|(id, _)| id)
        .collect();
    let summary = format!(
        "The signing key of {} changed: tokens issued before are refused until clients fetch new \
         ones.",
        list(&names)
    );
    // A change that is everywhere, or that was the repair of one node, breaks nothing more.
    let hits = if claims.is_empty() && all_sign_alike(facts) {
        Hits::Over(
            "Every node signs with one key now. A client that still holds a token from before the \
             change fetches a new one.",
        )
    } else {
        Hits::Later
    };
    let hypothesis = Hypothesis::new(NAME, backends, summary)
        .hits(hits)
        .evidence(evidence)
        .proved_if(proved, &[])
        .explains(claims)
        .alone();
    vec![hypothesis]
}

/// Whether every backend was seen to sign, and all sign with one key.
fn all_sign_alike(facts: &Facts<'_>) -> bool {
    let mut keys = facts.round.backends.iter().map(|backend| {
        facts.key_of(&backend.name).filter(|_| !hides_replicas(facts, &backend.name))
    });
    let first = keys.next().flatten();
    first.is_some() && keys.all(|key| key == first) && facts.refused_pairs().is_empty()
}

/// Whether an earlier round proved it of this backend, alone or with all others.
fn was_proved(facts: &Facts<'_>, backend: &BackendName) -> bool {
    let own = facts.earlier.open_with(NAME, std::slice::from_ref(backend));
    let open = own.or_else(|| facts.earlier.open_with(NAME, &[]));
    open.is_some_and(|open| open.confidence == Confidence::Proved)
}

/// A token held since before, still alive by its own claims, that its own issuer refuses now.
fn held_and_refused(facts: &Facts<'_>, backend: &BackendName) -> Option<String> {
    let held = facts.round.held_tokens.iter().find(|aged| aged.backend == *backend)?;
    let (old, new) = (held.key.as_ref()?, facts.key_of(backend)?);
    let refused = held.accepted == Outcome::Measured(false) && held.left_seconds > 0.0;
    let changed = of_backend(facts, backend).iter().all(|(key, _)| key != old);
    (refused && changed).then(|| {
        format!(
            "{backend}: a token of key {}…, {:.0} s old with {:.0} s to live, is refused; fresh \
             tokens carry key {}…",
            old.short(),
            held.age_seconds,
            held.left_seconds,
            new.short()
        )
    })
}
