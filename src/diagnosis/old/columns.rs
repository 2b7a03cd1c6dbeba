//! Whole columns and rows of the matrix: verifiers that refuse everybody, and issuers that nobody
//! accepts, themselves included (A3, A4, A5).

use std::collections::BTreeMap;

use super::case::{Case, Draft, Impact, list};
use super::keys::describe;
use crate::model::{
    BackendName, Cell, Confidence, Family, FindingName, Flow, KeyForm, Refusal, Route, Step,
};

pub(super) fn examine(case: &mut Case<'_>) {
    broken_verifiers(case);
    broken_issuers(case);
}

/// The cells in which a backend verifies, of backends and token servers as issuers.
fn column<'a>(case: &Case<'a>, verifier: &BackendName) -> Vec<(usize, &'a Cell)> {
    let own = |cell: &Cell| {
        cell.verifier.backend() == Some(verifier)
            && cell.issuer.as_str() != Route::Balancer.as_str()
    };
    case.round.matrix.cells.iter().enumerate().filter(|(_, cell)| own(cell)).collect()
}

fn settled(cells: &[(usize, &Cell)], accepted: bool) -> usize {
    cells.iter().filter(|(_, cell)| cell.accepted() == Some(accepted)).count()
}

/// Whole columns: the verifier refuses everybody's tokens, its own included (A3, A4, A5).
fn broken_verifiers(case: &mut Case<'_>) {
    let open: Vec<usize> = case.open_cells().iter().map(|(index, ..)| *index).collect();
    let mut columns: BTreeMap<FindingName, Vec<(BackendName, Vec<usize>)>> = BTreeMap::new();
    let mut healthy = 0;
    for backend in &case.round.backends {
        let cells = column(case, &backend.name);
        let refused: Vec<usize> = cells
            .iter()
            .filter(|(i, c)| c.refusal().is_some() && open.contains(i))
            .map(|(i, _)| *i)
            .collect();
        let healed =
            cells.iter().any(|(_, c)| c.refusal().is_some_and(|r| r.healed_after.is_some()));
        if settled(&cells, true) > 0 || refused.is_empty() || healed {
            healthy += usize::from(settled(&cells, true) > 0);
            continue;
        }
        // Without its own token among them, a column may be the other side of a key mismatch.
        let own = cells.iter().any(|(i, cell)| {
            refused.contains(i)
                && (cell.issuer.backend() == Some(&backend.name) || cell.issuer.backend().is_none())
        });
        if own {
            let name = verifier_cause(backend.family, &cells);
            columns.entry(name).or_default().push((backend.name.clone(), refused));
        }
    }
    // The same everywhere: the issuer, or what is configured for all, is wrong.
    let all = columns.values().map(Vec::len).sum::<usize>();
    let everywhere = healthy == 0 && all > 1 && all == reachable(case);
    for (name, columns) in columns {
        let cells: Vec<usize> = columns.iter().flat_map(|(_, cells)| cells.clone()).collect();
        let names: Vec<BackendName> = columns.into_iter().map(|(name, _)| name).collect();
        add_broken_verifiers(case, name, names, &cells, everywhere);
    }
}

fn reachable(case: &Case<'_>) -> usize {
    let answers =
        |flow: &&Flow| flow.route.backend().is_some() && flow.challenge.measured().is_some();
    case.round.flows.iter().filter(answers).count()
}

fn verifier_cause(family: Family, cells: &[(usize, &Cell)]) -> FindingName {
    let shown = |form: KeyForm| {
        cells.iter().all(|(_, cell)| cell.key.as_ref().is_some_and(|key| key.form() == form))
    };
    match family {
        Family::Distribution3 if shown(KeyForm::Libtrust) => FindingName::KeyIdFormatMismatch,
        Family::Distribution2 if shown(KeyForm::Thumbprint) => FindingName::KeyIdFormatMismatch,
        _ => FindingName::SigningKeyUnusable,
    }
}

