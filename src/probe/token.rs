//! Asking for a token: what is sent to the token endpoint, and whether the token is what was asked
//! for.

use secrecy::ExposeSecret as _;

use super::answer::{following, outcome, unexpected};
use super::claims::{self, Unusable};
use super::client::{Client, Connection};
use super::endpoint::{Endpoint, Purpose};
use super::path::Path;
use super::request::{Auth, Request, Response, Token};
use crate::config::{Scope, TokenMethod};
use crate::model::{Answer, Failure, Family, Issuer, OtherMethod, Reason, Step};
use crate::registry::{self, TokenError};

/// Asks for a token of the configured scope.
pub(super) async fn token(
    client: &Client<'_>,
    link: &mut Connection,
    endpoint: &Endpoint,
    family: Family,
) -> (Response, Result<Token, Unusable>) {
    let purpose = Purpose { scope: client.registry.scope.as_ref(), check: None, account: false };
    token_for(client, link, endpoint, family, purpose).await
}

/// Whether a status says that a token endpoint does not know the method. containerd takes the first
/// four for that; 501 is what plain web servers answer to a method that they do not implement.
pub(super) fn is_unknown_method(status: u16) -> bool {
    matches!(status, 400 | 401 | 404 | 405 | 501)
}

/// Asks for a token, by GET or by OAuth2 POST, and checks that it is what was asked for. Where POST
/// is answered as by a server that does not know it, GET is asked, as containerd does.
pub(super) async fn token_for(
    client: &Client<'_>,
    link: &mut Connection,
    endpoint: &Endpoint,
    family: Family,
    purpose: Purpose<'_>,
) -> (Response, Result<Token, Unusable>) {
    let method = client.registry.token_method;
    let first = by_method(client, link, (endpoint, family), purpose, method).await;
    let unknown = |answer: &Answer| is_unknown_method(answer.status);
    if method == TokenMethod::Get || !first.0.answer.as_ref().is_some_and(unknown) {
        return first;
    }
    let second = by_method(client, link, (endpoint, family), purpose, TokenMethod::Get).await;
    if second.1.is_ok() { second } else { first }
}

/// Whether a token is had by the method that is not configured. Asked where an answer to the
/// configured one was no token, and no refusal of the password either; without a password there is
/// nothing to post.
pub(super) async fn by_other_method(
    client: &Client<'_>,
    link: &mut Connection,
    (endpoint, family): (&Endpoint, Family),
    failed: &Response,
) -> Option<OtherMethod> {
    let answer = failed.answer.as_ref()?;
    let of_the_method = match answer.status {
        // A redirect that leads elsewhere is not about the method.
        300..=399 | 401 | 429 | 500.. => false,
        200..=299 => registry::read_token_response(&failed.raw()?.body).is_err(),
        _ => true,
    };
    if !of_the_method || client.is_over() || client.registry.credentials.is_none() {
        return None;
    }
    let (method, by_post) = match client.registry.token_method {
        TokenMethod::Get => (TokenMethod::Post, true),
        TokenMethod::Post => (TokenMethod::Get, false),
    };
    let purpose = Purpose { scope: client.registry.scope.as_ref(), check: None, account: false };
    let (_, got) = by_method(client, link, (endpoint, family), purpose, method).await;
    Some(OtherMethod { by_post, works: got.is_ok() })
}

/// Asks for a token by this method alone.
pub(super) async fn token_by(
    client: &Client<'_>,
    link: &mut Connection,
    at: (&Endpoint, Family),
    method: TokenMethod,
    purpose: Purpose<'_>,
) -> (Response, Result<Token, Unusable>) {
    by_method(client, link, at, purpose, method).await
}

async fn by_method(
    client: &Client<'_>,
    link: &mut Connection,
    (endpoint, family): (&Endpoint, Family),
    purpose: Purpose<'_>,
    method: TokenMethod,
) -> (Response, Result<Token, Unusable>) {
    let post = method == TokenMethod::Post;
    let credentials = client.registry.credentials.as_ref();
    let mut query = parameters(client, endpoint, purpose.scope);
    if let Some(credentials) = credentials.filter(|_| purpose.account && !post) {
        query.push(("account", credentials.username.clone()));
    }
    let in_url = query.iter().filter(|_| !post).map(|(name, value)| (*name, value.as_str()));
    let path = endpoint.url.with(in_url);
    let mut request = if post {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(&query).append_pair("client_id", "registry-prober");
        if let Some(credentials) = credentials {
            form.append_pair("grant_type", "password")
                .append_pair("username", &credentials.username)
                .append_pair("password", credentials.password.expose_secret());
        }
        Request::form(Step::Token, path, form.finish())
    } else {
        Request::get(Step::Token, path, credentials.map_or(Auth::None, Auth::Basic))
    };
    if purpose.check.is_some() {
        (request.step, request.check) = (Step::Check, purpose.check);
    }
    let response =
        following(client, link, &endpoint.route, (&endpoint.authority, Path::token), request).await;
    let result = read(client, endpoint, family, purpose.scope, &response);
    let result = claims::settled(client, endpoint, purpose, result).await;
    (response, result)
}

fn parameters(
    client: &Client<'_>,
    endpoint: &Endpoint,
    scope: Option<&Scope>,
) -> Vec<(&'static str, String)> {
    let mut query = Vec::new();
    query.extend(endpoint.service.clone().map(|service| ("service", service)));
    match (scope, &client.registry.credentials) {
        (Some(scope), _) => query.push(("scope", scope.text())),
        // Harbor gives the anonymous a token only for a scope; this one touches no database.
        (None, None) => query.push(("scope", "registry-prober:none:none".to_owned())),
        (None, Some(_)) => {}
    }
    query
}

fn read(
    client: &Client<'_>,
    endpoint: &Endpoint,
    family: Family,
    scope: Option<&Scope>,
    response: &Response,
) -> Result<Token, Unusable> {
    let answer = outcome(response)?;
    if !(200..300).contains(&answer.status) {
        return Err(unexpected(answer, "200 with a token").into());
    }
    let body = response.raw().map(|reply| reply.body.as_slice()).unwrap_or_default();
    let unreadable = |error: TokenError| {
        let reason = match error {
            TokenError::TooLarge(_) => Reason::TooLarge,
            _ => Reason::BadTokenResponse,
        };
        Failure::of_answer(reason, error.to_string())
    };
    // A token counts whatever the content type says of it; a page is none.
    let given = registry::read_token_response(body).map_err(|error| {
        if answer.html { unexpected(answer, "200 with a token") } else { unreadable(error) }
    })?;
    let secret = given.token.expose_secret();
    let hide = |text: &str| client.redactor.changed(text);
    let facts = registry::facts_hiding(secret, given.expires_in, &hide);
    if let (Some(issued_at), Issuer::Route(route)) = (facts.issued_at, &endpoint.issuer) {
        client.record_issued_at(route, &response.exchange, issued_at);
    }
    let problem = claims::problem(client, endpoint, family, scope, &facts);
    let token = Token::new(secret, facts, endpoint.issuer.clone());
    match (token, problem) {
        (Some(token), None) => Ok(token),
        (token, Some(claims::Problem { failure, doubted })) => {
            Err(Unusable { failure, token: token.map(Box::new), doubted })
        }
        (None, None) => Err(unreadable(TokenError::Characters).into()),
    }
}
