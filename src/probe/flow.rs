//! The token flow over one route: challenge, token, access, repository.
//!
//! Each step can only be made from what the one before gave: a realm comes from a Bearer
//! challenge, a token from a realm, an access request from a token.

use std::future::Future;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;
use url::Url;

use super::ask::{Ask, Asked, Asker, Auth, Line, TRY_AGAIN_AFTER, Token};
use super::path::Path;
use super::token;
use crate::config::Authority;
use crate::model::{
    AccessScheme, Answer, AuthScheme, Challenge, Failure, Family, Flow, FlowResult, Outcome,
    Reason, Route, Setting, Skipped, Step, StepReport,
};
use crate::registry;

/// The most redirects that are followed, always within one authority.
const MAX_REDIRECTS: usize = 5;

/// A token that took so long is asked for once more.
const SLOW: Duration = Duration::from_millis(1_500);

/// Runs the flow of a route. One that the network lost is tried once more, so that a single lost
/// packet is not taken for a broken backend; and a third time if connections broke off both times,
/// which costs no wait. `ROUNDS=10000` with `tests/it/healthy.rs` shows why: where one request of a
/// thousand is lost, two tries both fail in about one of ten thousand rounds.
pub(super) async fn flow(asker: &Asker<'_>, route: &Route) -> (Flow, Option<Token>) {
    let (mut flow, mut token) = attempt(asker, route).await;
    for more in [is_lost as fn(&Flow) -> bool, broke_off] {
        if !more(&flow) || asker.is_over() {
            break;
        }
        let lost = flow.failure().map(|(_, failure)| failure.clone());
        asker.sleep_until(Instant::now() + TRY_AGAIN_AFTER).await;
        (flow, token) = attempt(asker, route).await;
        flow.lost_before = lost;
    }
    (flow, token)
}

fn is_lost(flow: &Flow) -> bool {
    flow.failure().is_some_and(|(_, failure)| failure.reason.is_network())
}

/// Whether somebody was there, and went away in the middle.
fn broke_off(flow: &Flow) -> bool {
    let broken = |reason| matches!(reason, Reason::ConnectionReset | Reason::Truncated);
    flow.failure().is_some_and(|(_, failure)| broken(failure.reason))
}

async fn attempt(asker: &Asker<'_>, route: &Route) -> (Flow, Option<Token>) {
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
    let token = run(asker, route, &mut flow).await;
    if let Some(report) = flow.steps.iter().find(|report| report.failure.is_some())
        && let Some(failure) = report.failure.clone()
    {
        flow.result = FlowResult::Failed { step: report.step, failure };
    }
    (flow, token)
}

