//! Nodes that run different versions (J1).

use std::collections::BTreeMap;

use super::super::facts::{Facts, odd_ones};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb, version_text};
use crate::model::{BackendFacts, BackendName, Family, FindingName, Outcome, Setting};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let kinds = kinds(facts);
    if kinds.len() < 2 {
        return Vec::new();
    }
    let (odd, majority) = odd(&kinds);
    let runs = verb(odd.len(), "runs", "run");
    let summary = if majority {
        format!("{} {runs} a different version than the other nodes.", list(&odd))
    } else {
        format!("{} {runs} different versions.", list(&odd))
    };
    let lines = kinds.iter().map(|(kind, names)| format!("{kind}: {}", list(names)));
    let found = Hypothesis::new(FindingName::MixedVersions, odd, summary)
        .hits(Hits::Later)
        .evidence(lines.collect::<Vec<_>>())
        .alone();
    vec![found]
}

/// The backends of another version than most.
pub(super) fn other_versions(facts: &Facts<'_>) -> Vec<BackendName> {
    let kinds = kinds(facts);
    if kinds.len() < 2 { Vec::new() } else { odd(&kinds).0 }
}

fn odd(kinds: &BTreeMap<String, Vec<BackendName>>) -> (Vec<BackendName>, bool) {
    odd_ones(kinds, kinds.values().map(Vec::len).sum())
}

/// What a node says of its version.
enum Said {
    /// This, or at least its family.
    Text(String),
    /// That it is one of those that say it to accounts only, and to us it did not.
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

/// The backends by what they say of their version.
fn kinds(facts: &Facts<'_>) -> BTreeMap<String, Vec<BackendName>> {
    let mut kinds: BTreeMap<String, Vec<BackendName>> = BTreeMap::new();
    let mut withheld: Option<(String, Vec<BackendName>)> = None;
    let mut said_to_us = false;
    for facts in &facts.round.backends {
        match said(facts) {
            Said::Text(text) => {
                said_to_us |= facts.version == Outcome::Measured(None);
                kinds.entry(text).or_default().push(facts.name.clone());
            }
            Said::Withheld => {
                let (_, names) = withheld.get_or_insert_with(|| (version_text(facts), Vec::new()));
                names.push(facts.name.clone());
            }
            Said::Nothing => {}
        }
    }
    // One that withheld it may be any of the later versions that others say.
    kinds.extend(withheld.filter(|_| !said_to_us));
    kinds
}

#[cfg(test)]
mod tests {
    use super::super::drift::tests::{Row, THREE, judged, lines, tell};
    use crate::model::{Outcome, Round, Setting};

    /// Harbor as it tells its version to accounts only.
    fn secretive(round: &mut Round) {
        for facts in &mut round.backends {
            facts.version = Outcome::Measured(None);
        }
    }

    #[test]
    fn versions_that_are_told_to_accounts_only_are_compared_where_they_are_told() {
        const VERSION: Setting = Setting::HarborVersion;
        let rows: [Row; 5] = [
            ("nobody told", secretive, ""),
            (
                "all told the same",
                |round| {
                    secretive(round);
                    tell(round, VERSION, &[("a", "2.15.2"), ("b", "2.15.2"), ("c", "2.15.2")]);
                },
                "",
            ),
            (
                "one told nobody",
                |round| {
                    secretive(round);
                    tell(round, VERSION, &[("a", "2.15.2"), ("b", "2.15.2")]);
                },
                "",
            ),
            (
                "one is older",
                |round| {
                    secretive(round);
                    tell(round, VERSION, &[("a", "2.15.2"), ("b", "2.15.2"), ("c", "2.13.1")]);
                },
                "mixed-versions warning proved [c]",
            ),
            (
                "one is so old that it tells everybody",
                |round| {
                    let old = round.backends[1].version.clone();
                    secretive(round);
                    round.backends[1].version = old;
                },
                "mixed-versions warning proved [b]",
            ),
        ];
        for (what, bend, expected) in rows {
            assert_eq!(lines(&judged(THREE, bend)), expected, "{what}");
        }
    }
}
