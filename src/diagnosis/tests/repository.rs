//! Flows that fail at the repository, and challenges that lead to no token.

use super::tables::{THREE, assess, expect, lines};
use crate::model::sample::{changed, fail, refuse, route};
use crate::model::{
    Answer, AuthScheme, Challenge, Outcome, Reason, Round, Step, StepReport, Timeline, Version,
};

#[test]
fn what_fails_at_the_repository_is_told_apart_by_the_answer_and_by_who_gives_it() {
    const ALL: &[&str] = &["a", "b", "c", "lb"];
    expect(&[
        (
            "no route has the repository",
            |r| at_repository(r, ALL, &Answer { status: 404, ..Answer::default() }),
            "repository-access-denied warning proved []",
        ),
        (
            "no route grants the action",
            |r| {
                at_repository(r, &[], &Answer::default());
                all_fail(r, Step::Token, Reason::MissingAccess);
            },
            "repository-access-denied warning proved []",
        ),
        (
            "a database's words with another challenge",
            |r| at_repository(r, THREE, &challenged(AuthScheme::Basic, "FATAL: too many clients")),
            "repository-access-denied warning proved []",
        ),
        (
            "a project that one node lacks",
            |r| {
                let words = challenged(AuthScheme::Empty, "database probe not found");
                at_repository(r, &["b"], &words);
            },
            "content-differs warning suspected [b]",
        ),
        (
            "the same, which users meet",
            |r| {
                let words = challenged(AuthScheme::Empty, "database probe not found");
                at_repository(r, &["b", "lb"], &words);
            },
            "content-differs critical suspected [b]",
        ),
        (
            "other words",
            |r| at_repository(r, THREE, &challenged(AuthScheme::Empty, "no such thing")),
            "repository-access-denied warning proved []",
        ),
        (
            "a Harbor that compares the project's age",
            |r| {
                harbor(r, 15);
                at_repository(r, ALL, &challenged(AuthScheme::Basic, "unauthorized"));
            },
            "project-newer-than-token critical suspected []",
        ),
        (
            "the same, where users are well",
            |r| {
                harbor(r, 15);
                at_repository(r, THREE, &challenged(AuthScheme::Basic, "unauthorized"));
            },
            "project-newer-than-token warning suspected []",
        ),
        (
            "a Harbor that does not compare it",
            |r| at_repository(r, &["b"], &challenged(AuthScheme::Basic, "unauthorized")),
            "content-differs warning suspected [b]",
        ),
        (
            "one that does, with another challenge",
            |r| {
                harbor(r, 15);
                at_repository(r, THREE, &challenged(AuthScheme::Bearer, "unauthorized"));
            },
            "repository-access-denied warning proved []",
        ),
        (
            "one node does not grant the action",
            |r| {
                at_repository(r, &[], &Answer::default());
                fail(r, "b", Step::Token, Reason::MissingAccess);
            },
            "content-differs warning suspected [b]",
        ),
    ]);
}

/// Where tokens of a node are refused, its repository may refuse one for that.
#[test]
fn a_project_is_not_called_young_at_a_node_that_refuses_tokens() {
    let mut round = changed(THREE, |r| {
        harbor(r, 15);
        at_repository(r, &["b"], &challenged(AuthScheme::Basic, "unauthorized"));
    });
    let young = |round: &Round| {
        let all = lines(&assess(round));
        all.iter().any(|line| line.starts_with("project-newer-than-token"))
    };
    assert!(young(&round));
    refuse(&mut round, "a", "b");
    assert!(!young(&round));
}

#[test]
fn a_challenge_that_leads_to_no_token_is_laid_where_it_is_met() {
    expect(&[
        (
            "at one node",
            |r| fail(r, "b", Step::Challenge, Reason::Unauthorized),
            "settings-differ warning suspected [b]",
        ),
        (
            "through the balancer",
            |r| fail(r, "lb", Step::Challenge, Reason::Unauthorized),
            "settings-differ critical suspected []",
        ),
        (
            "everywhere",
            |r| {
                all_fail(r, Step::Challenge, Reason::BadChallenge);
            },
            "settings-differ critical suspected [a b c]",
        ),
        (
            "no route asks for any",
            |r| {
                all_fail(r, Step::Challenge, Reason::NoChallenge);
            },
            "not-a-registry warning suspected []",
        ),
    ]);
}

/// Lets every route fail at a step.
fn all_fail(round: &mut Round, step: Step, reason: Reason) {
    for at in ["a", "b", "c", "lb"] {
        fail(round, at, step, reason);
    }
}

/// Gives every backend this version of Harbor.
fn harbor(round: &mut Round, minor: u16) {
    for facts in &mut round.backends {
        facts.version = Outcome::Measured(Some(Version { major: 2, minor, patch: 9 }));
    }
}

/// Every route came as far as the repository; `at` was answered there in this way.
pub(super) fn at_repository(round: &mut Round, at: &[&str], answer: &Answer) {
    round.scope = Some("repository:probe/canary:pull".to_owned());
    for flow in &mut round.flows {
        flow.steps.push(StepReport {
            step: Step::Repository,
            answer: Some(Answer { status: 200, ..Answer::default() }),
            failure: None,
            timeline: Timeline::default(),
        });
    }
    for at in at {
        fail(round, at, Step::Repository, Reason::Unauthorized);
        let at = route(at);
        for flow in round.flows.iter_mut().filter(|flow| flow.route == at) {
            for report in flow.steps.iter_mut().filter(|one| one.step == Step::Repository) {
                report.answer = Some(answer.clone());
            }
        }
    }
}

pub(super) fn challenged(scheme: AuthScheme, message: &str) -> Answer {
    let challenge = Challenge { scheme, realm: None, service: None, scope: None, error: None };
    Answer {
        status: 401,
        challenge: Some(challenge),
        error_message: Some(message.to_owned()),
        ..Answer::default()
    }
}
