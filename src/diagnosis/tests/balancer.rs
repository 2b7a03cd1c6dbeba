//! What only the way through the load balancer shows.

use super::causes::{THREE, answer_with, clock, heal, other_key};
use super::tables::assess;
use super::{
    certificate, challenged, drop_header, expect, expect_as, families, key_of_cell, lifetime,
    lines, unsampled, with_explained,
};
use crate::model::sample::{OTHER_KEY, backend, changed, fail, refuse, route, set_cell};
use crate::model::{
    AuthScheme, CellResult, Failure, Family, KeyCount, KeyId, Outcome, Reason, Refusal,
    ResponseCount, Round, Route, Skipped, Step,
};

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn the_balancer_is_blamed_only_for_what_no_node_does() {
    expect(&[
        (
            "a stray key",
            |r| {
                if let Outcome::Measured(run) = &mut r.balancer {
                    run.keys.push(KeyCount { key: KeyId::from_wire(OTHER_KEY), tokens: 9 });
                    run.pairs.events = 9;
                }
            },
            "unknown-backend critical suspected []",
        ),
        (
            "a stray key, which may be that of a node without a token",
            |r| {
                if let Outcome::Measured(run) = &mut r.balancer {
                    run.keys.push(KeyCount { key: KeyId::from_wire(OTHER_KEY), tokens: 9 });
                }
                fail(r, "b", Step::Token, Reason::BadTokenResponse);
                r.matrix.cells.retain(|cell| cell.issuer.backend() != Some(&backend("b")));
            },
            "realm-wrong-endpoint warning suspected [b]",
        ),
        (
            "some samples lost to a gateway",
            |r| {
                if let Outcome::Measured(run) = &mut r.balancer {
                    crate::model::sample::lose(run, 3, Reason::BadGateway);
                }
            },
            "server-errors critical proved []",
        ),
        (
            "some samples lost on the way",
            |r| {
                if let Outcome::Measured(run) = &mut r.balancer {
                    crate::model::sample::lose(run, 3, Reason::Timeout);
                }
            },
            "unexplained-loss critical suspected []",
        ),
        (
            "nodes that refuse each other and no user who meets it",
            |r| {
                other_key(r, "c");
                for (issuer, verifier) in [("c", "a"), ("c", "b"), ("a", "c"), ("b", "c")] {
                    refuse(r, issuer, verifier);
                }
            },
            "lb-affinity-hides-mismatch warning proved []; token-key-mismatch warning proved [c]",
        ),
        (
            "the same with too few samples to tell it from luck",
            |r| {
                other_key(r, "c");
                for (issuer, verifier) in [("c", "a"), ("c", "b"), ("a", "c"), ("b", "c")] {
                    refuse(r, issuer, verifier);
                }
                if let Outcome::Measured(run) = &mut r.balancer {
                    run.pairs.trials = 2;
                }
            },
            "token-key-mismatch warning proved [c]",
        ),
        (
            "a refusal through the balancer alone",
            |r| {
                unsampled(r);
                refuse(r, "lb", "lb");
            },
            "unexplained-refusal critical suspected []",
        ),
        (
            "a good token met as a first contact, at a distribution 3",
            |r| {
                families(r, Family::Distribution3);
                fail(r, "lb", Step::Access, Reason::Unauthorized);
                let answer = challenged(AuthScheme::Bearer, "unauthorized");
                answer_with(r, "lb", Step::Access, &answer);
            },
            "authorization-header-dropped critical suspected []",
        ),
        (
            "a node's key differs where no sampling was done, and the balancer's flow fails",
            |r| {
                unsampled(r);
                other_key(r, "c");
                refuse(r, "a", "c");
                refuse(r, "c", "a");
                fail(r, "lb", Step::Access, Reason::Unauthorized);
            },
            "token-key-mismatch critical proved [c]",
        ),
        (
            "a node's key differs where no sampling was done, and the balancer refuses a token",
            |r| {
                unsampled(r);
                other_key(r, "c");
                refuse(r, "a", "c");
                refuse(r, "c", "a");
                refuse(r, "c", "lb");
            },
            "token-key-mismatch critical proved [c]",
        ),
    ]);
    // A backend's refusal of its own tokens is never the balancer's matter.
    let own = changed(THREE, |r| {
        unsampled(r);
        refuse(r, "b", "b");
    });
    assert!(
        own.matrix
            .cells
            .iter()
            .all(|cell| { cell.refusal().is_none() || cell.verifier != Route::Balancer })
    );
    assert_eq!(lines(&assess(&own)), ["unexplained-refusal warning suspected []"]);
}

/// Some tokens through the balancer are of a key that no backend has.
fn stray_key(round: &mut Round) {
    if let Outcome::Measured(run) = &mut round.balancer {
        run.keys.push(KeyCount { key: KeyId::from_wire(OTHER_KEY), tokens: 9 });
    }
}

/// A backend does not answer.
fn gone(round: &mut Round, at: &str) {
    fail(round, at, Step::Challenge, Reason::ConnectionRefused);
    let at = route(at);
    let failure =
        Failure { phase: None, reason: Reason::ConnectionRefused, detail: "gone".to_owned() };
    for flow in round.flows.iter_mut().filter(|flow| flow.route == at) {
        flow.challenge = Outcome::Failed(failure.clone());
    }
    round.matrix.cells.retain(|cell| cell.verifier != at && cell.issuer.as_str() != at.as_str());
}

