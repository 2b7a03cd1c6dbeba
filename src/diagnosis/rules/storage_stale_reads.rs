//! A shared storage of which nodes show late what was written (F3): their caches are stale.

use super::super::facts::Facts;
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use super::content::Seen;
use crate::model::FindingName;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let seen = Seen::of(facts);
    if seen.stale.is_empty() {
        return Vec::new();
    }
    let names = seen.stale.names();
    let does = verb(
        names.len(),
        "does not see what the storage holds, or sees it late",
        "do not see what the storage holds, or see it late",
    );
    let summary = format!("{} {does}: a cache is stale.", list(&names));
    let found = Hypothesis::new(FindingName::StorageStaleReads, names, summary)
        .proved_if(seen.late, &[FindingName::ContentDiffers, FindingName::StorageNotShared])
        .hits(Hits::Some("Pulls of what was just pushed"))
        .evidence(seen.stale.lines())
        .explains(seen.stale.ids());
    vec![found]
}
