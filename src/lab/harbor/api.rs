//! Harbor's API as far as a prober asks it: ping, health, version, system information; what the
//! job service does is in `jobs`.

use http::{Method, Response};
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::super::Family;
use super::super::answer::{rfc3339, with_body};
use super::super::call::Call;
use super::answers::{DATABASE_ERROR, json_answer, json_error, not_found};
use super::auth::Principal;
use super::caller::principal;
use super::jobs;

pub(super) fn answer(call: &mut Call<'_>) -> Response<Bytes> {
    let base = if call.settings.family == Family::Harbor1 { "/api" } else { "/api/v2.0" };
    if call.path() == "/api/version" {
        let body = "{\"version\":\"v2.0\"}\n";
        return with_body(200, "text/plain; charset=utf-8", body);
    }
    let principal = principal(call);
    let Some(path) = call.path().strip_prefix(base).map(str::to_owned) else {
        return not_found();
    };
    if !matches!(*call.method(), Method::GET | Method::HEAD) {
        let message = format!("method {} is not allowed, but [GET] are", call.method());
        return json_error(405, "METHOD_NOT_ALLOWED", &message);
    }
    match path.as_str() {
        "/ping" => with_body(200, "text/plain", "Pong"),
        "/health" => health(call),
        "/systeminfo" => systeminfo(call, &principal),
        "/systeminfo/volumes" => admins_only(&principal).unwrap_or_else(volumes),
        "/users/current" => current(&principal),
        "/jobservice/pools" => pools_only(&principal).unwrap_or_else(|| jobs::pools(call)),
        "/jobservice/queues" => pools_only(&principal).unwrap_or_else(jobs::queues),
        path => match path.strip_prefix("/replication/executions") {
            Some(rest) => pools_only(&principal).unwrap_or_else(|| jobs::replication(call, rest)),
            None => not_found(),
        },
    }
}

fn health(call: &Call<'_>) -> Response<Bytes> {
    let settings = call.settings;
    let redis = "dial tcp 192.0.2.11:6379: connect: connection refused";
    let broken = |name: &str| match name {
        "database" if !settings.database_up => {
            Some(format!("failed to run SQL \"SELECT 1\": {DATABASE_ERROR}"))
        }
        "redis" if !settings.redis_up => Some(redis.to_owned()),
        "jobservice" if !settings.redis_up => Some(format!(
            "received unexpected status code: 500 {{\"code\":10004,\"message\":\"check stats of \
             server failed with error\",\"details\":\"{redis}\"}}"
        )),
        "registry" if !settings.registry_up => Some(
            "failed to check health: Get \"http://registry:5000/\": dial tcp: connection refused"
                .to_owned(),
        ),
        name if settings.unhealthy.iter().any(|sick| sick == name) => {
            Some(format!("failed to check health: Get \"http://{name}:8080/\": EOF"))
        }
        _ => None,
    };
    let names = ["core", "database", "jobservice", "portal", "redis", "registry", "registryctl"];
    let components: Vec<Value> = names
        .into_iter()
        .map(|name| match broken(name) {
            Some(error) => json!({"error": error, "name": name, "status": "unhealthy"}),
            None => json!({"name": name, "status": "healthy"}),
        })
        .collect();
    let healthy = names.into_iter().all(|name| broken(name).is_none());
    let status = if healthy { "healthy" } else { "unhealthy" };
    json_answer(&json!({"components": components, "status": status}))
}

fn systeminfo(call: &Call<'_>, principal: &Principal) -> Response<Bytes> {
    let settings = call.settings;
    let mut info = Map::new();
    let mut tell = |name: &str, value: Value| info.insert(name.to_owned(), value);
    tell("auth_mode", json!(settings.auth_mode));
    tell("banner_message", json!(""));
    tell("primary_auth_mode", json!(false));
    tell("self_registration", json!(false));
    tell("oidc_provider_name", json!(""));
    let known = principal.known();
    if known || settings.family.tells_version() {
        tell("harbor_version", json!(settings.family.version()));
    }
    if known {
        let host = settings.external_url.split("://").last().unwrap_or_default();
        tell("current_time", json!(rfc3339(call.now, 3)));
        tell("external_url", json!(settings.external_url));
        tell("has_ca_root", json!(false));
        tell("notification_enable", json!(true));
        tell("project_creation_restriction", json!("everyone"));
        tell("read_only", json!(settings.read_only));
        tell("registry_storage_provider_name", json!("filesystem"));
        tell("registry_url", json!(host));
    }
    json_answer(&Value::Object(info))
}

fn volumes() -> Response<Bytes> {
    json_answer(&json!({"storage": [{"free": 1_000_000_000, "total": 2_000_000_000}]}))
}

fn current(principal: &Principal) -> Response<Bytes> {
    match principal {
        Principal::Account(account) => {
            json_answer(&json!({"sysadmin_flag": account.admin, "username": account.name}))
        }
        _ => json_error(401, "UNAUTHORIZED", "unauthorized"),
    }
}

fn admins_only(principal: &Principal) -> Option<Response<Bytes>> {
    match principal {
        Principal::Account(account) if account.admin => None,
        other => Some(refused(other)),
    }
}

fn pools_only(principal: &Principal) -> Option<Response<Bytes>> {
    match principal {
        Principal::Account(account) if account.lists_pools => None,
        other => Some(refused(other)),
    }
}

fn refused(principal: &Principal) -> Response<Bytes> {
    match principal {
        Principal::Account(account) => json_error(403, "FORBIDDEN", &account.name),
        _ => json_error(401, "UNAUTHORIZED", "unauthorized"),
    }
}
