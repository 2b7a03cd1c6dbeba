//! Which step of a slow token request is slow? Where a backend took long, it is asked for tokens
//! that let it do less: an anonymous one without a scope, which asks no database, and an anonymous
//! one for the repository, which does (captures/harbor-2.15.2/03-token-anonymous.http). Backends
//! that are quick are not asked.

use futures_util::future::join_all;
use http::Method;

use super::super::answer::outcome;
use super::super::client::Client;
use super::super::request::{Auth, Request};
use super::super::{endpoint, flow, matrix};
use crate::config::Scope;
use crate::model::{
    Check, Family, Flow, Issuer, OfRoute, Outcome, Reach, Reason, Route, Rung, Skipped, Step,
};

/// From here on a token is worth a look, in seconds.
const LATE: f64 = 1.0;

/// A scope that asks no database.
const NOTHING: &str = "x:y:z";

pub(super) async fn look(client: &Client<'_>, flows: &[Flow]) -> Outcome<Vec<OfRoute<Vec<Rung>>>> {
    let backends = || flows.iter().filter(|flow| flow.route.backend().is_some());
    if backends().all(|flow| matrix::family(flow) != Family::Harbor2) {
        let silent = backends().all(|flow| matrix::family(flow) == Family::Unknown);
        return Outcome::Skipped(if silent {
            Skipped::EarlierStepFailed
        } else {
            Skipped::NotApplicable
        });
    }
    let looks = backends().map(|flow| {
        flow::boxed(async move {
            OfRoute { route: flow.route.clone(), value: ladder(client, flow).await }
        })
    });
    Outcome::Measured(join_all(looks).await)
}

async fn ladder(client: &Client<'_>, flow: &Flow) -> Outcome<Vec<Rung>> {
    let route = &flow.route;
    let took = |step| flow.step(step).map(|report| report.timeline.total().as_secs_f64());
    let (Some(challenge), Some(own)) = (took(Step::Challenge), took(Step::Token)) else {
        return Outcome::Skipped(Skipped::EarlierStepFailed);
    };
    if challenge.max(own) < LATE {
        return Outcome::Skipped(Skipped::NotNeeded);
    }
    if client.holds(route) {
        return Outcome::Skipped(Skipped::BackingOff);
    }
    let mut rungs = vec![Rung { reach: Reach::Challenge, seconds: challenge }];
    let scope = client.registry.scope.as_ref().map(Scope::text);
    let anonymous =
        [(Reach::Signing, Some(NOTHING.to_owned())), (Reach::Database, scope)].into_iter();
    for (reach, scope) in anonymous.filter_map(|(reach, scope)| Some((reach, scope?))) {
        rungs.extend(token_for(client, flow, &scope).await.map(|seconds| Rung { reach, seconds }));
    }
    rungs.push(Rung { reach: Reach::Credential, seconds: own });
    Outcome::Measured(rungs)
}

/// How long an anonymous token takes; an answer that does not come in time took at least as long
/// as was waited.
async fn token_for(client: &Client<'_>, flow: &Flow, scope: &str) -> Option<f64> {
    let route: &Route = &flow.route;
    let endpoint = endpoint::endpoint(client, route, flow.challenge.measured()?).ok()?;
    if endpoint.issuer != Issuer::Route(route.clone()) || client.is_over() {
        return None;
    }
    let request = Request::of(Check::Latency, Method::GET, endpoint.path_for(scope), Auth::None);
    let response = client.send(client.link(route).as_mut(), route, request).await;
    let seconds = response.timeline().total().as_secs_f64();
    match outcome(&response) {
        Ok(answer) => (answer.status == 200).then_some(seconds),
        Err(failure) => (failure.reason == Reason::Timeout).then_some(seconds),
    }
}
