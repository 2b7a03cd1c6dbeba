//! `lb-affinity-hides-mismatch`: nodes refuse each other's tokens and the load balancer keeps this
//! prober on some that agree, so that it meets no refusal and other clients will (C9 of the failure
//! catalogue).

use super::super::facts::{Facts, is_lb};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::keys;
use super::super::wording::list;
use crate::model::{BackendName, BalancerRun, Cell, Evidence, FindingName, ObservationKind};

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
    let (met, avoided) = (met(facts), avoided(facts));
    if meets_refusals(facts) || avoided.is_empty() || met.is_empty() {
        return None;
    }
    if luck(facts, run, met.len()) > UNLIKELY || has_several_addresses(facts) {
        return None;
    }
    let trials = run.pairs.trials + run.client_flows.trials;
    let cookie = run.affinity_cookie.as_ref();
    let summary = format!(
        "The load balancer keeps this prober on {}. Other clients, or this one after a failover, \
         reach {} and are refused.",
        list(&met),
        list(&avoided)
    );
    let hypothesis = Hypothesis::new(FindingName::LbAffinityHidesMismatch, Vec::new(), summary)
        .hits(Hits::Later)
        .evidence([Evidence::from(format!(
            "all of {trials} flows through the load balancer reached {}",
            list(&met)
        ))
        .with("flows", f64::from(trials))])
        .evidence(cookie.map(|name| format!("the load balancer sets the cookie {name:?}")))
        .alone();
    Some(hypothesis)
}

/// Whether clients of the load balancer met a refusal or a failure, so that nothing is hidden.
fn meets_refusals(facts: &Facts<'_>) -> bool {
    let kinds = [
        ObservationKind::SampleRefused,
        ObservationKind::ClientRefused,
        ObservationKind::FlowFailed,
    ];
    let met = facts.observed(|seen| seen.place.involves_balancer() && kinds.contains(&seen.kind));
    met.count() > 0
}

/// The nodes that the load balancer leads this prober to.
fn met<'a>(facts: &'a Facts<'_>) -> Vec<&'a BackendName> {
    let shares = facts.shares.iter().filter(|share| share.share > 0.0);
    shares.filter_map(|share| share.backend.as_ref()).collect()
}

/// The nodes that it never leads to and that disagree with another.
fn avoided<'a>(facts: &'a Facts<'_>) -> Vec<&'a BackendName> {
    let cells = facts.round.matrix.cells.iter().filter(|cell| refused_for_good(facts, cell));
    let refused: Vec<&Cell> = cells.collect();
    let disagrees = |name: &&BackendName| {
        refused
            .iter()
            .any(|cell| [cell.issuer.backend(), cell.verifier.backend()].contains(&Some(*name)))
    };
    let shares = facts.shares.iter().filter(|share| share.share <= 0.0);
    shares.filter_map(|share| share.backend.as_ref()).filter(disagrees).collect()
}

/// The chance that a balancer without affinity leads to so few nodes. Each pair meets it at least
/// twice, for its token and with it.
fn luck(facts: &Facts<'_>, run: &BalancerRun, met: usize) -> f64 {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let share = number(met) / number(facts.round.backends.len());
    share.powf(2.0 * f64::from(run.pairs.trials))
}

/// Several addresses behind the name are chosen by the resolver and the client, not by a balancer.
fn has_several_addresses(facts: &Facts<'_>) -> bool {
    facts.round.checks.dns.measured().is_some_and(|report| report.addresses.len() > 1)
}
