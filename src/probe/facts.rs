//! What a backend tells of itself without credentials: family, version and settings.

use super::answer::{outcome, unexpected};
use super::client::Client;
use super::matrix;
use super::request::{Auth, Request};
use crate::config::Backend;
use crate::model::{
    BackendFacts, Failure, Family, Flow, Outcome, Reason, Route, Settings, Skipped, Step, Version,
};
use crate::registry;

/// Facts of one backend; Harbor's version is asked for, the others tell none.
pub(super) async fn facts(
    client: &Client<'_>,
    backend: &Backend,
    own: Option<&Flow>,
) -> BackendFacts {
    let family = own.map_or(Family::Unknown, matrix::family);
    let version = match family {
        Family::Harbor2 => harbor(client, &Route::Backend(backend.name.clone())).await,
        Family::Harbor1 | Family::Distribution2 | Family::Distribution3 => {
            Outcome::Skipped(Skipped::NotApplicable)
        }
        Family::Unknown => Outcome::Skipped(Skipped::EarlierStepFailed),
    };
    let (name, address, ready) = (backend.name.clone(), backend.address.to_string(), backend.ready);
    // What it tells of its settings is noted with the answers, and put here when all are in.
    BackendFacts { name, address, ready, family, version, settings: Settings::new() }
}

async fn harbor(client: &Client<'_>, route: &Route) -> Outcome<Option<Version>> {
    if client.is_over() {
        return Outcome::Skipped(Skipped::DeadlineReached);
    }
    let mut link = client.link(route);
    let request = Request::get(Step::Check, "/api/v2.0/systeminfo", Auth::None);
    let response = client.send(link.as_mut(), route, request).await;
    let body = match outcome(&response) {
        Err(failure) => return Outcome::Failed(failure),
        Ok(answer) if answer.status != 200 => {
            return Outcome::Failed(unexpected(answer, "200 from Harbor's API"));
        }
        Ok(_) => response.reply().map(|reply| reply.body.clone()).unwrap_or_default(),
    };
    client.record_settings(route, registry::system_settings(&body));
    match registry::harbor_version(&body) {
        Ok(version) => Outcome::Measured(version),
        Err(found) => Outcome::Failed(Failure::of_answer(
            Reason::UnexpectedStatus,
            format!("system information is {found}"),
        )),
    }
}
