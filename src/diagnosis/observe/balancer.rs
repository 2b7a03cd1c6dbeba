//! What the sampling through the load balancer met, in this round or over the last minutes.

use super::window::{OF_A_ROUND, OF_MINUTES, Series, is_more_than_chance};
use crate::model::{
    BalancerRun, Earlier, Failure, Flow, Observation, ObservationKind, Place, Ratio, Reason, Round,
    Route, SampleFailure, SampledFlow, Step,
};

/// From this number on, events of the last minutes that a sound registry never shows are reported.
/// A single one may be the last of a fault that is over.
const TWICE: u32 = 2;

pub(super) fn observe(round: &Round, earlier: &Earlier) -> Vec<Observation> {
    let Some(run) = round.balancer.measured() else {
        return first_try(round).into_iter().collect();
    };
    let mut past: Vec<&BalancerRun> = earlier.window.iter().map(|sampled| &sampled.run).collect();
    past.push(run);
    let mut all = Vec::new();
    for flow in [SampledFlow::Pair, SampledFlow::Client] {
        all.extend(refused(flow, run, &past));
    }
    all.extend(realms(run, &past));
    all.extend(answers(round, run, &past));
    all.extend(losses(round, run, &past));
    all
}

/// What the first try of the balancer's own flow met, where nothing was sampled and a backend fails
/// in the same way, so that it is more than chance.
fn first_try(round: &Round) -> Option<Observation> {
    let lost = round.balancer_flow()?.lost_before.clone()?;
    let alike = |flow: &Flow| {
        let failed = flow.failure().is_some_and(|(_, failure)| failure.reason == lost.reason);
        failed && flow.route.backend().is_some()
    };
    round
        .flows
        .iter()
        .any(alike)
        .then(|| of_users(ObservationKind::ClientFailed, Step::Challenge, lost.clone(), (1, 1)))
}

/// Fewer lost requests of one round may be chance, however few requests it sent.
pub(super) const FEW_OF_A_ROUND: u32 = 3;

/// An observation through the balancer with its numbers.
fn of_users(
    kind: ObservationKind,
    step: Step,
    failure: Failure,
    (count, of): (u32, u32),
) -> Observation {
    let single = Observation::single(kind, Place::route(&Route::Balancer), failure);
    Observation { step: Some(step), count, of: of.max(count), ..single }
}

fn ratio(flow: SampledFlow, run: &BalancerRun) -> Ratio {
    match flow {
        SampledFlow::Pair => run.pairs,
        SampledFlow::Client => run.client_flows,
    }
}

/// The numbers of this round where it happened there; else those of the last minutes, where it
/// happened often enough and may go on. Whether it goes on is judged from both kinds of flow
/// together: there are few of one kind, and what is over for the many is over for the few.
fn numbers(now: (u32, u32), series: &Series, both: &Series) -> Option<((u32, u32), bool)> {
    if now.0 > 0 {
        return Some((now, false));
    }
    let total = series.total();
    (total.0 >= TWICE && series.rounds() > 1 && both.goes_on()).then_some((total, true))
}

fn refused(flow: SampledFlow, run: &BalancerRun, past: &[&BalancerRun]) -> Option<Observation> {
    let read = |run: &BalancerRun| (ratio(flow, run).events, ratio(flow, run).trials);
    let series = Series::of(past.iter().copied(), read);
    let both = Series::of(past.iter().copied(), |run| {
        let (pairs, clients) = (run.pairs, run.client_flows);
        (pairs.events + clients.events, pairs.trials + clients.trials)
    });
    let (numbers, windowed) = numbers(read(run), &series, &both)?;
    let (kind, what) = match flow {
        SampledFlow::Pair => (ObservationKind::SampleRefused, "fresh tokens were refused"),
        SampledFlow::Client => (ObservationKind::ClientRefused, "client-like flows were refused"),
    };
    let detail = format!("{} of {} {what} with 401", numbers.0, numbers.1);
    let failure = Failure::of_answer(Reason::Unauthorized, detail);
    let observed = of_users(kind, Step::Access, failure, numbers);
    let answer = past.iter().rev().find_map(|run| run.first_refusal.clone());
    Some(Observation { answer, windowed, ..observed })
}

