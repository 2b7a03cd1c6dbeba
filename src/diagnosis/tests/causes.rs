//! What holds for every round: each rule with its healthy twin, and the book-keeping of causes for
//! rounds that no scenario has.

use proptest::prelude::*;

use super::tables::assess;
use crate::diagnosis::facts::Facts;
use crate::diagnosis::hypothesis::Rule;
use crate::diagnosis::resolve::resolve;
use crate::diagnosis::rules;
use crate::model::sample::{
    KEY, OTHER_KEY, backend, changed, fail, refuse, round, route, set_cell, sign_with,
};
use crate::model::{
    Answer, AuthScheme, BackendName, CellResult, Challenge, ClockInterval, Confidence, Earlier,
    Failure, Family, FindingName, Issuer, KeyId, Outcome, Reason, Refusal, Round, Route, Severity,
    Skipped, Status, Step,
};

pub(super) const THREE: &[&str] = &["a", "b", "c"];
pub(super) const TWO: &[&str] = &["a", "b"];

/// Findings above info: name, confidence, backends.
fn found(round: &Round) -> Vec<(FindingName, Confidence, String)> {
    assess(round)
        .findings
        .iter()
        .filter(|finding| finding.severity > Severity::Info)
        .map(|finding| {
            let names: Vec<&str> = finding.backends.iter().map(BackendName::as_str).collect();
            (finding.finding, finding.confidence, names.join(" "))
        })
        .collect()
}

/// Gives a backend another key, in its flow and in the tokens that it issued.
pub(super) fn other_key(round: &mut Round, at: &str) {
    sign_with(round, at, OTHER_KEY);
    let issuer = Issuer::Route(route(at));
    for cell in round.matrix.cells.iter_mut().filter(|cell| cell.issuer == issuer) {
        cell.key = Some(KeyId::from_wire(OTHER_KEY));
    }
}

pub(super) fn heal(round: &mut Round, issuer: &str, verifier: &str) {
    let refusal = Refusal {
        answer: Answer { status: 401, ..Answer::default() },
        tries: 3,
        healed_after: Some(2.0),
        refused_until: 1.0,
    };
    set_cell(round, issuer, verifier, CellResult::Refused(refusal));
}

/// Sets a backend's clock, by every source.
pub(super) fn clock(round: &mut Round, at: &str, seconds: f64) {
    let at = backend(at);
    for reading in round.clocks.iter_mut().filter(|reading| reading.backend == at) {
        reading.interval = ClockInterval::between(seconds - 0.3, seconds + 0.3);
    }
}

/// Tells a backend's family; of its version nothing.
pub(super) fn family(round: &mut Round, at: &str, family: Family) {
    let at = backend(at);
    for facts in round.backends.iter_mut().filter(|facts| facts.name == at) {
        (facts.family, facts.version) = (family, Outcome::Measured(None));
    }
}

pub(super) fn realm(round: &mut Round, at: &str, realm: &str) {
    let at = route(at);
    for flow in round.flows.iter_mut().filter(|flow| flow.route == at) {
        if let Outcome::Measured(challenge) = &mut flow.challenge {
            challenge.realm = Some(realm.to_owned());
        }
    }
}

/// What the registry behind core answers when it refuses core's password.
pub(super) fn inner() -> Answer {
    let challenge = Challenge {
        scheme: AuthScheme::Basic,
        realm: Some("harbor-registry-basic-realm".to_owned()),
        service: None,
        scope: None,
        error: None,
    };
    Answer { status: 401, challenge: Some(challenge), ..Answer::default() }
}

pub(super) fn answer_with(round: &mut Round, at: &str, step: Step, answer: &Answer) {
    let at = route(at);
    for flow in round.flows.iter_mut().filter(|flow| flow.route == at) {
        for report in flow.steps.iter_mut().filter(|report| report.step == step) {
            report.answer = Some(answer.clone());
        }
    }
}

