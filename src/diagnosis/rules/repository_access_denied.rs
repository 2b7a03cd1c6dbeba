//! The token is good, and permission, project or repository is missing everywhere (D8). The cause
//! may as well be the prober's own configuration, so the finding does not say that users fail.

use super::super::facts::{Facts, ObservationId};
use super::super::hypothesis::{Hits, Hypothesis};
use super::repository::{Failing, ids, is_younger, refused, ungranted};
use crate::model::{Check, FindingName, Outcome, Reason, Route};

const NAME: FindingName = FindingName::RepositoryAccessDenied;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let scope = facts.round.scope.clone().unwrap_or_default();
    let mut all = Vec::new();
    if let Some(failing) = ungranted(facts).filter(|failing| failing.everywhere) {
        let summary =
            format!("No node grants {scope}: permission, project or repository is missing.");
        all.push(everywhere(&failing, summary));
    }
    let refused = refused(facts).filter(|failing| failing.everywhere);
    if let Some(failing) = refused.filter(|failing| !is_younger(facts, failing)) {
        let summary = format!(
            "Every node accepts the token, but none allows {scope}: permission, project or \
             repository is missing."
        );
        all.push(everywhere(&failing, summary));
    }
    all.extend(pushes(facts));
    all
}

fn everywhere(failing: &Failing<'_>, summary: String) -> Hypothesis {
    Hypothesis::new(NAME, Vec::new(), summary)
        .hits(Hits::Prober)
        .evidence(failing.lines())
        .explains(ids(&failing.at))
        .explains(ids(&failing.through))
}

/// No route grants a push to the scratch repository.
fn pushes(facts: &Facts<'_>) -> Option<Hypothesis> {
    let checks = &facts.round.checks;
    let begun = checks.upload.measured().map_or(&[][..], |uploads| uploads.begun.as_slice());
    let pushed = checks.push.measured().map_or(&[][..], |pushed| pushed.by.as_slice());
    let uploads = begun.iter().map(|at| (Check::Upload, &at.route, lacks(&at.value)));
    let pushes = pushed.iter().map(|at| (Check::Push, &at.route, lacks(&at.value)));
    let tried: Vec<(Check, &Route, bool)> = uploads
        .chain(pushes)
        .filter_map(|(check, route, lacks)| Some((check, route, lacks?)))
        .collect();
    if tried.is_empty() || tried.iter().any(|(.., lacks)| !lacks) {
        return None;
    }
    let place = |(check, route, _): &(Check, &Route, bool)| {
        facts.met(*check, &crate::model::Place::route(route))
    };
    let ids: Vec<ObservationId> = tried.iter().flat_map(place).collect();
    let lines = ids.iter().map(|id| {
        let seen = facts.observation(*id);
        format!("{}: {}", seen.place.answering(), seen.failure)
    });
    let summary = "No node grants a push to the scratch repository: its project or the \
                   permission of the prober's account is missing.";
    let found = Hypothesis::new(NAME, Vec::new(), summary.to_owned())
        .hits(Hits::Prober)
        .evidence(lines)
        .explains(ids.iter().copied());
    Some(found)
}

/// Whether a route's token lacks the right to push; none where that was not tried.
fn lacks<T>(value: &Outcome<T>) -> Option<bool> {
    match value {
        Outcome::Measured(_) => Some(false),
        Outcome::Failed(failure) => Some(failure.reason == Reason::MissingAccess),
        Outcome::Skipped(_) => None,
    }
}
