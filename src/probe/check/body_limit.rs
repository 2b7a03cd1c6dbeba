//! How large a request body does each route let through? A PATCH without a token declares a length
//! and sends nothing: a proxy with a limit refuses it at once with 413, before any server asks who
//! sends it (capture of distribution, `60-body-too-large-content-length.http`). A proxy without one
//! waits for the body, or passes the header on to a server that wants a token first. Nothing can be
//! written so.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;

use super::super::client::Client;
use super::super::flow;
use super::super::request::{Auth, Request};
use crate::model::{
    BodyLimit, Check, Checked, Failure, Flow, OfRoute, Outcome, Phase, Reason, Route, Skipped, Step,
};
use crate::transport::Body;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What is declared first: more than nginx's default, a large layer, a very large one.
const LENGTHS: [u64; 3] = [MIB + 1, GIB, 20 * GIB];

/// Limits that people set. Fifteen in the widest gap: two steps of three lengths find the place.
const USUAL: [u64; 25] = [
    64 * KIB,
    256 * KIB,
    MIB,
    2 * MIB,
    4 * MIB,
    5 * MIB,
    8 * MIB,
    10 * MIB,
    16 * MIB,
    20 * MIB,
    32 * MIB,
    50 * MIB,
    64 * MIB,
    100 * MIB,
    128 * MIB,
    200 * MIB,
    256 * MIB,
    512 * MIB,
    2 * GIB,
    4 * GIB,
    5 * GIB,
    8 * GIB,
    10 * GIB,
    16 * GIB,
    20 * GIB,
];

/// Steps by which a limit is found more closely.
const STEPS: usize = 2;

/// Whoever refuses a length does it within this time.
const PATIENCE: Duration = Duration::from_secs(2);

const PATH: &str = "/v2/registry-prober/none/blobs/uploads/none";

pub(super) async fn look(
    client: &Client<'_>,
    flows: &[Flow],
    before: &Checked<Vec<OfRoute<BodyLimit>>>,
) -> Outcome<Vec<OfRoute<BodyLimit>>> {
    let known = before.measured().map_or(&[][..], Vec::as_slice);
    let routes = flows.iter().map(|flow| {
        let known = known.iter().find(|known| known.route == flow.route);
        let known = known.and_then(|known| known.value.measured()).copied();
        flow::boxed(async move {
            OfRoute { route: flow.route.clone(), value: limit(client, flow, known).await }
        })
    });
    Outcome::Measured(join_all(routes).await)
}

async fn limit(client: &Client<'_>, flow: &Flow, known: Option<BodyLimit>) -> Outcome<BodyLimit> {
    if flow.passed(Step::Challenge) != Some(true) {
        return Outcome::Skipped(Skipped::EarlierStepFailed);
    }
    let route = &flow.route;
    if client.holds(route) {
        return Outcome::Skipped(Skipped::BackingOff);
    }
    let mut seen = Vec::new();
    if let Err(failure) = declare(client, route, &LENGTHS, &mut seen).await {
        return Outcome::Failed(failure);
    }
    let Some(refused) = bounds(&seen).refused else { return Outcome::Measured(bounds(&seen)) };
    // A limit that was found before is looked for no more while it explains what is seen.
    if let Some(known) = known.filter(|known| agrees(*known, &seen)) {
        return Outcome::Measured(known);
    }
    if let Err(failure) = declare(client, route, &[refused], &mut seen).await {
        return Outcome::Failed(failure);
    }
    if !is_repeated(refused, &seen) {
        let passes = seen.iter().filter(|(_, refused)| !refused).map(|(at, _)| *at).max();
        return Outcome::Measured(BodyLimit { passes: passes.unwrap_or(0), refused: None });
    }
    for _ in 0..STEPS {
        let lengths = between(bounds(&seen));
        if lengths.is_empty() || declare(client, route, &lengths, &mut seen).await.is_err() {
            break;
        }
    }
    Outcome::Measured(bounds(&seen))
}

/// Declares lengths side by side and notes which are refused. An error is one that teaches nothing.
async fn declare(
    client: &Client<'_>,
    route: &Route,
    lengths: &[u64],
    seen: &mut Vec<(u64, bool)>,
) -> Result<(), Failure> {
    let asks = lengths.iter().map(|length| flow::boxed(is_refused(client, route, *length)));
    for (length, refused) in lengths.iter().zip(join_all(asks).await) {
        seen.push((*length, refused?));
    }
    Ok(())
}