/// A round, and what must be found in it: name, confidence, backends.
type Row = (&'static str, Round, Option<(FindingName, Confidence, &'static str)>);

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn each_cause_is_named_with_its_node_and_its_healthy_twin_is_not() {
    use Confidence::{Proved, Suspected};
    let odd_one = |round: &mut Round| {
        other_key(round, "c");
        for (issuer, verifier) in [("c", "a"), ("c", "b"), ("a", "c"), ("b", "c")] {
            refuse(round, issuer, verifier);
        }
    };
    let column = |round: &mut Round| ["a", "b", "c"].iter().for_each(|i| refuse(round, i, "b"));
    let empty_500 = Answer { status: 500, request_id: true, ..Answer::default() };
    let rows: Vec<Row> = vec![
        ("healthy", round(THREE), None),
        (
            "another key",
            changed(THREE, odd_one),
            Some((FindingName::TokenKeyMismatch, Proved, "c")),
        ),
        (
            "two keys, no majority",
            changed(TWO, |r| {
                other_key(r, "b");
                refuse(r, "a", "b");
                refuse(r, "b", "a");
            }),
            Some((FindingName::TokenKeyMismatch, Proved, "a b")),
        ),
        (
            "the same token heals where the clock is behind",
            changed(THREE, |r| {
                clock(r, "c", -2.0);
                heal(r, "a", "c");
                heal(r, "b", "c");
            }),
            Some((FindingName::ClockSkewNbf, Proved, "c")),
        ),
        ("the same clock, nothing refused", changed(THREE, |r| clock(r, "c", -2.0)), None),
        (
            "expired where the issuer is further behind than a token lives",
            changed(THREE, |r| {
                clock(r, "a", -1_900.0);
                refuse(r, "a", "b");
                refuse(r, "a", "c");
            }),
            Some((FindingName::ClockSkewExp, Proved, "a")),
        ),
        (
            "the registry behind core refuses core",
            changed(THREE, |r| {
                let refusal =
                    Refusal { answer: inner(), tries: 5, healed_after: None, refused_until: 5.0 };
                for issuer in THREE {
                    set_cell(r, issuer, "b", CellResult::Refused(refusal.clone()));
                }
                fail(r, "b", Step::Access, Reason::Unauthorized);
                answer_with(r, "b", Step::Access, &inner());
            }),
            Some((FindingName::CoreRegistryPasswordMismatch, Proved, "b")),
        ),
        (
            "no key to sign with, and every token refused",
            changed(THREE, |r| {
                column(r);
                fail(r, "b", Step::Token, Reason::ServerError);
                answer_with(r, "b", Step::Token, &empty_500);
                let skipped = CellResult::Skipped { reason: Skipped::NoToken };
                for verifier in THREE {
                    set_cell(r, "b", verifier, skipped.clone());
                }
            }),
            Some((FindingName::SigningKeyUnusable, Proved, "b")),
        ),
        (
            "a column refused with the same key everywhere",
            changed(THREE, column),
            Some((FindingName::SigningKeyUnusable, Suspected, "b")),
        ),
        (
            "libtrust key ids at a distribution 3",
            changed(THREE, |r| {
                family(r, "a", Family::Distribution2);
                family(r, "c", Family::Distribution2);
                family(r, "b", Family::Distribution3);
                column(r);
                fail(r, "b", Step::Access, Reason::Unauthorized);
            }),
            Some((FindingName::KeyIdFormatMismatch, Proved, "b")),
        ),
        (
            "a realm elsewhere",
            changed(THREE, |r| {
                realm(r, "b", "https://b.internal/service/token");
                fail(r, "b", Step::Token, Reason::RealmNotAllowed);
            }),
            Some((FindingName::RealmWrongEndpoint, Proved, "b")),
        ),
        (
            "nothing listens",
            changed(THREE, |r| fail(r, "b", Step::Challenge, Reason::ConnectionRefused)),
            Some((FindingName::BackendUnreachable, Proved, "b")),
        ),
        (
            "a token that never comes, after a challenge that did",
            changed(THREE, |r| fail(r, "b", Step::Token, Reason::Timeout)),
            Some((FindingName::TokenEndpointSlow, Proved, "b")),
        ),
    ];
    for (what, mut round, expected) in rows {
        // Without sampling no word falls about what the balancer hides.
        round.balancer = Outcome::Skipped(Skipped::Disabled);
        let expected: Vec<_> =
            expected.into_iter().map(|(f, c, names)| (f, c, names.to_owned())).collect();
        assert_eq!(found(&round), expected, "{what}");
    }
}

#[test]
fn one_lost_request_raises_nothing() {
    let lost = |reason: Reason| Failure { phase: None, reason, detail: "lost".to_owned() };
    for reason in [Reason::ConnectionReset, Reason::Timeout, Reason::BadGateway] {
        for (what, change) in [
            (
                "a sample",
                Box::new(|r: &mut Round| {
                    if let Outcome::Measured(run) = &mut r.balancer {
                        crate::model::sample::lose(run, 1, reason);
                    }
                }) as Box<dyn Fn(&mut Round)>,
            ),
            ("the first try of a flow", Box::new(|r| r.flows[0].lost_before = Some(lost(reason)))),
        ] {
            assert_eq!(assess(&changed(THREE, change)).status, Status::Ok, "{what} {reason}");
        }
    }
}

