//! The token endpoint: where a challenge sends us, what is asked there, and whether the token is
//! what was asked for. Credentials go to the registry's own authority and to those that are
//! allowed, and nowhere else.

use secrecy::ExposeSecret as _;
use url::Url;

use super::answer::{following, outcome, unexpected};
use super::claims;
use super::client::{Client, Connection};
use super::path::{Path, TokenUrl};
use super::request::{Auth, Request, Response, Token};
use crate::config::{Authority, Scope, TokenMethod};
use crate::model::{
    Answer, Challenge, Check, Failure, Family, Issuer, OtherMethod, Reason, Route, Step,
};
use crate::registry::{self, TokenError};

/// Where a token is asked for.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) issuer: Issuer,
    pub(super) route: Route,
    authority: Authority,
    pub(super) service: Option<String>,
    url: TokenUrl,
}

impl Endpoint {
    /// A fresh link: pinned to the route if the registry issues, else to the token server.
    pub(super) fn link(&self, client: &Client<'_>) -> Connection {
        match &self.issuer {
            Issuer::Route(route) => client.link(route),
            Issuer::Server(_) => client.link_to(&self.authority),
        }
    }

    /// What is asked for a token without a scope.
    pub(super) fn path(&self) -> Path {
        self.url.with(self.service.as_deref().map(|service| ("service", service)))
    }

    /// What is asked for a token of this scope.
    pub(super) fn path_for(&self, scope: &str) -> Path {
        let service = self.service.as_deref().map(|service| ("service", service));
        self.url.with(service.into_iter().chain([("scope", scope)]))
    }
}

/// The token endpoint that a challenge names, if credentials may go there.
pub(super) fn endpoint(
    client: &Client<'_>,
    route: &Route,
    challenge: &Challenge,
) -> Result<Endpoint, Failure> {
    let realm = challenge.realm.as_deref().unwrap_or_default();
    let bad = |why: &str| {
        let told = format!("the realm {:?} cannot be used: {why}", shown(realm));
        Failure::of_answer(Reason::RealmUnusable, told)
    };
    if realm.chars().count() > registry::MAX_PARAMETER {
        return Err(bad("it is longer than 2048 characters"));
    }
    if has_odd_host(realm) {
        return Err(bad(unusable(realm)));
    }
    let authority = Authority::of_url(realm).map_err(|_| bad(unusable(realm)))?;
    let url = Url::parse(realm).map_err(|_| bad(unusable(realm)))?;
    let public = client.registry.url.authority();
    let issuer = if authority == *public {
        Issuer::Route(route.clone())
    } else if client.registry.allowed_realms.contains(&authority) {
        Issuer::Server(authority.host_port.to_string())
    } else {
        return Err(Failure::of_answer(
            Reason::RealmNotAllowed,
            // Read as an address, a host may have become what it did not look like.
            client.redactor.text(&format!(
                "the realm is at {authority}; expected {public} or one of allowed_realms; \
                 no credentials were sent"
            )),
        ));
    };
    let url = TokenUrl::check(url)
        .ok_or_else(|| bad("its path is that of something else than a token endpoint"))?;
    Ok(Endpoint {
        issuer,
        route: route.clone(),
        authority,
        // An empty one is sent by no client.
        service: challenge.service.clone().filter(|service| !service.is_empty()),
        url,
    })
}

/// Whether there is no host, or a text that no host is called, such as a variable of a template. Some
/// of it reads as a URL all the same.
fn has_odd_host(realm: &str) -> bool {
    let authority = realm.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let odd = |c: char| c.is_ascii() && !(c.is_ascii_alphanumeric() || "-._~:[]%@".contains(c));
    authority.is_empty() || authority.contains(odd)
}

/// The longest realm that is shown.
const MAX_SHOWN: usize = 120;

/// A realm as it came, without what could be a secret in it.
fn shown(realm: &str) -> String {
    let realm = realm.split(['?', '#']).next().unwrap_or_default();
    let public = match realm.split_once('@') {
        Some((before, after)) if !after.is_empty() => {
            format!("{}…@{after}", before.split_once("//").map_or("", |_| "//"))
        }
        _ => realm.to_owned(),
    };
    public.chars().take(MAX_SHOWN).collect()
}

/// Why no client can use a realm.
fn unusable(realm: &str) -> &'static str {
    let Some((scheme, rest)) = realm.split_once("://") else {
        return match realm {
            "" => "it is empty",
            _ if realm.starts_with('/') => "it is relative, without scheme and host",
            _ => "it has no scheme",
        };
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let after_host = authority.rsplit(']').next().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        "its scheme is neither http nor https"
    } else if authority.is_empty() {
        "it has no host"
    } else if authority.contains('@') {
        "it holds credentials"
    } else if authority.contains(['$', '{', '}', '<', '>']) {
        "its host is a variable that was not filled in"
    } else if after_host.matches(':').count() > 1 {
        "it has a port twice"
    } else {
        "it is no URL"
    }
}

/// A token that must not be used, kept for what it says.
pub(super) struct Unusable {
    pub(super) failure: Failure,
    pub(super) token: Option<Box<Token>>,
    /// Whether it is only the token's own words that speak against it, and its verifier can tell.
    pub(super) doubted: bool,
}

impl From<Failure> for Unusable {
    fn from(failure: Failure) -> Self {
        Self { failure, token: None, doubted: false }
    }
}

/// What a token is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purpose<'a> {
    /// The scope to ask for.
    pub(super) scope: Option<&'a Scope>,
    /// The check that needs it; none for the flow.
    pub(super) check: Option<Check>,
    /// Whether a request by GET names the account, as docker's does.
    pub(super) account: bool,
}

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
