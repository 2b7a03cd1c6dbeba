//! `token-lifetime-too-short`: tokens that live shorter than a large transfer takes (B4 in
//! `deploy/modes.md`).

use super::super::facts::{Facts, list};
use super::super::hypothesis::{Hits, Hypothesis};
use crate::model::{BackendName, FindingName};

/// A shorter life than this fails large layers in mid-transfer.
const SHORT_LIFE_SECONDS: i64 = 300;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let life = |name: &BackendName| {
        let token = facts.round.backend_flow(name)?.token.measured()?;
        Some((name.clone(), token.lifetime()?))
    };
    let lives: Vec<(BackendName, i64)> =
        facts.round.backends.iter().filter_map(|facts| life(&facts.name)).collect();
    let short: Vec<BackendName> = lives
        .iter()
        .filter(|(_, life)| *life > 0 && *life < SHORT_LIFE_SECONDS)
        .map(|(name, _)| name.clone())
        .collect();
    if short.is_empty() {
        return Vec::new();
    }
    let summary = format!(
        "Tokens of {} live less than {SHORT_LIFE_SECONDS} s: a layer that takes longer to transfer \
         fails.",
        list(&short)
    );
    let everywhere = short.len() == lives.len();
    let backends = if everywhere { Vec::new() } else { short };
    let evidence = lives.iter().map(|(name, life)| format!("{name}: tokens live {life} s"));
    let name = FindingName::TokenLifetimeTooShort;
    vec![Hypothesis::new(name, backends, summary).hits(Hits::Later).evidence(evidence).alone()]
}
