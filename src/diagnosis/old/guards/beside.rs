//! What stands beside the token flow: Harbor's components, and what browsers carry from node to
//! node.

use super::super::assess;
use super::super::tests::THREE;
use super::{at_repository, certificate, challenged, expect, fail_with, slow_token};
use crate::model::sample::{backend, bent, route};
use crate::model::{
    Answer, AuthScheme, Checked, ComponentHealth, CsrfVerdict, OfPair, OfRoute, Outcome, Reason,
    Round, Step,
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
fn a_sick_component_is_told_once() {
    expect(&[
        (
            "the database, of which a flow has told",
            |r| {
                sicken(r, &[("b", "database")]);
                let words = challenged(AuthScheme::Empty, "FATAL: too many clients");
                at_repository(r, &["b"], &words);
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
                certificate(r, "b", "another", false);
            },
            "certificate-invalid info proved [b]; redis-unavailable warning proved [b]",
        ),
        (
            "Redis with the jobs that wait for it, and a registry besides",
            |r| sicken(r, &[("b", "redis"), ("b", "jobservice"), ("b", "registry")]),
            "component-unhealthy warning proved [b]; redis-unavailable warning proved [b]",
        ),
        (
            "a registry, where core's errors tell the same",
            |r| {
                sicken(r, &[("b", "registry")]);
                fail_with(r, "b", Step::Access, Reason::BadGateway, &Answer::default());
            },
            "server-errors warning proved [b]",
        ),
        (
            "a registry, where the balancer's errors tell the same",
            |r| {
                sicken(r, &[("b", "registry")]);
                fail_with(r, "lb", Step::Access, Reason::BadGateway, &Answer::default());
            },
            "server-errors critical proved []",
        ),
        (
            "a registry, where another node's errors tell nothing",
            |r| {
                sicken(r, &[("b", "registry")]);
                fail_with(r, "a", Step::Access, Reason::BadGateway, &Answer::default());
            },
            "component-unhealthy warning proved [b]; server-errors warning proved [a]",
        ),
        (
            "a registry, where a certificate tells nothing",
            |r| {
                sicken(r, &[("b", "registry")]);
                certificate(r, "b", "another", false);
            },
            "certificate-invalid info proved [b]; component-unhealthy warning proved [b]",
        ),
    ]);
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
            "",
        ),
    ]);
    let told = |special: &[(&str, &str, Option<CsrfVerdict>)]| {
        let mut findings = assess(&bent(THREE, |r| csrf(r, special))).findings;
        assert_eq!(findings.len(), 1);
        findings.remove(0)
    };
    let unknown = Some(UnknownKey);
    let apart =
        [("c", "a", unknown), ("c", "b", unknown), ("a", "c", unknown), ("b", "c", unknown)];
    // Two that read each other's one way only are still one group.
    let within = [apart.as_slice(), &[("a", "b", unknown)]].concat();
    assert!(told(&within).evidence.iter().any(|line| line.starts_with("4 pairs across")));
    // A node that cannot read its own is alone, and needs no majority.
    let own = [("b", "b", unknown), ("a", "b", unknown), ("c", "b", unknown)];
    let finding = told(&own);
    assert_eq!(finding.summary, "b protects web forms with a CSRF key of its own.");
}
