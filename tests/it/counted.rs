//! What arrives at a registry is what the counters say: every request that is answered is counted
//! once, on its route by its code, and those that carried a token just issued by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use registry_prober::lab::{Entry, Family, Options, Scenario};
use registry_prober::model::{ResponseCount, Round, Route, Step};

use crate::support::simulated::{Arrived, Conditions, Simulation, paused};

/// In the first round no token is older than the round; in the later ones some are.
const ROUNDS: usize = 3;

/// The rounds of a scenario, each with what arrived while it lasted.
fn play(scenario: &str, family: Family) -> Vec<(Round, Vec<Arrived>)> {
    let scenario = Scenario::named(scenario).expect("it is embedded");
    let options = Options { family: Some(family), nodes: Some(3), ..Options::default() };
    paused(async {
        let mut lab = Simulation::new(&scenario, &options, Conditions::fair(), |_| {});
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push((lab.round().await.0, lab.take_requests()));
            tokio::time::sleep(Duration::from_secs(15)).await;
        }
        rounds
    })
}

/// The route that leads to an entry of the lab.
fn route(round: &Round, entry: Entry) -> Route {
    match entry {
        Entry::Node(index) => Route::Backend(round.backends[index].name.clone()),
        Entry::Balancer | Entry::TokenServer => Route::Balancer,
    }
}

/// How many answers of a kind a round counted.
fn counted(round: &Round, is: impl Fn(&ResponseCount) -> bool) -> usize {
    let counts = round.responses.iter().filter(|response| is(response));
    counts.map(|response| usize::try_from(response.count).expect("a small number")).sum()
}

#[test]
fn every_request_that_is_answered_is_counted_once_on_its_route() {
    for (scenario, family) in [
        ("healthy", Family::Harbor210),
        ("healthy-push", Family::Harbor215),
        ("healthy-push", Family::Distribution2),
        ("token-key-mismatch", Family::Harbor215),
        ("csrf-key-mismatch", Family::Harbor215),
        ("http-secret-mismatch", Family::Distribution3),
    ] {
        for (number, (round, arrived)) in play(scenario, family).iter().enumerate() {
            let mut expected: BTreeMap<(Route, u16), usize> = BTreeMap::new();
            for request in arrived {
                let Some(status) = request.status else { continue };
                *expected.entry((route(round, request.entry), status)).or_default() += 1;
            }
            let mut found: BTreeMap<(Route, u16), usize> = BTreeMap::new();
            for response in &round.responses {
                let kind = (response.route.clone(), response.code);
                let same = |r: &ResponseCount| (r.route.clone(), r.code) == kind;
                found.insert(kind.clone(), counted(round, same));
            }
            assert_eq!(found, expected, "{scenario} at {family}, round {number}");
            let routes: BTreeSet<&Route> = expected.keys().map(|(route, _)| route).collect();
            assert_eq!(routes.len(), 4, "three nodes and the balancer");
        }
    }
}

#[test]
fn what_asks_for_the_time_is_no_challenge() {
    for (round, arrived) in play("healthy", Family::Harbor215) {
        let asked = arrived.iter().filter(|request| request.path == "/v1/").count();
        assert!(asked > 0);
        assert_eq!(counted(&round, |r| (r.step, r.code) == (Step::Check, 404)), asked);
        assert_eq!(counted(&round, |r| r.step == Step::Challenge && r.code != 401), 0);
    }
}

#[test]
fn only_tokens_just_issued_count_for_the_rate_of_401() {
    for scenario in ["healthy-push", "token-key-mismatch", "token-key-rotation-window"] {
        for (number, (round, arrived)) in play(scenario, Family::Harbor215).iter().enumerate() {
            let carried =
                arrived.iter().filter(|request| request.status.is_some() && request.token);
            let title = format!("{scenario}, round {number}");
            assert_eq!(round.held_tokens.is_empty(), number == 0, "{title}");
            let fresh = counted(round, |response| response.authenticated);
            assert_eq!(fresh + round.held_tokens.len(), carried.count(), "{title}");
        }
    }
}
