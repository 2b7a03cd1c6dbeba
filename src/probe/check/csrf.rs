//! Do the backends take each other's CSRF cookies? A cookie that one of them issued is shown to the
//! others as a browser would: one that cannot read it answers with a new one of its own.
//!
//! Nothing is left behind: where a session is needed to switch the protection on, a reading request
//! carries the one that the backend gave before. A writing request carries an invented session and
//! is refused before core creates a new one (captures/harbor-2.15.2/31-csrf.http: 403 sets no
//! `sid`); only a pair that contradicts itself gets as far as the 405 of a method that is none.

use futures_util::future::join_all;
use http::header::{COOKIE, ORIGIN, REFERER};
use http::{HeaderName, HeaderValue, Method};

use super::super::answer::{outcome, unexpected};
use super::super::client::Client;
use super::super::flow;
use super::super::request::{Auth, Request, Response};
use super::pairs;
use crate::model::{BackendName, Check, CsrfVerdict, Flow, OfPair, Outcome, Route, Skipped};
use crate::registry::{self, CSRF_COOKIE, CSRF_TOKEN, CsrfRefusal};

const PATH: &str = "/api/v2.0/ping";

/// A session that no one has.
const MADE_UP: &str = "sid=x";

/// What a backend gave. No `Debug`.
struct Issued {
    cookie: HeaderValue,
    token: HeaderValue,
}

pub(super) async fn look(client: &Client<'_>, flows: &[Flow]) -> Outcome<Vec<OfPair<CsrfVerdict>>> {
    let names = match pairs::harbors(flows) {
        Ok(names) => names,
        Err(reason) => return Outcome::Skipped(reason),
    };
    let issued = join_all(names.iter().map(|name| flow::boxed(issue(client, name)))).await;
    let show = |issued, name, own| flow::boxed(shown(client, issued, name, own));
    Outcome::Measured(pairs::carried(&names, &issued, show, |v| v.is_accepted()).await)
}

/// A cookie and token of a backend.
async fn issue(client: &Client<'_>, name: &BackendName) -> Outcome<Issued> {
    let route = Route::Backend(name.clone());
    if client.holds(&route) {
        return Outcome::Skipped(Skipped::BackingOff);
    }
    let response = get(client, &route, None).await;
    match outcome(&response) {
        Err(failure) => Outcome::Failed(failure),
        Ok(answer) if answer.status != 200 => {
            Outcome::Failed(unexpected(answer, "200 with a CSRF cookie"))
        }
        Ok(_) => {
            let headers = response.raw().map(|reply| &reply.headers);
            let cookie = headers.and_then(|headers| registry::set_cookie(headers, CSRF_COOKIE));
            let token = headers.and_then(registry::csrf_token);
            // Harbor 2.0 protects itself in another way.
            cookie.zip(token).map_or(Outcome::Skipped(Skipped::NotApplicable), |(cookie, token)| {
                Outcome::Measured(Issued { cookie, token })
            })
        }
    }
}

/// What a backend makes of a cookie. A refusal counts when it comes twice.
async fn shown(
    client: &Client<'_>,
    issued: &Issued,
    verifier: BackendName,
    own: bool,
) -> Outcome<CsrfVerdict> {
    let route = Route::Backend(verifier);
    if client.holds(&route) {
        return Outcome::Skipped(Skipped::BackingOff);
    }
    match is_read(client, &route, issued).await {
        Outcome::Measured(true) if own => origin(client, &route, issued).await,
        Outcome::Measured(true) => Outcome::Measured(CsrfVerdict::Accepted),
        Outcome::Measured(false) => confirmed(client, &route, issued).await,
        Outcome::Failed(failure) => Outcome::Failed(failure),
        Outcome::Skipped(reason) => Outcome::Skipped(reason),
    }
}

/// Whether a backend can read a cookie: one that cannot sets its own.
async fn is_read(client: &Client<'_>, route: &Route, issued: &Issued) -> Outcome<bool> {
    let response = get(client, route, Some(issued)).await;
    match outcome(&response) {
        Err(failure) => Outcome::Failed(failure),
        Ok(answer) if answer.status != 200 => {
            Outcome::Failed(unexpected(answer, "200 from Harbor's API"))
        }
        Ok(_) => {
            let new = response.raw().and_then(|r| registry::set_cookie(&r.headers, CSRF_COOKIE));
            Outcome::Measured(new.is_none())
        }
    }
}

