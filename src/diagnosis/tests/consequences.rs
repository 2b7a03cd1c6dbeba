//! Which of several findings what the balancer met is attached to, and what none of them explains.

use super::causes::{clock, heal, other_key};
use super::{
    at_repository, certificate, challenged, drop_header, expect_as, fail_with, key_of_cell,
    unsampled, with_explained,
};
use crate::model::sample::{backend, fail, refuse, set_cell};
use crate::model::{
    Answer, AuthScheme, CellResult, KeyCensus, KeyCount, KeyId, Reason, Refusal, Round, Skipped,
    Step,
};

/// A key that no node of these rounds has.
const THIRD_KEY: &str = "AAAA:W5TJ:JHGP:KF4B:ZZZA:6NIQ:OPI3:YXVC:2Q7T:LHMB:4S5D:77XA";

/// The second key behind one address.
const SECOND_KEY: &str = "BBBB:W5TJ:JHGP:KF4B:ZZZA:6NIQ:OPI3:YXVC:2Q7T:LHMB:4S5D:77XA";

/// Without sampling, which would tell more than the pairs do.
fn odd_key(round: &mut Round, at: &str, refused: &[(&str, &str)]) {
    unsampled(round);
    other_key(round, at);
    for (issuer, verifier) in refused {
        refuse(round, issuer, verifier);
    }
}

fn not_tried(round: &mut Round, issuer: &str, verifier: &str) {
    set_cell(round, issuer, verifier, CellResult::Skipped { reason: Skipped::NotSampled });
}

/// Behind b's address are replicas with two keys, neither of which the others have.
fn replicas(round: &mut Round) {
    unsampled(round);
    other_key(round, "b");
    let keys = vec![KeyCount { key: KeyId::from_wire(SECOND_KEY), tokens: 3 }];
    round.key_census.push(KeyCensus { backend: backend("b"), keys });
}

