//! Which replications failed lately, and at which backend lies the log of each failed task? A
//! worker's log lies with the job service that ran it: a log that is nowhere was written elsewhere.

use chrono::TimeDelta;
use futures_util::future::join_all;
use http::Method;

use super::super::answer::{outcome, unexpected};
use super::super::client::Client;
use super::super::matrix;
use super::super::path::Path;
use super::super::request::{Auth, Request, Response};
use crate::config::Credentials;
use crate::model::{
    Check, FailedTask, Failure, Family, Flow, LogAt, Outcome, Reason, Replications, Route, Skipped,
    Step, TaskLog, WorkerPools,
};
use crate::registry;

/// What ended longer ago is left alone: a job service sweeps the logs of the day before.
const LATELY: TimeDelta = TimeDelta::hours(12);

/// Their paths begin so.
const EXECUTIONS: &str = "/api/v2.0/replication/executions/";

/// The most failed executions that are looked into.
const LOOKED_INTO: usize = 3;

pub(super) async fn look(
    client: &Client<'_>,
    flows: &[Flow],
    pools: Option<&WorkerPools>,
) -> Outcome<Replications> {
    let Some(credentials) = &client.registry.system_credentials else {
        return Outcome::Skipped(Skipped::NoCredentials);
    };
    if pools.is_some_and(WorkerPools::is_refused) {
        return Outcome::Skipped(Skipped::EarlierStepFailed);
    }
    let backends = flows.iter().filter(|flow| flow.route.backend().is_some());
    let answers =
        |flow: &&Flow| flow.passed(Step::Challenge) == Some(true) && !client.holds(&flow.route);
    let answering: Vec<&Flow> = backends.filter(answers).collect();
    let harbors: Vec<&Route> = answering
        .iter()
        .filter(|flow| matrix::family(flow) == Family::Harbor2)
        .map(|flow| &flow.route)
        .filter(|route| {
            !pools.zip(route.backend()).is_some_and(|(pools, name)| pools.refused_by(name))
        })
        .collect();
    let Some((told_by, backend)) =
        harbors.first().and_then(|route| Some((*route, route.backend()?.clone())))
    else {
        return Outcome::Skipped(if answering.is_empty() {
            Skipped::EarlierStepFailed
        } else {
            Skipped::NotApplicable
        });
    };
    let list = Path::from("/api/v2.0/replication/executions?page=1&page_size=50");
    let executions = match read(client, told_by, credentials, list, registry::replications).await {
        Ok(executions) => executions,
        Err(without) => return without,
    };
    let since = client.clock.at(client.began) - LATELY;
    let lately: Vec<_> =
        executions.into_iter().filter(|one| one.ended.is_some_and(|end| end > since)).collect();
    let failed: Vec<u64> = lately.iter().filter(|one| one.failed).map(|one| one.id).collect();
    let mut tasks = Vec::new();
    for execution in failed.iter().copied().take(LOOKED_INTO) {
        let path = Path::from(EXECUTIONS).number(execution).then("/tasks?page_size=50");
        // What cannot be looked into takes nothing from what the list says.
        let found = read(client, told_by, credentials, path, registry::failed_tasks).await;
        if let Some(task) = found.ok().and_then(|tasks| tasks.into_iter().next()) {
            let logs = logs(client, &harbors, credentials, execution, task).await;
            tasks.push(FailedTask { execution, task, logs });
        }
    }
    let (ended, failed) = (lately.len(), failed.len());
    Outcome::Measured(Replications { told_by: backend, ended, failed, tasks })
}

/// Looks for a log where the list came from, and if it is not there, everywhere else.
async fn logs(
    client: &Client<'_>,
    harbors: &[&Route],
    credentials: &Credentials,
    execution: u64,
    task: u64,
) -> Vec<LogAt> {
    let tasks = Path::from(EXECUTIONS).number(execution).then("/tasks/");
    let path = tasks.number(task).then("/log");
    let at = async |route: &Route| {
        let backend = route.backend()?.clone();
        Some(LogAt { backend, log: log(client, route, credentials, path.clone()).await })
    };
    let Some((first, others)) = harbors.split_first() else { return Vec::new() };
    let mut found: Vec<LogAt> = at(first).await.into_iter().collect();
    if found.iter().all(|at| at.log.measured() == Some(&TaskLog::Missing)) {
        found.extend(join_all(others.iter().map(|route| at(route))).await.into_iter().flatten());
    }
    found
}

async fn log(
    client: &Client<'_>,
    route: &Route,
    credentials: &Credentials,
    path: Path,
) -> Outcome<TaskLog> {
    if client.is_over() {
        return Outcome::Skipped(Skipped::DeadlineReached);
    }
    let response = get(client, route, credentials, path).await;
    match outcome(&response) {
        Ok(answer) if answer.status == 200 => {
            let body = response.reply().map(|reply| reply.body.as_slice()).unwrap_or_default();
            Outcome::Measured(TaskLog::Here { unauthorized: registry::tells_of_refusal(body) })
        }
        Ok(answer) if answer.status == 404 && !answer.html => Outcome::Measured(TaskLog::Missing),
        Ok(answer) => Outcome::Failed(unexpected(answer, "200 with a log, or 404")),
        // A log that is too long to be read is there all the same.
        Err(failure) if failure.reason == Reason::TooLarge => {
            Outcome::Measured(TaskLog::Here { unauthorized: false })
        }
        Err(failure) => Outcome::Failed(failure),
    }
}

async fn get(
    client: &Client<'_>,
    route: &Route,
    credentials: &Credentials,
    path: Path,
) -> Response {
    let request = Request::of(Check::Replications, Method::GET, path, Auth::Basic(credentials));
    let mut link = client.link(route);
    client.send(link.as_mut(), route, request).await
}

/// A list of the API, or what there is instead.
async fn read<T>(
    client: &Client<'_>,
    route: &Route,
    credentials: &Credentials,
    path: Path,
    parse: fn(&[u8]) -> Result<T, &'static str>,
) -> Result<T, Outcome<Replications>> {
    if client.is_over() {
        return Err(Outcome::Skipped(Skipped::DeadlineReached));
    }
    let response = get(client, route, credentials, path).await;
    let answer = outcome(&response).map_err(Outcome::Failed)?;
    match answer.status {
        200 => {}
        403 => return Err(Outcome::Skipped(Skipped::NotPermitted)),
        _ => return Err(Outcome::Failed(unexpected(answer, "200 with a list"))),
    }
    let body = response.reply().map(|reply| reply.body.as_slice()).unwrap_or_default();
    parse(body).map_err(|found| {
        let detail = format!("the list of replications is {found}");
        Outcome::Failed(Failure::of_answer(Reason::UnexpectedStatus, detail))
    })
}
