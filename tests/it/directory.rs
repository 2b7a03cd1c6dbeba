//! A person's account is not tried where it was refused a moment ago: directories lock accounts.

use std::time::Duration;

use registry_prober::config::Registry;
use registry_prober::lab::{Options, Scenario};
use registry_prober::model::{BackendName, Finding};

use crate::support::simulated::{Conditions, Simulation, paused};

/// How many logins each of some rounds tries, some minutes apart, and what the last finds.
#[expect(clippy::expect_used, reason = "a helper of tests")]
fn tried(scenario: &str, minutes: u64, rounds: usize) -> (Vec<u32>, Vec<String>) {
    let scenario = Scenario::named(scenario).expect("it is embedded");
    paused(async {
        let change = |registry: &mut Registry| {
            registry.checks.interval = Duration::from_secs(60);
        };
        let mut lab = Simulation::new(&scenario, &Options::default(), Conditions::fair(), change);
        let (mut tries, mut last) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (round, assessment) = lab.round().await;
            tries.push(round.checks.directory_login.requests);
            let line = |finding: &Finding| {
                let at: Vec<&str> = finding.backends.iter().map(BackendName::as_str).collect();
                format!("{} [{}]", finding.finding, at.join(" "))
            };
            last = assessment.findings.iter().map(line).collect();
            tokio::time::sleep(Duration::from_secs(minutes * 60)).await;
        }
        (tries, last)
    })
}

#[test]
fn a_node_that_refuses_is_asked_once_an_hour_and_stays_named() {
    let (tries, found) = tried("secretkey-mismatch", 10, 8);
    assert_eq!(tries, [3, 2, 2, 2, 2, 2, 3, 2], "b refuses at the first and the seventh");
    assert_eq!(found, ["secretkey-mismatch [b]"]);
}

#[test]
fn an_account_that_is_refused_everywhere_is_tried_at_two_nodes_an_hour() {
    let (tries, found) = tried("directory-refused-at-once", 10, 8);
    assert_eq!(tries.iter().sum::<u32>(), 4, "{tries:?}");
    assert_eq!(found, ["directory-unavailable []"]);
}

#[test]
fn while_nobody_answers_every_node_has_its_turn() {
    let (tries, found) = tried("directory-unavailable", 10, 4);
    assert_eq!(tries, [2, 2, 2, 2]);
    assert_eq!(found, ["directory-unavailable []"]);
}
