//! Backends divided into groups whose members accept what the others give: the one union-find of
//! the diagnosis.

use std::collections::BTreeMap;

use super::facts::odd_ones;
use crate::model::BackendName;

/// Groups of backends. Each is alone until it is joined with another.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// The name of the group of each backend.
    group: BTreeMap<BackendName, BackendName>,
}

impl Partition {
    /// Makes a backend known.
    pub(super) fn add(&mut self, name: &BackendName) {
        self.group.entry(name.clone()).or_insert_with(|| name.clone());
    }

    /// Puts two backends into one group.
    pub(super) fn join(&mut self, one: &BackendName, other: &BackendName) {
        self.add(one);
        self.add(other);
        let (Some(a), Some(b)) = (self.group.get(one).cloned(), self.group.get(other).cloned())
        else {
            return;
        };
        let (to, from) = if a < b { (a, b) } else { (b, a) };
        self.group.values_mut().filter(|name| **name == from).for_each(|name| *name = to.clone());
    }

    /// Whether a backend is in any group.
    pub(super) fn knows(&self, name: &BackendName) -> bool {
        self.group.contains_key(name)
    }

    /// Whether two backends are known and in different groups.
    pub(super) fn are_apart(&self, one: &BackendName, other: &BackendName) -> bool {
        self.group.get(one).zip(self.group.get(other)).is_some_and(|(a, b)| a != b)
    }

    /// The groups, each under the name of its first member.
    pub(super) fn groups(&self) -> BTreeMap<BackendName, Vec<BackendName>> {
        let mut groups: BTreeMap<BackendName, Vec<BackendName>> = BTreeMap::new();
        for (name, group) in &self.group {
            groups.entry(group.clone()).or_default().push(name.clone());
        }
        groups
    }

    /// Those outside the largest group if it is a majority, and whether it is one; empty if all
    /// are in one group.
    pub(super) fn odd_ones(&self) -> (Vec<BackendName>, bool) {
        odd_ones(&self.groups(), self.group.len())
    }
}
