//! Refusals that no clock explains: signing keys, key ids, issuer and audience, and the password
//! between core and registry (A1, A3, A4, A5, D7).

use std::collections::BTreeMap;

use super::case::{Case, Draft, Impact, list};
use super::columns;
use super::gateway::token_without_key;
use super::replicas::changed_lately;
use crate::model::{BackendName, Cell, Confidence, FindingName, Flow};

/// The realm of the registry behind Harbor's core; seen outside only if it refuses core.
const INNER_REALM: &str = "harbor-registry-basic-realm";

pub(super) fn examine(case: &mut Case<'_>) {
    cannot_sign(case);
    inner_password(case);
    other_service(case);
    columns::examine(case);
    different_keys(case);
}

/// The token endpoint answers 500 with an empty body: the key is missing or unreadable, and the
/// node refuses every token (A3).
fn cannot_sign(case: &mut Case<'_>) {
    let broken: Vec<(usize, &Flow)> =
        case.open_flows().into_iter().filter(|(_, flow)| token_without_key(flow)).collect();
    let names: Vec<BackendName> =
        broken.iter().filter_map(|(_, flow)| flow.route.backend().cloned()).collect();
    if names.is_empty() {
        return;
    }
    let column = |cell: &Cell| cell.verifier.backend().is_some_and(|b| names.contains(b));
    let cells: Vec<usize> =
        case.open_cells().iter().filter(|(_, cell, _)| column(cell)).map(|(i, ..)| *i).collect();
    let flows: Vec<usize> = broken.iter().map(|(index, _)| *index).collect();
    let mut evidence: Vec<String> = broken
        .iter()
        .map(|(_, flow)| format!("{}: token endpoint answered 500 with an empty body", flow.route))
        .collect();
    evidence.push(format!("{} fresh tokens of other nodes were refused there", cells.len()));
    let proved = !cells.is_empty() || case.round.backends.len() == names.len();
    case.add(
        Draft {
            name: FindingName::SigningKeyUnusable,
            confidence: if proved { Confidence::Proved } else { Confidence::Suspected },
            impact: Impact::BackendLoss,
            summary: format!(
                "{} cannot sign tokens and refuses all: its private key is missing or unreadable.",
                list(&names)
            ),
            backends: names,
            evidence,
            alternatives: if proved {
                Vec::new()
            } else {
                vec![FindingName::DatabaseUnavailable, FindingName::ServerErrors]
            },
        },
        &cells,
        &flows,
    );
}

/// The registry behind core refuses core's password (D7): its realm is unique.
fn inner_password(case: &mut Case<'_>) {
    let inner = |answer: &crate::model::Answer| {
        answer.challenge.as_ref().and_then(|c| c.realm.as_deref()) == Some(INNER_REALM)
    };
    let cells: Vec<(usize, &Cell)> = case
        .open_cells()
        .into_iter()
        .filter(|(_, _, refusal)| inner(&refusal.answer))
        .map(|(index, cell, _)| (index, cell))
        .collect();
    let flows: Vec<(usize, &Flow)> = case
        .open_flows()
        .into_iter()
        .filter(|(_, flow)| {
            flow.failure().and_then(|(step, _)| flow.answer(step)).is_some_and(inner)
        })
        .collect();
    let mut names: Vec<BackendName> = cells
        .iter()
        .map(|(_, cell)| &cell.verifier)
        .chain(flows.iter().map(|(_, flow)| &flow.route))
        .filter_map(|route| route.backend().cloned())
        .collect();
    names.sort();
    names.dedup();
    if cells.is_empty() && flows.is_empty() {
        return;
    }
    let evidence = vec![format!(
        "good tokens were answered 401 Basic realm={INNER_REALM:?} in {} pairs and {} flows",
        cells.len(),
        flows.len()
    )];
    let cells: Vec<usize> = cells.iter().map(|(index, _)| *index).collect();
    let flows: Vec<usize> = flows.iter().map(|(index, _)| *index).collect();
    case.add(
        Draft {
            name: FindingName::CoreRegistryPasswordMismatch,
            confidence: Confidence::Proved,
            impact: Impact::Refusals,
            summary: format!("The registry behind {} refuses core's password.", list(&names)),
            backends: names,
            evidence,
            alternatives: Vec::new(),
        },
        &cells,
        &flows,
    );
}

/// A verifier whose own challenge asks for another audience than the token has (A5).
fn other_service(case: &mut Case<'_>) {
    let service =
        |name: &BackendName| case.round.backend_flow(name)?.challenge.measured()?.service.clone();
    let mut services: BTreeMap<String, Vec<BackendName>> = BTreeMap::new();
    for backend in &case.round.backends {
        if let Some(service) = service(&backend.name) {
            services.entry(service).or_default().push(backend.name.clone());
        }
    }
    let total: usize = services.values().map(Vec::len).sum();
    let (odd, _) = odd_ones(&services, total);
    if services.len() < 2 {
        return;
    }
    let cells: Vec<usize> = case
        .open_cells()
        .into_iter()
        .filter(|(_, cell, _)| {
            let end = |name: Option<&BackendName>| name.is_some_and(|name| odd.contains(name));
            end(cell.verifier.backend()) != end(cell.issuer.backend())
        })
        .map(|(index, ..)| index)
        .collect();
    if cells.is_empty() {
        return;
    }
    let mut evidence: Vec<String> = services
        .iter()
        .map(|(service, names)| format!("service {service:?}: {}", list(names)))
        .collect();
    evidence.extend(cells.iter().take(3).filter_map(|i| describe(&case.round.matrix.cells[*i])));
    case.add(
        Draft {
            name: FindingName::IssuerAudienceMismatch,
            confidence: Confidence::Proved,
            impact: Impact::Refusals,
            summary: format!(
                "{} asks for another audience (service) than the tokens of the others have.",
                list(&odd)
            ),
            backends: odd,
            evidence,
            alternatives: Vec::new(),
        },
        &cells,
        &[],
    );
}

