//! What no rule explains is said, with its evidence: nothing is swept away.

use super::case::{Case, Draft, Impact};
use super::keys::describe;
use super::skew;
use crate::model::{BackendName, CellResult, Confidence, FindingName, Route};

pub(super) fn examine(case: &mut Case<'_>) {
    let cells: Vec<usize> = case.open_cells().iter().map(|(index, ..)| *index).collect();
    let flows: Vec<usize> = case.open_flows().iter().map(|(index, _)| *index).collect();
    if cells.is_empty() && flows.is_empty() {
        return;
    }
    let mut evidence: Vec<String> = cells
        .iter()
        .take(6)
        .filter_map(|index| describe(&case.round.matrix.cells[*index]))
        .collect();
    evidence.extend(flows.iter().take(6).filter_map(|index| {
        let flow = &case.round.flows[*index];
        let (step, failure) = flow.failure()?;
        Some(format!("{}: {} failed, {failure}", flow.route, step.as_str()))
    }));
    evidence.extend(skew::contradictions(case.round));
    let failed = case
        .round
        .matrix
        .cells
        .iter()
        .filter(|cell| matches!(cell.result, CellResult::Failed { .. }));
    match failed.count() {
        0 => {}
        count => evidence.push(format!("{count} pairs gave no answer about the token")),
    }
    let lb = cells.iter().any(|index| case.round.matrix.cells[*index].verifier == Route::Balancer)
        || flows.iter().any(|index| case.round.flows[*index].route == Route::Balancer);
    let mut places: Vec<BackendName> = flows
        .iter()
        .filter_map(|index| case.round.flows[*index].route.backend().cloned())
        .collect();
    places.sort();
    places.dedup();
    case.add(
        Draft {
            name: FindingName::UnexplainedRefusal,
            confidence: Confidence::Suspected,
            impact: if lb { Impact::Refusals } else { Impact::Latent },
            backends: places,
            summary: format!(
                "{} refused pairs and {} failed flows fit no known cause.",
                cells.len(),
                flows.len()
            ),
            evidence,
            alternatives: Vec::new(),
        },
        &cells,
        &flows,
    );
}
