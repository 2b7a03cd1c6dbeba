//! Changes from one judged round to the next, as plain data.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{
    BackendName, Confidence, Earlier, FindingName, Incident, Judged, KeyId, KeySeen, OpenFinding,
    Severity, Subject,
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
    /// A finding that the round before did not have at these backends, or had with another severity
    /// or confidence.
    FindingOpened {
        /// Its name.
        finding: String,
        /// How bad.
        severity: String,
        /// How sure.
        confidence: String,
        /// The backends at fault that are new or changed; empty where the cause lies elsewhere or
        /// cannot be placed.
        backends: Vec<String>,
    },
    /// A finding that is gone at these backends.
    FindingClosed {
        /// Its name.
        finding: String,
        /// The backends where it is gone; empty if it named none. The line of an older journal has
        /// no such field: then it is gone everywhere.
        #[serde(default)]
        backends: Option<Vec<String>>,
    },
    /// A backend signs with a key that it was not seen with before.
    KeySeen {
        /// Which backend.
        backend: String,
        /// The key.
        key: KeyId,
    },
    /// An incident has changed; this is all that is known of it now.
    Incident {
        /// The incident.
        incident: Box<Incident>,
    },
}

/// How bad and how sure.
type Weight = (Severity, Confidence);

/// What a judged round changed against what was known before it.
pub fn events(earlier: &Earlier, judged: &Judged) -> Vec<Event> {
    let (round, findings) = (&judged.round, &judged.assessment.findings);
    let mut found: BTreeMap<Subject, Weight> = BTreeMap::new();
    for finding in findings {
        let weight = (finding.severity, finding.confidence);
        for subject in Subject::all(finding.finding, &finding.backends) {
            let known = found.entry(subject).or_insert(weight);
            *known = (known.0.max(weight.0), known.1.max(weight.1));
        }
    }
    let mut changes = opened(earlier, &found);
    changes.extend(closed(earlier, &found));
    for facts in &round.backends {
        let token = round.backend_flow(&facts.name).and_then(|flow| flow.token.measured());
        let Some(key) = token.and_then(|token| token.kid.as_ref()) else { continue };
        // Replicas behind one address would look like a change at every round.
        let counted = round.key_census.iter().find(|census| census.backend == facts.name);
        let steady = counted.is_none_or(|census| census.keys.len() < 2);
        let known = earlier.keys.get(&facts.name).map(|seen| &seen.key);
        if steady && known != Some(key) {
            changes.push(What::KeySeen { backend: facts.name.to_string(), key: key.clone() });
        }
    }
    let event = |what| Event { at: round.started, registry: round.registry.to_string(), what };
    changes.into_iter().map(event).collect()
}

/// The subjects of one cause, in one line for each severity and confidence. Those without a backend
/// have a line of their own.
fn opened(earlier: &Earlier, found: &BTreeMap<Subject, Weight>) -> Vec<What> {
    let mut lines: BTreeMap<(FindingName, bool, Weight), Vec<String>> = BTreeMap::new();
    for (subject, weight) in found {
        let known = earlier.open.get(subject).map(|open| (open.severity, open.confidence));
        if known != Some(*weight) {
            let line = lines.entry((subject.finding, subject.backend.is_some(), *weight));
            line.or_default().extend(subject.backend.as_ref().map(ToString::to_string));
        }
    }
    let told = |((finding, _, (severity, confidence)), backends)| {
        opening(finding, severity, confidence, backends)
    };
    lines.into_iter().map(told).collect()
}

fn opening(
    finding: FindingName,
    severity: Severity,
    confidence: Confidence,
    backends: Vec<String>,
) -> What {
    What::FindingOpened {
        finding: finding.as_str().to_owned(),
        severity: severity.as_str().to_owned(),
        confidence: confidence.as_str().to_owned(),
        backends,
    }
}