#[test]
fn a_lost_first_try_shows_who_is_led_to_a_lost_backend_only_where_nothing_else_does() {
    let lost = |reason: Reason| Failure { phase: None, reason, detail: "lost".to_owned() };
    for (of_the_balancer, sampled, expected) in [
        (Reason::Timeout, false, Severity::Critical),
        // What befell the balancer's own flow is another thing.
        (Reason::ConnectionReset, false, Severity::Warning),
        (Reason::Timeout, true, Severity::Warning),
    ] {
        let round = changed(THREE, |r| {
            fail(r, "b", Step::Challenge, Reason::Timeout);
            let lb = r.flows.iter_mut().find(|flow| flow.route == Route::Balancer).unwrap();
            lb.lost_before = Some(lost(of_the_balancer));
            if !sampled {
                r.balancer = Outcome::Skipped(Skipped::DeadlineReached);
            }
        });
        let severities: Vec<Severity> =
            assess(&round).findings.iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, [expected], "{of_the_balancer}, sampled: {sampled}");
    }
}

#[test]
fn a_network_failure_is_no_evidence_about_keys_or_clocks() {
    let about_tokens = [
        FindingName::TokenKeyMismatch,
        FindingName::SigningKeyUnusable,
        FindingName::ClockSkewNbf,
        FindingName::ClockSkewExp,
        FindingName::IssuerAudienceMismatch,
        FindingName::KeyIdFormatMismatch,
    ];
    for reason in Reason::ALL.iter().filter(|reason| reason.is_network()) {
        let failure = Failure { phase: None, reason: *reason, detail: "lost".to_owned() };
        let failed = CellResult::Failed { failure, answer: None };
        let round = changed(THREE, |r| {
            fail(r, "c", Step::Challenge, *reason);
            for other in THREE {
                set_cell(r, other, "c", failed.clone());
                set_cell(r, "c", other, CellResult::Skipped { reason: Skipped::NoToken });
            }
        });
        for (name, _, names) in found(&round) {
            assert!(!about_tokens.contains(&name), "{reason}: {name}");
            assert_eq!(names, "c", "{reason}: {name}");
        }
    }
}

