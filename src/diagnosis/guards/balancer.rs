//! What only the way through the load balancer shows.

use super::super::assess;
use super::super::tests::{THREE, answer_with, family, other_key};
use super::{challenged, expect, lines, unsampled};
use crate::model::sample::{OTHER_KEY, backend, bent, fail, refuse};
use crate::model::{AuthScheme, Failure, Family, KeyCount, KeyId, Outcome, Reason, Route, Step};

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
            "unknown-backend critical proved []",
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
            "unexplained-refusal warning suspected [b]",
        ),
        (
            "some samples lost to a gateway",
            |r| {
                if let Outcome::Measured(run) = &mut r.balancer {
                    let reason = Reason::BadGateway;
                    run.lost = 3;
                    run.first_loss =
                        Some(Failure { phase: None, reason, detail: "502".to_owned() });
                }
            },
            "gateway-5xx-timeouts critical proved []",
        ),
        (
            "some samples lost on the way",
            |r| {
                if let Outcome::Measured(run) = &mut r.balancer {
                    let reason = Reason::Timeout;
                    run.lost = 3;
                    run.first_loss =
                        Some(Failure { phase: None, reason, detail: "late".to_owned() });
                }
            },
            "",
        ),
        (
            "nodes that refuse each other and no user who meets it",
            |r| {
                other_key(r, "c");
                for (issuer, verifier) in [("c", "a"), ("c", "b"), ("a", "c"), ("b", "c")] {
                    refuse(r, issuer, verifier);
                }
            },
            "affinity-masks-inconsistency warning proved []; token-key-mismatch warning proved [c]",
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
                for name in THREE {
                    family(r, name, Family::Distribution3);
                }
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
    let own = bent(THREE, |r| {
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
