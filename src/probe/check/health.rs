//! What each Harbor says of its own components. Anyone may ask; the answer is up to 10 s old, and
//! it can lie: a registry that refuses core's password is called healthy
//! (captures/harbor-2.15.2/68-registry-password.http).

use futures_util::future::join_all;
use http::Method;

use super::super::answer::{outcome, unexpected};
use super::super::client::Client;
use super::super::request::{Auth, Request};
use super::super::{flow, matrix};
use crate::model::{
    Check, ComponentHealth, Failure, Family, Flow, OfRoute, Outcome, Reason, Route, Skipped, Step,
};
use crate::registry;

pub(super) async fn look(
    client: &Client<'_>,
    flows: &[Flow],
) -> Outcome<Vec<OfRoute<Vec<ComponentHealth>>>> {
    let backends = || flows.iter().filter(|flow| flow.route.backend().is_some());
    let families: Vec<Family> = backends().map(matrix::family).collect();
    if families.iter().all(|family| !matches!(family, Family::Harbor2 | Family::Unknown)) {
        return Outcome::Skipped(Skipped::NotApplicable);
    }
    if families.iter().all(|family| *family != Family::Harbor2) {
        return Outcome::Skipped(Skipped::EarlierStepFailed);
    }
    let looks = backends().zip(families).map(|(flow, family)| {
        flow::boxed(async move {
            let value = match family {
                Family::Harbor2 => told(client, flow).await,
                Family::Unknown => Outcome::Skipped(Skipped::EarlierStepFailed),
                _ => Outcome::Skipped(Skipped::NotApplicable),
            };
            OfRoute { route: flow.route.clone(), value }
        })
    });
    Outcome::Measured(join_all(looks).await)
}

async fn told(client: &Client<'_>, flow: &Flow) -> Outcome<Vec<ComponentHealth>> {
    let route: &Route = &flow.route;
    if flow.passed(Step::Challenge) != Some(true) {
        return Outcome::Skipped(Skipped::EarlierStepFailed);
    }
    if client.holds(route) {
        return Outcome::Skipped(Skipped::BackingOff);
    }
    let request = Request::of(Check::Health, Method::GET, "/api/v2.0/health", Auth::None);
    let response = client.send_afresh(route, request).await;
    match outcome(&response) {
        Err(failure) => Outcome::Failed(failure),
        Ok(answer) if answer.status != 200 => {
            Outcome::Failed(unexpected(answer, "200 from Harbor's API"))
        }
        Ok(_) => {
            let body = response.reply().map(|reply| reply.body.as_slice()).unwrap_or_default();
            registry::harbor_health(body).map_or_else(
                |found| {
                    let detail = format!("the health page is {found}");
                    Outcome::Failed(Failure::of_answer(Reason::UnexpectedStatus, detail))
                },
                Outcome::Measured,
            )
        }
    }
}
