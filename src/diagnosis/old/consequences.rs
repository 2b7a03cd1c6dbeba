//! What the way through the load balancer shows of causes that lie at the backends.

use super::case::Case;
use super::replicas::{keys_of, with_replicas};
use crate::model::{BackendName, Cell, FindingName, Flow, KeyId, Reason, Route, Step};

/// Refusals through the balancer that a refusal between backends explains are attached to it.
pub(super) fn examine(case: &mut Case<'_>) {
    let explained: Vec<(&Cell, usize)> = case.explained_cells().collect();
    let open: Vec<(usize, &Cell)> = case
        .open_cells()
        .into_iter()
        .map(|(i, cell, _)| (i, cell))
        .filter(|(_, c)| is_lb(c))
        .collect();
    for (index, cell) in open {
        let of_key = |issuer: Option<&BackendName>| match (&cell.key, issuer) {
            (Some(key), Some(issuer)) => case.key_of(issuer) == Some(key),
            _ => true,
        };
        let fits = |other: &Cell| {
            let verifier = cell.verifier == Route::Balancer || other.verifier == cell.verifier;
            let issuer = match cell.issuer.backend() {
                // In a sampled matrix another token of the same key stands for this one.
                Some(issuer) => {
                    other.issuer.backend() == Some(issuer)
                        || (cell.key.is_some() && cell.key == other.key)
                }
                None => of_key(other.issuer.backend()),
            };
            verifier && issuer
        };
        let cause = explained.iter().find(|(other, _)| !is_lb(other) && fits(other));
        if let Some((_, finding)) = cause {
            case.explain(*finding, &[index], &[]);
        }
    }
    of_replicas(case);
    let refusing = (0..case.findings.len())
        .find(|index| explained.iter().any(|(_, finding)| finding == index));
    let failing = |reasons: fn(&Flow, Step, Reason) -> bool| -> Vec<usize> {
        let fits = |flow: &Flow| {
            flow.route == Route::Balancer
                && flow.failure().is_some_and(|(step, why)| reasons(flow, step, why.reason))
        };
        case.open_flows().into_iter().filter(|(_, flow)| fits(flow)).map(|(i, _)| i).collect()
    };
    let refused = failing(|_, step, reason| step >= Step::Access && reason == Reason::Unauthorized);
    // A node that shares no accounts or content refuses at the repository what another granted.
    let missing = failing(|_, step, reason| {
        step == Step::Repository
            && matches!(reason, Reason::Unauthorized | Reason::Forbidden | Reason::NotFound)
    });
    let split = case.findings.iter().position(|finding| {
        let name = finding.finding;
        name == FindingName::ContentDiffers || name == FindingName::DatabaseUnavailable
    });
    if let Some(finding) = refusing {
        case.explain(finding, &[], &refused);
    }
    if let Some(finding) = split {
        case.explain(finding, &[], &missing);
    }
    // A backend that fails by itself fails the balancer's flow in the same way.
    let open: Vec<(usize, &Flow)> =
        case.open_flows().into_iter().filter(|(_, f)| f.route == Route::Balancer).collect();
    for (index, flow) in open {
        let Some((step, failure)) = flow.failure() else { continue };
        let same = case.round.flows.iter().find(|other| {
            other.route != Route::Balancer
                && other.failure().is_some_and(|(s, f)| s == step && f.reason == failure.reason)
        });
        let name = same.and_then(|flow| flow.route.backend());
        let cause = name.and_then(|name| {
            case.findings.iter().position(|finding| finding.backends.contains(name))
        });
        if let Some(cause) = cause {
            case.explain(cause, &[], &[index]);
        }
    }
}

/// One address that hides replicas with different keys: the balancer hands out tokens of each and
/// leads to each, though the pairs of that backend may all have met the right one.
fn of_replicas(case: &mut Case<'_>) {
    let hiding = with_replicas(case);
    let keys: Vec<KeyId> =
        hiding.iter().flat_map(|name| keys_of(case, name)).map(|(key, _)| key).collect();
    let cause = case.findings.iter().position(|finding| {
        finding.finding == FindingName::TokenKeyMismatch
            && hiding.iter().any(|name| finding.backends.contains(name))
    });
    let Some(cause) = cause else { return };
    let met = |cell: &Cell| {
        cell.verifier == Route::Balancer || cell.key.as_ref().is_some_and(|k| keys.contains(k))
    };
    let cells: Vec<usize> = case
        .open_cells()
        .into_iter()
        .filter(|(_, cell, _)| is_lb(cell) && met(cell))
        .map(|(index, ..)| index)
        .collect();
    case.explain(cause, &cells, &[]);
}

/// Whether the balancer takes part in a pair.
pub(super) fn is_lb(cell: &Cell) -> bool {
    cell.verifier == Route::Balancer || cell.issuer.as_str() == Route::Balancer.as_str()
}
