//! What a backend tells of itself without credentials: family, version and settings.

use super::ask::{Ask, Asker, Auth};
use super::flow;
use super::matrix;
use crate::config::Backend;
use crate::model::{
    BackendFacts, Failure, Family, Flow, Outcome, Reason, Route, Settings, Skipped, Step, Version,
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
    let (name, address) = (backend.name.clone(), backend.address.to_string());
    // What it tells of its settings is noted with the answers, and put here when all are in.
    BackendFacts { name, address, family, version, settings: Settings::new() }
}

async fn harbor(asker: &Asker<'_>, route: &Route) -> Outcome<Option<Version>> {
    if asker.is_over() {
        return Outcome::Skipped(Skipped::DeadlineReached);
    }
    let mut link = asker.link(route);
    let ask = Ask::get(Step::Check, "/api/v2.0/systeminfo", Auth::None);
    let asked = asker.ask(link.as_mut(), route, ask).await;
    let body = match flow::outcome(&asked) {
        Err(failure) => return Outcome::Failed(failure),
        Ok(answer) if answer.status != 200 => {
            return Outcome::Failed(flow::unexpected(answer, "200 from Harbor's API"));
        }
        Ok(_) => asked.reply().map(|reply| reply.body.clone()).unwrap_or_default(),
    };
    asker.book_settings(route, registry::system_settings(&body));
    match registry::harbor_version(&body) {
        Ok(version) => Outcome::Measured(version),
        Err(found) => Outcome::Failed(Failure::of_answer(
            Reason::UnexpectedStatus,
            format!("system information is {found}"),
        )),
    }
}
