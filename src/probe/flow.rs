//! The token flow over one route: challenge, token, access, repository.
//!
//! Each step can only be made from what the one before gave: a realm comes from a Bearer
//! challenge, a token from a realm, an access request from a token.

use std::future::Future;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::time::Instant;
use url::Url;

use super::ask::{Ask, Asked, Asker, Auth, SECOND_TRY_AFTER, Token};
use crate::config::{Authority, TokenMethod};
use crate::model::{
    Answer, AuthScheme, Challenge, Failure, Family, Flow, FlowResult, Issuer, Outcome, Reason,
    Route, Skipped, Step, StepReport, TokenFacts,
};
use crate::registry::{self, TokenError};
use crate::transport::Link;

/// The most redirects that are followed, always within one authority.
const MAX_REDIRECTS: usize = 5;

/// A token that took so long is asked for once more.
const SLOW: Duration = Duration::from_millis(1_500);

/// Runs the flow of a route; one that the network lost is tried once more, so that a single lost
/// packet is not taken for a broken backend.
pub(super) async fn flow(asker: &Asker<'_>, route: &Route) -> (Flow, Option<Token>) {
    let first = attempt(asker, route).await;
    let lost = first.0.failure().map(|(_, failure)| failure.clone());
    match lost {
        Some(lost) if lost.reason.is_network() && !asker.is_over() => {
            asker.sleep_until(Instant::now() + SECOND_TRY_AFTER).await;
            let (mut flow, token) = attempt(asker, route).await;
            flow.lost_before = Some(lost);
            (flow, token)
        }
        _ => first,
    }
}

