//! First step: from a round to observations. Everything that a sound registry does not show is one,
//! with where it was met and how often, whether or not a rule knows it.
//!
//! What the prober could not do for reasons of its own is no observation of the registry; it is in
//! [`super::coverage`].

mod balancer;
mod checks;
mod window;

use crate::model::{
    CellResult, Check, Earlier, Failure, Flow, HeldToken, MetBy, Observation, ObservationKind,
    Outcome, Phase, Place, Reason, Round, Route, Traffic,
};

pub(super) use checks::{header_is_dropped, is_current};

/// A held token with less time left than this may be refused for its age.
const STILL_VALID_SECONDS: f64 = 30.0;

/// Everything unexpected in a round.
pub(super) fn observe(round: &Round, earlier: &Earlier) -> Vec<Observation> {
    let mut all: Vec<Observation> = round.flows.iter().filter_map(flow).collect();
    let sampled = round.balancer.measured().is_some_and(|run| run.pairs.trials > 0);
    all.extend(round.matrix.cells.iter().filter_map(|cell| pair(cell, sampled)));
    all.extend(round.held_tokens.iter().filter_map(held));
    all.extend(balancer::observe(round, earlier));
    all.extend(beyond_chance(checks::observe(round)));
    let lossy: Vec<Observation> =
        round.traffic.iter().filter_map(|traffic| lossy(traffic, &all)).collect();
    all.extend(lossy);
    all
}

/// A backend that loses some requests although each passes when it is sent again. No other
/// observation shows it; for the load balancer the samples do.
fn lossy(traffic: &Traffic, seen: &[Observation]) -> Option<Observation> {
    let Traffic { route, lost, last } = traffic;
    let told = seen.iter().any(|o| o.place.answering() == route && o.reason().is_network());
    if route.backend().is_none()
        || told
        || lost.events < balancer::FEW_OF_A_ROUND
        || !window::is_more_than_chance(lost.events, lost.trials, window::OF_A_ROUND)
    {
        return None;
    }
    let (kind, place) = (ObservationKind::RequestsLost, Place::route(route));
    let observed = Observation::single(kind, place, last.clone()?);
    Some(Observation { count: lost.events, of: lost.trials, ..observed })
}

/// What checks met, without what may be chance: the only request of a route that the network lost,
/// and the only push that was gone when it was pulled. Another prober may have replaced that push,
/// and a store that loses pushes shows more than one.
fn beyond_chance(all: Vec<Observation>) -> Vec<Observation> {
    let failed = |seen: &Observation| seen.kind == ObservationKind::CheckFailed;
    let lost =
        |seen: &Observation| failed(seen) && seen.reason().is_network() && !is_unanswered(seen);
    let pushed = |seen: &Observation| seen.check == Some(Check::Push);
    let gone =
        |seen: &Observation| pushed(seen) && failed(seen) && seen.reason() == Reason::NotFound;
    let pushes = all.iter().filter(|seen| pushed(seen)).count();
    let of = |route: &Route| all.iter().filter(|o| lost(o) && o.place.answering() == route).count();
    let single: Vec<bool> = all
        .iter()
        .map(|seen| (lost(seen) && of(seen.place.answering()) == 1) || (gone(seen) && pushes == 1))
        .collect();
    all.into_iter().zip(single).filter(|(_, single)| !single).map(|(seen, _)| seen).collect()
}

/// Whether a request arrived and no answer came in time. That is no chance: a network may lose a
/// connection, but TCP sends lost parts of an answer again.
fn is_unanswered(seen: &Observation) -> bool {
    let failure = &seen.failure;
    failure.reason == Reason::Timeout && failure.phase == Some(Phase::Wait)
}

fn flow(flow: &Flow) -> Option<Observation> {
    let (step, failure) = flow.failure()?;
    if failure.reason.is_own() {
        return None;
    }
    let (kind, place) = (ObservationKind::FlowFailed, Place::route(&flow.route));
    let answer = flow.answer(step).cloned();
    let observed = Observation::single(kind, place, failure.clone());
    Some(Observation { step: Some(step), answer, ..observed })
}

fn pair(cell: &crate::model::Cell, sampled: bool) -> Option<Observation> {
    let place = Place::Pair { issuer: cell.issuer.clone(), verifier: cell.verifier.clone() };
    let (kind, failure, answer) = match &cell.result {
        CellResult::Refused(refusal) => {
            let reason = Reason::of_status(refusal.answer.status);
            let detail = super::wording::describe(cell).unwrap_or_default();
            let failure = Failure::of_answer(reason, detail);
            (ObservationKind::PairRefused, failure, Some(refusal.answer.clone()))
        }
        CellResult::Failed { failure, answer } if !failure.reason.is_own() => {
            (ObservationKind::PairFailed, failure.clone(), answer.clone())
        }
        _ => return None,
    };
    let step = Some(crate::model::Step::Access);
    let observed = Observation::single(kind, place, failure);
    // A node that does not answer when it is asked directly is no failure of those who come through
    // the balancer, whatever token it was shown.
    let direct = kind == ObservationKind::PairFailed && cell.verifier != Route::Balancer;
    // A client carries the token of one node to another only where the balancer leads it there, and
    // the samples measure that.
    let carried = kind == ObservationKind::PairRefused && sampled;
    let met_by = if direct || carried { MetBy::Node } else { observed.met_by };
    Some(Observation { met_by, step, answer, ..observed })
}

fn held(aged: &HeldToken) -> Option<Observation> {
    let refused = aged.accepted == Outcome::Measured(false);
    if !refused || aged.left_seconds < STILL_VALID_SECONDS {
        return None;
    }
    let place = Place::route(&Route::Backend(aged.backend.clone()));
    let detail = format!(
        "a token {:.0} s old with {:.0} s to live is refused by its own issuer",
        aged.age_seconds, aged.left_seconds
    );
    let failure = Failure::of_answer(Reason::Unauthorized, detail);
    Some(Observation::single(ObservationKind::HeldTokenRefused, place, failure))
}