fn closed(earlier: &Earlier, found: &BTreeMap<Subject, Weight>) -> Vec<What> {
    let mut lines: BTreeMap<(FindingName, bool), Vec<String>> = BTreeMap::new();
    for subject in earlier.open.keys().filter(|subject| !found.contains_key(subject)) {
        let line = lines.entry((subject.finding, subject.backend.is_some())).or_default();
        line.extend(subject.backend.as_ref().map(ToString::to_string));
    }
    let told = |((finding, _), backends): ((FindingName, _), _)| What::FindingClosed {
        finding: finding.as_str().to_owned(),
        backends: Some(backends),
    };
    lines.into_iter().map(told).collect()
}

/// The backends of a registry whose keys are remembered.
const MOST_KEYS: usize = 1_000;

/// Takes an event in. One that names what this version does not know changes nothing.
pub fn apply(earlier: &mut Earlier, event: &Event) {
    match &event.what {
        What::FindingOpened { finding, severity, confidence, backends } => {
            let Some(name) = FindingName::named(finding) else { return };
            let (severity, confidence) = (severity_of(severity), confidence_of(confidence));
            for subject in subjects(name, backends) {
                let begun = OpenFinding { since: event.at, confidence, severity };
                let open = earlier.open.entry(subject).or_insert(begun);
                (open.confidence, open.severity) = (confidence, severity);
            }
        }
        What::FindingClosed { finding, backends } => {
            let Some(name) = FindingName::named(finding) else { return };
            match backends {
                None => earlier.open.retain(|subject, _| subject.finding != name),
                Some(backends) => {
                    for subject in subjects(name, backends) {
                        earlier.open.remove(&subject);
                    }
                }
            }
        }
        What::KeySeen { backend, key } => {
            let Ok(backend) = BackendName::recall(backend) else { return };
            let previous = earlier.keys.remove(&backend).map(|seen| seen.key);
            let seen = KeySeen { key: key.clone(), since: event.at, previous };
            earlier.keys.insert(backend, seen);
            // Every pod of every rollout has a name of its own.
            while earlier.keys.len() > MOST_KEYS {
                let oldest = earlier.keys.iter().min_by_key(|(_, seen)| seen.since);
                let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { break };
                earlier.keys.remove(&oldest);
            }
        }
        What::Incident { .. } => {}
    }
}

/// The subjects of a line, without what is not the name of a backend. A line of which no name can
/// be read is about no subject.
fn subjects(name: FindingName, backends: &[String]) -> Vec<Subject> {
    let known: Vec<BackendName> =
        backends.iter().filter_map(|text| BackendName::recall(text).ok()).collect();
    if known.is_empty() && !backends.is_empty() {
        return Vec::new();
    }
    Subject::all(name, &known)
}

fn severity_of(text: &str) -> Severity {
    let mut all = Severity::ALL.into_iter();
    all.find(|severity| severity.as_str() == text).unwrap_or(Severity::Info)
}

fn confidence_of(text: &str) -> Confidence {
    if text == Confidence::Proved.as_str() { Confidence::Proved } else { Confidence::Suspected }
}

