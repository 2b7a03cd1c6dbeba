//! Do the backends know each other's sessions? The session that one of them gave is shown to the
//! others with a request that reads: one that does not know it answers with a new one, on every
//! kind of answer (captures/harbor-2.15.2/32-session-cookie.http and 64-redis-split.http). Its own
//! node is the control.

use futures_util::future::join_all;
use http::header::COOKIE;
use http::{HeaderValue, Method};

use super::super::answer::{outcome, unexpected};
use super::super::client::Client;
use super::super::flow;
use super::super::request::{Auth, Request};
use super::pairs;
use crate::model::{BackendName, Check, Flow, OfPair, Outcome, Route, SessionVerdict, Skipped};
use crate::registry::{self, SESSION_COOKIE};

const PATH: &str = "/api/v2.0/ping";

pub(super) async fn look(
    client: &Client<'_>,
    flows: &[Flow],
) -> Outcome<Vec<OfPair<SessionVerdict>>> {
    let names = match pairs::harbors(flows) {
        Ok(names) => names,
        Err(reason) => return Outcome::Skipped(reason),
    };
    let issued = join_all(names.iter().map(|name| flow::boxed(issue(client, name)))).await;
    let show = |session, name, _| flow::boxed(shown(client, session, name));
    let known = |verdict: &SessionVerdict| *verdict == SessionVerdict::Known;
    Outcome::Measured(pairs::carried(&names, &issued, show, known).await)
}

/// The session of a backend: the one that it gave before if it still knows it, else a new one.
async fn issue(client: &Client<'_>, name: &BackendName) -> Outcome<HeaderValue> {
    let route = Route::Backend(name.clone());
    if client.holds(&route) {
        return Outcome::Skipped(Skipped::BackingOff);
    }
    let request = Request::of(Check::Session, Method::GET, PATH, Auth::None);
    let response = client.send_afresh(&route, request).await;
    match outcome(&response) {
        Err(failure) => Outcome::Failed(failure),
        Ok(answer) if answer.status != 200 => {
            Outcome::Failed(unexpected(answer, "200 from Harbor's API"))
        }
        Ok(_) => client
            .session(&route)
            .map_or(Outcome::Skipped(Skipped::NotApplicable), Outcome::Measured),
    }
}

/// Whether a backend knows a session; a new one counts when it comes twice.
async fn shown(
    client: &Client<'_>,
    session: &HeaderValue,
    verifier: BackendName,
) -> Outcome<SessionVerdict> {
    let route = Route::Backend(verifier);
    for _ in 0..2 {
        if client.holds(&route) {
            return Outcome::Skipped(Skipped::BackingOff);
        }
        let request = Request::of(Check::Session, Method::GET, PATH, Auth::None)
            .with(COOKIE, session.clone());
        let response = client.send_afresh(&route, request).await;
        match outcome(&response) {
            Err(failure) => return Outcome::Failed(failure),
            Ok(answer) if answer.status != 200 => {
                return Outcome::Failed(unexpected(answer, "200 from Harbor's API"));
            }
            Ok(_) => {
                let headers = response.raw().map(|reply| &reply.headers);
                if headers.and_then(|h| registry::set_cookie(h, SESSION_COOKIE)).is_none() {
                    return Outcome::Measured(SessionVerdict::Known);
                }
            }
        }
    }
    Outcome::Measured(SessionVerdict::Unknown)
}