fn realms(run: &BalancerRun, past: &[&BalancerRun]) -> Option<Observation> {
    let read = |run: &BalancerRun| (run.foreign_realms.events, run.foreign_realms.trials);
    let series = Series::of(past.iter().copied(), read);
    let (numbers, windowed) = numbers(read(run), &series, &series)?;
    let detail =
        format!("{} of {} challenges name a token endpoint elsewhere", numbers.0, numbers.1);
    let failure = Failure::of_answer(Reason::RealmNotAllowed, detail);
    let observed = of_users(ObservationKind::RealmForeign, Step::Challenge, failure, numbers);
    Some(Observation { windowed, ..observed })
}

fn kind(flow: SampledFlow) -> ObservationKind {
    match flow {
        SampledFlow::Pair => ObservationKind::SampleFailed,
        SampledFlow::Client => ObservationKind::ClientFailed,
    }
}

fn alike(one: &SampleFailure, other: &SampleFailure) -> bool {
    (one.flow, one.step, one.failure.reason) == (other.flow, other.step, other.failure.reason)
}

/// Wrong answers: a single one counts, for a sound registry gives none. The exception is a 5xx: a
/// gateway may once have had no node to ask, so it counts from the second on, on whatever route.
fn answers(round: &Round, run: &BalancerRun, past: &[&BalancerRun]) -> Vec<Observation> {
    let of_gateways = round.responses.iter().filter(|it| it.step != Step::Check && it.code >= 500);
    let alone = of_gateways.map(|it| it.count).sum::<u64>() <= 1;
    let mut kinds: Vec<&SampleFailure> = Vec::new();
    for failed in past.iter().rev().flat_map(|run| &run.failures) {
        let reason = failed.failure.reason;
        if !reason.is_network() && !kinds.iter().any(|known| alike(known, failed)) {
            kinds.push(failed);
        }
    }
    let observed = |failed: &&SampleFailure| {
        let read = |run: &BalancerRun| {
            let events = run.failures.iter().filter(|other| alike(other, failed));
            (events.map(|other| other.count).sum(), run.tried(failed.flow, failed.step))
        };
        let of_any = |run: &BalancerRun| {
            let same = |other: &&SampleFailure| {
                (other.step, other.failure.reason) == (failed.step, failed.failure.reason)
            };
            let events = run.failures.iter().filter(same).map(|other| other.count).sum();
            let tried = |flow| run.tried(flow, failed.step);
            (events, tried(SampledFlow::Pair) + tried(SampledFlow::Client))
        };
        let series = Series::of(past.iter().copied(), read);
        let both = Series::of(past.iter().copied(), of_any);
        let now = match read(run) {
            (1, _) if alone && failed.failure.reason.is_server_error() => (0, 0),
            now => now,
        };
        let (numbers, windowed) = numbers(now, &series, &both)?;
        let observed = of_users(kind(failed.flow), failed.step, failed.failure.clone(), numbers);
        Some(Observation { windowed, answer: failed.answer.clone(), ..observed })
    };
    kinds.iter().filter_map(observed).collect()
}

/// Lost requests: a few among thousands are chance and are not reported.
fn losses(round: &Round, run: &BalancerRun, past: &[&BalancerRun]) -> Vec<Observation> {
    let by_flow = round.balancer_flow().is_some_and(|flow| flow.lost_before.is_some());
    let lost = run.lost_to_network() + u32::from(by_flow);
    let of_network = |failed: &&SampleFailure| failed.failure.reason.is_network();
    if lost >= FEW_OF_A_ROUND
        && is_more_than_chance(lost, run.requests() + u32::from(by_flow), OF_A_ROUND)
    {
        let observed = |failed: &SampleFailure| {
            let numbers = (failed.count, run.tried(failed.flow, failed.step));
            of_users(kind(failed.flow), failed.step, failed.failure.clone(), numbers)
        };
        return run.failures.iter().filter(of_network).map(observed).collect();
    }
    let read = |run: &BalancerRun| (run.lost_to_network(), run.requests());
    let series = Series::of(past.iter().copied(), read);
    let (events, trials) = series.total();
    if series.rounds() < 2 || !is_more_than_chance(events, trials, OF_MINUTES) || !series.goes_on()
    {
        return Vec::new();
    }
    let last = past.iter().rev().flat_map(|run| &run.failures).find(of_network);
    let observed = |failed: &SampleFailure| {
        let (kind, failure) = (kind(failed.flow), failed.failure.clone());
        let observed = of_users(kind, failed.step, failure, (events, trials));
        Observation { windowed: true, ..observed }
    };
    last.map(observed).into_iter().collect()
}

#[cfg(test)]
mod tests;
