//! A project that is younger than the token, by the clocks involved (B3).

use super::super::facts::Facts;
use super::super::hypothesis::Hypothesis;
use super::repository::{ids, is_younger, refused};
use crate::model::FindingName;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let Some(failing) = refused(facts).filter(|failing| is_younger(facts, failing)) else {
        return Vec::new();
    };
    let backends = if failing.everywhere { Vec::new() } else { failing.names() };
    let scope = facts.round.scope.clone().unwrap_or_default();
    let summary = format!(
        "The token grants {scope}, /v2/ accepts it, and the repository refuses it: by the clocks \
         involved, the project is newer than the token."
    );
    let found = Hypothesis::new(FindingName::ProjectNewerThanToken, backends, summary)
        .suspected(&[FindingName::RepositoryAccessDenied])
        .evidence(failing.lines())
        .explains(ids(&failing.at))
        .fits(ids(&failing.through));
    vec![found]
}