/// A result of any kind.
fn result() -> impl Strategy<Value = CellResult> {
    let refused = (prop_oneof![Just(401_u16), Just(403)], any::<bool>(), 1..6_u32, any::<bool>());
    prop_oneof![
        4 => Just(CellResult::Accepted),
        4 => refused.prop_map(|(status, heals, tries, basic)| {
            let answer =
                if basic { inner() } else { Answer { status, ..Answer::default() } };
            let healed_after = heals.then_some(1.5);
            CellResult::Refused(Refusal { answer, tries, healed_after, refused_until: 1.0 })
        }),
        1 => proptest::sample::select(Reason::ALL).prop_map(|reason| {
            let failure = Failure { phase: None, reason, detail: "as ordered".to_owned() };
            CellResult::Failed { failure, answer: None }
        }),
        1 => Just(CellResult::Skipped { reason: Skipped::NoToken }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![Just(Step::Challenge), Just(Step::Token), Just(Step::Access)]
}

/// Any round of three backends.
fn any_round() -> impl Strategy<Value = Round> {
    let results = proptest::collection::vec(result(), 16);
    let failures = proptest::collection::vec(
        proptest::option::weighted(0.3, (step(), proptest::sample::select(Reason::ALL))),
        4,
    );
    let keys = proptest::collection::vec(any::<bool>(), 4);
    let clocks = proptest::collection::vec(-4_000.0..4_000.0_f64, 3);
    let families = proptest::collection::vec(0..4_usize, 3);
    let sampled = (0..20_u32, 0..5_u32, any::<bool>());
    (results, failures, keys, clocks, families, sampled).prop_map(
        |(results, failures, keys, clocks, families, (refused, lost, known))| {
            changed(THREE, |r| {
                for (cell, result) in r.matrix.cells.iter_mut().zip(results) {
                    cell.result = result;
                }
                let names = ["a", "b", "c", "lb"];
                for ((name, failure), other) in names.iter().zip(failures).zip(keys) {
                    if other {
                        other_key(r, name);
                    }
                    if let Some((step, reason)) = failure {
                        fail(r, name, step, reason);
                    }
                }
                let kinds = [
                    Family::Harbor2,
                    Family::Distribution2,
                    Family::Distribution3,
                    Family::Unknown,
                ];
                for ((name, seconds), kind) in THREE.iter().zip(clocks).zip(families) {
                    clock(r, name, seconds);
                    family(r, name, kinds[kind]);
                }
                if let Outcome::Measured(run) = &mut r.balancer {
                    run.pairs.events = refused;
                    crate::model::sample::lose(run, lost, Reason::ConnectionReset);
                    run.keys[0].key = KeyId::from_wire(if known { KEY } else { "stray" });
                }
            })
        },
    )
}

proptest! {
    #[test]
    fn every_observation_has_exactly_one_cause_and_is_never_ok(round in any_round()) {
        let assessment = assess(&round);
        let explained: u32 = assessment.findings.iter().map(|finding| finding.explains).sum();
        prop_assert_eq!(usize::try_from(explained).unwrap(), assessment.observations.len());
        let refused = round.matrix.refused().count();
        prop_assert!(assessment.observations.len() >= refused);
        prop_assert!(assessment.status != Status::Ok || assessment.observations.is_empty());

        let worst = assessment.findings.iter().map(|finding| finding.severity).max();
        prop_assert_eq!(assessment.status == Status::Critical, worst == Some(Severity::Critical));
        let order: Vec<Severity> = assessment.findings.iter().map(|f| f.severity).collect();
        prop_assert!(order.is_sorted_by(|a, b| a >= b), "worst first: {:?}", order);
        for finding in &assessment.findings {
            let known = |name: &BackendName| round.backends.iter().any(|facts| facts.name == *name);
            prop_assert!(finding.backends.iter().all(known));
            prop_assert!(!finding.summary.is_empty() && !finding.effect.is_empty());
        }
        prop_assert_eq!(assess(&round), assessment);
    }

    #[test]
    fn the_order_of_the_rules_decides_nothing(round in any_round(), turn in 0..rules::ALL.len()) {
        let earlier = Earlier::default();
        let facts = Facts::new(&round, &earlier);
        let by = |rules: &[Rule]| {
            let all = rules.iter().flat_map(|rule| rule(&facts)).collect();
            let resolved = resolve(&facts, all);
            (format!("{:?}", resolved.kept), resolved.unexplained)
        };
        let mut order = rules::ALL.to_vec();
        let expected = by(&order);
        order.reverse();
        prop_assert_eq!(&by(&order), &expected);
        order.rotate_left(turn);
        prop_assert_eq!(&by(&order), &expected);
    }
}

#[test]
fn evidence_of_clocks_and_of_refused_pairs_has_its_numbers_by_name() {
    let round = changed(THREE, |r| {
        clock(r, "c", -2.0);
        heal(r, "a", "c");
        heal(r, "b", "c");
    });
    let findings = assess(&round).findings;
    let evidence = findings.iter().flat_map(|finding| &finding.evidence);
    let numbers = |start: &str| {
        let line = evidence.clone().find(|line| line.starts_with(start)).unwrap();
        line.numbers.clone()
    };
    let clock = numbers("c: clock");
    assert!((clock["offset_seconds"] + 2.0).abs() < 1e-9, "{clock:?}");
    assert!((clock["lower_bound_seconds"] + 2.3).abs() < 1e-9, "{clock:?}");
    let pairs = numbers("2 pairs refuse");
    assert_eq!(
        pairs.into_iter().collect::<Vec<_>>(),
        [("healed_pairs", 2.0), ("refused_pairs", 2.0)]
    );
}

#[test]
fn a_node_that_loses_requests_now_and_then_is_named_from_the_third_on() {
    let losing = |events: u32, trials: u32, also: fn(&mut Round)| {
        let round = changed(THREE, |r| {
            let last = Some(Failure::of_answer(Reason::ConnectionReset, ""));
            let lost = crate::model::Ratio { events, trials };
            r.traffic = vec![crate::model::Traffic { route: route("b"), lost, last }];
            also(r);
        });
        found(&round).into_iter().map(|(name, _, at)| (name, at)).collect::<Vec<_>>()
    };
    let nothing = |_: &mut Round| ();
    let at_b = vec![(FindingName::UnexplainedLoss, "b".to_owned())];
    assert_eq!(losing(3, 60, nothing), at_b);
    assert_eq!(losing(2, 60, nothing), []);
    assert_eq!(losing(3, 6000, nothing), [], "as many as networks lose");
    // What shows the loss by itself is not said twice.
    let cut = |r: &mut Round| fail(r, "b", Step::Token, Reason::ConnectionReset);
    let said = losing(3, 60, cut);
    assert!(said.len() == 1 && said[0].1 == "b", "{said:?}");
}

#[test]
fn evidence_of_unexplained_requests_has_their_numbers() {
    let round = changed(THREE, |r| {
        let last = Some(Failure::of_answer(Reason::ConnectionReset, ""));
        let lost = crate::model::Ratio { events: 5, trials: 60 };
        r.traffic = vec![crate::model::Traffic { route: route("b"), lost, last }];
    });
    let findings = assess(&round).findings;
    let numbers = &findings[0].evidence[0].numbers;
    assert_eq!(
        numbers.iter().map(|(name, number)| (*name, *number)).collect::<Vec<_>>(),
        [("failed_requests", 5.0), ("requests", 60.0)]
    );
}
