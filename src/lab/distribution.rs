//! Plain distribution with token authentication (2.8 and 3), and the registry of Harbor 1.10.

use http::Response;
use hyper::body::Bytes;

use super::Family;
use super::answer::{add, empty, error_body, set, with_body};
use super::answers::{error, error_type};
use super::call::Call;
use super::content;
use super::jwt::{self, KeyChoice, Policy, Refusal};
use super::resource::{Resource, challenge_actions};

/// The `service` of the challenge of plain distribution nodes.
pub(super) const SERVICE: &str = "registry.lab.invalid";
/// The issuer that they trust.
pub(super) const ISSUER: &str = "lab-issuer";
/// Harbor's names for the same.
pub(super) const HARBOR_SERVICE: &str = "harbor-registry";
/// Harbor's issuer.
pub(super) const HARBOR_ISSUER: &str = "harbor-token-issuer";

/// Answers as a distribution node does.
pub(super) fn answer(call: &mut Call<'_>) -> Response<Bytes> {
    let mut response = route(call);
    let early = !call.settings.health_check || matches!(call.path(), "/" | "/v2");
    if !call.settings.family.is_harbor() && !early {
        add(&mut response, "x-content-type-options", "nosniff");
    }
    response
}

fn route(call: &mut Call<'_>) -> Response<Bytes> {
    if !call.settings.health_check {
        let detail = "\"health check failed: please see /debug/health\"";
        return error(call, 503, "UNAVAILABLE", "service unavailable", Some(detail));
    }
    let path = call.path();
    if path == "/" {
        let mut response = empty(200);
        set(&mut response, "cache-control", "no-cache");
        return response;
    }
    if path == "/v2" {
        let body = "<a href=\"/v2/\">Moved Permanently</a>.\n\n";
        let mut response = with_body(301, "text/html; charset=utf-8", body);
        set(&mut response, "location", "/v2/");
        set(&mut response, API_VERSION.0, API_VERSION.1);
        return response;
    }
    if !path.starts_with("/v2/") {
        return with_body(404, "text/plain; charset=utf-8", "404 page not found\n");
    }
    let mut response = match authorised(call) {
        Ok(()) => content::serve(call),
        Err(problem) => refuse(call, problem),
    };
    set(&mut response, API_VERSION.0, API_VERSION.1);
    response
}

/// The header by which a registry says that it is one.
pub(super) const API_VERSION: (&str, &str) = ("docker-distribution-api-version", "registry/2.0");

/// Why a request is not authorised, as the challenge tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    NoToken,
    InvalidToken,
    InsufficientScope,
}

fn authorised(call: &Call<'_>) -> Result<(), Problem> {
    let value = call.header("authorization").unwrap_or_default();
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    // Two spaces make an empty token; distribution takes that for none.
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.starts_with(' ') {
        return Err(Problem::NoToken);
    }
    let family = call.settings.family;
    let keys: Vec<_> = call.verifying_key().into_iter().collect();
    let policy = Policy {
        keys: &keys,
        choice: if family == Family::Distribution3 {
            KeyChoice::Thumbprint
        } else {
            KeyChoice::Libtrust
        },
        issuer: Some(call.settings.expected_issuer.as_deref().unwrap_or(issuer(family))),
        audience: service(call),
        audience_list: family == Family::Distribution3,
        future_iat_refused: false,
        exp_needed: true,
        leeway: family.leeway_seconds() * 1_000_000_000,
    };
    let verified = jwt::verify(token, &policy, call.now).map_err(|refusal| {
        // A wrong signature under a known key id leaves distribution 3 without an error code.
        if refusal == Refusal::Signature && family == Family::Distribution3 {
            Problem::NoToken
        } else {
            Problem::InvalidToken
        }
    })?;
    let wanted = wanted(call);
    let granted = wanted.iter().all(|(kind, name, action)| {
        verified.access.iter().any(|access| {
            access.kind == *kind
                && access.name == *name
                && access.actions.iter().any(|given| given == action || given == "*")
        })
    });
    if granted { Ok(()) } else { Err(Problem::InsufficientScope) }
}

fn refuse(call: &mut Call<'_>, problem: Problem) -> Response<Bytes> {
    let detail = detail(call);
    let body = error_body("UNAUTHORIZED", "authentication required", Some(&detail));
    let mut response = with_body(401, error_type(call.settings.family), body);
    let scope = match scope(call) {
        Some(scope) => format!(",scope=\"{scope}\""),
        None => String::new(),
    };
    let error = match problem {
        Problem::NoToken => "",
        Problem::InvalidToken => ",error=\"invalid_token\"",
        Problem::InsufficientScope => ",error=\"insufficient_scope\"",
    };
    let challenge =
        format!("Bearer realm=\"{}\",service=\"{}\"{scope}{error}", realm(call), service(call));
    set(&mut response, "www-authenticate", &challenge);
    response
}

fn realm(call: &Call<'_>) -> String {
    match &call.settings.realm {
        Some(realm) => realm.clone(),
        None if call.settings.family == Family::Harbor1 => {
            format!("{}/service/token", call.settings.external_url)
        }
        None => call.token_realm.to_owned(),
    }
}

/// The audience that is expected and the service that the challenge names: they are one setting.
pub(super) fn service<'a>(call: &'a Call<'_>) -> &'a str {
    let usual = if call.settings.family.is_harbor() { HARBOR_SERVICE } else { SERVICE };
    call.settings.expected_audience.as_deref().unwrap_or(usual)
}

fn issuer(family: Family) -> &'static str {
    if family.is_harbor() { HARBOR_ISSUER } else { ISSUER }
}

/// Type, name and action of everything that the request needs.
fn wanted(call: &Call<'_>) -> Vec<(&'static str, String, &'static str)> {
    match Resource::of(call.path()) {
        Resource::Catalog => vec![("registry", "catalog".to_owned(), "*")],
        resource => resource
            .repository()
            .map(|repository| {
                challenge_actions(call.method())
                    .iter()
                    .map(|action| ("repository", repository.to_owned(), *action))
                    .collect()
            })
            .unwrap_or_default(),
    }
}

fn scope(call: &mut Call<'_>) -> Option<String> {
    let wanted = wanted(call);
    let (kind, name, _) = wanted.first()?.clone();
    let actions: Vec<&str> = wanted.iter().map(|(_, _, action)| *action).collect();
    Some(format!("{kind}:{name}:{}", actions.join(",")))
}

/// The detail of a refusal, as JSON text: what was asked for, or null.
pub(super) fn detail(call: &Call<'_>) -> String {
    let entries: Vec<String> = wanted(call)
        .iter()
        .map(|(kind, name, action)| {
            let name = serde_json::Value::from(name.as_str());
            format!(r#"{{"Type":"{kind}","Class":"","Name":{name},"Action":"{action}"}}"#)
        })
        .collect();
    if entries.is_empty() { "null".to_owned() } else { format!("[{}]", entries.join(",")) }
}