/// The line of an incident.
pub(super) fn of_incident(incident: &Incident) -> Event {
    let at = incident.closed.unwrap_or(incident.opened);
    let what = What::Incident { incident: Box::new(incident.clone()) };
    Event { at, registry: incident.registry.clone(), what }
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
    for (subject, open) in &earlier.open {
        let backends = subject.backend.iter().map(ToString::to_string).collect();
        let what = opening(subject.finding, open.severity, open.confidence, backends);
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
        let a = sample::backend("a");
        let since = earlier.since_of(name, &a);
        let mut later = sample::round(&["a", "b"]);
        later.started += chrono::TimeDelta::minutes(1);
        assert_eq!(take(&mut earlier, &judged(later.clone(), &[name])), []);
        assert_eq!((earlier.since_of(name, &a), since.is_some()), (since, true));
        assert_eq!(take(&mut earlier, &judged(later, &[])).len(), 1);
        assert_eq!(earlier.open.len(), 0);
    }

    /// Backends at fault, by a round some minutes later.
    fn at(minutes: i64, severity: Severity, backends: &[&str]) -> Judged {
        let mut round = sample::round(&["a", "b", "c"]);
        round.started += chrono::TimeDelta::minutes(minutes);
        let findings = if backends.is_empty() {
            Vec::new()
        } else {
            vec![sample::finding(FindingName::TokenKeyMismatch, severity, backends)]
        };
        (*sample::judged(round, findings)).clone()
    }

    fn told(events: &[Event]) -> Vec<String> {
        let line = |event: &Event| match &event.what {
            What::FindingOpened { severity, backends, .. } => {
                Some(format!("{severity} at {}", backends.join(",")))
            }
            What::FindingClosed { backends, .. } => {
                Some(format!("gone at {}", backends.as_ref()?.join(",")))
            }
            What::KeySeen { .. } | What::Incident { .. } => None,
        };
        events.iter().filter_map(line).collect()
    }

    #[test]
    fn the_journal_notices_when_the_backends_of_a_finding_change_and_each_has_its_own_time() {
        let mut earlier = Earlier::default();
        let (warning, critical) = (Severity::Warning, Severity::Critical);
        for (minutes, severity, backends, expected) in [
            (0, warning, &["a"][..], &["warning at a"][..]),
            (1, warning, &["a"], &[]),
            (2, warning, &["a", "b"], &["warning at b"]),
            (3, critical, &["a", "b"], &["critical at a,b"]),
            (4, critical, &["b", "c"], &["critical at c", "gone at a"]),
            (5, critical, &[], &["gone at b,c"]),
        ] {
            let changes = take(&mut earlier, &at(minutes, severity, backends));
            assert_eq!(told(&changes), expected, "after {minutes} minutes");
            let since = |name| {
                let since = earlier.since_of(FindingName::TokenKeyMismatch, &sample::backend(name));
                since.map(|since| (since - sample::started()).num_minutes())
            };
            if minutes == 4 {
                assert_eq!([since("a"), since("b"), since("c")], [None, Some(2), Some(4)]);
            }
        }
        assert_eq!(earlier.open.len(), 0);
    }

    #[test]
    fn a_journal_of_before_is_read_as_far_as_it_goes() {
        let lines = [
            r#"{"at":"2026-01-01T00:00:00Z","registry":"main","event":"finding_opened","finding":"clock-skew-nbf","severity":"critical","confidence":"proved","backends":["a","b"]}"#,
            r#"{"at":"2026-01-01T00:01:00Z","registry":"main","event":"finding_opened","finding":"unknown-backend","severity":"info","confidence":"proved","backends":[]}"#,
            r#"{"at":"2026-01-01T00:02:00Z","registry":"main","event":"finding_opened","finding":"gone-by-name","severity":"info","confidence":"proved","backends":["a"]}"#,
            r#"{"at":"2026-01-01T00:03:00Z","registry":"main","event":"finding_closed","finding":"clock-skew-nbf"}"#,
        ];
        let events: Vec<Event> =
            lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let open = |count: usize| replay(&events[..count])["main"].open.len();
        assert_eq!([open(1), open(2), open(3), open(4)], [2, 3, 3, 1]);
    }

    #[test]
    fn a_changed_key_is_told_once_and_its_predecessor_remembered() {
        let mut earlier = Earlier::default();
        take(&mut earlier, &judged(sample::round(&["a", "b"]), &[]));
        let first = earlier.keys.values().next().unwrap().key.clone();
        let other = sample::changed(&["a", "b"], |round| {
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
        let other =
            sample::changed(&["a"], |round| sample::sign_with(round, "a", sample::OTHER_KEY));
        take(&mut earlier, &judged(other, &[FindingName::ClockSkewNbf]));
        assert_eq!(replay(&summary("main", &earlier))["main"], earlier);
    }
}
