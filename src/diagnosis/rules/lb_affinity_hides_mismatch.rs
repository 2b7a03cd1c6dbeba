//! `lb-affinity-hides-mismatch`: nodes refuse each other's tokens and the load balancer keeps this
//! prober on some that agree, so that it meets no refusal and other clients will (C9 of the failure
//! catalogue).

use super::super::facts::{Facts, is_lb};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::keys;
use super::super::wording::list;
use crate::model::{BackendName, Cell, Evidence, FindingName, ObservationKind};

/// Below this chance of meeting only these nodes by luck, affinity is the word for it.
const UNLIKELY: f64 = 0.01;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    hidden(facts).into_iter().collect()
}

/// Refusals between nodes that last. A pair that heals is a matter of the moment.
fn refused_for_good(facts: &Facts<'_>, cell: &Cell) -> bool {
    let lasts = cell.refusal().is_some_and(|refusal| refusal.healed_after.is_none());
    lasts && !is_lb(cell) && !keys::is_luck(facts, cell)
}

fn hidden(facts: &Facts<'_>) -> Option<Hypothesis> {
    let run = facts.sampling().filter(|run| run.pairs.trials > 0)?;
    let met = facts.observed(|seen| {
        seen.place.involves_balancer()
            && matches!(
                seen.kind,
                ObservationKind::SampleRefused
                    | ObservationKind::ClientRefused
                    | ObservationKind::FlowFailed
            )
    });
    if met.count() > 0 {
        return None;
    }
    let refused: Vec<&Cell> =
        facts.round.matrix.cells.iter().filter(|cell| refused_for_good(facts, cell)).collect();
    let led_to: Vec<&BackendName> = facts
        .shares
        .iter()
        .filter(|share| share.share > 0.0)
        .filter_map(|share| share.backend.as_ref())
        .collect();
    // Only where some node that disagrees was never met is anything hidden.
    let avoided: Vec<&BackendName> = facts
        .shares
        .iter()
        .filter(|share| share.share <= 0.0)
        .filter_map(|share| share.backend.as_ref())
        .filter(|name| {
            refused.iter().any(|cell| {
                cell.issuer.backend() == Some(name) || cell.verifier.backend() == Some(name)
            })
        })
        .collect();
    if refused.is_empty() || avoided.is_empty() || led_to.is_empty() {
        return None;
    }
    let all = f64::from(u32::try_from(facts.round.backends.len()).unwrap_or(u32::MAX));
    let kept = f64::from(u32::try_from(led_to.len()).unwrap_or(u32::MAX));
    // Each pair meets the balancer at least twice, for its token and with it.
    let by_luck = (kept / all).powf(2.0 * f64::from(run.pairs.trials));
    // Several addresses behind the name are chosen by the resolver and the client, not by a
    // balancer.
    let report = facts.round.checks.dns.measured();
    let several = report.is_some_and(|report| report.addresses.len() > 1);
    if by_luck > UNLIKELY || several {
        return None;
    }
    let trials = run.pairs.trials + run.client_flows.trials;
    let cookie = run.affinity_cookie.as_ref();
    let summary = format!(
        "The load balancer keeps this prober on {}. Other clients, or this one after a failover, \
         reach {} and are refused.",
        list(&led_to),
        list(&avoided)
    );
    let hypothesis = Hypothesis::new(FindingName::LbAffinityHidesMismatch, Vec::new(), summary)
        .hits(Hits::Later)
        .evidence([Evidence::from(format!(
            "all of {trials} flows through the load balancer reached {}",
            list(&led_to)
        ))
        .with("flows", f64::from(trials))])
        .evidence(cookie.map(|name| format!("the load balancer sets the cookie {name:?}")))
        .alone();
    Some(hypothesis)
}
