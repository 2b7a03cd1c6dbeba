//! Changes from one judged round to the next, as plain data.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{
    BackendName, Confidence, Earlier, FindingName, Judged, KeyId, KeySeen, OpenFinding, Severity,
};

/// One change, as it stands in the journal: one JSON object on a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When the round began that brought it.
    pub at: DateTime<Utc>,
    /// Which registry.
    pub registry: String,
    /// What changed.
    #[serde(flatten)]
    pub what: What,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A finding that the round before did not have, or had less or more surely.
    FindingOpened {
        /// Its name.
        finding: String,
        /// How bad.
        severity: String,
        /// How sure.
        confidence: String,
        /// The guilty backends.
        backends: Vec<String>,
    },
    /// A finding that is gone.
    FindingClosed {
        /// Its name.
        finding: String,
    },
    /// A backend signs with a key that it was not seen with before.
    KeySeen {
        /// Which backend.
        backend: String,
        /// The key.
        key: KeyId,
    },
}

/// What a judged round changed against what was known before it.
pub fn events(earlier: &Earlier, judged: &Judged) -> Vec<Event> {
    let (round, findings) = (&judged.round, &judged.assessment.findings);
    let mut changes = Vec::new();
    for finding in findings {
        let known = earlier.open.get(&finding.finding);
        if known.is_none_or(|open| open.confidence != finding.confidence) {
            changes.push(What::FindingOpened {
                finding: finding.finding.as_str().to_owned(),
                severity: finding.severity.as_str().to_owned(),
                confidence: finding.confidence.as_str().to_owned(),
                backends: finding.backends.iter().map(ToString::to_string).collect(),
            });
        }
    }
    for name in earlier.open.keys() {
        if !findings.iter().any(|finding| finding.finding == *name) {
            changes.push(What::FindingClosed { finding: name.as_str().to_owned() });
        }
    }
    for facts in &round.backends {
        let token = round.backend_flow(&facts.name).and_then(|flow| flow.token.measured());
        let Some(key) = token.and_then(|token| token.kid.as_ref()) else { continue };
        // Replicas behind one address would look like a change at every round.
        let counted = round.census.iter().find(|census| census.backend == facts.name);
        let steady = counted.is_none_or(|census| census.keys.len() < 2);
        let known = earlier.keys.get(&facts.name).map(|seen| &seen.key);
        if steady && known != Some(key) {
            changes.push(What::KeySeen { backend: facts.name.to_string(), key: key.clone() });
        }
    }
    let event = |what| Event { at: round.started, registry: round.registry.to_string(), what };
    changes.into_iter().map(event).collect()
}

/// Takes an event in. One that names what this version does not know changes nothing.
pub fn apply(earlier: &mut Earlier, event: &Event) {
    let named = |text: &str| FindingName::ALL.iter().copied().find(|name| name.as_str() == text);
    match &event.what {
        What::FindingOpened { finding, confidence, .. } => {
            let Some(name) = named(finding) else { return };
            let confidence = if confidence == Confidence::Proved.as_str() {
                Confidence::Proved
            } else {
                Confidence::Suspected
            };
            let open = earlier.open.entry(name);
            open.or_insert(OpenFinding { since: event.at, confidence }).confidence = confidence;
        }
        What::FindingClosed { finding } => {
            if let Some(name) = named(finding) {
                earlier.open.remove(&name);
            }
        }
        What::KeySeen { backend, key } => {
            let Ok(backend) = BackendName::parse(backend) else { return };
            let previous = earlier.keys.remove(&backend).map(|seen| seen.key);
            let seen = KeySeen { key: key.clone(), since: event.at, previous };
            earlier.keys.insert(backend, seen);
        }
    }
}

/// The memory of every registry that a list of events leaves.
pub(super) fn replay(events: &[Event]) -> BTreeMap<String, Earlier> {
    let mut all: BTreeMap<String, Earlier> = BTreeMap::new();
    for event in events {
        apply(all.entry(event.registry.clone()).or_default(), event);
    }
    all
}

/// The events that say all that is known, in the fewest lines.
pub(super) fn summary(registry: &str, earlier: &Earlier) -> Vec<Event> {
    let event = |at, what| Event { at, registry: registry.to_owned(), what };
    let mut events = Vec::new();
    for (backend, seen) in &earlier.keys {
        let key = |key: &KeyId| What::KeySeen { backend: backend.to_string(), key: key.clone() };
        events.extend(seen.previous.as_ref().map(|previous| event(seen.since, key(previous))));
        events.push(event(seen.since, key(&seen.key)));
    }
    for (name, open) in &earlier.open {
        let what = What::FindingOpened {
            finding: name.as_str().to_owned(),
            severity: Severity::Info.as_str().to_owned(),
            confidence: open.confidence.as_str().to_owned(),
            backends: Vec::new(),
        };
        events.push(event(open.since, what));
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Round;
    use crate::model::sample;

    fn judged(round: Round, names: &[FindingName]) -> Judged {
        let finding = |name: &FindingName| sample::finding(*name, Severity::Critical, &["a"]);
        (*sample::judged(round, names.iter().map(finding).collect())).clone()
    }

    fn take(earlier: &mut Earlier, judged: &Judged) -> Vec<Event> {
        let changes = events(earlier, judged);
        for event in &changes {
            apply(earlier, event);
        }
        changes
    }

    #[test]
    fn a_finding_keeps_its_first_time_until_a_round_is_free_of_it() {
        let mut earlier = Earlier::default();
        let name = FindingName::TokenKeyMismatch;
        take(&mut earlier, &judged(sample::round(&["a", "b"]), &[name]));
        let since = earlier.open[&name].since;
        let mut later = sample::round(&["a", "b"]);
        later.started += chrono::TimeDelta::minutes(1);
        assert_eq!(take(&mut earlier, &judged(later.clone(), &[name])), []);
        assert_eq!(earlier.open[&name].since, since);
        assert_eq!(take(&mut earlier, &judged(later, &[])).len(), 1);
        assert_eq!(earlier.open.len(), 0);
    }

    #[test]
    fn a_changed_key_is_told_once_and_its_predecessor_remembered() {
        let mut earlier = Earlier::default();
        take(&mut earlier, &judged(sample::round(&["a", "b"]), &[]));
        let first = earlier.keys.values().next().unwrap().key.clone();
        let other = sample::bent(&["a", "b"], |round| {
            sample::sign_with(round, "a", sample::OTHER_KEY);
        });
        assert_eq!(take(&mut earlier, &judged(other.clone(), &[])).len(), 1);
        assert_eq!(take(&mut earlier, &judged(other, &[])).len(), 0);
        let a = BackendName::parse("a").unwrap();
        assert_eq!(earlier.keys[&a].previous, Some(first));
    }

    #[test]
    fn what_is_known_survives_its_own_summary() {
        let mut earlier = Earlier::default();
        take(&mut earlier, &judged(sample::round(&["a"]), &[FindingName::ClockSkewNbf]));
        let other = sample::bent(&["a"], |round| sample::sign_with(round, "a", sample::OTHER_KEY));
        take(&mut earlier, &judged(other, &[FindingName::ClockSkewNbf]));
        assert_eq!(replay(&summary("main", &earlier))["main"], earlier);
    }
}
