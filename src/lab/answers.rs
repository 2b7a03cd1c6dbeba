//! What answers of distribution have in common: errors, empty bodies, and where things lie.

use http::Response;
use hyper::body::Bytes;

use super::answer::{empty, error_body, set, with_body};
use super::call::Call;
use super::family::Family;

/// An error as this version writes it.
pub(super) fn error(
    call: &Call<'_>,
    status: u16,
    code: &str,
    message: &str,
    detail: Option<&str>,
) -> Response<Bytes> {
    with_body(status, error_type(call.settings.family), error_body(code, message, detail))
}

/// The content type of errors: distribution 3 names no charset.
pub(super) fn error_type(family: Family) -> &'static str {
    if family == Family::Distribution3 {
        "application/json"
    } else {
        "application/json; charset=utf-8"
    }
}

/// Where this registry says that something lies: absolute, as the proxies before it tell.
pub(super) fn location(call: &Call<'_>, path: &str) -> String {
    let proto = if call.settings.forwarded_http {
        "http"
    } else {
        call.header("x-forwarded-proto").unwrap_or(if call.secure { "https" } else { "http" })
    };
    let host = call.header("x-forwarded-host").unwrap_or(call.host());
    format!("{proto}://{host}{path}")
}

/// A status with an empty body that says so.
pub(super) fn length_zero(status: u16) -> Response<Bytes> {
    let mut response = empty(status);
    set(&mut response, "content-length", "0");
    response
}
