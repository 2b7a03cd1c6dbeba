//! What keeps the rules apart: for each condition of a rule a round that only this condition
//! decides, with every finding that must come of it.

mod answers;
mod balancer;
mod causes;
mod clients;
mod consequences;
mod gateway;
mod header;
mod leeway;
mod network;
mod repository;
mod tables;
mod tokens;
mod web_and_jobs;
mod writes;

use std::time::Duration;

use super::verdict::judge;
use crate::model::sample::{backend, changed, fail, refuse, route};
use crate::model::{
    Answer, Assessment, AuthScheme, BackendName, Challenge, Checked, ComponentHealth, Earlier,
    Family, HeaderFate, Issuer, KeyId, OfRoute, Outcome, Phase, Reason, Round, Skipped, Step,
    StepReport, Timeline, Version,
};

const THREE: &[&str] = &["a", "b", "c"];

/// Every finding of a judgement, as `name severity confidence [backends]`.
fn lines(assessment: &Assessment) -> Vec<String> {
    let line = |finding: &crate::model::Finding| {
        let names: Vec<&str> = finding.backends.iter().map(BackendName::as_str).collect();
        let (severity, confidence) = (finding.severity.as_str(), finding.confidence.as_str());
        format!("{} {severity} {confidence} [{}]", finding.finding, names.join(" "))
    };
    let mut lines: Vec<String> = assessment.findings.iter().map(line).collect();
    lines.sort();
    lines
}

/// The same, each with the other causes that would fit: `…, or this, that`.
fn with_alternatives(assessment: &Assessment) -> Vec<String> {
    let mut one = assessment.clone();
    let mut lines: Vec<String> = Vec::new();
    for finding in &assessment.findings {
        one.findings = vec![finding.clone()];
        let others: Vec<&str> = finding.alternatives.iter().map(|name| name.as_str()).collect();
        let or =
            if others.is_empty() { String::new() } else { format!(", or {}", others.join(", ")) };
        lines.extend(self::lines(&one).into_iter().map(|line| format!("{line}{or}")));
    }
    lines.sort();
    lines
}

/// The same without severity and confidence, each with how many refusals and failures it explains.
fn with_explained(assessment: &Assessment) -> Vec<String> {
    let line = |finding: &crate::model::Finding| {
        let names: Vec<&str> = finding.backends.iter().map(BackendName::as_str).collect();
        format!("{} [{}] {}", finding.finding, names.join(" "), finding.explains)
    };
    let mut lines: Vec<String> = assessment.findings.iter().map(line).collect();
    lines.sort();
    lines
}

type Change = fn(&mut Round);
/// What is special, how, and every finding, separated by `; `.
type Row = (&'static str, Change, &'static str);

/// Judges healthy rounds of three backends after a change.
fn expect(rows: &[Row]) {
    expect_as(rows, lines);
}

