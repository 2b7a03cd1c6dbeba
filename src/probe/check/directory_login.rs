//! Can a person of a directory (LDAP, OIDC) log in at every backend? The robot of the flow
//! is in the database and says nothing of that.
//!
//! A directory may lock an account whose password is refused too often: the person's, if it is
//! wrong, or Harbor's own, if a node decrypts that wrongly. So one backend is asked after the
//! other, after two refusals no further, and a backend that refused is not asked again for an hour.

use chrono::{DateTime, TimeDelta, Utc};
use http::Method;

use super::super::answer::{outcome, unexpected};
use super::super::client::Client;
use super::super::endpoint;
use super::super::request::{Auth, Request};
use super::pairs;
use crate::config::Credentials;
use crate::model::{
    Check, DirectoryLogin, Flow, Issuer, LoginVerdict, OfRoute, Outcome, Phase, Reason, Skipped,
    Step,
};

/// The most backends that are asked before one accepts.
const ENOUGH: usize = 2;

/// For so long a refusal stands.
const LEFT_IN_PEACE: TimeDelta = TimeDelta::hours(1);

/// One late answer is not a slow directory: from this time on, in seconds, who was accepted logs in
/// once more, and the quicker counts.
const LATE: f64 = 2.0;

type Logins = Vec<OfRoute<DirectoryLogin>>;

pub(super) async fn look(
    client: &Client<'_>,
    flows: &[Flow],
    before: Option<&Logins>,
) -> Outcome<Logins> {
    let Some(credentials) = &client.registry.directory_credentials else {
        return Outcome::Skipped(Skipped::NoCredentials);
    };
    let harbors = match pairs::harbors(flows) {
        Ok(harbors) => harbors,
        Err(reason) => return Outcome::Skipped(reason),
    };
    let now = client.clock.at(client.began);
    let is_harbor = |flow: &&Flow| flow.route.backend().is_some_and(|name| harbors.contains(name));
    let last = |flow: &Flow| {
        let own = |login: &&OfRoute<DirectoryLogin>| login.route == flow.route;
        before.into_iter().flatten().find(own).and_then(|login| login.value.measured())
    };
    // Where it was accepted before comes first, then who was not asked, so that each has its turn.
    let mut order: Vec<&Flow> = flows.iter().filter(is_harbor).collect();
    order.sort_by_key(|flow| match last(flow) {
        Some(login) if login.verdict == LoginVerdict::Accepted => 0,
        None => 1,
        Some(_) => 2,
    });
    let mut logins = Logins::new();
    // What was refused lately is not tried again, and counts.
    let (held, open): (Vec<&Flow>, Vec<&Flow>) =
        order.into_iter().partition(|flow| last(flow).is_some_and(|login| stands(login, now)));
    for flow in held {
        let value = last(flow)
            .map_or(Outcome::Skipped(Skipped::NotNeeded), |login| Outcome::Measured(*login));
        logins.push(OfRoute { route: flow.route.clone(), value });
    }
    for flow in open {
        let told: Vec<&DirectoryLogin> =
            logins.iter().filter_map(|login| login.value.measured()).collect();
        let accepted = told.iter().any(|login| login.verdict == LoginVerdict::Accepted);
        let value = if !accepted && told.len() >= ENOUGH {
            Outcome::Skipped(Skipped::NotNeeded)
        } else {
            login(client, flow, credentials, now).await
        };
        logins.push(OfRoute { route: flow.route.clone(), value });
    }
    // Where no backend was asked, the first backend's reason is the check's.
    let skipped = |login: &OfRoute<DirectoryLogin>| matches!(login.value, Outcome::Skipped(_));
    match logins.iter().all(skipped).then(|| logins.first()) {
        Some(Some(OfRoute { value: Outcome::Skipped(reason), .. })) => Outcome::Skipped(*reason),
        _ => Outcome::Measured(logins),
    }
}

/// Whether a login was refused within the hour.
fn stands(login: &DirectoryLogin, now: DateTime<Utc>) -> bool {
    login.verdict == LoginVerdict::Refused && now - login.at < LEFT_IN_PEACE
}

/// Logs in where the robot just did, which shows that the node itself is well.
async fn login(
    client: &Client<'_>,
    flow: &Flow,
    credentials: &Credentials,
    now: DateTime<Utc>,
) -> Outcome<DirectoryLogin> {
    let Some(robot) = flow.step(Step::Token).filter(|report| report.failure.is_none()) else {
        return Outcome::Skipped(Skipped::EarlierStepFailed);
    };
    let robot_seconds = robot.timeline.total().as_secs_f64();
    let with = |(verdict, seconds)| DirectoryLogin { verdict, seconds, robot_seconds, at: now };
    match ask(client, flow, credentials).await {
        Outcome::Measured((LoginVerdict::Accepted, seconds)) if seconds >= LATE => {
            let again = ask(client, flow, credentials).await;
            let quicker = again.measured().map_or(seconds, |(_, again)| again.min(seconds));
            Outcome::Measured(with((LoginVerdict::Accepted, quicker)))
        }
        Outcome::Measured(ended) => Outcome::Measured(with(ended)),
        Outcome::Failed(failure) => Outcome::Failed(failure),
        Outcome::Skipped(reason) => Outcome::Skipped(reason),
    }
}

/// Asks for a token without a scope, which Harbor refuses to unknown accounts; with one, an
/// unknown person would get an anonymous token.
async fn ask(
    client: &Client<'_>,
    flow: &Flow,
    credentials: &Credentials,
) -> Outcome<(LoginVerdict, f64)> {
    let route = &flow.route;
    if client.holds(route) {
        return Outcome::Skipped(Skipped::BackingOff);
    }
    if client.is_over() {
        return Outcome::Skipped(Skipped::DeadlineReached);
    }
    let challenge = flow.challenge.measured();
    let endpoint =
        challenge.and_then(|challenge| endpoint::endpoint(client, route, challenge).ok());
    let Some(endpoint) = endpoint.filter(|at| at.issuer == Issuer::Route(route.clone())) else {
        return Outcome::Skipped(Skipped::EarlierStepFailed);
    };
    let auth = Auth::Basic(credentials);
    let request = Request::of(Check::DirectoryLogin, Method::GET, endpoint.path(), auth);
    let response = client.send(client.link(route).as_mut(), route, request).await;
    let seconds = response.timeline().total().as_secs_f64();
    let verdict = match outcome(&response) {
        Ok(answer) if answer.status == 200 && !answer.html => LoginVerdict::Accepted,
        Ok(answer) if answer.status == 401 => LoginVerdict::Refused,
        Ok(answer) => return Outcome::Failed(unexpected(answer, "200 or 401")),
        // The end of the round's time is not the directory's.
        Err(_) if client.is_over() => return Outcome::Skipped(Skipped::DeadlineReached),
        Err(failure) if failure.reason == Reason::Timeout && failure.phase == Some(Phase::Wait) => {
            LoginVerdict::TimedOut
        }
        Err(failure) => return Outcome::Failed(failure),
    };
    Outcome::Measured((verdict, seconds))
}
