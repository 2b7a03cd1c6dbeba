//! What the routes answered: at the repository, at the token endpoint, and before.

use super::{
    THREE, answer_with, at_repository, certificate, challenged, expect, realm, slow_token,
};
use crate::model::sample::{changed, fail};
use crate::model::{Account, Answer, AuthScheme, FindingName, Reason, Step};

#[test]
fn what_fails_at_the_repository_is_told_apart_by_the_answer() {
    expect(&[
        (
            "the database's words at one node",
            |r| at_repository(r, &["b"], &challenged(AuthScheme::Empty, "FATAL: too many clients")),
            "database-unavailable warning proved [b]",
        ),
        (
            "the database's words at all",
            |r| at_repository(r, THREE, &challenged(AuthScheme::Empty, "FATAL: too many clients")),
            "database-unavailable warning proved []",
        ),
    ]);
}

#[test]
fn a_credential_is_judged_by_who_takes_it_and_how_long_it_took() {
    expect(&[
        (
            "refused everywhere and at once",
            |r| {
                for at in ["a", "b", "c", "lb"] {
                    fail(r, at, Step::Token, Reason::Unauthorized);
                }
            },
            "credential-refused critical suspected []",
        ),
        (
            "a user refused at one node at once",
            |r| {
                r.account = Account::User;
                fail(r, "b", Step::Token, Reason::Unauthorized);
            },
            "login-locked warning suspected [b]",
        ),
        (
            "a user refused at one node after the delay of a wrong secret",
            |r| {
                r.account = Account::User;
                fail(r, "b", Step::Token, Reason::Unauthorized);
                slow_token(r, "b", 1_600);
            },
            "credential-refused warning suspected [b]",
        ),
        (
            "an account that one node passes over",
            |r| fail(r, "b", Step::Token, Reason::AnonymousToken),
            "anonymous-downgrade warning proved [b]",
        ),
    ]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn challenges_certificates_and_protocols_are_blamed_where_they_are_met() {
    expect(&[
        (
            "a realm elsewhere on every route",
            |r| {
                for at in ["a", "b", "c", "lb"] {
                    realm(r, at, "https://elsewhere.test/token");
                    fail(r, at, Step::Token, Reason::RealmNotAllowed);
                }
            },
            "realm-wrong-endpoint warning proved []",
        ),
        (
            "a realm elsewhere through the balancer",
            |r| fail(r, "lb", Step::Token, Reason::RealmNotAllowed),
            "realm-wrong-endpoint critical proved []",
        ),
        (
            "one certificate of its own, valid",
            |r| certificate(r, "c", "another", false),
            "certificate-invalid info proved [c]",
        ),
        (
            "each node its own certificate",
            |r| {
                certificate(r, "b", "another", false);
                certificate(r, "c", "a third", false);
            },
            "",
        ),
        (
            "invalid at one node, and verification is off",
            |r| certificate(r, "b", "another", true),
            "certificate-invalid warning proved [b]",
        ),
        (
            "invalid everywhere, and verification is off",
            |r| {
                for at in ["a", "b", "c", "lb"] {
                    certificate(r, at, "own", true);
                }
            },
            "",
        ),
        (
            "refused at one node, invalid at another that was then not met",
            |r| {
                fail(r, "b", Step::Challenge, Reason::TlsCertificate);
                certificate(r, "b", "another", true);
                certificate(r, "c", "another", true);
            },
            "certificate-invalid warning proved [b]",
        ),
        (
            "refused everywhere",
            |r| {
                let all = ["a", "b", "c", "lb"];
                for at in all {
                    fail(r, at, Step::Challenge, Reason::TlsCertificate);
                }
            },
            "certificate-invalid critical suspected []",
        ),
        (
            "something that is not HTTP, through TLS",
            |r| fail(r, "b", Step::Challenge, Reason::NotHttp),
            "not-a-registry warning suspected [b]",
        ),
        (
            "something that is not HTTP, to a plain request",
            |r| {
                fail(r, "b", Step::Challenge, Reason::NotHttp);
                for step in r.flows.iter_mut().flat_map(|flow| &mut flow.steps) {
                    step.timeline = crate::model::Timeline::default();
                }
            },
            "http-https-mismatch warning suspected [b]",
        ),
        (
            "a limit met at one node",
            |r| r.responses[0].code = 429,
            "rate-limited warning proved [a]",
        ),
        (
            "a 404 that the registry itself gave",
            |r| {
                fail(r, "b", Step::Challenge, Reason::NotFound);
                let answer = Answer { status: 404, api_version: true, ..Answer::default() };
                answer_with(r, "b", Step::Challenge, &answer);
            },
            "unexplained-refusal warning suspected [b]",
        ),
        (
            "a 404 that core gave",
            |r| {
                fail(r, "b", Step::Challenge, Reason::NotFound);
                let answer = Answer { status: 404, request_id: true, ..Answer::default() };
                answer_with(r, "b", Step::Challenge, &answer);
            },
            "unexplained-refusal warning suspected [b]",
        ),
        (
            "a token that does not come through the balancer, while no node is gone",
            |r| fail(r, "lb", Step::Token, Reason::Timeout),
            "token-endpoint-slow critical proved []",
        ),
    ]);
}

#[test]
fn a_refusal_without_a_cause_names_the_requests_for_the_nodes_logs() {
    let lines = |log_id: Option<&str>| {
        let round = changed(&["a", "b"], |r| {
            fail(r, "b", Step::Challenge, Reason::NotFound);
            let log_id = log_id.map(str::to_owned);
            let answer = Answer { status: 404, request_id: true, log_id, ..Answer::default() };
            answer_with(r, "b", Step::Challenge, &answer);
        });
        let findings = crate::diagnosis::assess(&round).findings;
        assert_eq!(findings[0].finding, FindingName::UnexplainedRefusal);
        let lines = findings[0].evidence.iter().map(ToString::to_string);
        lines.filter(|line| line.contains("X-Request-Id")).collect::<Vec<_>>()
    };
    assert_eq!(lines(Some("core-17")), ["X-Request-Id of such requests: core-17"]);
    assert_eq!(lines(None), ["X-Request-Id of these requests: registry-prober-00000000000000ff-…"]);
}
