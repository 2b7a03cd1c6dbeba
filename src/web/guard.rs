//! What holds for every answer: headers that browsers obey, no request bodies, no lost panics; and
//! who is not answered.

use std::sync::Arc;

use axum::extract::{Request, State as Extract};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY,
    TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio_util::task::AbortOnDropHandle;

use super::names;
use super::state::Shared;

/// Nothing here reads a body; a client may still send a few bytes with a reload.
const MAX_BODY: u64 = 1024;

/// No script, no frame, no form, nothing from elsewhere. The page has one style sheet of its own
/// and an icon inside its head.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; \
                              base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Adds the security headers; nothing is cached unless a handler says so.
pub(super) async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 3] = [
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Turns a handler's panic into a 500. The handler runs as a task of its own, which ends with the
/// request if the client goes away.
pub(super) async fn survive_panics(request: Request, next: Next) -> Response {
    match AbortOnDropHandle::new(tokio::spawn(next.run(request))).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a request handler failed");
            (StatusCode::INTERNAL_SERVER_ERROR, "This is a bug in registry-prober.\n")
                .into_response()
        }
    }
}

/// Refuses requests with a body of more than a few bytes, before anything of it is read.
pub(super) async fn refuse_bodies(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let length = headers
        .get(CONTENT_LENGTH)
        .map(|value| value.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX));
    if headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length > MAX_BODY) {
        return (StatusCode::PAYLOAD_TOO_LARGE, "Send no request body.\n").into_response();
    }
    next.run(request).await
}

/// Refuses requests that name another host, as those of a web page do whose own name resolves to
/// this machine.
pub(super) async fn refuse_other_names(
    Extract(shared): Extract<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(hosts) = names::hosts(&request) else {
        let text = "A request must have exactly one valid Host header.\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    if !hosts.iter().all(|host| shared.state.names.answer_to(host)) {
        let text = "registry-prober does not answer to this host name. Add it with the option \
                    --web.external-url=http://NAME.\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    next.run(request).await
}

/// Refuses what a browser sends for a page of another site.
pub(super) async fn refuse_other_sites(
    Extract(shared): Extract<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    if shared.state.names.is_from_elsewhere(request.headers()) {
        let text = "This request came from a page of another site and was refused. Enter the \
                    address by hand.\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Lets pages be rendered one after the other. Health checks then always find a processor, and a
/// request for a page waits only for those before it.
pub(super) async fn show_one_at_a_time(
    Extract(shared): Extract<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    // Never closed.
    let _turn = shared.pages.acquire().await;
    next.run(request).await
}