async fn run(asker: &Asker<'_>, route: &Route, flow: &mut Flow) -> Option<Token> {
    let mut link = asker.link(route);
    let (asked, challenge) = challenge(asker, link.as_mut(), route).await;
    flow.challenge = match &challenge {
        Ok(challenge) => Outcome::Measured(challenge.clone()),
        Err(failure) => Outcome::Failed(failure.clone()),
    };
    let family = asked.answer.as_ref().map_or(Family::Unknown, registry::family_of);
    flow.steps.push(report(Step::Challenge, asked, challenge.as_ref().err()));
    let challenge = challenge.ok()?;

    let endpoint = match token::endpoint(asker, route, &challenge) {
        Ok(endpoint) => endpoint,
        Err(failure) => {
            flow.token = Outcome::Failed(failure.clone());
            flow.steps.push(StepReport {
                step: Step::Token,
                answer: None,
                failure: Some(failure),
                timeline: crate::model::Timeline::default(),
            });
            return None;
        }
    };
    flow.issuer = Some(endpoint.issuer.clone());
    let mut link = endpoint.link(asker);
    let (mut asked, mut got) = token::token(asker, link.as_mut(), &endpoint, family).await;
    if got.is_ok() && asked.timeline().total() >= SLOW && !asker.is_over() {
        // One late answer is not a slow endpoint: it is asked again, and the quicker counts.
        let mut link = endpoint.link(asker);
        let again = token::token(asker, link.as_mut(), &endpoint, family).await;
        if again.1.is_ok() && again.0.timeline().total() < asked.timeline().total() {
            (asked, got) = again;
        }
    }
    if got.is_err() {
        let at = (&endpoint, family);
        flow.other_method = token::by_other_method(asker, link.as_mut(), at, &asked).await;
    }
    let (token, failure) = match got {
        Ok(token) => (Some(Box::new(token)), None),
        Err(token::Unusable { failure, token }) => (token, Some(failure)),
    };
    flow.token = match (&token, &failure) {
        (Some(token), _) => Outcome::Measured(token.facts.clone()),
        (None, Some(failure)) => Outcome::Failed(failure.clone()),
        (None, None) => Outcome::Skipped(Skipped::NoToken),
    };
    flow.steps.push(report(Step::Token, asked, failure.as_ref()));
    if failure.is_some() {
        return None;
    }
    let token = *token?;

    // Harbor's core asks for a subject on /v2/, so an anonymous token proves nothing there.
    if token.facts.is_anonymous() && family == Family::Harbor2 {
        return None;
    }
    let mut link = asker.link(route);
    let (asked, failure) = access(asker, link.as_mut(), route, Step::Access, "/v2/", &token).await;
    // nginx adds headers to what went well; this is the same request at every node.
    if let Some(reply) = asked.reply().filter(|_| failure.is_none()) {
        let told = registry::strict_transport(&reply.headers);
        asker.book_settings(route, vec![(Setting::StrictTransportSecurity, told)]);
    }
    flow.steps.push(report(Step::Access, asked, failure.as_ref()));
    if failure.is_none()
        && let Some(scope) = &asker.registry.scope
    {
        let path = Path::of(&scope.repository).then("/tags/list");
        let mut link = asker.link(route);
        let step = Step::Repository;
        let (asked, failure) = access(asker, link.as_mut(), route, step, path, &token).await;
        flow.steps.push(report(step, asked, failure.as_ref()));
    }
    Some(token)
}

pub(super) fn report(step: Step, asked: Asked, failure: Option<&Failure>) -> StepReport {
    let timeline = asked.timeline();
    StepReport { step, answer: asked.answer, failure: failure.cloned(), timeline }
}

/// `GET /v2/` without a token: 401 with a Bearer challenge is success.
pub(super) async fn challenge(
    asker: &Asker<'_>,
    link: &mut Line,
    route: &Route,
) -> (Asked, Result<Challenge, Failure>) {
    let public = asker.registry.url.authority().clone();
    let ask = Ask::get(Step::Challenge, "/v2/", Auth::None);
    let asked = following(asker, link, route, (&public, Path::root), ask).await;
    let result = match outcome(&asked) {
        Err(failure) => Err(failure),
        Ok(answer) if answer.status == 401 => bearer(answer),
        Ok(answer) if (200..300).contains(&answer.status) && !answer.html => {
            Err(Failure::of_answer(
                Reason::NoChallenge,
                format!("status {} to a request without a token; expected 401", answer.status),
            ))
        }
        Ok(answer) => Err(unexpected(answer, "401 with a Bearer challenge")),
    };
    (asked, result)
}

/// A usable challenge is one whatever the body looks like: some servers send theirs as a page.
fn bearer(answer: &Answer) -> Result<Challenge, Failure> {
    let bad = |detail: String| Err(Failure::of_answer(Reason::BadChallenge, detail));
    match &answer.challenge {
        Some(challenge) if challenge.scheme == AuthScheme::Bearer && challenge.realm.is_some() => {
            Ok(challenge.clone())
        }
        _ if answer.html => Err(unexpected(answer, "401 with a Bearer challenge")),
        None => bad("401 without WWW-Authenticate; expected a Bearer challenge".to_owned()),
        Some(challenge) if challenge.scheme != AuthScheme::Bearer => {
            bad(format!("a {:?} challenge; expected Bearer", challenge.scheme))
        }
        Some(_) => bad("a Bearer challenge without realm".to_owned()),
    }
}