fn add_broken_verifiers(
    case: &mut Case<'_>,
    name: FindingName,
    names: Vec<BackendName>,
    cells: &[usize],
    everywhere: bool,
) {
    let mut evidence = vec![format!(
        "{} refused {} of {} fresh tokens, its own included, and none healed",
        list(&names),
        cells.len(),
        cells.len()
    )];
    evidence.extend(cells.iter().take(3).filter_map(|i| describe(&case.round.matrix.cells[*i])));
    let elsewhere = case.round.matrix.cells.iter().any(|cell| {
        cell.accepted() == Some(true)
            && cells.iter().any(|i| case.round.matrix.cells[*i].issuer == cell.issuer)
    });
    if elsewhere {
        evidence.push("the same issuers' tokens are accepted by other nodes".to_owned());
    }
    let (confidence, mut alternatives, mut summary) = if name == FindingName::KeyIdFormatMismatch {
        let confidence = if elsewhere { Confidence::Proved } else { Confidence::Suspected };
        let summary = format!(
            "{} looks keys up by another kind of key id than the tokens carry.",
            list(&names)
        );
        (confidence, vec![FindingName::SigningKeyUnusable], summary)
    } else {
        let summary = format!("{} refuses every token, its own included.", list(&names));
        (
            Confidence::Suspected,
            vec![FindingName::TokenKeyMismatch, FindingName::IssuerAudienceMismatch],
            summary,
        )
    };
    let mut found = name;
    if everywhere && name == FindingName::SigningKeyUnusable {
        found = FindingName::IssuerAudienceMismatch;
        alternatives = vec![FindingName::TokenKeyMismatch, FindingName::SigningKeyUnusable];
        summary = String::from(
            "Every node refuses every token: the realm leads to a foreign token server, or issuer \
             or audience differ.",
        );
    }
    if confidence == Confidence::Proved {
        alternatives.clear();
    }
    let flows = flows_at(case, &names);
    case.add(
        Draft {
            name: found,
            confidence,
            impact: Impact::Refusals,
            backends: if everywhere { Vec::new() } else { names },
            summary,
            evidence,
            alternatives,
        },
        cells,
        &flows,
    );
}

/// The flows of these backends that failed with a good token in hand.
fn flows_at(case: &Case<'_>, names: &[BackendName]) -> Vec<usize> {
    let fits = |flow: &Flow| {
        flow.route.backend().is_some_and(|name| names.contains(name))
            && flow.failure().is_some_and(|(step, _)| step >= Step::Access)
    };
    case.open_flows().into_iter().filter(|(_, flow)| fits(flow)).map(|(i, _)| i).collect()
}

/// Whole rows: everybody refuses the tokens of one issuer, itself included (A5).
fn broken_issuers(case: &mut Case<'_>) {
    let open: Vec<(usize, &Cell, &Refusal)> = case.open_cells();
    let issuers: Vec<BackendName> = case.round.backends.iter().map(|b| b.name.clone()).collect();
    let mut names = Vec::new();
    let mut cells = Vec::new();
    for issuer in issuers {
        let row: Vec<&Cell> = case
            .round
            .matrix
            .cells
            .iter()
            .filter(|c| c.issuer.backend() == Some(&issuer) && c.verifier.backend().is_some())
            .collect();
        let all_refused = row.iter().any(|c| c.accepted() == Some(false))
            && row.iter().all(|c| c.accepted() != Some(true))
            && row.iter().all(|c| c.refusal().is_none_or(|r| r.healed_after.is_none()));
        // What a clock explains already is not the issuer's configuration.
        let own = open.iter().any(|(_, cell, _)| {
            cell.issuer.backend() == Some(&issuer) && cell.verifier.backend() == Some(&issuer)
        });
        if all_refused && own {
            let mine = open.iter().filter(|(_, c, _)| c.issuer.backend() == Some(&issuer));
            cells.extend(mine.map(|(index, ..)| *index));
            names.push(issuer);
        }
    }
    if names.is_empty() || cells.is_empty() {
        return;
    }
    let mut evidence =
        vec![format!("every node refused the tokens of {}, itself included", list(&names))];
    evidence.extend(cells.iter().take(3).filter_map(|i| describe(&case.round.matrix.cells[*i])));
    let flows = flows_at(case, &names);
    case.add(
        Draft {
            name: FindingName::IssuerAudienceMismatch,
            confidence: Confidence::Suspected,
            impact: Impact::Refusals,
            summary: format!("No node accepts the tokens that {} issues.", list(&names)),
            backends: names,
            evidence,
            alternatives: vec![FindingName::SigningKeyUnusable],
        },
        &cells,
        &flows,
    );
}
