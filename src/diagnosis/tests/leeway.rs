//! Which clock issues, which checks, what is tolerated, and what is left of it.

use super::super::leeway::{ahead, issued, issuing_clock, margin};
use super::causes::{THREE, clock, family};
use super::{families, harbor};
use crate::model::sample::{backend, changed};
use crate::model::{ClockInterval, ClockReading, ClockSource, Family, Round};

/// Sets what one source tells of a backend's clock.
fn tells(round: &mut Round, at: &str, source: ClockSource, lower: f64, upper: f64) {
    let (at, interval) = (backend(at), ClockInterval::between(lower, upper));
    round.clocks.retain(|reading| reading.backend != at || reading.source != source);
    round.clocks.push(ClockReading::new(at, source, interval));
}

fn is_silent(round: &mut Round, at: &str, source: ClockSource) {
    let at = backend(at);
    round.clocks.retain(|reading| reading.backend != at || reading.source != source);
}

fn are_plain(round: &mut Round) {
    families(round, Family::Distribution2);
}

type Row = (&'static str, fn(&mut Round), Option<f64>);

#[test]
fn the_margin_is_what_the_worst_pair_has_left_at_best() {
    let rows: &[Row] = &[
        ("nothing is forgiven and nothing needed", |_| {}, Some(0.0)),
        ("a minute is forgiven", |r| harbor(r, 11), Some(60.0)),
        ("a minute, from 2.11.0 on", |r| first_with_leeway(r), Some(60.0)),
        ("one is behind", |r| clock(r, "c", -3.0), Some(-2.3)),
        ("the first is behind, so that others come later", |r| clock(r, "a", -3.0), Some(-2.3)),
        (
            "one is behind of which nobody knows what it forgives",
            |r| {
                clock(r, "c", -3.0);
                family(r, "c", Family::Unknown);
            },
            Some(0.0),
        ),
        (
            "core checks by the clock that it issues by",
            |r| tells(r, "c", ClockSource::Date, -3.3, -2.7),
            Some(0.0),
        ),
        (
            "distribution checks by its own, whoever issues",
            |r| {
                are_plain(r);
                tells(r, "c", ClockSource::Date, -3.3, -2.7);
            },
            Some(57.7),
        ),
        (
            "issuers that are behind of those who check have no more than is forgiven",
            |r| {
                are_plain(r);
                for name in THREE {
                    tells(r, name, ClockSource::Iat, -10.3, -9.7);
                }
            },
            Some(60.0),
        ),
        (
            "by the issuer's where its own is not known",
            |r| {
                are_plain(r);
                is_silent(r, "c", ClockSource::Date);
                tells(r, "c", ClockSource::Iat, -3.3, -2.7);
            },
            Some(57.7),
        ),
        (
            "a reading that contradicts itself says nothing",
            |r| {
                clock(r, "c", -3.0);
                for reading in r.clocks.iter_mut().filter(|r| r.backend == backend("c")) {
                    reading.contradiction = true;
                }
            },
            Some(0.0),
        ),
        ("no clock", |r| r.clocks.clear(), None),
    ];
    for (what, change, expected) in rows {
        let found = margin(&changed(THREE, change));
        let same = match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
            (found, expected) => found.is_none() && expected.is_none(),
        };
        assert!(same, "{what}: expected {expected:?}, found {found:?}");
    }
}

fn first_with_leeway(round: &mut Round) {
    use crate::model::{Outcome, Version};
    for facts in &mut round.backends {
        facts.version = Outcome::Measured(Some(Version { major: 2, minor: 11, patch: 0 }));
    }
}

#[test]
fn only_one_process_has_surely_one_clock() {
    let near = |found: Option<ClockInterval>, lower: f64, upper: f64| {
        let found = found.expect("both clocks are known");
        let apart = (found.lower() - lower).abs().max((found.upper() - upper).abs());
        assert!(apart < 1e-9, "expected {lower} to {upper}, found {found:?}");
    };
    let (a, b) = (backend("a"), backend("b"));
    // Core issues and checks; two nodes may be measured alike and be apart.
    let cores = changed(THREE, |_| {});
    near(ahead(&cores, &b, &b), 0.0, 0.0);
    near(ahead(&cores, &a, &b), -0.6, 0.6);
    // A token server next to a registry is another process.
    let plain = changed(THREE, |r| {
        are_plain(r);
        tells(r, "b", ClockSource::Iat, 89.5, 90.5);
    });
    near(ahead(&plain, &b, &b), 89.3, 90.9);
}

#[test]
fn what_else_tells_a_clock_narrows_it_unless_it_contradicts() {
    let a = backend("a");
    for (source, lower, upper, expected) in [
        (ClockSource::Csrf, -0.1, 0.5, (-0.1, 0.2)),
        (ClockSource::Systeminfo, -0.9, 0.1, (-0.4, 0.1)),
        (ClockSource::Systeminfo, 7.0, 8.0, (-0.4, 0.2)),
    ] {
        let round = changed(THREE, |r| tells(r, "a", source, lower, upper));
        let found = issued(&round, &a).map(|clock| (clock.lower(), clock.upper()));
        assert_eq!(found, Some(expected), "{source:?}");
    }
    // The answer's date is that of the same machine, and the token's own word where they differ.
    for (lower, upper, expected) in [(-0.2, 0.9, (-0.2, 0.2)), (7.0, 8.0, (-0.4, 0.2))] {
        let round = changed(THREE, |r| tells(r, "a", ClockSource::Date, lower, upper));
        let found = issuing_clock(&round, &a).map(|clock| (clock.lower(), clock.upper()));
        assert_eq!(found, Some(expected));
    }
    let round = changed(THREE, |r| is_silent(r, "a", ClockSource::Iat));
    assert!(issuing_clock(&round, &a).is_some(), "the date alone tells the clock");
}
