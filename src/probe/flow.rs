//! The token flow over one route: challenge, token, access, repository.
//!
//! Each step needs what the one before gave: a realm comes from a Bearer
//! challenge, a token from a realm, an access request from a token.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::{following, outcome, unexpected};
use super::claims;
use super::client::{Client, Connection, TRY_AGAIN_AFTER};
use super::endpoint;
use super::path::Path;
use super::request::{Auth, Request, Response, Token};
use super::token;
use crate::model::{
    AccessScheme, Answer, AuthScheme, Challenge, Failure, Family, Flow, FlowResult, Outcome,
    Reason, Route, Setting, Skipped, Step, StepReport, Timeline,
};
use crate::registry;
use crate::transport::Reply;

/// A token that took so long is asked for once more.
const SLOW: Duration = Duration::from_millis(1_500);

/// Runs the flow of a route. One that the network lost is tried once more, so that a single lost
/// packet is not taken for a broken backend; and a third time if connections broke off both times,
/// which costs no wait. `ROUNDS=10000` with `tests/it/healthy.rs` shows why: where one request of a
/// thousand is lost, two tries both fail in about one of ten thousand rounds.
pub(super) async fn flow(client: &Client<'_>, route: &Route) -> (Flow, Option<Token>) {
    let (mut flow, mut token) = attempt(client, route).await;
    for more in [is_lost as fn(&Flow) -> bool, broke_off] {
        if !more(&flow) || client.is_over() {
            break;
        }
        let lost = flow.failure().map(|(_, failure)| failure.clone());
        client.sleep_until(Instant::now() + TRY_AGAIN_AFTER).await;
        (flow, token) = attempt(client, route).await;
        flow.lost_before = lost;
    }
    (flow, token)
}

fn is_lost(flow: &Flow) -> bool {
    flow.failure().is_some_and(|(_, failure)| failure.reason.is_network())
}

/// Whether a server was there, and went away in the middle.
fn broke_off(flow: &Flow) -> bool {
    let broken = |reason| matches!(reason, Reason::ConnectionReset | Reason::Truncated);
    flow.failure().is_some_and(|(_, failure)| broken(failure.reason))
}

async fn attempt(client: &Client<'_>, route: &Route) -> (Flow, Option<Token>) {
    let mut flow = Flow {
        route: route.clone(),
        scheme: AccessScheme::Token,
        steps: Vec::with_capacity(4),
        challenge: Outcome::Skipped(Skipped::EarlierStepFailed),
        token: Outcome::Skipped(Skipped::EarlierStepFailed),
        issuer: None,
        result: FlowResult::Success,
        other_method: None,
        lost_before: None,
    };
    let token = run(client, route, &mut flow).await;
    if let Some(report) = flow.steps.iter().find(|report| report.failure.is_some())
        && let Some(failure) = report.failure.clone()
    {
        flow.result = FlowResult::Failed { step: report.step, failure };
    }
    (flow, token)
}

/// The steps, as far as they lead. The token is one that other nodes may be shown.
async fn run(client: &Client<'_>, route: &Route, flow: &mut Flow) -> Option<Token> {
    let mut link = client.link(route);
    let (response, challenge) = challenge(client, link.as_mut(), route).await;
    flow.challenge = match &challenge {
        Ok(challenge) => Outcome::Measured(challenge.clone()),
        Err(failure) => Outcome::Failed(failure.clone()),
    };
    let family = response.answer.as_ref().map_or(Family::Unknown, registry::family_of);
    flow.steps.push(report(Step::Challenge, response, challenge.as_ref().err()));
    let challenge = challenge.ok()?;

    let token = match endpoint::endpoint(client, route, &challenge) {
        Ok(endpoint) => take_token(client, &endpoint, family, flow).await?,
        Err(failure) => {
            flow.token = Outcome::Failed(failure.clone());
            flow.steps.push(unsent(Step::Token, failure));
            return None;
        }
    };
    // Harbor's core asks for a subject on /v2/, so an anonymous token proves nothing there.
    if token.facts.is_anonymous() && family == Family::Harbor2 {
        return None;
    }
    show_token(client, route, &token, flow).await;
    Some(token)
}

/// The step that asks for a token, and asks again where that tells more.
async fn take_token(
    client: &Client<'_>,
    endpoint: &endpoint::Endpoint,
    family: Family,
    flow: &mut Flow,
) -> Option<Token> {
    flow.issuer = Some(endpoint.issuer.clone());
    let mut link = endpoint.link(client);
    let (mut response, mut got) = token::token(client, link.as_mut(), endpoint, family).await;
    if got.is_ok() && response.timeline().total() >= SLOW && !client.is_over() {
        // One late answer is not a slow endpoint: it is asked again, and the quicker counts.
        let mut link = endpoint.link(client);
        let again = token::token(client, link.as_mut(), endpoint, family).await;
        if again.1.is_ok() && again.0.timeline().total() < response.timeline().total() {
            (response, got) = again;
        }
    }
    if got.is_err() {
        let at = (endpoint, family);
        flow.other_method = token::by_other_method(client, link.as_mut(), at, &response).await;
    }
    let (token, failure) = match got {
        Ok(token) => (Some(Box::new(token)), None),
        Err(claims::Unusable { failure, token, .. }) => (token, Some(failure)),
    };
    flow.token = match (&token, &failure) {
        (Some(token), _) => Outcome::Measured(token.facts.clone()),
        (None, Some(failure)) => Outcome::Failed(failure.clone()),
        (None, None) => Outcome::Skipped(Skipped::NoToken),
    };
    flow.steps.push(report(Step::Token, response, failure.as_ref()));
    if failure.is_some() { None } else { token.map(|token| *token) }
}

