//! `core-registry-password-mismatch`: the registry behind Harbor's core refuses core's password
//! (D7 in `deploy/modes.md`). Its realm is seen outside only then.

use super::super::facts::{BEHIND_CORE, Facts, behind_core};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::list;
use crate::model::{BackendName, FindingName, Observation};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let refused = |seen: &Observation| seen.answer.as_ref().is_some_and(behind_core);
    let (through, direct): (Vec<_>, Vec<_>) =
        facts.observed(refused).partition(|(_, seen)| seen.place.involves_balancer());
    let mut names: Vec<BackendName> =
        direct.iter().filter_map(|(_, seen)| seen.place.backend().cloned()).collect();
    names.sort();
    names.dedup();
    if direct.is_empty() && through.is_empty() {
        return Vec::new();
    }
    let summary = if names.is_empty() {
        "Behind the load balancer, a registry refuses core's password.".to_owned()
    } else {
        format!("The registry behind {} refuses core's password.", list(&names))
    };
    let evidence = format!(
        "good tokens were answered 401 Basic realm={BEHIND_CORE:?} {} times",
        direct.len() + through.len()
    );
    let hypothesis = Hypothesis::new(FindingName::CoreRegistryPasswordMismatch, names, summary)
        .hits(Hits::Tokens)
        .evidence([evidence])
        .explains(direct.into_iter().map(|(id, _)| id))
        .explains(through.into_iter().map(|(id, _)| id));
    vec![hypothesis]
}