/// One sample through the balancer is lost to a gateway, and this many requests at another node.
fn gateway_errors(round: &mut Round, elsewhere: u64) {
    let count = |at: Route, count| ResponseCount {
        route: at,
        step: Step::Token,
        code: 502,
        authenticated: false,
        count,
    };
    round.responses = vec![count(Route::Balancer, 1), count(route("b"), elsewhere)];
    if let Outcome::Measured(run) = &mut round.balancer {
        crate::model::sample::lose(run, 1, Reason::BadGateway);
    }
}

#[test]
fn one_5xx_in_a_round_is_a_moment_and_two_are_not_wherever_the_other_was() {
    expect(&[
        ("alone", |r| gateway_errors(r, 0), ""),
        ("with another", |r| gateway_errors(r, 1), "server-errors critical suspected []"),
    ]);
}

fn lose(round: &mut Round) {
    if let Outcome::Measured(run) = &mut round.balancer {
        crate::model::sample::lose(run, 3, Reason::BadGateway);
    }
}

#[test]
fn an_unknown_backend_is_what_no_known_one_can_be() {
    let rows: &[super::Row] = &[
        (
            "a token that every backend takes is refused through the balancer",
            |r| refuse(r, "a", "lb"),
            "unknown-backend [] 1",
        ),
        (
            "next to a refusal between others",
            |r| {
                refuse(r, "a", "lb");
                refuse(r, "b", "c");
            },
            "unexplained-refusal [] 1; unknown-backend [] 1",
        ),
        ("the balancer's own token", |r| refuse(r, "lb", "lb"), "unexplained-refusal [] 1"),
        (
            "a token that was not shown to every backend",
            |r| {
                refuse(r, "a", "lb");
                set_cell(r, "a", "c", CellResult::Skipped { reason: Skipped::NotSampled });
            },
            "unexplained-refusal [] 1",
        ),
        (
            "a token that seems not to have been seen, though the header arrives",
            |r| {
                drop_header(r, "none");
                families(r, Family::Distribution3);
                let answer = challenged(AuthScheme::Bearer, "unauthorized");
                let refusal = Refusal { answer, tries: 2, healed_after: None, refused_until: 2.0 };
                set_cell(r, "a", "lb", CellResult::Refused(refusal));
            },
            "unexplained-refusal [] 1",
        ),
        (
            "a stray key, and its token refused by a backend",
            |r| {
                stray_key(r);
                refuse(r, "lb", "a");
                key_of_cell(r, "lb", "a", Some(OTHER_KEY));
            },
            "unknown-backend [] 1",
        ),
        (
            "a stray key, and a known one refused through the balancer",
            |r| {
                stray_key(r);
                refuse(r, "a", "lb");
                fail(r, "lb", Step::Access, Reason::Unauthorized);
            },
            "unknown-backend [] 2",
        ),
        (
            "a stray key, and what a backend does by itself",
            |r| {
                stray_key(r);
                fail(r, "a", Step::Access, Reason::Forbidden);
            },
            "unexplained-refusal [a] 1",
        ),
        (
            "a stray key, and one that a backend had for a moment",
            |r| {
                stray_key(r);
                clock(r, "c", 2.0);
                heal(r, "a", "c");
                key_of_cell(r, "a", "c", Some(OTHER_KEY));
            },
            "unexplained-refusal [] 1; unknown-backend [] 0",
        ),
        (
            "a stray key while a backend is gone",
            |r| {
                stray_key(r);
                gone(r, "b");
            },
            "backend-unreachable [b] 1",
        ),
        (
            "a key while no backend is there to compare with",
            |r| {
                for name in THREE {
                    gone(r, name);
                }
            },
            "backend-unreachable [a b c] 3",
        ),
    ];
    expect_as(rows, with_explained);
}

#[test]
fn what_the_sampling_met_has_no_second_cause() {
    let rows: &[super::Row] = &[
        (
            "samples lost where a backend answers 502 to all",
            |r| {
                lose(r);
                fail(r, "b", Step::Challenge, Reason::BadGateway);
            },
            "server-errors [b] 2",
        ),
        (
            "refusals that nothing explains and no user meets",
            |r| {
                refuse(r, "a", "b");
                refuse(r, "b", "a");
                certificate(r, "c", "another", false);
            },
            "certificate-invalid [c] 0; unexplained-refusal [] 2",
        ),
        (
            "refusals that users meet",
            |r| {
                other_key(r, "c");
                for (issuer, verifier) in [("c", "a"), ("c", "b"), ("a", "c"), ("b", "c")] {
                    refuse(r, issuer, verifier);
                }
                if let Outcome::Measured(run) = &mut r.balancer {
                    run.pairs.events = 8;
                    run.keys.push(KeyCount { key: KeyId::from_wire(OTHER_KEY), tokens: 9 });
                }
                lifetime(r, "b", 120);
            },
            "token-key-mismatch [c] 5; token-lifetime-too-short [b] 0",
        ),
    ];
    expect_as(rows, with_explained);
}