/// The steps that show the token: to `/v2/`, then to the repository of the scope.
async fn show_token(client: &Client<'_>, route: &Route, token: &Token, flow: &mut Flow) {
    let mut link = client.link(route);
    let (response, failure) =
        access(client, link.as_mut(), route, Step::Access, "/v2/", token).await;
    // nginx adds headers to what went well; this is the same request at every node.
    if let Some(reply) = response.reply().filter(|_| failure.is_none()) {
        let policy = registry::strict_transport(&reply.headers);
        client.record_settings(route, vec![(Setting::StrictTransportSecurity, policy)]);
    }
    let refused = failure.is_some();
    flow.steps.push(report(Step::Access, response, failure.as_ref()));
    let Some(scope) = client.registry.scope.as_ref().filter(|_| !refused) else { return };
    let path = Path::of(&scope.repository).then("/tags/list");
    let mut link = client.link(route);
    let step = Step::Repository;
    let (response, failure) = access(client, link.as_mut(), route, step, path, token).await;
    flow.steps.push(report(step, response, failure.as_ref()));
}

/// A step that failed before a request was sent.
fn unsent(step: Step, failure: Failure) -> StepReport {
    StepReport { step, answer: None, failure: Some(failure), timeline: Timeline::default() }
}

pub(super) fn report(step: Step, response: Response, failure: Option<&Failure>) -> StepReport {
    let timeline = response.timeline();
    StepReport { step, answer: response.answer, failure: failure.cloned(), timeline }
}

/// `GET /v2/` without a token: 401 with a Bearer challenge is success.
pub(super) async fn challenge(
    client: &Client<'_>,
    link: &mut Connection,
    route: &Route,
) -> (Response, Result<Challenge, Failure>) {
    let public = client.registry.url.authority().clone();
    let request = Request::get(Step::Challenge, "/v2/", Auth::None);
    let response = following(client, link, route, (&public, Path::root), request).await;
    let result = match outcome(&response) {
        Err(failure) => Err(failure),
        Ok(answer) if answer.status == 401 => bearer(answer, response.reply()),
        Ok(answer) if (200..300).contains(&answer.status) && !answer.html => {
            Err(Failure::of_answer(
                Reason::NoChallenge,
                format!("status {} to a request without a token; expected 401", answer.status),
            ))
        }
        Ok(answer) => Err(unexpected(answer, "401 with a Bearer challenge")),
    };
    (response, result)
}

/// A usable challenge is one whatever the body looks like: some servers send theirs as a page.
fn bearer(answer: &Answer, reply: Option<&Reply>) -> Result<Challenge, Failure> {
    let said = reply.map(|reply| registry::shown_challenge(&reply.headers)).unwrap_or_default();
    let bad = |what: &str| {
        let told = format!("WWW-Authenticate is {said}: {what}; expected Bearer with a realm");
        Err(Failure::of_answer(Reason::BadChallenge, told))
    };
    match &answer.challenge {
        Some(challenge) if challenge.scheme == AuthScheme::Bearer && challenge.realm.is_some() => {
            Ok(challenge.clone())
        }
        _ if answer.html => Err(unexpected(answer, "401 with a Bearer challenge")),
        None => {
            let told = "401 without WWW-Authenticate; expected a Bearer challenge";
            Err(Failure::of_answer(Reason::BadChallenge, told))
        }
        Some(challenge) => bad(match challenge.scheme {
            AuthScheme::Bearer => "Bearer without a realm that can be read",
            AuthScheme::Basic => "Basic",
            AuthScheme::Empty => "an empty challenge",
            AuthScheme::Other => "no scheme that clients of registries know",
        }),
    }
}

/// A request with a token: 200 is success.
pub(super) async fn access(
    client: &Client<'_>,
    link: &mut Connection,
    route: &Route,
    step: Step,
    path: impl Into<Path>,
    token: &Token,
) -> (Response, Option<Failure>) {
    let response = client.send(link, route, Request::get(step, path, Auth::Bearer(token))).await;
    let failure = match outcome(&response) {
        Err(failure) => Some(failure),
        Ok(answer) if answer.lets_in(step) => None,
        Ok(answer) => Some(unexpected(answer, "200")),
    };
    (response, failure)
}

/// Keeps the compiler's view of a boxed flow small where many run at once.
pub(super) fn boxed<'a, T>(
    future: impl Future<Output = T> + Send + 'a,
) -> crate::transport::BoxFuture<'a, T> {
    Box::pin(future)
}
