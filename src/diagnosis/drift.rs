//! Nodes that should be alike and are not, though nothing fails by it yet (J1, J2).

use std::collections::BTreeMap;

use super::case::{Case, Draft, Impact, list, version_text};
use super::keys::odd_ones;
use crate::model::{BackendName, Confidence, Family, FindingName, Outcome, TokenFacts};

pub(super) fn examine(case: &mut Case<'_>) {
    versions(case);
    settings(case);
}

fn versions(case: &mut Case<'_>) {
    let mut kinds: BTreeMap<String, Vec<BackendName>> = BTreeMap::new();
    for facts in &case.round.backends {
        let told = matches!(facts.version, Outcome::Measured(_))
            || !matches!(facts.family, Family::Harbor2 | Family::Unknown);
        if told {
            kinds.entry(version_text(facts)).or_default().push(facts.name.clone());
        }
    }
    // Where the key id tells the versions apart, the versions are the cause that is named.
    let named = case.findings.iter().any(|f| f.finding == FindingName::KidFormatMismatch);
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

/// Values that one template would make equal on every node.
fn settings(case: &mut Case<'_>) {
    type Read = fn(&Case<'_>, &BackendName) -> Option<String>;
    let fields: [(&str, Read); 4] = [
        ("realm", |case, name| challenge(case, name, |c| c.realm.clone())),
        ("service", |case, name| challenge(case, name, |c| c.service.clone())),
        ("token lifetime", |case, name| {
            token(case, name, |t| t.lifetime().map(|seconds| format!("{seconds} s")))
        }),
        ("token issuer", |case, name| token(case, name, |t| t.issuer.clone())),
    ];
    let (mut odd, mut evidence): (Vec<BackendName>, Vec<String>) = (Vec::new(), Vec::new());
    for (field, read) in fields {
        let mut values: BTreeMap<String, Vec<BackendName>> = BTreeMap::new();
        for backend in &case.round.backends {
            if is_explained(case, field, &backend.name) {
                continue;
            }
            if let Some(value) = read(case, &backend.name) {
                values.entry(value).or_default().push(backend.name.clone());
            }
        }
        if values.len() < 2 {
            continue;
        }
        let total = values.values().map(Vec::len).sum();
        odd.extend(odd_ones(&values, total).0);
        let each = values.iter().map(|(value, names)| format!("{} at {}", value, list(names)));
        evidence.push(format!("{field}: {}", each.collect::<Vec<_>>().join("; ")));
    }
    if evidence.is_empty() {
        return;
    }
    odd.sort();
    odd.dedup();
    case.add(
        Draft {
            name: FindingName::SettingDrift,
            confidence: Confidence::Proved,
            impact: Impact::Latent,
            summary: format!("{} differs from the other nodes in a setting.", list(&odd)),
            backends: odd,
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

/// Whether a cause that is named already brings the difference of this node about.
fn is_explained(case: &Case<'_>, field: &str, name: &BackendName) -> bool {
    case.findings.iter().any(|finding| {
        let brings = match finding.finding {
            // A challenge that leads nowhere is called a drift of settings too.
            FindingName::MixedVersions | FindingName::SettingDrift => true,
            FindingName::RealmWrongEndpoint => field == "realm",
            FindingName::TokenTtlShorterThanTransfer => field == "token lifetime",
            FindingName::IssuerAudienceMismatch => field == "service" || field == "token issuer",
            _ => false,
        };
        brings && (finding.backends.is_empty() || finding.backends.contains(name))
    })
}

fn challenge(
    case: &Case<'_>,
    name: &BackendName,
    read: fn(&crate::model::Challenge) -> Option<String>,
) -> Option<String> {
    read(case.round.backend_flow(name)?.challenge.measured()?)
}

fn token(
    case: &Case<'_>,
    name: &BackendName,
    read: fn(&TokenFacts) -> Option<String>,
) -> Option<String> {
    read(case.round.backend_flow(name)?.token.measured()?)
}
