//! `token-lifetime-too-short`: tokens that live shorter than a large transfer takes (B4 in
//! `deploy/modes.md`).

use super::super::facts::Facts;
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::list;
use crate::model::{BackendName, Evidence, FindingName};

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
    #[expect(clippy::cast_precision_loss, reason = "a short life is far below 2^52 seconds")]
    let line = |(name, life): &(BackendName, i64)| {
        let text = format!("{name}: tokens live {life} s");
        Evidence::from(text).with("lifetime_seconds", *life as f64)
    };
    let evidence = lives.iter().map(line);
    let name = FindingName::TokenLifetimeTooShort;
    vec![Hypothesis::new(name, backends, summary).hits(Hits::Later).evidence(evidence).alone()]
}
