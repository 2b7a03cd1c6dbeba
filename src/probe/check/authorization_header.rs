//! Does a bearer token reach the registry? A token that is none is shown on every route: a server
//! that saw the header answers otherwise than to a request without it (captures of Harbor 2,
//! `02-bad-token-shapes.http`, and of distribution, `24-malformed.http`).

use futures_util::future::join_all;
use http::Method;

use super::super::answer::{outcome, unexpected};
use super::super::client::Client;
use super::super::flow;
use super::super::request::{Auth, Request};
use crate::model::{
    AccessScheme, Answer, Check, Flow, HeaderFate, OfRoute, Outcome, Route, Skipped, Step,
};

pub(super) async fn look(client: &Client<'_>, flows: &[Flow]) -> Outcome<Vec<OfRoute<HeaderFate>>> {
    let routes = flows.iter().map(|flow| flow::boxed(route(client, flow)));
    Outcome::Measured(join_all(routes).await)
}

async fn route(client: &Client<'_>, flow: &Flow) -> OfRoute<HeaderFate> {
    OfRoute { route: flow.route.clone(), value: fate(client, flow, &flow.route).await }
}

async fn fate(client: &Client<'_>, flow: &Flow, route: &Route) -> Outcome<HeaderFate> {
    // Where no tokens are asked for, one that is none is no answer to anything.
    if flow.scheme != AccessScheme::Token {
        return Outcome::Skipped(Skipped::NotApplicable);
    }
    if flow.passed(Step::Challenge) != Some(true) {
        return Outcome::Skipped(Skipped::EarlierStepFailed);
    }
    if client.holds(route) {
        return Outcome::Skipped(Skipped::BackingOff);
    }
    match shown(client, flow, route).await {
        // Twice, each on a link of its own, before it is believed.
        Outcome::Measured(HeaderFate::Dropped) => shown(client, flow, route).await,
        first => first,
    }
}

async fn shown(client: &Client<'_>, flow: &Flow, route: &Route) -> Outcome<HeaderFate> {
    let request = Request::of(Check::AuthorizationHeader, Method::GET, "/v2/", Auth::Garbage);
    let response = client.send_afresh(route, request).await;
    match outcome(&response) {
        Err(failure) => Outcome::Failed(failure),
        Ok(answer) if answer.status != 401 => {
            Outcome::Failed(unexpected(answer, "401 to an invalid token"))
        }
        Ok(answer) if is_unseen(answer, flow) => Outcome::Measured(HeaderFate::Dropped),
        Ok(_) => Outcome::Measured(HeaderFate::Arrived),
    }
}

/// Whether the answer is the one to a request without the header.
fn is_unseen(answer: &Answer, flow: &Flow) -> bool {
    flow.answer(Step::Challenge).is_some_and(|plain| plain.challenge == answer.challenge)
}
