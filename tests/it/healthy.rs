//! Nothing is found where nothing is wrong: two hundred rounds of every family (`ROUNDS=10000`
//! plays more) over a network with jitter, late answers and resets, with clocks that are off by as
//! much as is tolerated.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use registry_prober::lab::{BalancerKind, Family, Fault, FaultOrder, Options, Scenario};
use registry_prober::model::Severity;

use crate::support::simulated::{Conditions, Simulation, everywhere, paused};

/// Rounds of one simulation, so that its clocks and its balancer are not those of all.
const ROUNDS_EACH: u32 = 50;

/// The timeout of a request; answers may be late by half of it.
const TIMEOUT: Duration = Duration::from_secs(4);

/// A registry in which nothing is wrong, for some rounds.
struct Run {
    family: Family,
    token_server: bool,
    seed: u64,
}

impl Run {
    /// The clocks of the nodes, where the family tolerates them: within 0.4 s of the true time.
    fn clocks(&self, nodes: &[&str]) -> Vec<FaultOrder> {
        if self.family.leeway_seconds() == 0 {
            return Vec::new();
        }
        let mut chance = SmallRng::seed_from_u64(self.seed);
        let clock = |place: &&str| {
            let offset_seconds = chance.random_range(-0.4..=0.4);
            let clock = Fault::Clock {
                offset_seconds,
                drift_ppm: 0.0,
                step_seconds: 0.0,
                step_after_seconds: 0.0,
            };
            FaultOrder::at(place, clock)
        };
        nodes.iter().map(clock).collect()
    }

    /// Every alarm, as text.
    fn alarms(&self) -> Vec<String> {
        let text = if self.token_server {
            r#"{"name":"healthy","title":"-","family":"distribution-2.8","tokens":"server","push":true,"effect":"-"}"#
        } else {
            r#"{"name":"healthy","title":"-","family":"harbor-2.15","push":true,"pools":true,"effect":"-"}"#
        };
        let scenario = Scenario::parse("healthy", text).expect("a scenario");
        let random = self.seed.is_multiple_of(2);
        let options = Options {
            family: Some(self.family),
            nodes: Some(3),
            balancer: Some(if random { BalancerKind::Random } else { BalancerKind::RoundRobin }),
            faults: self.clocks(&["a", "b", "c", "token-server"]),
            seed: self.seed,
            ..Options::default()
        };
        let weather = Conditions {
            round_trip: Duration::from_millis(1),
            jitter: Duration::from_millis(40),
            resets: 0.001,
            late: (0.005, TIMEOUT / 2),
        };
        paused(async {
            let mut alarms = Vec::new();
            let mut lab = Simulation::new(&scenario, &options, weather, |registry| {
                registry.timeout = TIMEOUT;
                registry.balancer.samples = 4;
                registry.checks.interval = Duration::from_secs(60);
            });
            for number in 0..ROUNDS_EACH {
                let (_, assessment) = lab.round().await;
                let above_info = assessment.findings.iter().filter(|f| f.severity > Severity::Info);
                alarms.extend(above_info.map(|finding| {
                    format!(
                        "{} seed {} round {number}: {} {}: {:?}",
                        self.family, self.seed, finding.finding, finding.summary, finding.evidence
                    )
                }));
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            alarms
        })
    }
}

/// As many rounds of each family as `ROUNDS` in the environment says, or two hundred.
fn rounds() -> u32 {
    std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

#[test]
fn healthy_registries_raise_no_alarm_in_any_family() {
    let families = [
        (Family::Harbor210, false),
        (Family::Harbor211, false),
        (Family::Harbor215, false),
        (Family::Distribution2, false),
        (Family::Distribution3, false),
        (Family::Distribution2, true),
    ];
    let each = rounds().div_ceil(ROUNDS_EACH);
    let runs: Vec<Run> = families
        .into_iter()
        .flat_map(|(family, token_server)| {
            (1..=u64::from(each)).map(move |seed| Run { family, token_server, seed })
        })
        .collect();
    let began = Instant::now();
    let alarms: Vec<String> = everywhere(&runs, Run::alarms).into_iter().flatten().collect();
    let played = runs.len() * ROUNDS_EACH as usize;
    println!("{played} healthy rounds in {:.1} s", began.elapsed().as_secs_f64());
    assert!(
        alarms.is_empty(),
        "{} alarms in {played} rounds:\n{}",
        alarms.len(),
        alarms.join("\n")
    );
}

/// Probers that push to one repository at once move its tag under each other's eyes.
#[test]
fn probers_that_push_at_once_take_each_other_for_no_fault() {
    let scenario = Scenario::named("healthy-push").expect("a scenario");
    let seeds: Vec<u64> = (1..=u64::from(rounds().div_ceil(2 * ROUNDS_EACH))).collect();
    let alarms = |seed: &u64| {
        let weather = Conditions { jitter: Duration::from_millis(40), ..Conditions::fair() };
        let options = Options { seed: *seed, ..Options::default() };
        paused(async {
            let mut alarms = Vec::new();
            let mut lab = Simulation::new(&scenario, &options, weather, |registry| {
                registry.balancer.samples = 0;
                registry.checks.interval = Duration::from_secs(1);
            });
            lab.add_rival(seed + 1_000);
            lab.add_rival(seed + 2_000);
            for number in 0..ROUNDS_EACH / 5 {
                for assessment in lab.rounds(Duration::from_millis(700)).await {
                    let above =
                        assessment.findings.into_iter().filter(|f| f.severity > Severity::Info);
                    alarms.extend(above.map(|finding| {
                        format!(
                            "seed {seed} round {number}: {} {:?}",
                            finding.finding, finding.evidence
                        )
                    }));
                }
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            alarms
        })
    };
    let alarms: Vec<String> = everywhere(&seeds, alarms).into_iter().flatten().collect();
    assert!(alarms.is_empty(), "{} alarms:\n{}", alarms.len(), alarms.join("\n"));
}