/// A request with a token: 200 is success.
pub(super) async fn access(
    asker: &Asker<'_>,
    link: &mut Line,
    route: &Route,
    step: Step,
    path: impl Into<Path>,
    token: &Token,
) -> (Asked, Option<Failure>) {
    let asked = asker.ask(link, route, Ask::get(step, path, Auth::Bearer(token))).await;
    let failure = match outcome(&asked) {
        Err(failure) => Some(failure),
        Ok(answer) if answer.status == 200 && !answer.html => None,
        Ok(answer) => Some(unexpected(answer, "200")),
    };
    (asked, failure)
}

/// The answer, or the transport's failure.
pub(super) fn outcome(asked: &Asked) -> Result<&Answer, Failure> {
    match (&asked.exchange.result, &asked.answer) {
        (Err(failure), _) => Err(failure.clone()),
        (Ok(_), Some(answer)) => Ok(answer),
        (Ok(_), None) => Err(Failure::of_answer(Reason::UnexpectedStatus, "no answer was read")),
    }
}

/// The failure for an answer that is not the expected one.
pub(super) fn unexpected(answer: &Answer, expected: &str) -> Failure {
    let reason = match answer.status {
        200..=299 | 400 | 404 | 405 if answer.html => Reason::Html,
        status => Reason::of_status(status),
    };
    let page = if answer.html { " with a web page" } else { "" };
    let mut detail = vec![format!("status {}{page}; expected {expected}", answer.status)];
    detail.extend(answer.server.as_ref().map(|server| format!("answered by {server:?}")));
    detail.extend(answer.page.map(|page| page.as_str().to_owned()));
    detail.extend(answer.location.as_ref().map(|to| format!("redirected to {to}")));
    let message = answer.error_message.as_ref().filter(|message| !message.is_empty());
    detail.extend(message.map(|message| format!("{message:?}")));
    let detail = detail.join("; ");
    Failure::of_answer(reason, detail)
}

/// Sends a request and follows redirects that stay within an authority and lead to what was asked
/// for there, by `place`; any other redirect is the answer itself, so that nothing is ever sent
/// elsewhere. A form goes on only where clients send it again.
pub(super) async fn following(
    asker: &Asker<'_>,
    link: &mut Line,
    route: &Route,
    (authority, place): (&Authority, fn(&Url) -> Option<Path>),
    mut ask: Ask<'_>,
) -> Asked {
    let mut at = Url::parse(&format!("{authority}{}", ask.path.clone().into_string())).ok();
    let mut asked = asker.ask(link, route, ask.clone()).await;
    for _ in 0..MAX_REDIRECTS {
        let next = at.as_ref().and_then(|at| redirect(authority, at, &ask.method, &asked));
        match next.as_ref().and_then(place) {
            Some(path) if path != ask.path => ask.path = path,
            _ => break,
        }
        at = next;
        asked = asker.ask(link, route, ask.clone()).await;
    }
    asked
}

/// Where an answer leads within the authority.
fn redirect(authority: &Authority, at: &Url, method: &Method, asked: &Asked) -> Option<Url> {
    let follows = |status| match status {
        307 | 308 => true,
        301..=303 => method == Method::GET,
        _ => false,
    };
    let reply = asked.raw().filter(|reply| follows(reply.status))?;
    let location = reply.headers.get(http::header::LOCATION)?.to_str().ok()?;
    let next = at.join(location).ok()?;
    (Authority::of_url(next.as_str()).ok()? == *authority).then_some(next)
}

/// Keeps the compiler's view of a boxed flow small where many run at once.
pub(super) fn boxed<'a, T>(
    future: impl Future<Output = T> + Send + 'a,
) -> crate::transport::BoxFuture<'a, T> {
    Box::pin(future)
}
