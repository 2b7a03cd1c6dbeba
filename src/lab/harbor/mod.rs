//! A Harbor node: its nginx, core, and the registry behind it.

use std::time::Duration;

use http::{Method, Response};
use hyper::body::Bytes;

use super::answer::{Reaction, add, finish, nginx_page, set, with_body};
use super::call::Call;
use super::{Family, distribution};

mod answers;
mod api;
mod auth;
mod caller;
mod csrf;
mod jobs;
mod session;
mod token;
mod v2;

use self::answers::json_error;

/// Answers as a Harbor node does.
pub(super) fn answer(call: &mut Call<'_>) -> Reaction {
    let mut response = nginx(call);
    set(&mut response, "server", "nginx");
    // nginx adds these to the statuses that its add_header knows, and to no other.
    let status = response.status().as_u16();
    if matches!(status, 200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308) {
        set(&mut response, "x-frame-options", "DENY");
        set(&mut response, "content-security-policy", "frame-ancestors 'none'");
        if call.settings.strict_transport {
            set(&mut response, "strict-transport-security", "max-age=31536000");
        }
    }
    finish(&mut response, call.method(), call.now);
    Reaction::Answer { response, after: call.spent }
}

fn nginx(call: &mut Call<'_>) -> Response<Bytes> {
    let path = call.path();
    if path == "/v2" {
        let mut response = nginx_page(301, "nginx");
        let scheme = if call.secure { "https" } else { "http" };
        let place = format!("{scheme}://{}/v2/", call.host());
        set(&mut response, "location", &place);
        return response;
    }
    if path.starts_with("/v1/") {
        // Its own answer, without asking another server.
        return nginx_page(404, "nginx");
    }
    let for_core = ["/v2/", "/service/", "/api/", "/c/"].iter().any(|at| path.starts_with(at));
    if !for_core {
        let page = "<!doctype html>\n<html><head><title>Harbor</title></head><body>\
                    <harbor-app></harbor-app></body></html>\n";
        return with_body(200, "text/html", page);
    }
    if path.starts_with("/service/notifications") {
        return nginx_page(404, "nginx");
    }
    if call.settings.stale_upstream {
        // The portal's container has taken core's old address and knows no such path.
        return nginx_page(404, "nginx");
    }
    // In Harbor 1.x nginx passes /v2/ to the registry itself.
    let registry = call.settings.family == Family::Harbor1 && path.starts_with("/v2/");
    let up = if registry { call.settings.registry_up } else { call.settings.core_up };
    match (up, registry) {
        (false, _) => nginx_page(502, "nginx"),
        (true, true) => distribution::answer(call),
        (true, false) => core(call),
    }
}

fn core(call: &mut Call<'_>) -> Response<Bytes> {
    wait_for_redis(call);
    let request_id = call.header("x-request-id").map(str::to_owned);
    let request_id = request_id.unwrap_or_else(|| call.uuid());
    let mut response = behind_middleware(call);
    set(&mut response, "x-request-id", &request_id);
    response
}

/// The middleware before the handlers: read-only mode, CSRF, sessions.
fn behind_middleware(call: &mut Call<'_>) -> Response<Bytes> {
    let writes = !matches!(*call.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if writes && call.settings.read_only && !call.path().starts_with("/service/") {
        let message = "The system is in read only mode. Any modification is prohibited.";
        return json_error(403, "DENIED", message);
    }
    let csrf = csrf::check(call);
    if let Some(refused) = csrf.refused {
        return refused;
    }
    let mut response = handler(call);
    for (name, value) in csrf.headers {
        add(&mut response, name, &value);
    }
    if let Some(cookie) = session::new_cookie(call) {
        add(&mut response, "set-cookie", &cookie);
    }
    response
}

fn handler(call: &mut Call<'_>) -> Response<Bytes> {
    let path = call.path();
    if path == "/service/token" {
        return token::answer(call);
    }
    if path.starts_with("/v2/") {
        return v2::answer(call);
    }
    if path.starts_with("/c/") {
        return session::answer(call);
    }
    api::answer(call)
}

/// Without its Redis core waits for it on every request: long at first, then less.
fn wait_for_redis(call: &mut Call<'_>) {
    if call.settings.redis_up {
        call.memory.without_redis = 0;
        return;
    }
    call.memory.without_redis += 1;
    let milliseconds = match (call.settings.family, call.memory.without_redis) {
        (Family::Harbor1 | Family::Harbor210, 1) => 600,
        (_, 1) => 14_700,
        (Family::Harbor211 | Family::Harbor213 | Family::Harbor215, 2) => 4_660,
        _ => 380,
    };
    call.spend(Duration::from_millis(milliseconds));
}
