//! What several answers have in common.

use axum::body::Bytes;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};

use super::program::Rendered;

/// Every path with what it is for.
pub(super) const PATHS: &str = "\
/               status page
/metrics        metrics for Prometheus
/probe?target=  one round of a registry now; &debug=true shows everything measured
/api/v1/status  the status as JSON
/history        incidents, and the last rounds
/rounds/ID      the status page as it was in that round
/api/v1/incidents, /api/v1/rounds, /api/v1/rounds/ID   the same as JSON
/config         the configuration in use, without secrets
/runbooks/      a page for each finding and alert
/-/healthy      200 while the program runs
/-/ready        200 once every registry was probed
/-/reload       POST or PUT reloads the configuration
";

/// The form that a client wants.
pub(super) fn accept(headers: &HeaderMap) -> Option<&str> {
    headers.get(ACCEPT)?.to_str().ok()
}

/// An answer in the form that the program chose.
pub(super) fn rendered((content_type, body): Rendered) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(content_type))], Bytes::from(body)).into_response()
}
