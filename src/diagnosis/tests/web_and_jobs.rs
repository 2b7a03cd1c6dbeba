//! What the extra checks look at: Harbor's components, and what browsers carry from node to
//! node.

use std::time::Duration;

use super::repository::{at_repository, challenged};
use super::tables::{THREE, assess, expect};
use crate::model::sample::{backend, changed, fail, route};
use crate::model::{
    AuthScheme, Checked, ComponentHealth, CsrfVerdict, FlowResult, OfPair, OfRoute, Outcome, Phase,
    Reason, Round, Step, Timeline,
};

/// Lets backends call these components unhealthy.
fn sicken(round: &mut Round, sick: &[(&str, &str)]) {
    let told = |name: &&str| {
        let of = |component: &str| ComponentHealth {
            component: component.to_owned(),
            healthy: !sick.contains(&(*name, component)),
        };
        let all = ["core", "database", "jobservice", "redis", "registry"];
        OfRoute { route: route(name), value: Outcome::Measured(all.map(of).into()) }
    };
    let found = Outcome::Measured(THREE.iter().map(told).collect());
    round.checks.health = Checked { found, ..Checked::default() };
}

#[test]
fn a_sick_component_is_named_once() {
    expect(&[
        ("Redis", |r| sicken(r, &[("b", "redis")]), "redis-unavailable warning proved [b]"),
        (
            "Redis with the jobs that wait for it, and a registry besides",
            |r| sicken(r, &[("b", "redis"), ("b", "jobservice"), ("b", "registry")]),
            "component-unhealthy warning proved [b]; redis-unavailable warning proved [b]",
        ),
        (
            "Redis everywhere",
            |r| sicken(r, &[("a", "redis"), ("b", "redis"), ("c", "redis")]),
            "redis-unavailable warning proved []",
        ),
        (
            "a registry here and a job service there",
            |r| sicken(r, &[("b", "registry"), ("c", "jobservice")]),
            "component-unhealthy warning proved [b c]",
        ),
        (
            "Redis, for which a challenge hangs there",
            |r| {
                sicken(r, &[("b", "redis")]);
                hang(r, "b", Step::Challenge);
            },
            "redis-unavailable warning proved [b]",
        ),
    ]);
}

/// Lets a route take a request and never answer it.
fn hang(round: &mut Round, at: &str, step: Step) {
    fail(round, at, step, Reason::Timeout);
    let at = route(at);
    for flow in round.flows.iter_mut().filter(|flow| flow.route == at) {
        if let FlowResult::Failed { failure, .. } = &mut flow.result {
            failure.phase = Some(Phase::Wait);
        }
    }
}

/// Where a node's flow fails and its own pair passes, it changed meanwhile: that is no proof.
#[test]
fn a_sick_component_is_not_named_where_another_cause_accounts_for_it() {
    expect(&[
        (
            "the database, which no flow met",
            |r| sicken(r, &[("b", "database")]),
            "database-unavailable warning suspected [b]",
        ),
        (
            "the database, of which a flow speaks",
            |r| {
                sicken(r, &[("b", "database")]);
                at_repository(r, &["b"], &challenged(AuthScheme::Empty, "FATAL: too many clients"));
            },
            "database-unavailable warning proved [b]",
        ),
        (
            "Redis, for which tokens are late there",
            |r| {
                sicken(r, &[("b", "redis")]);
                slow_token(r, "b", 3_000);
            },
            "redis-unavailable warning proved [b]",
        ),
        (
            "Redis, and tokens late elsewhere",
            |r| {
                sicken(r, &[("b", "redis")]);
                slow_token(r, "c", 3_000);
            },
            "redis-unavailable warning proved [b]; token-endpoint-slow warning proved [c]",
        ),
        (
            "Redis, and another certificate there",
            |r| {
                sicken(r, &[("b", "redis")]);
                another_certificate(r, "b");
            },
            "certificate-invalid info proved [b]; redis-unavailable warning proved [b]",
        ),
        (
            "a registry, where core's errors show the same",
            |r| {
                sicken(r, &[("b", "registry")]);
                fail(r, "b", Step::Access, Reason::BadGateway);
            },
            "server-errors warning suspected [b]",
        ),
        (
            "a registry, where the balancer's errors show the same",
            |r| {
                sicken(r, &[("b", "registry")]);
                fail(r, "lb", Step::Access, Reason::BadGateway);
            },
            "server-errors critical proved []",
        ),
        (
            "a registry, where another node's errors show nothing",
            |r| {
                sicken(r, &[("b", "registry")]);
                fail(r, "a", Step::Access, Reason::BadGateway);
            },
            "component-unhealthy warning proved [b]; server-errors warning suspected [a]",
        ),
        (
            "a registry, where a certificate shows nothing",
            |r| {
                sicken(r, &[("b", "registry")]);
                another_certificate(r, "b");
            },
            "certificate-invalid info proved [b]; component-unhealthy warning proved [b]",
        ),
    ]);
}

