//! Which worker pools does each backend list? One after the other, and no further once the account
//! is refused where it was never accepted: a wrong secret is not carried from node to node.

use http::Method;

use super::super::answer::{outcome, unexpected};
use super::super::client::Client;
use super::super::matrix;
use super::super::request::{Auth, Request};
use crate::config::Credentials;
use crate::model::{
    Check, Failure, Family, Flow, Outcome, PoolsAt, Reason, Skipped, Step, WorkerPools,
};
use crate::registry;

pub(super) async fn look(client: &Client<'_>, flows: &[Flow]) -> Outcome<WorkerPools> {
    let Some(credentials) = &client.registry.system_credentials else {
        return Outcome::Skipped(Skipped::NoCredentials);
    };
    let known = |flow: &&Flow| flow.passed(Step::Challenge) == Some(true);
    let answering = flows.iter().filter(|flow| flow.route.backend().is_some()).filter(known);
    let answering: Vec<&Flow> = answering.collect();
    if answering.is_empty() {
        return Outcome::Skipped(Skipped::EarlierStepFailed);
    }
    if !answering.iter().any(|flow| matrix::family(flow) == Family::Harbor2) {
        return Outcome::Skipped(Skipped::NotApplicable);
    }
    let (mut accepted, mut refused) = (false, false);
    let mut at = Vec::new();
    for flow in flows {
        let Some(backend) = flow.route.backend().cloned() else { continue };
        let ids = if flow.passed(Step::Challenge) != Some(true) || (refused && !accepted) {
            Outcome::Skipped(Skipped::EarlierStepFailed)
        } else if matrix::family(flow) != Family::Harbor2 {
            Outcome::Skipped(Skipped::NotApplicable)
        } else if client.holds(&flow.route) {
            Outcome::Skipped(Skipped::BackingOff)
        } else if client.is_over() {
            Outcome::Skipped(Skipped::DeadlineReached)
        } else {
            let (ids, unauthorized) = list(client, flow, credentials).await;
            accepted |= ids.measured().is_some();
            refused |= unauthorized;
            ids
        };
        at.push(PoolsAt { backend, ids });
    }
    Outcome::Measured(WorkerPools { at })
}

/// The pools that a backend lists, and whether it refused the account.
async fn list(
    client: &Client<'_>,
    flow: &Flow,
    credentials: &Credentials,
) -> (Outcome<Vec<String>>, bool) {
    let path = "/api/v2.0/jobservice/pools";
    let request = Request::of(Check::WorkerPools, Method::GET, path, Auth::Basic(credentials));
    let mut link = client.link(&flow.route);
    let mut response = client.send(link.as_mut(), &flow.route, request.clone()).await;
    let lost = |failure: &Failure| failure.reason.is_network();
    if response.exchange.result.as_ref().is_err_and(lost) && !client.is_over() {
        let mut link = client.link(&flow.route);
        response = client.send(link.as_mut(), &flow.route, request).await;
    }
    let answer = match outcome(&response) {
        Ok(answer) => answer,
        Err(failure) => return (Outcome::Failed(failure), false),
    };
    if answer.status != 200 {
        let failure = unexpected(answer, "200 with worker pools");
        return (Outcome::Failed(failure), matches!(answer.status, 401 | 403));
    }
    let body = response.reply().map(|reply| reply.body.as_slice()).unwrap_or_default();
    let ids = match registry::worker_pools(body) {
        Ok(ids) => Outcome::Measured(ids),
        Err(found) => Outcome::Failed(Failure::of_answer(
            Reason::UnexpectedStatus,
            format!("the list of worker pools is {found}"),
        )),
    };
    (ids, false)
}