/// One refused pair in words.
pub(super) fn describe(cell: &Cell) -> Option<String> {
    let refusal = cell.refusal()?;
    let challenge = refusal.answer.challenge.as_ref();
    let said = challenge.map_or_else(String::new, |challenge| {
        let error = challenge.error.as_ref().map(|error| format!(" error={error:?}"));
        format!(" {:?}{}", challenge.scheme, error.unwrap_or_default())
    });
    let time = match refusal.healed_after {
        Some(after) => format!("the same token was accepted after {after:.1} s"),
        None if refusal.tries > 1 => {
            format!("the same token was still refused after {:.1} s", refusal.refused_until)
        }
        None => "not asked again".to_owned(),
    };
    Some(format!("{} → {}: {}{said}; {time}", cell.issuer, cell.verifier, refusal.answer.status))
}

/// Off the diagonal, between backends that sign with different keys (A1).
fn different_keys(case: &mut Case<'_>) {
    let mut cells = Vec::new();
    for (index, cell, refusal) in case.open_cells() {
        let (Some(issuer), Some(verifier)) = (cell.issuer.backend(), cell.verifier.backend())
        else {
            continue;
        };
        let differ = match (&cell.key, case.verifies(verifier)) {
            (Some(shown), Some(own)) => shown != own,
            _ => false,
        };
        if issuer != verifier && differ && refusal.healed_after.is_none() {
            cells.push(index);
        }
    }
    let groups = groups(case);
    if cells.is_empty() {
        key_ids_alone(case, &groups);
        return;
    }
    let total: usize = groups.values().map(Vec::len).sum();
    let (guilty, majority) = odd_ones(&groups, total);
    let mut evidence: Vec<String> = groups
        .iter()
        .map(|(key, names)| format!("key {}…: {}", key.get(..9).unwrap_or(key), list(names)))
        .collect();
    evidence
        .extend(case.round.backends.iter().filter_map(|facts| changed_lately(case, &facts.name)));
    let asked_again = cells
        .iter()
        .filter(|i| case.round.matrix.cells[**i].refusal().is_some_and(|r| r.tries > 1));
    evidence.push(format!(
        "{} pairs with different keys refuse; {} were asked again with the same token for up to \
         5 s and none healed, while each verifier accepts its own",
        cells.len(),
        asked_again.clone().count()
    ));
    evidence.extend(cells.iter().take(4).filter_map(|i| describe(&case.round.matrix.cells[*i])));
    let own_accepted = cells.iter().all(|i| {
        let verifier = &case.round.matrix.cells[*i].verifier;
        case.round.matrix.cells.iter().any(|cell| {
            cell.verifier == *verifier
                && cell.issuer.backend() == verifier.backend()
                && cell.accepted() == Some(true)
        })
    });
    let proved = own_accepted && asked_again.count() > 0;
    let summary = if majority {
        format!("{} signs tokens with another key than the other nodes.", list(&guilty))
    } else {
        format!(
            "{} sign tokens with different keys; without a majority either may be the wrong one.",
            list(&guilty)
        )
    };
    case.add(
        Draft {
            name: FindingName::TokenKeyMismatch,
            confidence: if proved { Confidence::Proved } else { Confidence::Suspected },
            impact: Impact::Refusals,
            backends: guilty,
            summary,
            evidence,
            alternatives: if proved { Vec::new() } else { vec![FindingName::ClockSkewNbf] },
        },
        &cells,
        &[],
    );
}

/// Different key ids without a matrix, as an anonymous prober sees them on Harbor.
fn key_ids_alone(case: &mut Case<'_>, groups: &BTreeMap<String, Vec<BackendName>>) {
    let nothing_tried = case.round.matrix.cells.iter().all(|cell| cell.accepted().is_none());
    if groups.len() < 2 || !nothing_tried {
        return;
    }
    let total: usize = groups.values().map(Vec::len).sum();
    let (guilty, _) = odd_ones(groups, total);
    let mut evidence: Vec<String> = groups
        .iter()
        .map(|(key, names)| format!("key {}…: {}", key.get(..9).unwrap_or(key), list(names)))
        .collect();
    evidence.push("no token could be shown to another node without credentials".to_owned());
    case.add(
        Draft {
            name: FindingName::TokenKeyMismatch,
            confidence: Confidence::Suspected,
            impact: Impact::Refusals,
            summary: format!("{} signs tokens with another key.", list(&guilty)),
            backends: guilty,
            evidence,
            alternatives: vec![FindingName::TokenKeyRotationWindow],
        },
        &[],
        &[],
    );
}

/// Backends by the key that signed their token.
fn groups(case: &Case<'_>) -> BTreeMap<String, Vec<BackendName>> {
    let mut groups: BTreeMap<String, Vec<BackendName>> = BTreeMap::new();
    for backend in &case.round.backends {
        if let Some(key) = case.key_of(&backend.name) {
            groups.entry(key.as_str().to_owned()).or_default().push(backend.name.clone());
        }
    }
    groups
}

/// Those outside the majority; all, if there is none.
pub(super) fn odd_ones<K: Ord>(
    groups: &BTreeMap<K, Vec<BackendName>>,
    total: usize,
) -> (Vec<BackendName>, bool) {
    let majority = groups.values().find(|names| names.len() * 2 > total);
    let odd = groups.values().filter(|names| majority != Some(names)).flatten().cloned();
    let mut odd: Vec<BackendName> = odd.collect();
    odd.sort();
    (odd, majority.is_some())
}
