//! What core's answers have in common: errors, lists, and empty bodies.

use http::Response;
use hyper::body::Bytes;

use super::super::answer::{empty, error_body, set, with_body};
use super::super::distribution;

/// What there is not, as the API says it.
pub(super) fn not_found() -> Response<Bytes> {
    json_error(404, "NOT_FOUND", "The resource requested is not found")
}

/// Compact JSON with a line end, as core's encoder writes it.
pub(super) fn json_answer(value: &serde_json::Value) -> Response<Bytes> {
    with_body(200, "application/json", format!("{value}\n"))
}

/// An error as core writes it.
pub(super) fn json_error(status: u16, code: &str, message: &str) -> Response<Bytes> {
    with_body(status, "application/json; charset=utf-8", error_body(code, message, None))
}

/// 401 with core's doubled message and a challenge, which may be empty.
pub(super) fn unauthorized(challenge: &str, message: &str) -> Response<Bytes> {
    let mut response = json_error(401, "UNAUTHORIZED", &format!("{message}: {message}"));
    set(&mut response, distribution::API_VERSION.0, distribution::API_VERSION.1);
    set(&mut response, "www-authenticate", challenge);
    response
}

/// A status with an empty body, as core answers at the token endpoint.
pub(super) fn bare(status: u16) -> Response<Bytes> {
    empty(status)
}

/// What core says when its database does not answer.
pub(super) const DATABASE_ERROR: &str = "failed to connect to `user=postgres database=registry`: \
     192.0.2.10:5432 (192.0.2.10): dial error: dial tcp 192.0.2.10:5432: connect: connection refused";
