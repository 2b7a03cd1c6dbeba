//! What was seen on real clusters and depends on luck: the phase of a second, which replica answers,
//! the order of a resolver. Each is played many times and must be judged alike every time.

use std::time::Duration;

use registry_prober::config::{Registry, Scope};
use registry_prober::lab::{BalancerKind, Family, Fault, FaultOrder, Options, Scenario, TokenPlan};
use registry_prober::model::{
    Assessment, Confidence, Finding, FindingName, Round, Severity, Status,
};

use crate::support::simulated::{Conditions, Simulation, everywhere, paused};

const TIMES: u64 = 40;

/// Three nodes with faults, otherwise sound.
fn nodes(family: Family, faults: Vec<FaultOrder>) -> Scenario {
    let mut scenario = Scenario::named("healthy").expect("it is embedded");
    scenario.family = family;
    scenario.nodes = 3;
    scenario.faults = faults;
    scenario
}

fn clock(offset_seconds: f64) -> Fault {
    Fault::Clock { offset_seconds, drift_ppm: 0.0, step_seconds: 0.0, step_after_seconds: 0.0 }
}

/// Plays a scenario with another seed and another phase of the second each time, and gives the
/// complaints about what was judged.
fn complaints(
    scenario: &Scenario,
    adjust: impl Fn(&mut Registry) + Sync,
    wrong: impl Fn(&Round, &Assessment) -> Option<String> + Sync,
) -> Vec<String> {
    let seeds: Vec<u64> = (0..TIMES).collect();
    let play = |seed: &u64| {
        paused(async {
            let options = Options { seed: *seed, ..Options::default() };
            let mut lab = Simulation::new(scenario, &options, Conditions::fair(), &adjust);
            tokio::time::sleep(Duration::from_millis(seed * 1_000 / TIMES)).await;
            let (round, judged) = lab.round().await;
            let found: Vec<String> = judged.findings.iter().map(line).collect();
            wrong(&round, &judged).map(|text| format!("seed {seed}: {text}: {found:#?}"))
        })
    };
    everywhere(&seeds, play).into_iter().flatten().collect()
}

fn line(finding: &Finding) -> String {
    let Finding { finding: name, severity, confidence, backends, effect, evidence, .. } = finding;
    format!("{name} {severity:?} {confidence:?} {backends:?} {effect} {evidence:?}")
}

/// The findings above info, as name and backends.
fn named(judged: &Assessment) -> Vec<(FindingName, String)> {
    let loud = judged.findings.iter().filter(|finding| finding.severity > Severity::Info);
    let names = |finding: &Finding| {
        finding.backends.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    loud.map(|finding| (finding.finding, names(finding))).collect()
}

fn unless(good: bool, text: &str) -> Option<String> {
    (!good).then(|| text.to_owned())
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{}\n{} of {TIMES}", complaints.join("\n"), complaints.len());
}

#[test]
fn a_clock_0_3_s_behind_is_named_and_counted_by_what_it_fails() {
    let scenario = nodes(Family::Harbor210, vec![FaultOrder::at("c", clock(-0.3))]);
    assert_none(&complaints(
        &scenario,
        |_| {},
        |round, judged| {
            if named(judged) != [(FindingName::ClockSkewNbf, "c".to_owned())] {
                return Some("not the clock alone".to_owned());
            }
            let run = round.balancer.measured()?;
            let failed = run.pairs.events + run.client_flows.events;
            let severity = judged.findings.first()?.severity;
            let critical = severity == Severity::Critical;
            unless(
                failed == 0 || critical,
                "refusals through the balancer, and no more than a warning",
            )
        },
    ));
}

#[test]
fn redis_that_is_down_is_never_a_backend_that_cannot_be_reached() {
    for at in ["b", "*"] {
        let scenario = nodes(Family::Harbor215, vec![FaultOrder::at(at, Fault::RedisDown)]);
        assert_none(&complaints(
            &scenario,
            |_| {},
            |_, judged| {
                let innocent = judged.findings.iter().any(|finding| {
                    finding.finding == FindingName::BackendUnreachable
                        || (at == "b" && finding.backends.iter().any(|name| name.as_str() != "b"))
                });
                unless(!innocent && judged.status != Status::Ok, "blames the innocent, or nothing")
            },
        ));
    }
}

#[test]
fn replicas_behind_one_address_are_a_key_mismatch_there() {
    let scenario = Scenario::named("replicas-disagree").expect("it is embedded");
    assert_none(&complaints(
        &scenario,
        |_| {},
        |_, judged| {
            let expected = [(FindingName::TokenKeyMismatch, "b".to_owned())];
            unless(named(judged) == expected, "not the replicas")
        },
    ));
}

#[test]
fn a_token_server_that_is_down_is_named_and_no_node_that_answers() {
    let dead = FaultOrder::at("token-server", Fault::Unreachable);
    let mut scenario = nodes(Family::Distribution2, vec![dead]);
    scenario.tokens = TokenPlan::Server;
    assert_none(&complaints(
        &scenario,
        |_| {},
        |_, judged| {
            let blamed = judged.findings.iter().any(|finding| !finding.backends.is_empty());
            let said = judged.findings.iter().any(|finding| {
                finding.severity == Severity::Critical && finding.summary.contains("token server")
            });
            unless(said && !blamed, "not the token server")
        },
    ));
}

#[test]
fn a_canary_that_is_nowhere_is_no_difference_between_nodes() {
    let scenario = nodes(Family::Harbor215, Vec::new());
    let elsewhere = |registry: &mut Registry| {
        registry.scope = Scope::parse("repository:probe/nowhere:pull");
    };
    assert_none(&complaints(&scenario, elsewhere, |_, judged| {
        let blamed = judged.findings.iter().any(|finding| {
            !finding.backends.is_empty() || finding.finding == FindingName::ContentDiffers
        });
        unless(!blamed && judged.status != Status::Ok, "blames a node, or nothing")
    }));
}

#[test]
fn several_addresses_in_one_order_are_no_affinity_of_a_balancer() {
    let mut scenario = nodes(Family::Harbor215, vec![FaultOrder::at("c", Fault::OtherKey)]);
    scenario.balancer.kind = BalancerKind::Source;
    assert_none(&complaints(
        &scenario,
        |registry| registry.balancer.address = None,
        |_, judged| {
            let key = judged.findings.iter().find(|finding| {
                finding.finding == FindingName::TokenKeyMismatch
                    && finding.confidence == Confidence::Proved
            });
            let affinity = judged
                .findings
                .iter()
                .any(|finding| finding.finding == FindingName::LbAffinityHidesMismatch);
            unless(key.is_some() && !affinity, "the key is not named, or a balancer is")
        },
    ));
}