async fn is_refused(client: &Client<'_>, route: &Route, length: u64) -> Result<bool, Failure> {
    let mut request = Request::of(Check::BodyLimit, Method::PATCH, PATH, Auth::None);
    (request.body, request.within) = (Body::Declared(length), Some(PATIENCE));
    let mut link = client.link(route);
    let response = client.send(link.as_mut(), route, request).await;
    match (response.answer, response.exchange.result) {
        (Some(answer), _) => Ok(answer.status == 413),
        // No one objects to the length.
        (None, Err(failure))
            if failure.reason == Reason::Timeout
                && failure.phase == Some(Phase::Wait)
                && !client.is_over() =>
        {
            Ok(false)
        }
        (None, Err(failure)) => Err(failure),
        (None, Ok(_)) => Ok(false),
    }
}

/// Whether a length was refused each time. If not, several nodes are behind the route, and the
/// limit is that of one of them.
fn is_repeated(length: u64, seen: &[(u64, bool)]) -> bool {
    seen.iter().all(|(at, refused)| *at != length || *refused)
}

/// What the answers say together.
fn bounds(seen: &[(u64, bool)]) -> BodyLimit {
    let refused = seen.iter().filter(|(_, refused)| *refused).map(|(at, _)| *at).min();
    let below = |at: &u64| refused.is_none_or(|refused| *at < refused);
    let passes = seen.iter().filter(|(_, refused)| !refused).map(|(at, _)| *at).filter(below).max();
    BodyLimit { passes: passes.unwrap_or(0), refused }
}

fn agrees(known: BodyLimit, seen: &[(u64, bool)]) -> bool {
    let fits = |(length, refused): &(u64, bool)| match known.refused {
        Some(smallest) => *refused == (*length >= smallest),
        None => !refused,
    };
    seen.iter().all(fits)
}

/// Up to three usual limits that divide what is still unknown.
fn between(bounds: BodyLimit) -> Vec<u64> {
    let open = |length: &u64| {
        *length > bounds.passes && bounds.refused.is_some_and(|refused| *length < refused)
    };
    let open: Vec<u64> = USUAL.into_iter().filter(open).collect();
    let quarters = [1, 2, 3].map(|quarter| quarter * (open.len() + 1) / 4);
    let mut lengths: Vec<u64> =
        quarters.iter().filter_map(|at| open.get(at.checked_sub(1)?).copied()).collect();
    if open.len() <= LENGTHS.len() {
        lengths = open;
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found of a limit, and after how many declared lengths.
    fn found(limit: u64) -> (BodyLimit, usize) {
        let request = |length: u64| (length, length > limit);
        let mut seen: Vec<_> = LENGTHS.into_iter().map(request).collect();
        for _ in 0..STEPS {
            seen.extend(between(bounds(&seen)).into_iter().map(request));
        }
        (bounds(&seen), seen.len())
    }

    #[test]
    fn a_usual_limit_is_found_in_two_steps_between_its_neighbours() {
        for (limit, passes, refused) in [
            (MIB, MIB, MIB + 1),
            (512 * KIB, 256 * KIB, MIB),
            (2 * MIB, 2 * MIB, 4 * MIB),
            (100_000_000, 64 * MIB, 100 * MIB),
            (100 * MIB, 100 * MIB, 128 * MIB),
            (512 * MIB, 512 * MIB, GIB),
            (GIB, GIB, 2 * GIB),
            (5 * GIB, 5 * GIB, 8 * GIB),
            (19 * GIB, 16 * GIB, 20 * GIB),
        ] {
            let (found, lengths) = found(limit);
            assert_eq!(found, BodyLimit { passes, refused: Some(refused) }, "{limit}");
            assert!(lengths <= 9, "{limit}: {lengths}");
        }
        assert_eq!(found(20 * GIB).0, BodyLimit { passes: 20 * GIB, refused: None });
    }

    #[test]
    fn a_length_that_is_refused_only_once_is_not_refused_by_the_route() {
        let mut seen = vec![(MIB + 1, true), (GIB, false), (20 * GIB, true)];
        assert!(is_repeated(MIB + 1, &seen));
        seen.push((MIB + 1, false));
        assert!(!is_repeated(MIB + 1, &seen));
    }

    #[test]
    fn a_limit_is_remembered_while_the_answers_fit_it() {
        let known = BodyLimit { passes: 100 * MIB, refused: Some(128 * MIB) };
        let seen = |refused: [bool; 3]| LENGTHS.into_iter().zip(refused).collect::<Vec<_>>();
        assert!(agrees(known, &seen([false, true, true])));
        assert!(!agrees(known, &seen([true, true, true])));
        assert!(!agrees(known, &seen([false, false, true])));
    }
}