fn expect_as(rows: &[Row], words: fn(&Assessment) -> Vec<String>) {
    let mut wrong = Vec::new();
    for (what, change, expected) in rows {
        let found = words(&judge(&changed(THREE, change), &Earlier::default())).join("; ");
        if found != *expected {
            wrong.push(format!("{what}:\n  expected {expected}\n     found {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn unsampled(round: &mut Round) {
    round.balancer = Outcome::Skipped(Skipped::Disabled);
}

/// Tells the family of every backend, and no version.
fn families(round: &mut Round, family: Family) {
    for name in THREE {
        set_family(round, name, family);
    }
}

/// Gives every backend this version of Harbor.
fn harbor(round: &mut Round, minor: u16) {
    for facts in &mut round.backends {
        facts.version = Outcome::Measured(Some(Version { major: 2, minor, patch: 9 }));
    }
}

/// Every route came as far as the repository; `at` was answered there in this way.
fn at_repository(round: &mut Round, at: &[&str], answer: &Answer) {
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
        answer_with(round, at, Step::Repository, answer);
    }
}

fn challenged(scheme: AuthScheme, message: &str) -> Answer {
    let challenge = Challenge { scheme, realm: None, service: None, scope: None, error: None };
    Answer {
        status: 401,
        challenge: Some(challenge),
        error_message: Some(message.to_owned()),
        ..Answer::default()
    }
}

/// Lets a route fail at a step with an answer.
fn fail_with(round: &mut Round, at: &str, step: Step, reason: Reason, answer: &Answer) {
    fail(round, at, step, reason);
    answer_with(round, at, step, answer);
}

fn certificate(round: &mut Round, at: &str, fingerprint: &str, invalid: bool) {
    let at = route(at);
    for certificate in round.certificates.iter_mut().filter(|c| c.route == at) {
        certificate.fingerprint = fingerprint.to_owned();
        certificate.invalid = invalid.then(|| "expired".to_owned());
    }
}

fn slow_token(round: &mut Round, at: &str, milliseconds: u64) {
    let at = route(at);
    for flow in round.flows.iter_mut().filter(|flow| flow.route == at) {
        for report in flow.steps.iter_mut().filter(|report| report.step == Step::Token) {
            let took = Duration::from_millis(milliseconds);
            report.timeline = Timeline::default().then(Phase::Wait, took);
        }
    }
}

/// Lets a route drop the `Authorization` header, as the check sees it, and the others not.
fn drop_header(round: &mut Round, at: &str) {
    let fate = |flow: &crate::model::Flow| {
        let dropped = flow.route == route(at);
        let value = if dropped { HeaderFate::Dropped } else { HeaderFate::Arrived };
        OfRoute { route: flow.route.clone(), value: Outcome::Measured(value) }
    };
    let found = Outcome::Measured(round.flows.iter().map(fate).collect());
    round.checks.authorization_header = Checked { found, ..Checked::default() };
}

fn everybody_refuses(round: &mut Round) {
    let all = ["a", "b", "c", "lb"];
    for (issuer, verifier) in all.iter().flat_map(|i| all.iter().map(move |v| (i, v))) {
        refuse(round, issuer, verifier);
    }
}

/// Tells a backend's family; of its version nothing.
fn set_family(round: &mut Round, at: &str, family: Family) {
    let at = backend(at);
    for facts in round.backends.iter_mut().filter(|facts| facts.name == at) {
        (facts.family, facts.version) = (family, Outcome::Measured(None));
    }
}

fn realm(round: &mut Round, at: &str, realm: &str) {
    let at = route(at);
    for flow in round.flows.iter_mut().filter(|flow| flow.route == at) {
        if let Outcome::Measured(challenge) = &mut flow.challenge {
            challenge.realm = Some(realm.to_owned());
        }
    }
}

fn answer_with(round: &mut Round, at: &str, step: Step, answer: &Answer) {
    let at = route(at);
    for flow in round.flows.iter_mut().filter(|flow| flow.route == at) {
        for report in flow.steps.iter_mut().filter(|report| report.step == step) {
            report.answer = Some(answer.clone());
        }
    }
}

/// Lets backends call these components unhealthy.
fn sicken(round: &mut Round, sick: &[(&str, &str)]) {
    let told = |name: &&str| {
        let of = |component: &str| ComponentHealth {
            component: component.to_owned(),
            healthy: !sick.contains(&(*name, component)),
        };
        let all = ["core", "database", "jobservice", "redis", "registry"];
        OfRoute { route: route(name), value: Outcome::Measured(all.map(of).into()) }
    };
    let found = Outcome::Measured(THREE.iter().map(told).collect());
    round.checks.health = Checked { found, ..Checked::default() };
}

/// Gives a pair's token another key, or none.
fn key_of_cell(round: &mut Round, issuer: &str, verifier: &str, key: Option<&str>) {
    let (issuer, verifier) = (Issuer::Route(route(issuer)), route(verifier));
    let mut cells = round.matrix.cells.iter_mut();
    let cell = cells.find(|cell| cell.issuer == issuer && cell.verifier == verifier);
    cell.expect("a pair of the round").key = key.map(KeyId::from_wire);
}

fn lifetime(round: &mut Round, at: &str, seconds: i64) {
    let at = route(at);
    for flow in round.flows.iter_mut().filter(|flow| flow.route == at) {
        if let Outcome::Measured(token) = &mut flow.token {
            token.expires_at = token.issued_at.map(|issued| issued + seconds);
            token.expires_in = Some(seconds.unsigned_abs());
        }
    }
}
