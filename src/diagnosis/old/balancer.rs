//! What only the way through the load balancer shows (C9, unknown backends).

use super::case::{Case, Draft, Impact, list};
use super::consequences::is_lb;
use super::gateway::is_5xx;
use super::header::looks_unseen;
use super::keys::describe;
use super::replicas::keys_of;
use crate::model::{BackendName, Cell, Confidence, FindingName, KeyId, Route, Severity};

/// Below this chance of meeting no refusal by luck, affinity is the word for it.
const UNLIKELY: f64 = 0.01;

pub(super) fn examine(case: &mut Case<'_>) {
    unknown_backend(case);
    affinity(case);
    sampled_errors(case);
}

/// Tokens signed by a key that no configured backend has.
fn unknown_backend(case: &mut Case<'_>) {
    let Some(run) = case.sampling() else { return };
    let known: Vec<KeyId> = case
        .round
        .backends
        .iter()
        .flat_map(|facts| keys_of(case, &facts.name))
        .map(|(key, _)| key)
        .collect();
    let keyless = case.round.backends.iter().any(|facts| {
        let flow = case.round.backend_flow(&facts.name);
        let answers = flow.is_some_and(|flow| flow.challenge.measured().is_some());
        answers && keys_of(case, &facts.name).is_empty()
    });
    // A backend of which no key is known may be the one.
    if known.is_empty() || keyless {
        return;
    }
    let strange: Vec<_> = run.keys.iter().filter(|count| !known.contains(&count.key)).collect();
    if strange.is_empty() {
        by_elimination(case);
        return;
    }
    let is_strange = |key: Option<&KeyId>| key.is_some_and(|k| !known.contains(k));
    let cells: Vec<usize> = case
        .open_cells()
        .into_iter()
        .filter(|(_, cell, _)| {
            is_lb(cell) && (is_strange(cell.key.as_ref()) || cell.verifier == Route::Balancer)
        })
        .map(|(index, ..)| index)
        .collect();
    let flows: Vec<usize> = case
        .open_flows()
        .into_iter()
        .filter(|(_, flow)| flow.route == Route::Balancer)
        .map(|(index, _)| index)
        .collect();
    let evidence = strange
        .iter()
        .map(|count| {
            format!(
                "{} of {} tokens through the balancer were signed by key {}…",
                count.tokens,
                run.keys.iter().map(|k| k.tokens).sum::<u32>(),
                count.key.short()
            )
        })
        .collect();
    case.add(
        Draft {
            name: FindingName::UnknownBackend,
            confidence: Confidence::Proved,
            impact: Impact::Refusals,
            backends: Vec::new(),
            summary: "The load balancer leads to a node that is not configured here, with a \
                      signing key of its own."
                .to_owned(),
            evidence,
            alternatives: Vec::new(),
        },
        &cells,
        &flows,
    );
}

/// Every backend accepts an issuer's tokens and the balancer refused one: whoever refused it is not
/// among the backends. None of its keys was met by luck.
fn by_elimination(case: &mut Case<'_>) {
    let family = case.common_family();
    let accepted =
        |cell: &Cell| {
            let mut others =
                case.round.matrix.cells.iter().filter(|other| {
                    other.issuer == cell.issuer && other.verifier.backend().is_some()
                });
            others.all(|other| other.accepted() == Some(true))
        };
    let cells: Vec<usize> = case
        .open_cells()
        .into_iter()
        .filter(|(_, cell, refusal)| {
            // Whom every backend accepts nobody but the balancer can have refused.
            cell.issuer.backend().is_some()
                && !looks_unseen(&refusal.answer, family)
                && accepted(cell)
        })
        .map(|(index, ..)| index)
        .collect();
    if cells.is_empty() {
        return;
    }
    let mut evidence: Vec<String> =
        cells.iter().filter_map(|index| describe(&case.round.matrix.cells[*index])).collect();
    evidence.push("every backend accepts the tokens of the same issuers".to_owned());
    case.add(
        Draft {
            name: FindingName::UnknownBackend,
            confidence: Confidence::Suspected,
            impact: Impact::Refusals,
            backends: Vec::new(),
            summary: "Through the load balancer a token is refused that every backend accepts: \
                      it seems to lead to a node that is not configured here."
                .to_owned(),
            evidence,
            alternatives: vec![FindingName::TokenKeyMismatch],
        },
        &cells,
        &[],
    );
}

/// Samples that ended in server errors although every route's own flow passed.
fn sampled_errors(case: &mut Case<'_>) {
    let Some(run) = case.sampling().filter(|run| run.lost() >= 2) else { return };
    let Some(failure) = run.first_loss().filter(|failure| is_5xx(failure.reason)) else {
        return;
    };
    // A backend that fails by itself is the cause of what the sampling meets of it.
    if case.findings.iter().any(|finding| finding.severity == Severity::Critical) {
        return;
    }
    let evidence = vec![format!("{} samples were lost; the first: {failure}", run.lost())];
    case.add(
        Draft {
            name: FindingName::ServerErrors,
            confidence: Confidence::Proved,
            impact: Impact::Balancer,
            backends: Vec::new(),
            summary: "Some requests through the load balancer end in server errors.".to_owned(),
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

/// Backends refuse each other and no user meets it: affinity hides it until failover.
fn affinity(case: &mut Case<'_>) {
    let Some(run) = case.sampling() else { return };
    let trials = run.pairs.trials + run.client_flows.trials;
    let between: Vec<bool> = case
        .round
        .matrix
        .cells
        .iter()
        .filter(|cell| !is_lb(cell))
        .filter_map(Cell::accepted)
        .collect();
    let refused = between.iter().filter(|accepted| !**accepted).count();
    if refused == 0 || case.users_are_refused() {
        return;
    }
    // With equal shares so many independent pairs would have met a refusal almost certainly.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand cells")]
    let by_luck = (1.0 - refused as f64 / between.len() as f64).powf(f64::from(run.pairs.trials));
    if by_luck > UNLIKELY {
        return;
    }
    // Only a cause that would reach users behind another balancer is hidden by this one.
    if !case.findings.iter().any(|finding| finding.severity == Severity::Warning) {
        return;
    }
    let led_to: Vec<&BackendName> = case
        .shares
        .iter()
        .filter(|share| share.share > 0.0)
        .filter_map(|share| share.backend.as_ref())
        .collect();
    let cookie = run.affinity_cookie.as_ref();
    let mut evidence = vec![format!(
        "{trials} flows through the balancer met no refusal; they were led to {}",
        list(&led_to)
    )];
    evidence.extend(cookie.map(|name| format!("the balancer sets the cookie {name:?}")));
    case.add(
        Draft {
            name: FindingName::LbAffinityHidesMismatch,
            confidence: Confidence::Proved,
            impact: Impact::Latent,
            backends: Vec::new(),
            summary: "The load balancer keeps this prober on nodes that agree; others, or a \
                      failover, will meet the refusals."
                .to_owned(),
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}
