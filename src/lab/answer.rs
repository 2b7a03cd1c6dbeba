//! What a part of the lab does with a request, and the pieces that answers are built from.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use hyper::body::Bytes;

/// What happens to one request.
#[derive(Debug)]
pub enum Reaction {
    /// An HTTP answer.
    Answer {
        /// Status, headers (with `Date` and `Content-Length`) and body. For a `HEAD` request the
        /// body is empty and `Content-Length` tells the length it would have had.
        response: Response<Bytes>,
        /// How long the server takes.
        after: Duration,
    },
    /// Bytes that are not (or not wholly) HTTP; the connection ends after them.
    Raw {
        /// What is sent as it is.
        bytes: Bytes,
        /// How long the server takes.
        after: Duration,
    },
    /// The connection is reset.
    Reset,
    /// Nothing ever comes.
    Hang,
}

impl Reaction {
    /// The same reaction, later.
    #[must_use]
    pub(super) fn delayed(self, by: Duration) -> Self {
        match self {
            Self::Answer { response, after } => Self::Answer { response, after: after + by },
            Self::Raw { bytes, after } => Self::Raw { bytes, after: after + by },
            other => other,
        }
    }
}

impl From<Response<Bytes>> for Reaction {
    fn from(response: Response<Bytes>) -> Self {
        Self::Answer { response, after: Duration::ZERO }
    }
}

/// An answer without headers.
pub(super) fn empty(status: u16) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// An answer with a body of the given type.
pub(super) fn with_body(
    status: u16,
    content_type: &str,
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let mut response = empty(status);
    set(&mut response, CONTENT_TYPE.as_str(), content_type);
    *response.body_mut() = body.into();
    response
}

/// Sets a header, replacing its values. Header values that HTTP forbids become empty.
pub(super) fn set(response: &mut Response<Bytes>, name: &str, value: &str) {
    if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
        let value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
        response.headers_mut().insert(name, value);
    }
}

/// Adds a header to those of the same name.
pub(super) fn add(response: &mut Response<Bytes>, name: &str, value: &str) {
    if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
        let value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
        response.headers_mut().append(name, value);
    }
}

/// Gives the answer its `Date` (the clock of whoever answers, nanoseconds since 1970) and its
/// `Content-Length`, and takes the body away where the method or the status has none.
pub(super) fn finish(response: &mut Response<Bytes>, method: &Method, now: i64) {
    set(response, "date", &http_date(now));
    let status = response.status();
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(CONTENT_LENGTH);
        *response.body_mut() = Bytes::new();
        return;
    }
    if !response.headers().contains_key(CONTENT_LENGTH) {
        let length = response.body().len().to_string();
        set(response, CONTENT_LENGTH.as_str(), &length);
    }
    if method == Method::HEAD {
        *response.body_mut() = Bytes::new();
    }
}

/// The page that nginx makes for a status of its own; `server` as it signs, e.g. `nginx/1.22.1`.
pub(super) fn nginx_page(status: u16, server: &str) -> Response<Bytes> {
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| match status.as_u16() {
            413 => Some("Request Entity Too Large"),
            503 => Some("Service Temporarily Unavailable"),
            504 => Some("Gateway Time-out"),
            _ => status.canonical_reason(),
        })
        .unwrap_or("Error");
    let page = format!(
        "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n\
         <center><h1>{status} {reason}</h1></center>\r\n<hr><center>{server}</center>\r\n\
         </body>\r\n</html>\r\n"
    );
    let mut response = with_body(status, "text/html", page);
    set(&mut response, "server", server);
    response
}

/// A time as HTTP writes it, in whole seconds; `now` in nanoseconds since 1970.
pub(super) fn http_date(now: i64) -> String {
    let seconds = u64::try_from(now.div_euclid(1_000_000_000)).unwrap_or(0);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// A time as RFC 3339 in UTC with `digits` (0 or 3) decimals; `now` in nanoseconds since 1970.
pub(super) fn rfc3339(now: i64, digits: u8) -> String {
    let format =
        if digits == 3 { chrono::SecondsFormat::Millis } else { chrono::SecondsFormat::Secs };
    chrono::DateTime::from_timestamp_nanos(now).to_rfc3339_opts(format, true)
}

/// The same with nanoseconds as Go writes them: without the zeros at the end.
pub(super) fn rfc3339_nanos(now: i64) -> String {
    let time = chrono::DateTime::from_timestamp_nanos(now)
        .to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
    let digits = time.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{digits}Z")
}

/// A registry's error body: one error with its line end, as Go's encoder writes it. The detail is
/// JSON text, because the order of its fields is the server's.
pub(super) fn error_body(code: &str, message: &str, detail: Option<&str>) -> String {
    let message = serde_json::Value::from(message);
    match detail {
        None => format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":{message}}}]}}\n"),
        Some(detail) => format!(
            "{{\"errors\":[{{\"code\":\"{code}\",\"message\":{message},\"detail\":{detail}}}]}}\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_lose_their_last_zeros_and_nothing_else() {
        let second = 1_800_000_000_000_000_000;
        for (nanos, text) in [
            (0, "2027-01-15T08:00:00Z"),
            (200_000_000, "2027-01-15T08:00:00.2Z"),
            (1, "2027-01-15T08:00:00.000000001Z"),
        ] {
            assert_eq!(rfc3339_nanos(second + nanos), text);
        }
    }
}
