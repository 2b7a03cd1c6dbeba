//! A rolling restart of a registry, in virtual time: each node is away for up to a minute in turn. It
//! must make no alert of `deploy/prometheus/rules.yml`, and the history must say what it was.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use registry_prober::history::{Incidents, apply, events};
use registry_prober::lab::{Fault, FaultOrder, Options, Scenario};
use registry_prober::model::{Earlier, Incident, Judged, Severity};
use tokio::time::{Instant, sleep_until};

use crate::support::simulated::{Conditions, Simulation, paused};

const INTERVAL: Duration = Duration::from_secs(15);
/// `for` of `RegistryFinding`, and how far back it looks for what no single node explains.
const AT_A_NODE: i64 = 120;
const ANYWHERE: i64 = 600;

/// What a prober of an hour's restarts remembers.
struct Drill {
    incidents: Vec<Incident>,
    /// How long each finding lasted without a break, at each backend, at most.
    lasted: BTreeMap<(String, String), i64>,
    /// Rounds in which the flow through the load balancer failed.
    failed_rounds: usize,
}

/// Restarts `a`, `b` and `c` in turn, each away for that many seconds.
fn restart(fault: &Fault, seconds: u64, seed: u64) -> Drill {
    let healthy = Scenario::named("healthy").unwrap();
    let options = Options { nodes: Some(3), seed, ..Options::default() };
    paused(async move {
        let mut world = Simulation::new(&healthy, &options, Conditions::fair(), |_| ());
        let (mut earlier, mut incidents) = (Earlier::default(), Incidents::default());
        let mut since: BTreeMap<(String, String), DateTime<Utc>> = BTreeMap::new();
        let mut drill = Drill { incidents: Vec::new(), lasted: BTreeMap::new(), failed_rounds: 0 };
        let (began, nodes) = (Instant::now(), ["a", "b", "c"]);
        // The restart begins after four rounds, and there are some minutes after it.
        for number in 0..40u32 {
            let due = began + INTERVAL * number;
            sleep_until(due).await;
            let at = (INTERVAL * number).as_secs();
            let away = at.checked_sub(60).map(|at| usize::try_from(at / seconds).unwrap());
            let order =
                |node: &&str| FaultOrder { at: vec![(*node).to_owned()], fault: fault.clone() };
            let away = away.and_then(|index| nodes.get(index));
            world.set_faults(away.iter().map(|node| order(node)).collect());
            let (round, assessment) = world.round_after(&earlier).await;
            let judged = Judged { round, assessment };
            for event in &events(&earlier, &judged) {
                apply(&mut earlier, event);
            }
            earlier.sampled(&judged);
            incidents.take(&judged);
            let lb = judged.round.balancer_flow().unwrap();
            drill.failed_rounds += usize::from(!lb.succeeded());
            follow(&mut since, &mut drill.lasted, &judged);
        }
        drill.incidents = incidents.all().to_vec();
        drill
    })
}

/// Notes since when each finding lasts that would make an alert.
fn follow(
    since: &mut BTreeMap<(String, String), DateTime<Utc>>,
    lasted: &mut BTreeMap<(String, String), i64>,
    judged: &Judged,
) {
    let now = judged.round.started;
    let mut found: Vec<(String, String)> = Vec::new();
    for finding in &judged.assessment.findings {
        if finding.severity == Severity::Info {
            continue;
        }
        let name = finding.finding.to_string();
        if finding.backends.is_empty() {
            found.push((name.clone(), String::new()));
        }
        found.extend(finding.backends.iter().map(|it| (name.clone(), it.to_string())));
    }
    since.retain(|subject, _| found.contains(subject));
    for subject in found {
        let begun = *since.entry(subject.clone()).or_insert(now);
        // The metric stays until the next round ends.
        let so_far = (now - begun + TimeDelta::from_std(INTERVAL).unwrap()).num_seconds();
        let longest = lasted.entry(subject).or_default();
        *longest = so_far.max(*longest);
    }
}

fn pages_no_one(drill: &Drill, what: &str) {
    for ((finding, backend), seconds) in &drill.lasted {
        let patient = backend.is_empty()
            && (finding.starts_with("unexplained-") || finding == "server-errors");
        let most = if patient { ANYWHERE } else { AT_A_NODE };
        assert!(
            *seconds < most,
            "{what}: {finding} at {backend:?} for {seconds} s: {:?}",
            drill.lasted
        );
    }
    // The burn rate's page asks for more than 17 bad rounds in an hour.
    assert!(drill.failed_rounds <= 17, "{what}: {} failed rounds", drill.failed_rounds);
}

fn says_restart(drill: &Drill) {
    let mut notes = drill.incidents.iter().filter_map(|it| it.note.as_deref());
    let rolling = "Like a rolling restart: a, b, c did not answer";
    assert!(notes.any(|note| note.starts_with(rolling)), "{:?}", drill.incidents);
}

#[test]
fn nodes_that_the_balancer_goes_around_page_no_one_and_leave_a_restart() {
    let drill = restart(&Fault::Unreachable, 60, 7);
    pages_no_one(&drill, "unreachable");
    says_restart(&drill);
}

#[test]
fn nodes_that_the_balancer_keeps_page_no_one_and_leave_a_restart() {
    let drill = restart(&Fault::CoreDown, 60, 8);
    pages_no_one(&drill, "core down");
    says_restart(&drill);
}

#[test]
fn a_node_that_stays_away_does_make_an_alert() {
    let drill = restart(&Fault::Unreachable, 300, 9);
    let longest = drill.lasted.values().max();
    assert!(longest >= Some(&AT_A_NODE), "{:?}", drill.lasted);
}
