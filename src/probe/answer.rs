//! What an answer amounts to, and where it leads: redirects within one authority are followed.

use http::Method;
use url::Url;

use super::client::{Client, Connection};
use super::path::Path;
use super::request::{Request, Response};
use crate::config::Authority;
use crate::model::{Answer, Failure, Reason, Route};

/// The most redirects that are followed, always within one authority.
const MAX_REDIRECTS: usize = 5;

/// The answer, or the transport's failure.
pub(super) fn outcome(response: &Response) -> Result<&Answer, Failure> {
    match (&response.exchange.result, &response.answer) {
        (Err(failure), _) => Err(failure.clone()),
        (Ok(_), Some(answer)) => Ok(answer),
        (Ok(_), None) => Err(Failure::of_answer(Reason::UnexpectedStatus, "no answer was read")),
    }
}

/// The failure for an answer that is not the expected one.
pub(super) fn unexpected(answer: &Answer, expected: &str) -> Failure {
    let reason = match answer.status {
        200..=299 | 400 | 404 | 405 if answer.html => Reason::Html,
        status => Reason::of_status(status),
    };
    let page = if answer.html { " with a web page" } else { "" };
    let mut detail = vec![format!("status {}{page}; expected {expected}", answer.status)];
    detail.extend(answer.server.as_ref().map(|server| format!("answered by {server:?}")));
    detail.extend(answer.page.map(|page| page.as_str().to_owned()));
    detail.extend(answer.location.as_ref().map(|to| format!("redirected to {to}")));
    let message = answer.error_message.as_ref().filter(|message| !message.is_empty());
    detail.extend(message.map(|message| format!("{message:?}")));
    let detail = detail.join("; ");
    Failure::of_answer(reason, detail)
}

/// Sends a request and follows redirects that stay within an authority and lead to what was asked
/// for there, by `place`; any other redirect is the answer itself, so that nothing is ever sent
/// elsewhere. A form goes on only where clients send it again.
pub(super) async fn following(
    client: &Client<'_>,
    link: &mut Connection,
    route: &Route,
    (authority, place): (&Authority, fn(&Url) -> Option<Path>),
    mut request: Request<'_>,
) -> Response {
    let mut at = Url::parse(&format!("{authority}{}", request.path.clone().into_string())).ok();
    let mut response = client.send(link, route, request.clone()).await;
    for _ in 0..MAX_REDIRECTS {
        let next = at.as_ref().and_then(|at| redirect(authority, at, &request.method, &response));
        match next.as_ref().and_then(place) {
            Some(path) if path != request.path => request.path = path,
            _ => break,
        }
        at = next;
        response = client.send(link, route, request.clone()).await;
    }
    response
}

/// Where an answer leads within the authority.
fn redirect(authority: &Authority, at: &Url, method: &Method, response: &Response) -> Option<Url> {
    let follows = |status| match status {
        307 | 308 => true,
        301..=303 => method == Method::GET,
        _ => false,
    };
    let reply = response.raw().filter(|reply| follows(reply.status))?;
    let location = reply.headers.get(http::header::LOCATION)?.to_str().ok()?;
    let next = at.join(location).ok()?;
    (Authority::of_url(next.as_str()).ok()? == *authority).then_some(next)
}
