//! What a backend tells of itself without credentials: family and version.

use super::ask::{Ask, Asker, Auth};
use super::flow;
use super::matrix;
use crate::config::Backend;
use crate::model::{
    BackendFacts, ComponentHealth, Failure, Family, Flow, Outcome, Reason, Route, Skipped, Step,
    Version,
};
use crate::registry;

/// Facts of one backend; Harbor's version is asked for, the others tell none.
pub(super) async fn facts(
    asker: &Asker<'_>,
    backend: &Backend,
    own: Option<&Flow>,
) -> BackendFacts {
    let family = own.map_or(Family::Unknown, matrix::family);
    let version = match family {
        Family::Harbor2 => harbor(asker, &Route::Backend(backend.name.clone())).await,
        Family::Harbor1 | Family::Distribution2 | Family::Distribution3 => {
            Outcome::Skipped(Skipped::NotApplicable)
        }
        Family::Unknown => Outcome::Skipped(Skipped::EarlierStepFailed),
    };
    let failed =
        own.is_some_and(|flow| flow.failure().is_some_and(|(step, _)| step >= Step::Token));
    let health = match family {
        Family::Harbor2 if failed => health(asker, &Route::Backend(backend.name.clone())).await,
        _ => Outcome::Skipped(Skipped::NotApplicable),
    };
    let (name, address) = (backend.name.clone(), backend.address.to_string());
    BackendFacts { name, address, family, version, health }
}

async fn health(asker: &Asker<'_>, route: &Route) -> Outcome<Vec<ComponentHealth>> {
    let body = match api(asker, route, "/api/v2.0/health").await {
        Ok(body) => body,
        Err(outcome) => return outcome,
    };
    match registry::harbor_health(&body) {
        Ok(components) => Outcome::Measured(components),
        Err(found) => Outcome::Failed(Failure::of_answer(
            Reason::UnexpectedStatus,
            format!("the health page is {found}"),
        )),
    }
}

async fn harbor(asker: &Asker<'_>, route: &Route) -> Outcome<Option<Version>> {
    let body = match api(asker, route, "/api/v2.0/systeminfo").await {
        Ok(body) => body,
        Err(outcome) => return outcome,
    };
    match registry::harbor_version(&body) {
        Ok(version) => Outcome::Measured(version),
        Err(found) => Outcome::Failed(Failure::of_answer(
            Reason::UnexpectedStatus,
            format!("system information is {found}"),
        )),
    }
}

/// The body of a page of Harbor's API that needs no credentials. No step of
/// the flow.
async fn api<T>(asker: &Asker<'_>, route: &Route, path: &str) -> Result<Vec<u8>, Outcome<T>> {
    if asker.is_over() {
        return Err(Outcome::Skipped(Skipped::DeadlineReached));
    }
    let mut link = asker.link(route);
    let ask = Ask::get(Step::Check, path, Auth::None);
    let asked = asker.ask(link.as_mut(), route, ask).await;
    match flow::outcome(&asked) {
        Err(failure) => Err(Outcome::Failed(failure)),
        Ok(answer) if answer.status != 200 => {
            Err(Outcome::Failed(flow::unexpected(answer, "200 from Harbor's API")))
        }
        Ok(_) => Ok(asked.reply().map(|reply| reply.body.clone()).unwrap_or_default()),
    }
}
