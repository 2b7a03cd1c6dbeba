//! Who does not answer, who answers late, and what only the prober lacks.

use super::{expect, expect_as, sicken, slow_token, with_alternatives, with_explained};
use crate::model::sample::{fail, lose, set_cell};
use crate::model::{CellResult, Failure, FlowResult, Issuer, Outcome, Phase, Reason, Round, Step};

/// Lets a route's flow end at a step in this phase.
fn cut(round: &mut Round, at: &str, step: Step, reason: Reason, phase: Phase) {
    fail(round, at, step, reason);
    let at = crate::model::sample::route(at);
    for flow in round.flows.iter_mut().filter(|flow| flow.route == at) {
        if let FlowResult::Failed { failure, .. } = &mut flow.result {
            failure.phase = Some(phase);
        }
    }
}

const ALL: [&str; 4] = ["a", "b", "c", "lb"];

/// Tokens are issued by a server of its own, which ends every flow in this way.
fn token_server(round: &mut Round, reason: Reason, phase: Phase) {
    for at in ALL {
        cut(round, at, Step::Token, reason, phase);
    }
    for flow in &mut round.flows {
        flow.issuer = Some(Issuer::Server("auth.example.invalid".to_owned()));
    }
}

#[test]
fn what_accepts_a_connection_and_answers_late_is_not_unreachable() {
    let rows: &[super::Row] = &[
        (
            "a challenge that hangs",
            |r| cut(r, "b", Step::Challenge, Reason::Timeout, Phase::Wait),
            "token-endpoint-slow warning suspected [b], or redis-unavailable, backend-unreachable",
        ),
        (
            "a challenge of which the end hangs",
            |r| cut(r, "b", Step::Challenge, Reason::Timeout, Phase::Transfer),
            "token-endpoint-slow warning suspected [b], or redis-unavailable, backend-unreachable",
        ),
        (
            "a challenge that hangs, and the balancer's flow that meets that node at its token",
            |r| {
                cut(r, "b", Step::Challenge, Reason::Timeout, Phase::Wait);
                cut(r, "lb", Step::Token, Reason::Timeout, Phase::Wait);
            },
            "token-endpoint-slow critical suspected [b], or redis-unavailable, backend-unreachable",
        ),
        (
            "a connection that is not accepted",
            |r| cut(r, "b", Step::Challenge, Reason::Timeout, Phase::Connect),
            "backend-unreachable warning proved [b]",
        ),
        (
            "a handshake that hangs",
            |r| cut(r, "b", Step::Challenge, Reason::Timeout, Phase::Tls),
            "backend-unreachable warning proved [b]",
        ),
        (
            "a token that is cut where the challenge came",
            |r| cut(r, "b", Step::Token, Reason::ConnectionReset, Phase::Wait),
            "backend-unreachable warning suspected [b], or server-errors",
        ),
    ];
    expect_as(rows, with_alternatives);
}

#[test]
fn a_token_server_that_fails_is_named_and_no_node() {
    expect(&[
        (
            "nothing listens",
            |r| token_server(r, Reason::ConnectionRefused, Phase::Connect),
            "backend-unreachable critical proved []",
        ),
        (
            "no answer in time",
            |r| token_server(r, Reason::Timeout, Phase::Wait),
            "token-endpoint-slow critical proved []",
        ),
        (
            "502",
            |r| token_server(r, Reason::BadGateway, Phase::Wait),
            "server-errors critical proved []",
        ),
    ]);
    let round = crate::model::sample::changed(super::THREE, |r| {
        token_server(r, Reason::ConnectionRefused, Phase::Connect);
    });
    let findings = super::judge(&round, &crate::model::Earlier::default()).findings;
    assert!(findings[0].summary.contains("auth.example.invalid"), "{}", findings[0].summary);
}

/// A token that took 3 s at a backend, while this host kept the prober waiting.
fn late(round: &mut Round, name: &str, waited: f64) {
    round.processor_wait_seconds = waited;
    let route = crate::model::sample::route(name);
    let flow = round.flows.iter_mut().find(|flow| flow.route == route).unwrap();
    let report = flow.steps.iter_mut().find(|report| report.step == Step::Token).unwrap();
    let wait = std::time::Duration::from_secs(3);
    report.timeline = crate::model::Timeline::default().then(Phase::Wait, wait);
}

