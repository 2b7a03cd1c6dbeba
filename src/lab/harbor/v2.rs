//! `/v2/` as core guards it, and what it answers itself before the registry is asked.

use std::fmt::Write as _;

use http::{Method, Response};
use hyper::body::Bytes;
use serde_json::json;

use super::super::answer::{error_body, set, with_body};
use super::super::answers::length_zero;
use super::super::call::Call;
use super::super::content;
use super::super::distribution::{API_VERSION, HARBOR_SERVICE, detail};
use super::super::resource::{Resource, action, challenge_actions, project};
use super::super::stores::PROJECT;
use super::answers::{DATABASE_ERROR, json_error, unauthorized};
use super::auth::Principal;
use super::caller::principal;
use super::token::permitted;

/// The host under which core's own containers reach it.
const INTERNAL_HOST: &str = "127.0.0.1:8080";
const BASIC: &str = "Basic realm=\"harbor\"";

pub(super) fn answer(call: &mut Call<'_>) -> Response<Bytes> {
    let principal = principal(call);
    guard(call, &principal).unwrap_or_else(|| allowed(call))
}

/// How a request is refused; nothing if it may go on.
fn guard(call: &mut Call<'_>, principal: &Principal) -> Option<Response<Bytes>> {
    let path = call.path().to_owned();
    let tried = call.header("authorization").is_some();
    match Resource::of(&path) {
        Resource::Base if principal.known() => None,
        Resource::Base => {
            let challenge = if tried { BASIC.to_owned() } else { bearer(call, None) };
            Some(unauthorized(&challenge, "unauthorized"))
        }
        Resource::Catalog => match principal {
            Principal::Account(account) if account.admin => None,
            _ => Some(unauthorized(BASIC, "unauthorized to list catalog")),
        },
        resource => match resource.repository() {
            Some(repository) => guard_repository(call, principal, repository, tried),
            None => {
                Some(unauthorized("", &format!("un-recognized request: {} {path}", call.method())))
            }
        },
    }
}

fn guard_repository(
    call: &mut Call<'_>,
    principal: &Principal,
    repository: &str,
    tried: bool,
) -> Option<Response<Bytes>> {
    if !tried && !principal.known() {
        let challenge = bearer(call, Some(repository));
        let message = "authorize header needed to send HEAD to repository";
        return Some(unauthorized(&challenge, message));
    }
    if !call.settings.database_up {
        return Some(unauthorized("", DATABASE_ERROR));
    }
    let name = project(repository);
    let database = call.settings.database;
    let exists = call.stores.database(database).project(name).is_some()
        && !(name == PROJECT && call.settings.project_missing);
    if !exists {
        return Some(unauthorized("", &format!("project {name} not found")));
    }
    let action = action(call.method());
    if may(call, principal, name, action) {
        return None;
    }
    let message = format!("unauthorized to access repository: {repository}, action: {action}");
    Some(unauthorized(BASIC, &message))
}

fn may(call: &mut Call<'_>, principal: &Principal, name: &str, action: &str) -> bool {
    if let Principal::Token(token) = principal {
        let granted = token.access.iter().any(|access| {
            access.kind == "repository"
                && project(&access.name) == name
                && access.actions.iter().any(|given| given == action || given == "*")
        });
        let younger = name == PROJECT
            && call.settings.family.compares_project_age()
            && token.issued_at.is_some_and(|issued| {
                issued.saturating_add(60).saturating_mul(1_000_000_000) < call.project_created()
            });
        if granted {
            return !younger;
        }
    }
    permitted(call, principal, name).contains(&action)
}

/// The challenge of the first contact.
fn bearer(call: &Call<'_>, repository: Option<&str>) -> String {
    let settings = call.settings;
    let host = call.host();
    let endpoint = match &settings.realm {
        Some(realm) => realm.clone(),
        None if host == INTERNAL_HOST => format!("http://{host}/service/token"),
        None if settings.family.realm_follows_host() => {
            let scheme = settings.external_url.split("://").next().unwrap_or("https");
            format!("{scheme}://{host}/service/token")
        }
        None => format!("{}/service/token", settings.external_url),
    };
    let service = settings.expected_audience.as_deref().unwrap_or(HARBOR_SERVICE);
    let mut challenge = format!("Bearer realm=\"{endpoint}\",service=\"{service}\"");
    if let Some(repository) = repository {
        let actions = challenge_actions(call.method()).join(",");
        // Writing to a String cannot fail.
        let _ = write!(challenge, ",scope=\"repository:{repository}:{actions}\"");
    }
    challenge
}

/// What core answers from its database; everything else comes from the registry.
fn allowed(call: &mut Call<'_>) -> Response<Bytes> {
    let path = call.path().to_owned();
    let number = call.settings.database;
    let reads = matches!(*call.method(), Method::GET | Method::HEAD);
    if !reads && !call.settings.database_writes {
        return json_error(500, "UNKNOWN", "internal server error");
    }
    let database = call.stores.database(number);
    match Resource::of(&path) {
        Resource::Tags(repository) => match database.tags.get(repository) {
            Some(tags) => {
                let tags: Vec<&String> = tags.keys().collect();
                let body = format!("{{\"name\":{},\"tags\":{}}}\n", json!(repository), json!(tags));
                with_body(200, "application/json; charset=utf-8", body)
            }
            None => json_error(404, "NOT_FOUND", &format!("repository {repository} not found")),
        },
        Resource::Manifest(repository, reference) if reads => {
            let tags = database.tags.get(repository);
            let by_digest = reference.starts_with("sha256:");
            let known = tags.and_then(|tags| {
                if by_digest {
                    let lost = database.untagged.get(reference);
                    tags.values().find(|digest| *digest == reference).or(lost)
                } else {
                    tags.get(reference)
                }
            });
            if let Some(digest) = known.cloned() {
                // Core asks its registry by digest, whatever the client named.
                registry(call, Some(&format!("/v2/{repository}/manifests/{digest}")))
            } else {
                let at = if by_digest { '@' } else { ':' };
                let message = format!("artifact {repository}{at}{reference} not found");
                json_error(404, "NOT_FOUND", &message)
            }
        }
        Resource::Blob(_, name) if reads && !database.blobs.contains(name) => {
            json_error(404, "NOT_FOUND", &format!("blob {name} not found"))
        }
        _ => registry(call, None),
    }
}

/// The registry behind core, which knows only core's password.
fn registry(call: &mut Call<'_>, path: Option<&str>) -> Response<Bytes> {
    if !call.settings.registry_up {
        return length_zero(502);
    }
    if !call.settings.registry_password {
        let body = error_body("UNAUTHORIZED", "authentication required", Some(&detail(call)));
        let mut response = with_body(401, "application/json; charset=utf-8", body);
        set(&mut response, API_VERSION.0, API_VERSION.1);
        set(&mut response, "www-authenticate", "Basic realm=\"harbor-registry-basic-realm\"");
        return response;
    }
    let mut response = match path {
        Some(path) => content::serve_path(call, path),
        None => content::serve(call),
    };
    set(&mut response, API_VERSION.0, API_VERSION.1);
    response
}
