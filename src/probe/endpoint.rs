//! Where a challenge sends a client for a token, and for what. Credentials go to the registry's own
//! authority and to those that are allowed, and nowhere else.

use url::Url;

use super::client::{Client, Connection};
use super::path::{Path, TokenUrl};
use crate::config::{Authority, Scope};
use crate::model::{Challenge, Check, Failure, Issuer, Reason, Route};
use crate::registry;

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

/// Where a token is asked for.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) issuer: Issuer,
    pub(super) route: Route,
    pub(super) authority: Authority,
    pub(super) service: Option<String>,
    pub(super) url: TokenUrl,
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