#[test]
fn what_the_prober_could_not_ask_names_no_node() {
    let rows: &[super::Row] = &[
        ("no time", |r| fail(r, "b", Step::Challenge, Reason::DeadlineReached), ""),
        ("no descriptor", |r| fail(r, "b", Step::Token, Reason::ProberLimit), ""),
        ("no processor", |r| fail(r, "b", Step::Token, Reason::ProberBusy), ""),
        ("a token that came late, as the prober did", |r| late(r, "b", 3.0), ""),
        (
            "a token that came later than the prober",
            |r| late(r, "b", 0.6),
            "token-endpoint-slow warning proved [b]",
        ),
        (
            "no name, on every route",
            |r| ALL.iter().for_each(|at| fail(r, at, Step::Challenge, Reason::DnsFailed)),
            "",
        ),
    ];
    expect(rows);
}

#[test]
fn what_only_the_prober_lacks_is_a_warning_and_no_outage() {
    expect(&[
        (
            "an authority that it does not trust",
            |r| {
                for at in ALL {
                    fail(r, at, Step::Challenge, Reason::TlsCertificate);
                }
                for flow in &mut r.flows {
                    if let FlowResult::Failed { failure, .. } = &mut flow.result {
                        failure.detail = "signed by an unknown authority".to_owned();
                    }
                }
            },
            "certificate-invalid warning suspected []",
        ),
        (
            "a URL that is no registry",
            |r| ALL.iter().for_each(|at| fail(r, at, Step::Challenge, Reason::Html)),
            "not-a-registry warning suspected []",
        ),
        (
            "its password",
            |r| {
                for at in ALL {
                    fail(r, at, Step::Token, Reason::Unauthorized);
                }
                slow_token(r, "a", 1_600);
            },
            "credential-refused warning proved []",
        ),
        (
            "its password, while the load balancer takes it",
            |r| {
                for at in ["a", "b", "c"] {
                    fail(r, at, Step::Token, Reason::Unauthorized);
                }
                slow_token(r, "a", 1_600);
            },
            "credential-refused warning proved []",
        ),
    ]);
}

fn sample(round: &mut Round, times: u32, reason: Reason) {
    if let Outcome::Measured(run) = &mut round.balancer {
        lose(run, times, reason);
    }
}

#[test]
fn samples_belong_to_the_backend_that_fails_alike_and_else_to_the_way_through_the_balancer() {
    let rows: &[super::Row] = &[
        (
            "502 at a node and in samples",
            |r| {
                fail(r, "b", Step::Access, Reason::BadGateway);
                sample(r, 3, Reason::BadGateway);
            },
            "server-errors [b] 2",
        ),
        ("502 in samples", |r| sample(r, 3, Reason::BadGateway), "server-errors [] 1"),
        ("a page in samples", |r| sample(r, 3, Reason::Html), "lb-misroutes-api-path [] 1"),
        (
            "lost samples while a node is gone",
            |r| {
                fail(r, "b", Step::Challenge, Reason::ConnectionRefused);
                sample(r, 5, Reason::ConnectionReset);
            },
            "backend-unreachable [b] 2",
        ),
        (
            "lost samples where the balancer's own flow is lost",
            |r| {
                fail(r, "lb", Step::Challenge, Reason::ConnectionRefused);
                sample(r, 5, Reason::ConnectionReset);
                let failure = Failure::of_answer(Reason::ConnectionReset, "lost");
                set_cell(r, "a", "lb", CellResult::Failed { failure, answer: None });
            },
            "backend-unreachable [] 3",
        ),
        (
            "lost samples that no route shows",
            |r| sample(r, 5, Reason::ConnectionReset),
            "unexplained-loss [] 1",
        ),
    ];
    expect_as(rows, with_explained);
}

#[test]
fn a_sick_database_is_told_once_whoever_tells_it() {
    expect(&[
        (
            "its page alone",
            |r| sicken(r, &[("b", "database")]),
            "database-unavailable warning suspected [b]",
        ),
        (
            "the token endpoint too",
            |r| {
                sicken(r, &[("b", "database")]);
                fail(r, "b", Step::Token, Reason::AnonymousToken);
            },
            "database-unavailable warning proved [b]",
        ),
        (
            "every node, and every client is anonymous",
            |r| {
                sicken(r, &[("a", "database"), ("b", "database"), ("c", "database")]);
                for at in ALL {
                    fail(r, at, Step::Token, Reason::AnonymousToken);
                }
            },
            "database-unavailable critical proved []",
        ),
    ]);
}
