//! Answers that no registry gave, with the other causes that would fit, and slow tokens.

use super::{expect_as, fail_with, families, slow_token, with_alternatives};
use crate::diagnosis::verdict::judge;
use crate::model::sample::{changed, fail};
use crate::model::{Answer, Earlier, Family, FindingName, Reason, Round, Step};

/// A page that nginx wrote.
fn page(status: u16) -> Answer {
    Answer { status, html: true, body_bytes: 150, ..Answer::default() }
}

fn bad_gateway(round: &mut Round, at: &str, answer: &Answer) {
    fail_with(round, at, Step::Challenge, Reason::BadGateway, answer);
}

#[test]
fn who_wrote_an_error_decides_which_other_causes_fit() {
    let rows: &[super::Row] = &[
        (
            "a page of nginx at a node",
            |r| bad_gateway(r, "b", &page(502)),
            "server-errors warning proved [b], or not-a-registry",
        ),
        (
            "the same where nothing stands between nginx and the registry",
            |r| {
                families(r, Family::Distribution2);
                bad_gateway(r, "b", &page(502));
            },
            "server-errors warning proved [b]",
        ),
        (
            "a page with core's request id",
            |r| bad_gateway(r, "b", &Answer { request_id: true, ..page(502) }),
            "server-errors warning proved [b]",
        ),
        (
            "no page",
            |r| bad_gateway(r, "b", &Answer { html: false, ..page(502) }),
            "server-errors warning proved [b]",
        ),
        (
            "a page at one node, core's error at another",
            |r| {
                bad_gateway(r, "b", &page(502));
                bad_gateway(r, "c", &Answer { html: false, request_id: true, ..page(502) });
            },
            "server-errors warning proved [b c]",
        ),
        (
            "a page through the balancer alone",
            |r| bad_gateway(r, "lb", &page(502)),
            "server-errors critical proved []",
        ),
        (
            "a page in place of the challenge",
            |r| fail_with(r, "b", Step::Challenge, Reason::Html, &page(200)),
            "not-a-registry warning suspected [b], or lb-misroutes-api-path, server-errors",
        ),
        (
            "the same through the balancer alone",
            |r| fail_with(r, "lb", Step::Challenge, Reason::Html, &page(200)),
            "lb-misroutes-api-path critical proved []",
        ),
        (
            "a redirect by somebody else",
            |r| fail_with(r, "lb", Step::Challenge, Reason::Redirected, &page(302)),
            "lb-misroutes-api-path critical proved []",
        ),
        (
            "a status that is nobody's",
            |r| fail_with(r, "lb", Step::Challenge, Reason::UnexpectedStatus, &page(418)),
            "lb-misroutes-api-path critical proved []",
        ),
        (
            "200 without a token by somebody else",
            |r| fail_with(r, "lb", Step::Challenge, Reason::NoChallenge, &page(200)),
            "lb-misroutes-api-path critical proved []",
        ),
        (
            "an error in the registry's words",
            |r| {
                let error_code = Some("NAME_UNKNOWN".to_owned());
                let answer = Answer { status: 404, error_code, ..Answer::default() };
                fail_with(r, "b", Step::Challenge, Reason::NotFound, &answer);
            },
            "unexplained-refusal warning suspected [b]",
        ),
        (
            "a page in place of a token",
            |r| fail_with(r, "b", Step::Token, Reason::BadTokenResponse, &page(200)),
            "not-a-registry warning suspected [b], or lb-misroutes-api-path, server-errors",
        ),
        (
            "a limit that users meet",
            |r| {
                let answer = Answer { status: 429, ..Answer::default() };
                fail_with(r, "lb", Step::Challenge, Reason::RateLimited, &answer);
            },
            "rate-limited critical proved []",
        ),
    ];
    expect_as(rows, with_alternatives);
}

#[test]
fn a_token_is_slow_from_two_seconds_on_and_lost_only_to_those_who_wait_for_it() {
    let rows: &[super::Row] = &[
        ("a moment", |r| slow_token(r, "b", 2_000), ""),
        (
            "longer",
            |r| slow_token(r, "b", 2_001),
            "token-endpoint-slow warning proved [b], or database-unavailable",
        ),
        (
            "through the balancer",
            |r| slow_token(r, "lb", 3_000),
            "token-endpoint-slow warning proved [], or database-unavailable",
        ),
        (
            "never at a node",
            |r| fail(r, "b", Step::Token, Reason::Timeout),
            "token-endpoint-slow warning proved [b], or database-unavailable",
        ),
        (
            "never through the balancer, and a node is gone",
            |r| {
                fail(r, "b", Step::Challenge, Reason::ConnectionRefused);
                fail(r, "lb", Step::Token, Reason::Timeout);
            },
            "backend-unreachable critical proved [b]",
        ),
    ];
    expect_as(rows, with_alternatives);
}

#[test]
fn who_answered_tells_where_it_broke() {
    let unavailable = Some("UNAVAILABLE".to_owned());
    let core = Answer { request_id: true, ..Answer::default() };
    for (answer, words) in [
        (core.clone(), "the registry behind it is not reached"),
        (Answer { body_bytes: 60, ..core }, "; Harbor's core answered"),
        (Answer { error_code: unavailable, ..Answer::default() }, "own health check fails"),
        (page(503), "; a proxy answered in place of the registry"),
        (Answer::default(), "as ordered"),
    ] {
        let round = changed(&["a", "b"], |round| bad_gateway(round, "b", &answer));
        let findings = judge(&round, &Earlier::default()).findings;
        assert_eq!(findings[0].finding, FindingName::ServerErrors);
        let [line] = findings[0].evidence.as_slice() else { panic!("{findings:#?}") };
        assert!(line.ends_with(words), "{line}");
    }
}
