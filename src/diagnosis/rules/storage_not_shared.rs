//! Nodes that store content in different places (F2): by the canary at each of them, by uploads,
//! and by what was pushed at one and looked for at the others.

use super::super::facts::{Facts, ObservationId};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use super::content::Seen;
use super::repository;
use crate::model::{BackendName, FindingName, Reason, Step};

const NAME: FindingName = FindingName::StorageNotShared;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let seen = Seen::of(facts);
    [lacking(facts, &seen), own(&seen), unplaced(&seen)].into_iter().flatten().collect()
}

/// What other nodes have is not in the storage of these.
fn lacking(facts: &Facts<'_>, seen: &Seen) -> Option<Hypothesis> {
    if seen.storage.is_empty() {
        return None;
    }
    let names = seen.storage.names();
    let lacks = verb(names.len(), "lacks", "lack");
    let summary =
        format!("{} {lacks} content that other nodes have in their storage.", list(&names));
    let (here, through) = lost_repositories(facts, &names);
    let found = Hypothesis::new(NAME, names, summary)
        .hits(Hits::Some("Pulls"))
        .evidence(seen.storage.lines())
        .evidence(["the prober looked again, and it is still missing".to_owned()])
        .explains(seen.storage.ids())
        .explains(here)
        .fits(through)
        .fits(seen.unplaced.ids.iter().copied());
    Some(found)
}

/// The flows that fail only because the repository is not there: those of these backends, and the
/// balancer's, which leads to one of them.
fn lost_repositories(
    facts: &Facts<'_>,
    names: &[BackendName],
) -> (Vec<ObservationId>, Vec<ObservationId>) {
    let lost = facts.flows_that(|flow, step, reason| {
        step == Step::Repository
            && reason == Reason::NotFound
            && flow.route.backend().is_none_or(|name| names.contains(name))
    });
    let (here, through): (Vec<_>, Vec<_>) =
        lost.into_iter().partition(|(_, flow)| flow.route.backend().is_some());
    (repository::ids(&here), repository::ids(&through))
}

/// A node that does not know its own uploads may be several, each with a storage of its own.
fn own(seen: &Seen) -> Option<Hypothesis> {
    if seen.own.is_empty() {
        return None;
    }
    let names = seen.own.names();
    let does = verb(
        names.len(),
        "does not know the uploads that it began",
        "do not know the uploads that they began",
    );
    let summary = format!(
        "{} {does}: replicas behind one address may not share their storage.",
        list(&names)
    );
    let found = Hypothesis::new(NAME, names, summary)
        .suspected(&[FindingName::StorageStaleReads])
        .hits(Hits::Some("Pushes"))
        .evidence(seen.own.lines())
        .explains(seen.own.ids());
    Some(found)
}

/// What was pushed, or begun, at one place is missing at another, and it is not known which of the
/// two does not share.
fn unplaced(seen: &Seen) -> Option<Hypothesis> {
    if seen.unplaced.ids.is_empty() || !seen.storage.is_empty() || !seen.databases.is_empty() {
        return None;
    }
    let summary = "A pushed image is not on every node: the storage or the database is not shared.";
    let found = Hypothesis::new(NAME, Vec::new(), summary.to_owned())
        .suspected(&[FindingName::ContentDiffers, FindingName::UnknownBackend])
        .hits(Hits::Some("Pulls"))
        .evidence(seen.unplaced.lines.clone())
        .fits(seen.unplaced.ids.iter().copied());
    Some(found)
}
