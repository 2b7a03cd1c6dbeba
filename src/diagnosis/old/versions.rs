//! Nodes that run different versions (J1).

use std::collections::BTreeMap;

use super::case::{Case, Draft, Impact, list, version_text};
use super::keys::odd_ones;
use crate::model::{BackendFacts, BackendName, Confidence, Family, FindingName, Outcome, Setting};

/// What a node says of its version.
enum Said {
    /// This, or at least its family.
    Text(String),
    /// That it is one of those that tell it to accounts only, and to us it did not.
    Withheld,
    Nothing,
}

fn said(facts: &BackendFacts) -> Said {
    let to_accounts = facts.settings.get(&Setting::HarborVersion).filter(|told| told.settled);
    match (&facts.version, to_accounts) {
        (Outcome::Measured(None), Some(told)) => {
            Said::Text(format!("{} {}", facts.family, told.value))
        }
        (Outcome::Measured(None), None) => Said::Withheld,
        (Outcome::Measured(Some(_)), _) => Said::Text(version_text(facts)),
        _ if matches!(facts.family, Family::Harbor2 | Family::Unknown) => Said::Nothing,
        _ => Said::Text(version_text(facts)),
    }
}

pub(super) fn examine(case: &mut Case<'_>) {
    let mut kinds: BTreeMap<String, Vec<BackendName>> = BTreeMap::new();
    let mut withheld: Option<(String, Vec<BackendName>)> = None;
    let mut told_to_us = false;
    for facts in &case.round.backends {
        match said(facts) {
            Said::Text(text) => {
                told_to_us |= facts.version == Outcome::Measured(None);
                kinds.entry(text).or_default().push(facts.name.clone());
            }
            Said::Withheld => {
                let (_, names) = withheld.get_or_insert_with(|| (version_text(facts), Vec::new()));
                names.push(facts.name.clone());
            }
            Said::Nothing => {}
        }
    }
    // One that withheld it may be any of the later versions that others told.
    kinds.extend(withheld.filter(|_| !told_to_us));
    // Where the key id tells the versions apart, the versions are the cause that is named.
    let named = case.findings.iter().any(|f| f.finding == FindingName::KeyIdFormatMismatch);
    if kinds.len() < 2 || named {
        return;
    }
    let total = kinds.values().map(Vec::len).sum();
    let (odd, majority) = odd_ones(&kinds, total);
    let evidence = kinds.iter().map(|(kind, names)| format!("{kind}: {}", list(names))).collect();
    let summary = if majority {
        format!("{} runs another version than the other nodes.", list(&odd))
    } else {
        format!("{} run different versions.", list(&odd))
    };
    case.add(
        Draft {
            name: FindingName::MixedVersions,
            confidence: Confidence::Proved,
            impact: Impact::Latent,
            backends: odd,
            summary,
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}
