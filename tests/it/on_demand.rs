//! Rounds on demand cost a registry what a round costs, and no check that runs now and then.

use std::time::Duration;

use registry_prober::lab::{Entry, Family, Options, Scenario};
use registry_prober::model::{Cadence, CheckRun, Outcome, Round, Skipped};

use crate::harmless::most_within;
use crate::support::simulated::{Conditions, Simulation, paused};

fn lab(scenario: &str) -> Simulation {
    let scenario = Scenario::named(scenario).expect("it is embedded");
    let options = Options { family: Some(Family::Harbor215), nodes: Some(3), ..Options::default() };
    Simulation::new(&scenario, &options, Conditions::fair(), |_| {})
}

/// The checks that do not run in every round.
fn rare(round: &Round) -> Vec<CheckRun> {
    let mut runs = round.checks.runs();
    runs.retain(|run| run.check.cadence() == Cadence::Interval);
    runs
}

/// Requests that only such checks send: writing ones, and those to pages that nothing else asks.
/// The client flows of every round ask for tokens by POST, and pull through the load balancer.
fn of_rare_checks(lab: &Simulation) -> usize {
    let pages = ["/api/v2.0/ping", "/manifests/", "/blobs/", "/api/v2.0/jobservice"];
    let requests = lab.take_requests();
    assert!(requests.len() > 50, "there was a round");
    let writes = |method: &http::Method| !matches!(*method, http::Method::GET | http::Method::HEAD);
    let of_check = requests
        .iter()
        .filter(|r| !r.path.starts_with("/service/token"))
        .filter(|r| r.entry != Entry::Balancer || !r.path.starts_with("/v2/probe/canary/"))
        .filter(|r| writes(&r.method) || pages.iter().any(|page| r.path.contains(page)));
    of_check.count()
}

#[test]
fn a_round_on_demand_tells_what_the_registry_s_own_rounds_found_and_asks_nothing_for_it() {
    paused(async {
        let mut lab = lab("healthy-push");
        let own = lab.round().await.0;
        assert!(of_rare_checks(&lab) > 50, "the test sees what it looks for");
        for scrape in 0..20 {
            tokio::time::sleep(Duration::from_secs(15)).await;
            let round = lab.round_on_demand().await;
            assert_eq!(of_rare_checks(&lab), 0, "scrape {scrape}");
            assert_eq!(rare(&round), rare(&own), "scrape {scrape}");
            assert_eq!(round.checks.csrf, own.checks.csrf);
            assert_eq!(round.checks.content, own.checks.content);
        }
        // They are as due for the registry's own rounds as if no one had asked.
        let later = lab.round().await.0;
        let made = |run: &CheckRun| run.at == Some(later.started);
        for run in rare(&later).iter().filter(|run| run.made.measured().is_some()) {
            assert!(made(run), "{} is made again after five minutes", run.check);
        }
        let after = rare(&lab.round_on_demand().await);
        assert_eq!(after, rare(&later));
    });
}

#[test]
fn before_the_first_round_has_ended_a_round_on_demand_has_nothing_to_tell_of_them() {
    paused(async {
        let mut lab = lab("healthy");
        let early = lab.round_on_demand().await;
        assert_eq!(of_rare_checks(&lab), 0);
        for run in rare(&early) {
            let expected = match run.check.as_str() {
                "upload" | "push" => Skipped::Disabled,
                _ => Skipped::NotThisRound,
            };
            assert_eq!(run.made, Outcome::Skipped(expected), "{}", run.check);
        }
        assert!(early.checks.health.measured().is_some(), "what is made in every round is made");
        let own = lab.round().await.0;
        assert!(own.checks.csrf.at == Some(own.started), "nothing was taken from the first round");
    });
}

/// Requests a second to one route, as configured.
const RATE: usize = 5;

#[test]
fn no_route_is_asked_more_than_was_agreed_whoever_asks() {
    paused(async {
        let scenario = Scenario::named("healthy").expect("it is embedded");
        let options = Options { nodes: Some(3), ..Options::default() };
        let mut lab = Simulation::new(&scenario, &options, Conditions::fair(), |registry| {
            registry.max_requests_per_second = u32::try_from(RATE).unwrap();
        });
        lab.round_with_guests(4).await;
        lab.round_on_demand().await;
        lab.round_with_guests(2).await;
        let requests = lab.take_requests();
        for entry in [Entry::Node(0), Entry::Node(1), Entry::Node(2), Entry::Balancer] {
            // One second's worth may come at once; what was sent apart may arrive closer together.
            for seconds in [1, 5, 10, 30] {
                let most = most_within(&requests, entry, Duration::from_secs(seconds));
                let limit = RATE * (usize::try_from(seconds).unwrap() + 1) + 3;
                assert!(most <= limit, "{entry:?}: {most} in {seconds} s");
            }
        }
    });
}

#[test]
fn rounds_on_demand_make_no_sessions_of_their_own() {
    paused(async {
        let mut lab = lab("healthy");
        lab.round().await;
        lab.take_requests();
        lab.round_on_demand().await;
        let made = lab.take_requests().into_iter().filter(|request| request.new_session);
        assert_eq!(made.count(), 0);
    });
}
