//! Nodes that do not share a database (G3): they have other content, or lack accounts and projects
//! that others have.

use super::super::facts::{Facts, ObservationId, backends_of};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use super::content::Seen;
use super::repository::{Failing, ids, is_younger, refused, ungranted};
use crate::model::{Answer, AuthScheme, BackendName, FindingName, Flow, Reason, Route, Step};

const NAME: FindingName = FindingName::ContentDiffers;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let scope = facts.round.scope.clone().unwrap_or_default();
    let ungranted = ungranted(facts).filter(|failing| !failing.everywhere);
    let refused =
        refused(facts).filter(|failing| !failing.everywhere && !is_younger(facts, failing));
    [
        databases(&Seen::of(facts)),
        ungranted.map(|failing| lacking(&failing, &format!("grants {scope}"))),
        refused.map(|failing| lacking(&failing, &format!("gives {scope}"))),
        unknown_account(facts),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Other content under the same tag.
fn databases(seen: &Seen) -> Option<Hypothesis> {
    if seen.databases.is_empty() {
        return None;
    }
    let names = seen.databases.names();
    let summary = match names.as_slice() {
        [one] => format!("{one} has different content than the other nodes under the same tag."),
        names => format!("{} have different content under the same tag.", list(names)),
    };
    let found = Hypothesis::new(NAME, names, summary)
        .hits(Hits::Some("Pulls"))
        .evidence(seen.databases.lines())
        .explains(seen.databases.ids())
        .fits(seen.unplaced.ids.iter().copied());
    Some(found)
}

/// What one node has and another lacks.
fn lacking(failing: &Failing<'_>, what: &str) -> Hypothesis {
    let names = failing.names();
    let lacks = verb(names.len(), "lacks", "lack");
    let summary = format!(
        "{} {lacks} what other nodes have: accounts or content are not shared.",
        list(&names)
    );
    Hypothesis::new(NAME, names, summary)
        .suspected(&[FindingName::RepositoryAccessDenied, FindingName::DatabaseUnavailable])
        .evidence(failing.lines())
        .evidence([format!("other nodes have it: one of them {what}")])
        .explains(ids(&failing.at))
        .fits(ids(&failing.through))
}

/// A backend refuses the credential that others accept, and does not know the project either.
fn unknown_account(facts: &Facts<'_>) -> Option<Hypothesis> {
    let refused = facts.flows_that(|_, step, reason| {
        step == Step::Token
            && matches!(
                reason,
                Reason::Unauthorized
                    | Reason::Forbidden
                    | Reason::AnonymousToken
                    | Reason::WrongSubject
            )
    });
    let accepted = |flow: &&Flow| flow.passed(Step::Token) == Some(true);
    let good: Vec<&Route> =
        facts.round.flows.iter().filter(accepted).map(|flow| &flow.route).collect();
    let missing: Vec<(ObservationId, &Flow)> = refused
        .iter()
        .filter(|(_, flow)| flow.route.backend().is_some_and(|name| has_no_project(facts, name)))
        .copied()
        .collect();
    if missing.is_empty() || good.is_empty() {
        return None;
    }
    let names = backends_of(missing.iter().map(|(_, flow)| *flow));
    let has = verb(
        names.len(),
        "has neither the account nor the project: the database is not shared",
        "have neither the account nor the project: the database is not shared",
    );
    let summary = format!("{} {has}.", list(&names));
    let lines = missing.iter().filter_map(|(_, flow)| {
        Some(format!("{}: token endpoint, {}", flow.route, flow.failure()?.1))
    });
    let through: Vec<_> =
        refused.iter().filter(|(_, flow)| flow.route == Route::Balancer).copied().collect();
    let found = Hypothesis::new(NAME, names.clone(), summary)
        .suspected(&[FindingName::AnonymousDowngrade])
        .evidence(lines)
        .evidence([
            format!("the same credential is accepted by {}", list(&good)),
            format!(
                "no such project is found at {} with a good token of another node",
                list(&names)
            ),
        ])
        .explains(ids(&missing))
        .fits(ids(&through));
    Some(found)
}

/// Whether a good token of another node finds no project at a backend whose database answers.
fn has_no_project(facts: &Facts<'_>, name: &BackendName) -> bool {
    let mut borrowed =
        facts.round.foreign_tokens.iter().filter(|borrowed| borrowed.backend == *name);
    let mut components = facts.round.checks.components();
    let database =
        components.any(|(at, told)| at == name && told.component == "database" && !told.healthy);
    !database && borrowed.any(|borrowed| borrowed.answer.measured().is_some_and(is_project_missing))
}

/// Harbor's answer where a project does not exist: an empty challenge that names it
/// (captures/harbor-2.15.2/77-database-split.http).
pub(super) fn is_project_missing(answer: &Answer) -> bool {
    let empty = answer.challenge.as_ref().is_some_and(|c| c.scheme == AuthScheme::Empty);
    let message = answer.error_message.as_deref().unwrap_or_default();
    empty && message.contains("not found")
}