fn slow_token(round: &mut Round, at: &str, milliseconds: u64) {
    let at = route(at);
    for flow in round.flows.iter_mut().filter(|flow| flow.route == at) {
        for report in flow.steps.iter_mut().filter(|report| report.step == Step::Token) {
            let took = Duration::from_millis(milliseconds);
            report.timeline = Timeline::default().then(Phase::Wait, took);
        }
    }
}

fn another_certificate(round: &mut Round, at: &str) {
    let at = route(at);
    for certificate in round.certificates.iter_mut().filter(|c| c.route == at) {
        certificate.fingerprint = "another".to_owned();
    }
}

/// Pairs that read each other's cookies, except for these.
fn csrf(round: &mut Round, special: &[(&str, &str, Option<CsrfVerdict>)]) {
    let pair = |issuer: &str, verifier: &str| {
        let found = special.iter().find(|(i, v, _)| (*i, *v) == (issuer, verifier));
        let lost = Outcome::Skipped(crate::model::Skipped::BackingOff);
        let value = match found {
            None => Outcome::Measured(CsrfVerdict::Accepted),
            Some((.., verdict)) => verdict.map_or(lost, Outcome::Measured),
        };
        OfPair { issuer: backend(issuer), verifier: backend(verifier), value }
    };
    let pairs = THREE.iter().flat_map(|i| THREE.iter().map(move |v| pair(i, v))).collect();
    round.checks.csrf = Checked { found: Outcome::Measured(pairs), ..Checked::default() };
}

#[test]
fn cookies_tell_nodes_apart_by_any_pair_that_was_measured() {
    use CsrfVerdict::{ForeignOrigin, UnknownKey};
    expect(&[
        (
            "one whose cookies nobody reads, and that could not be shown any",
            |r| {
                let unknown = Some(UnknownKey);
                csrf(
                    r,
                    &[("c", "a", unknown), ("c", "b", unknown), ("a", "c", None), ("b", "c", None)],
                );
            },
            "csrf-key-mismatch warning proved [c]",
        ),
        (
            "a cookie of another node refused for its origin",
            |r| csrf(r, &[("a", "b", Some(ForeignOrigin))]),
            "csrf-origin-rejected warning suspected [b]",
        ),
    ]);
    let told = |special: &[(&str, &str, Option<CsrfVerdict>)]| {
        let mut findings = assess(&changed(THREE, |r| csrf(r, special))).findings;
        assert_eq!(findings.len(), 1);
        findings.remove(0)
    };
    let unknown = Some(UnknownKey);
    let apart =
        [("c", "a", unknown), ("c", "b", unknown), ("a", "c", unknown), ("b", "c", unknown)];
    // Two that read each other's one way only are still one group.
    let within = [apart.as_slice(), &[("a", "b", unknown)]].concat();
    assert!(
        told(&within)
            .evidence
            .iter()
            .any(|line| line.starts_with("4 pairs of nodes from different groups"))
    );
    // A node that cannot read its own is alone, and needs no majority.
    let own = [("b", "b", unknown), ("a", "b", unknown), ("c", "b", unknown)];
    let finding = told(&own);
    assert_eq!(finding.summary, "b protects web forms with a CSRF key of its own.");
}
