//! Which failures a dropped `Authorization` header explains, and what only looks like one.

use super::{challenged, drop_header, expect, expect_as, families, unsampled, with_explained};
use crate::model::sample::{fail, set_cell};
use crate::model::{
    Answer, AuthScheme, CellResult, Family, HeaderFate, Outcome, Reason, Refusal, Round, Step,
};

/// The challenge of a first contact.
fn unseen() -> Answer {
    challenged(AuthScheme::Bearer, "authentication required")
}

fn refuse_with(round: &mut Round, issuer: &str, verifier: &str, answer: Answer) {
    let refusal = Refusal { answer, tries: 5, healed_after: None, refused_until: 8.5 };
    set_cell(round, issuer, verifier, CellResult::Refused(refusal));
}

/// The header is dropped at b, which therefore gives no token.
fn dropped_at_b(round: &mut Round, reason: Reason) {
    unsampled(round);
    drop_header(round, "b");
    fail(round, "b", Step::Token, reason);
}

/// Every route drops the header.
fn dropped_everywhere(round: &mut Round) {
    unsampled(round);
    drop_header(round, "b");
    let Outcome::Measured(fates) = &mut round.checks.authorization_header.found else { return };
    for fate in fates {
        fate.value = Outcome::Measured(HeaderFate::Dropped);
    }
    for at in ["a", "b", "c", "lb"] {
        fail(round, at, Step::Token, Reason::Unauthorized);
    }
}

#[test]
fn a_dropped_header_explains_what_fails_for_it_there() {
    let rows: &[super::Row] = &[
        (
            "403 at the token endpoint",
            |r| dropped_at_b(r, Reason::Forbidden),
            "authorization-header-dropped [b] 2",
        ),
        (
            "a token for somebody else",
            |r| dropped_at_b(r, Reason::WrongSubject),
            "authorization-header-dropped [b] 2",
        ),
        (
            "a token that is none",
            |r| dropped_at_b(r, Reason::BadTokenResponse),
            "authorization-header-dropped [b] 1; realm-wrong-endpoint [b] 1",
        ),
        (
            "a refused credential where the header arrives",
            |r| {
                dropped_at_b(r, Reason::Unauthorized);
                fail(r, "c", Step::Token, Reason::Unauthorized);
            },
            "authorization-header-dropped [b] 2; credential-refused [c] 1",
        ),
        (
            "tokens that look unseen there",
            |r| {
                dropped_at_b(r, Reason::Unauthorized);
                refuse_with(r, "a", "b", unseen());
            },
            "authorization-header-dropped [b] 3",
        ),
        (
            "tokens that look unseen where the header arrives",
            |r| {
                dropped_at_b(r, Reason::Unauthorized);
                refuse_with(r, "a", "c", unseen());
            },
            "authorization-header-dropped [b] 2; unexplained-refusal [] 1",
        ),
        (
            "a token that was seen and found wrong",
            |r| {
                dropped_at_b(r, Reason::Unauthorized);
                let mut seen = unseen();
                if let Some(challenge) = &mut seen.challenge {
                    challenge.error = Some("invalid_token".to_owned());
                }
                refuse_with(r, "a", "b", seen);
            },
            "authorization-header-dropped [b] 2; unexplained-refusal [] 1",
        ),
        (
            "another challenge than that of a registry",
            |r| {
                dropped_at_b(r, Reason::Unauthorized);
                refuse_with(r, "a", "b", challenged(AuthScheme::Basic, "unauthorized"));
            },
            "authorization-header-dropped [b] 2; unexplained-refusal [] 1",
        ),
        (
            "a server that nobody knows may answer every token so",
            |r| {
                families(r, Family::Unknown);
                dropped_at_b(r, Reason::Unauthorized);
                refuse_with(r, "a", "b", unseen());
            },
            "authorization-header-dropped [b] 2; unexplained-refusal [] 1",
        ),
        ("everywhere", dropped_everywhere, "authorization-header-dropped [a b c] 8"),
        (
            "everywhere, at servers that nobody knows",
            |r| {
                families(r, Family::Unknown);
                dropped_everywhere(r);
            },
            "credential-refused [] 4",
        ),
    ];
    expect_as(rows, with_explained);
}

/// A credential that only the balancer refuses, and a good token that looks unseen there.
fn lost_at_the_balancer(round: &mut Round) {
    unsampled(round);
    fail(round, "lb", Step::Token, Reason::Unauthorized);
    refuse_with(round, "a", "lb", unseen());
}

#[test]
fn without_the_check_good_tokens_prove_it_where_no_key_answers_alike() {
    expect(&[
        ("Harbor", lost_at_the_balancer, "authorization-header-dropped critical proved []"),
        (
            "distribution 3, which answers a wrong signature in the same way",
            |r| {
                families(r, Family::Distribution3);
                lost_at_the_balancer(r);
            },
            "authorization-header-dropped critical suspected []",
        ),
    ]);
}