async fn attempt(asker: &Asker<'_>, route: &Route) -> (Flow, Option<Token>) {
    let mut flow = Flow {
        route: route.clone(),
        steps: Vec::with_capacity(4),
        challenge: Outcome::Skipped(Skipped::EarlierStepFailed),
        token: Outcome::Skipped(Skipped::EarlierStepFailed),
        issuer: None,
        result: FlowResult::Success,
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

    let endpoint = match endpoint(asker, route, &challenge) {
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
    let (mut asked, mut got) = token(asker, link.as_mut(), &endpoint, family).await;
    if got.is_ok() && asked.timeline().total() >= SLOW && !asker.is_over() {
        // One late answer is not a slow endpoint: it is asked again, and the quicker counts.
        let mut link = endpoint.link(asker);
        let again = token(asker, link.as_mut(), &endpoint, family).await;
        if again.1.is_ok() && again.0.timeline().total() < asked.timeline().total() {
            (asked, got) = again;
        }
    }
    let (token, failure) = match got {
        Ok(token) => (Some(Box::new(token)), None),
        Err(Unusable { failure, token }) => (token, Some(failure)),
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
    flow.steps.push(report(Step::Access, asked, failure.as_ref()));
    if failure.is_none()
        && let Some(scope) = &asker.registry.scope
    {
        let path = format!("/v2/{}/tags/list", scope.repository);
        let mut link = asker.link(route);
        let step = Step::Repository;
        let (asked, failure) = access(asker, link.as_mut(), route, step, &path, &token).await;
        flow.steps.push(report(step, asked, failure.as_ref()));
    }
    Some(token)
}

fn report(step: Step, asked: Asked, failure: Option<&Failure>) -> StepReport {
    let timeline = asked.timeline();
    StepReport { step, answer: asked.answer, failure: failure.cloned(), timeline }
}

/// `GET /v2/` without a token: 401 with a Bearer challenge is success.
pub(super) async fn challenge(
    asker: &Asker<'_>,
    link: &mut dyn Link,
    route: &Route,
) -> (Asked, Result<Challenge, Failure>) {
    let public = asker.registry.url.authority().clone();
    let ask = Ask::get(Step::Challenge, "/v2/", Auth::None);
    let asked = following(asker, link, route, &public, ask).await;
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

fn bearer(answer: &Answer) -> Result<Challenge, Failure> {
    let bad = |detail: String| Err(Failure::of_answer(Reason::BadChallenge, detail));
    match &answer.challenge {
        _ if answer.html => Err(unexpected(answer, "401 with a Bearer challenge")),
        None => bad("401 without WWW-Authenticate; expected a Bearer challenge".to_owned()),
        Some(challenge) if challenge.scheme != AuthScheme::Bearer => {
            bad(format!("a {:?} challenge; expected Bearer", challenge.scheme))
        }
        Some(challenge) if challenge.realm.as_deref().is_none_or(str::is_empty) => {
            bad("a Bearer challenge without realm".to_owned())
        }
        Some(challenge) => Ok(challenge.clone()),
    }
}

/// Where a token is asked for.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) issuer: Issuer,
    route: Route,
    authority: Authority,
    service: Option<String>,
    url: Url,
}

impl Endpoint {
    /// A fresh link: pinned to the route if the registry issues, else to the token server.
    pub(super) fn link(&self, asker: &Asker<'_>) -> Box<dyn Link> {
        match &self.issuer {
            Issuer::Route(route) => asker.link(route),
            Issuer::Server(_) => asker.link_to(&self.authority),
        }
    }
}

/// The token endpoint that a challenge names, if credentials may go there.
pub(super) fn endpoint(
    asker: &Asker<'_>,
    route: &Route,
    challenge: &Challenge,
) -> Result<Endpoint, Failure> {
    let realm = challenge.realm.as_deref().unwrap_or_default();
    let bad = |why: &dyn std::fmt::Display| {
        Failure::of_answer(Reason::BadChallenge, format!("the realm cannot be used: {why}"))
    };
    let authority = Authority::of_url(realm).map_err(|error| bad(&error))?;
    let url = Url::parse(realm).map_err(|error| bad(&error))?;
    let public = asker.registry.url.authority();
    let issuer = if authority == *public {
        Issuer::Route(route.clone())
    } else if asker.registry.allowed_realms.contains(&authority) {
        Issuer::Server(authority.host_port.to_string())
    } else {
        return Err(Failure::of_answer(
            Reason::RealmNotAllowed,
            format!(
                "the realm is at {authority}; expected {public} or one of allowed_realms; \
                 no credentials were sent"
            ),
        ));
    };
    Ok(Endpoint {
        issuer,
        route: route.clone(),
        authority,
        service: challenge.service.clone(),
        url,
    })
}

/// A token that must not be used, kept for what it says.
pub(super) struct Unusable {
    pub(super) failure: Failure,
    pub(super) token: Option<Box<Token>>,
}

impl From<Failure> for Unusable {
    fn from(failure: Failure) -> Self {
        Self { failure, token: None }
    }
}

/// Asks for a token, by GET or by OAuth2 POST, and checks that it is what was asked for.
pub(super) async fn token(
    asker: &Asker<'_>,
    link: &mut dyn Link,
    endpoint: &Endpoint,
    family: Family,
) -> (Asked, Result<Token, Unusable>) {
    let post = asker.registry.token_method == TokenMethod::Post;
    let credentials = asker.registry.credentials.as_ref();
    let mut url = endpoint.url.clone();
    let query = parameters(asker, endpoint);
    if !post {
        url.query_pairs_mut().extend_pairs(&query);
    }
    let path = path_of(&url);
    let ask = if post {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(&query).append_pair("client_id", "registry-prober");
        if let Some(credentials) = credentials {
            form.append_pair("grant_type", "password")
                .append_pair("username", &credentials.username)
                .append_pair("password", credentials.password.expose_secret());
        }
        Ask { form: Some(form.finish()), ..Ask::get(Step::Token, &path, Auth::None) }
    } else {
        Ask::get(Step::Token, &path, credentials.map_or(Auth::None, Auth::Basic))
    };
    let asked = following(asker, link, &endpoint.route, &endpoint.authority, ask).await;
    let result = read(asker, endpoint, family, &asked);
    (asked, result)
}

fn parameters(asker: &Asker<'_>, endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    let mut query = Vec::new();
    query.extend(endpoint.service.clone().map(|service| ("service", service)));
    match (&asker.registry.scope, &asker.registry.credentials) {
        (Some(scope), _) => query.push(("scope", scope.text())),
        // Harbor gives the anonymous a token only for a scope; this one touches no database.
        (None, None) => query.push(("scope", "registry-prober:none:none".to_owned())),
        (None, Some(_)) => {}
    }
    query
}

fn read(
    asker: &Asker<'_>,
    endpoint: &Endpoint,
    family: Family,
    asked: &Asked,
) -> Result<Token, Unusable> {
    let answer = outcome(asked)?;
    if answer.status != 200 || answer.html {
        return Err(unexpected(answer, "200 with a token").into());
    }
    let body = asked.reply().map(|reply| reply.body.as_slice()).unwrap_or_default();
    let unreadable = |error: TokenError| {
        let reason = match error {
            TokenError::TooLarge(_) => Reason::TooLarge,
            _ => Reason::BadTokenResponse,
        };
        Failure::of_answer(reason, error.to_string())
    };
    let response = registry::read_token_response(body).map_err(unreadable)?;
    let secret = response.token.expose_secret();
    let facts = registry::read_token(secret, response.expires_in).map_err(unreadable)?;
    if let (Some(issued_at), Issuer::Route(route)) = (facts.issued_at, &endpoint.issuer) {
        asker.book_issued_at(route, &asked.exchange, issued_at);
    }
    let problem = problem(asker, endpoint, family, &facts);
    let token = Token::new(secret, facts, endpoint.issuer.clone());
    match (token, problem) {
        (Some(token), None) => Ok(token),
        (token, Some(failure)) => Err(Unusable { failure, token: token.map(Box::new) }),
        (None, None) => Err(unreadable(TokenError::Characters).into()),
    }
}

/// HTTP 200 proves nothing: a token is good when it is what was asked for.
fn problem(
    asker: &Asker<'_>,
    endpoint: &Endpoint,
    family: Family,
    facts: &TokenFacts,
) -> Option<Failure> {
    let failure = |reason, detail: String| Some(Failure::of_answer(reason, detail));
    if let Some(credentials) = &asker.registry.credentials {
        let subject = facts.subject.as_deref().unwrap_or_default();
        if facts.is_anonymous() {
            return failure(
                Reason::AnonymousToken,
                "200 with a token that names nobody although credentials were sent".to_owned(),
            );
        }
        // Other token servers may map the account to another subject; Harbor never does.
        if family == Family::Harbor2 && !subject.eq_ignore_ascii_case(&credentials.username) {
            let name = &credentials.username;
            return failure(
                Reason::WrongSubject,
                format!("the token is for {subject:?}; expected {name:?}"),
            );
        }
    }
    if let Some(service) = &endpoint.service
        && !facts.audience.contains(service)
    {
        return failure(
            Reason::WrongAudience,
            format!(
                "the token's aud is {:?}; expected the challenge's service {service:?}",
                facts.audience
            ),
        );
    }
    if facts.lifetime().is_some_and(|lifetime| lifetime <= 0)
        || facts.not_before.zip(facts.expires_at).is_some_and(|(from, to)| from >= to)
    {
        return failure(
            Reason::BadTokenTimes,
            format!(
                "iat {:?}, nbf {:?}, exp {:?} leave no lifetime",
                facts.issued_at, facts.not_before, facts.expires_at
            ),
        );
    }
    let scope = asker.registry.scope.as_ref()?;
    asker.registry.credentials.as_ref()?;
    let missing: Vec<&str> = scope
        .actions
        .iter()
        .filter(|action| !facts.grants(&scope.repository, action))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return None;
    }
    failure(
        Reason::MissingAccess,
        format!("the token does not grant {} on {}", missing.join(","), scope.repository),
    )
}

/// A request with a token: 200 is success.
pub(super) async fn access(
    asker: &Asker<'_>,
    link: &mut dyn Link,
    route: &Route,
    step: Step,
    path: &str,
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
    let mut detail = vec![format!("status {}; expected {expected}", answer.status)];
    detail.extend(answer.server.as_ref().map(|server| format!("answered by {server:?}")));
    detail.extend(answer.location.as_ref().map(|to| format!("redirected to {to}")));
    let message = answer.error_message.as_ref().filter(|message| !message.is_empty());
    detail.extend(message.map(|message| format!("{message:?}")));
    let detail = detail.join("; ");
    Failure::of_answer(reason, detail)
}

/// Sends a request and follows redirects that stay within `authority`; any other redirect is the
/// answer itself, so that nothing is ever sent elsewhere.
async fn following(
    asker: &Asker<'_>,
    link: &mut dyn Link,
    route: &Route,
    authority: &Authority,
    mut ask: Ask<'_>,
) -> Asked {
    let mut asked = asker.ask(link, route, ask.clone()).await;
    for _ in 0..MAX_REDIRECTS {
        match redirect(authority, &ask.path, &asked) {
            Some(next) if next != ask.path => ask.path = next,
            _ => break,
        }
        asked = asker.ask(link, route, ask.clone()).await;
    }
    asked
}

fn redirect(authority: &Authority, path: &str, asked: &Asked) -> Option<String> {
    let reply =
        asked.reply().filter(|reply| matches!(reply.status, 301 | 302 | 303 | 307 | 308))?;
    let location = reply.headers.get(http::header::LOCATION)?.to_str().ok()?;
    let base = Url::parse(&format!("{authority}{path}")).ok()?;
    let next = base.join(location).ok()?;
    (Authority::of_url(next.as_str()).ok()? == *authority).then(|| path_of(&next))
}

fn path_of(url: &Url) -> String {
    match url.query() {
        Some(query) if !query.is_empty() => format!("{}?{query}", url.path()),
        _ => url.path().to_owned(),
    }
}

/// Keeps the compiler's view of a boxed flow small where many run at once.
pub(super) fn boxed<'a, T>(
    future: impl Future<Output = T> + Send + 'a,
) -> crate::transport::BoxFuture<'a, T> {
    Box::pin(future)
}