/// Writes with the cookie that was not read, as a page of the issuer would.
async fn confirmed(client: &Client<'_>, route: &Route, issued: &Issued) -> Outcome<CsrfVerdict> {
    let response = post(client, route, issued, true).await;
    match outcome(&response) {
        Err(failure) => Outcome::Failed(failure),
        Ok(answer) if answer.status == 405 => Outcome::Measured(CsrfVerdict::Accepted),
        Ok(answer) if answer.status == 403 => match refusal(&response) {
            Some(CsrfRefusal::Token) => Outcome::Measured(CsrfVerdict::UnknownKey),
            Some(CsrfRefusal::Origin) => Outcome::Measured(CsrfVerdict::ForeignOrigin),
            // Read-only mode answers before anything else does.
            None => again(is_read(client, route, issued).await),
        },
        Ok(answer) => Outcome::Failed(unexpected(answer, "405 or 403 to POST")),
    }
}

fn again(read: Outcome<bool>) -> Outcome<CsrfVerdict> {
    match read {
        Outcome::Measured(true) => Outcome::Measured(CsrfVerdict::Accepted),
        Outcome::Measured(false) => Outcome::Measured(CsrfVerdict::UnknownKey),
        Outcome::Failed(failure) => Outcome::Failed(failure),
        Outcome::Skipped(reason) => Outcome::Skipped(reason),
    }
}

/// Whether a backend takes the public URL for its own: it looks at that before the token, which is
/// left out here so that nothing comes of the request. Any other refusal than the same one twice
/// says no more than that the cookie was read.
async fn origin(client: &Client<'_>, route: &Route, issued: &Issued) -> Outcome<CsrfVerdict> {
    for _ in 0..2 {
        let response = post(client, route, issued, false).await;
        match outcome(&response) {
            Err(failure) => return Outcome::Failed(failure),
            Ok(answer) if answer.status >= 500 => {
                return Outcome::Failed(unexpected(answer, "403 or 405 to POST"));
            }
            Ok(_) => {}
        }
        if refusal(&response) != Some(CsrfRefusal::Origin) {
            return Outcome::Measured(CsrfVerdict::Accepted);
        }
    }
    Outcome::Measured(CsrfVerdict::ForeignOrigin)
}

fn refusal(response: &Response) -> Option<CsrfRefusal> {
    let answer = response.answer.as_ref().filter(|answer| answer.status == 403)?;
    registry::csrf_refusal(answer.error_message.as_deref()?)
}

async fn get(client: &Client<'_>, route: &Route, issued: Option<&Issued>) -> Response {
    let session = client.session(route).unwrap_or(HeaderValue::from_static(MADE_UP));
    let cookies = match issued {
        Some(issued) => joined(&session, &issued.cookie),
        None => session,
    };
    let request = Request::of(Check::Csrf, Method::GET, PATH, Auth::None).with(COOKIE, cookies);
    client.send_afresh(route, request).await
}

async fn post(client: &Client<'_>, route: &Route, issued: &Issued, with_token: bool) -> Response {
    let session = HeaderValue::from_static(MADE_UP);
    let mut request = Request::of(Check::Csrf, Method::POST, PATH, Auth::None)
        .with(COOKIE, joined(&session, &issued.cookie));
    // As a browser says where the page came from, which Harbor 2.12.3 wants to know.
    let site = client.registry.url.authority().to_string();
    if let (Ok(origin), Ok(page)) =
        (HeaderValue::from_str(&site), HeaderValue::from_str(&format!("{site}/")))
    {
        request = request.with(ORIGIN, origin).with(REFERER, page);
    }
    if with_token {
        request = request.with(HeaderName::from_static(CSRF_TOKEN), issued.token.clone());
    }
    client.send_afresh(route, request).await
}

/// Two cookies in one header, marked sensitive.
fn joined(session: &HeaderValue, cookie: &HeaderValue) -> HeaderValue {
    let bytes = [session.as_bytes(), b"; ", cookie.as_bytes()].concat();
    let mut both = HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| cookie.clone());
    both.set_sensitive(true);
    both
}