#[test]
fn a_pair_with_the_balancer_belongs_to_the_pair_of_backends_that_it_repeats() {
    let rows: &[super::Row] = &[
        (
            "the same issuer at a verifier that nobody knows",
            |r| {
                odd_key(r, "c", &[("a", "c"), ("c", "a")]);
                refuse(r, "a", "lb");
            },
            "token-key-mismatch [c] 3",
        ),
        (
            "another issuer with the same key, in a sampled matrix",
            |r| {
                odd_key(r, "c", &[("b", "c")]);
                not_tried(r, "a", "c");
                refuse(r, "a", "lb");
            },
            "token-key-mismatch [c] 2",
        ),
        (
            "the same issuer, whose token names no key",
            |r| {
                odd_key(r, "c", &[("a", "c")]);
                refuse(r, "a", "lb");
                key_of_cell(r, "a", "lb", None);
            },
            "token-key-mismatch [c] 2",
        ),
        (
            "issuers whose tokens name no key are not for that the same",
            |r| {
                unsampled(r);
                clock(r, "c", -2.0);
                heal(r, "b", "c");
                refuse(r, "a", "lb");
                key_of_cell(r, "b", "c", None);
                key_of_cell(r, "a", "lb", None);
            },
            "clock-skew-nbf [c] 1; unexplained-refusal [] 1",
        ),
        (
            "the balancer's token at a verifier that refuses its like",
            |r| {
                odd_key(r, "c", &[("a", "c"), ("c", "a")]);
                refuse(r, "lb", "c");
            },
            "token-key-mismatch [c] 3",
        ),
        (
            "at a verifier that refuses nobody",
            |r| {
                odd_key(r, "c", &[("a", "c"), ("c", "a")]);
                refuse(r, "lb", "b");
            },
            "token-key-mismatch [c] 2; unexplained-refusal [] 1",
        ),
        (
            "at a verifier that refuses another key than it has",
            |r| {
                odd_key(r, "c", &[("c", "b")]);
                refuse(r, "lb", "b");
            },
            "token-key-mismatch [c] 1; unexplained-refusal [] 1",
        ),
        (
            "a pair through the balancer is refused as its own flow is",
            |r| {
                unsampled(r);
                drop_header(r, "lb");
                let unseen = challenged(AuthScheme::Bearer, "unauthorized");
                fail_with(r, "lb", Step::Access, Reason::Unauthorized, &unseen);
                let refusal =
                    Refusal { answer: unseen, tries: 2, healed_after: None, refused_until: 2.0 };
                set_cell(r, "a", "lb", CellResult::Refused(refusal));
                refuse(r, "b", "lb");
            },
            "authorization-header-dropped [] 4",
        ),
    ];
    expect_as(rows, with_explained);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn replicas_behind_one_address_explain_what_their_keys_and_flows_meet() {
    let rows: &[super::Row] = &[
        ("nothing is refused", replicas, ""),
        (
            "two keys without a count, by the flow and by the pairs",
            |r| {
                unsampled(r);
                key_of_cell(r, "b", "a", Some(SECOND_KEY));
            },
            "",
        ),
        (
            "their own tokens, at home and elsewhere, and a foreign one there",
            |r| {
                replicas(r);
                for (issuer, verifier) in [("b", "b"), ("b", "a"), ("c", "b")] {
                    refuse(r, issuer, verifier);
                }
            },
            "token-key-mismatch [b] 3",
        ),
        (
            "a pair of others",
            |r| {
                replicas(r);
                refuse(r, "a", "c");
            },
            "unexplained-refusal [] 1",
        ),
        (
            "a pair of others, whose key one of them has",
            |r| {
                unsampled(r);
                key_of_cell(r, "b", "a", Some(SECOND_KEY));
                refuse(r, "a", "c");
            },
            "unexplained-refusal [] 1",
        ),
        (
            "a token that the balancer leads to one of them",
            |r| {
                replicas(r);
                refuse(r, "a", "lb");
            },
            "token-key-mismatch [b] 1",
        ),
        (
            "a token that one of them gave through the balancer",
            |r| {
                replicas(r);
                refuse(r, "lb", "a");
                key_of_cell(r, "lb", "a", Some(SECOND_KEY));
            },
            "token-key-mismatch [b] 1",
        ),
        (
            "a token that none of them gave through the balancer",
            |r| {
                replicas(r);
                refuse(r, "lb", "a");
                key_of_cell(r, "lb", "a", Some(THIRD_KEY));
            },
            "unexplained-refusal [] 1",
        ),
        (
            "a flow that one gave a token and another refused",
            |r| {
                replicas(r);
                fail(r, "b", Step::Access, Reason::Unauthorized);
            },
            "token-key-mismatch [b] 1",
        ),
        (
            "a flow of another node",
            |r| {
                replicas(r);
                fail(r, "a", Step::Access, Reason::Forbidden);
            },
            "unexplained-refusal [a] 1",
        ),
        (
            "a flow that came to no token",
            |r| {
                replicas(r);
                fail(r, "b", Step::Token, Reason::BadTokenResponse);
            },
            "realm-wrong-endpoint [b] 1",
        ),
        (
            "an earlier finding about the same node explains none of it",
            |r| {
                replicas(r);
                certificate(r, "b", "another", false);
                refuse(r, "a", "lb");
            },
            "certificate-invalid [b] 0; token-key-mismatch [b] 1",
        ),
        (
            "another key without replicas does not explain whatever the balancer refuses",
            |r| {
                odd_key(r, "c", &[("a", "c"), ("c", "a")]);
                not_tried(r, "b", "c");
                refuse(r, "b", "lb");
                key_of_cell(r, "b", "lb", None);
            },
            "token-key-mismatch [c] 2; unexplained-refusal [] 1",
        ),
    ];
    expect_as(rows, with_explained);
}

/// An answer that the registry itself gave.
fn own() -> Answer {
    Answer { status: 404, api_version: true, ..Answer::default() }
}

/// One node grants no token for the repository.
fn lacks_access(round: &mut Round, at: &str) {
    unsampled(round);
    at_repository(round, &[], &Answer::default());
    fail(round, at, Step::Token, Reason::MissingAccess);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn the_balancers_flow_belongs_to_the_finding_that_fails_flows_in_its_way() {
    let rows: &[super::Row] = &[
        (
            "a token refused after a key was found to differ",
            |r| {
                odd_key(r, "c", &[("a", "c")]);
                fail(r, "lb", Step::Access, Reason::Unauthorized);
            },
            "token-key-mismatch [c] 2",
        ),
        (
            "another answer than 401",
            |r| {
                odd_key(r, "c", &[("a", "c")]);
                fail(r, "lb", Step::Access, Reason::Forbidden);
            },
            "token-key-mismatch [c] 1; unexplained-refusal [] 1",
        ),
        (
            "a credential refused, which a dropped header explains and a key does not",
            |r| {
                odd_key(r, "c", &[("a", "c")]);
                drop_header(r, "b");
                fail(r, "b", Step::Token, Reason::Unauthorized);
                fail(r, "lb", Step::Token, Reason::Unauthorized);
            },
            "authorization-header-dropped [b] 3; token-key-mismatch [a c] 1",
        ),
        (
            "the repository refused where a node lacks what the token of another grants: 401",
            |r| {
                lacks_access(r, "b");
                fail(r, "lb", Step::Repository, Reason::Unauthorized);
            },
            "content-differs [b] 2",
        ),
        (
            "the same: 403",
            |r| {
                lacks_access(r, "b");
                fail(r, "lb", Step::Repository, Reason::Forbidden);
            },
            "content-differs [b] 2",
        ),
        (
            "the same: 404",
            |r| {
                lacks_access(r, "b");
                fail_with(r, "lb", Step::Repository, Reason::NotFound, &own());
            },
            "content-differs [b] 2",
        ),
        (
            "a status that no repository refuses with",
            |r| {
                lacks_access(r, "b");
                fail_with(r, "lb", Step::Repository, Reason::UnexpectedStatus, &own());
            },
            "content-differs [b] 1; unexplained-refusal [] 1",
        ),
        (
            "refused before the repository",
            |r| {
                lacks_access(r, "b");
                fail(r, "lb", Step::Access, Reason::Unauthorized);
            },
            "content-differs [b] 1; unexplained-refusal [] 1",
        ),
        (
            "the repository refused where a node's database does not answer",
            |r| {
                unsampled(r);
                let words = challenged(AuthScheme::Empty, "FATAL: too many clients");
                at_repository(r, &["b"], &words);
                fail(r, "lb", Step::Repository, Reason::Forbidden);
            },
            "database-unavailable [b] 2",
        ),
        (
            "as a backend fails",
            |r| {
                unsampled(r);
                drop_header(r, "b");
                fail(r, "b", Step::Token, Reason::Unauthorized);
                fail(r, "lb", Step::Token, Reason::Unauthorized);
                certificate(r, "a", "another", false);
            },
            "authorization-header-dropped [b] 3; certificate-invalid [a] 0",
        ),
        (
            "at the same step in another way",
            |r| {
                unsampled(r);
                drop_header(r, "b");
                fail(r, "b", Step::Token, Reason::Unauthorized);
                fail(r, "lb", Step::Token, Reason::BadTokenResponse);
            },
            "authorization-header-dropped [b] 2; realm-wrong-endpoint [] 1",
        ),
        (
            "in the same way at another step",
            |r| {
                unsampled(r);
                drop_header(r, "b");
                fail(r, "b", Step::Token, Reason::Unauthorized);
                fail(r, "lb", Step::Access, Reason::Unauthorized);
            },
            "authorization-header-dropped [b] 2; unexplained-refusal [] 1",
        ),
    ];
    expect_as(rows, with_explained);
}
