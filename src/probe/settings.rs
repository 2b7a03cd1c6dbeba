//! The settings that backends tell by the way: noted wherever an answer says one, compared with
//! the rounds before. No request is sent for them.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{BackendName, Setting, Settings, Told};

/// A value that has changed is compared again after this time: Harbor's nodes keep what is in the
/// database for up to a minute, and are restarted one after the other.
const SETTLES_IN: Duration = Duration::from_secs(120);

/// Which setting of which backend.
type Which = (BackendName, Setting);

/// What was said in one round.
#[derive(Debug, Default)]
pub(super) struct NotedSettings(BTreeMap<Which, Note>);

#[derive(Debug)]
struct Note {
    value: String,
    /// Whether every answer said the same.
    constant: bool,
}

impl NotedSettings {
    /// Takes in what an answer said.
    pub(super) fn note(&mut self, backend: &BackendName, setting: Setting, value: String) {
        let first = Note { value: value.clone(), constant: true };
        let note = self.0.entry((backend.clone(), setting)).or_insert(first);
        note.constant &= note.value == value;
        note.value = value;
    }
}

/// What was said in earlier rounds: each value, and when it last changed; never for one that has
/// been the same ever since it was first said.
#[derive(Debug, Default)]
pub(super) struct KnownSettings(BTreeMap<Which, (String, Option<Instant>)>);

impl KnownSettings {
    /// Forgets the backends that are gone.
    pub(super) fn keep(&mut self, backends: &[BackendName]) {
        self.0.retain(|(backend, _), _| backends.contains(backend));
    }

    /// Ends a round: what each backend said in it, and which of that is settled.
    pub(super) fn learn(
        &mut self,
        notes: NotedSettings,
        now: Instant,
    ) -> BTreeMap<BackendName, Settings> {
        let mut all: BTreeMap<BackendName, Settings> = BTreeMap::new();
        for (which, Note { value, constant }) in notes.0 {
            let before = self.0.get(&which);
            let same = constant && before.is_none_or(|(before, _)| *before == value);
            let changed = if same { before.and_then(|(_, changed)| *changed) } else { Some(now) };
            let settled = changed.is_none_or(|at| now.saturating_duration_since(at) >= SETTLES_IN);
            self.0.insert(which.clone(), (value.clone(), changed));
            let (backend, setting) = which;
            all.entry(backend).or_default().insert(setting, Told { value, settled });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of 15 s in which these values are said; whether the last is settled.
    fn settled(rounds: &[&[&str]]) -> Option<bool> {
        let backend = BackendName::parse("a").unwrap();
        let (mut known, began) = (KnownSettings::default(), Instant::now());
        let mut last = None;
        for (round, values) in (0_u32..).zip(rounds) {
            let mut notes = NotedSettings::default();
            for value in *values {
                notes.note(&backend, Setting::AuthMode, (*value).to_owned());
            }
            let told = known.learn(notes, began + Duration::from_secs(15) * round);
            last = told.get(&backend).map(|settings| settings[&Setting::AuthMode].settled);
        }
        last
    }

    #[test]
    fn a_value_counts_at_once_and_one_that_changed_after_it_has_settled() {
        let (db, ldap, none): (&[&str], &[&str], &[&str]) = (&["db"], &["ldap"], &[]);
        let changed = |rounds: usize| [vec![db], vec![ldap; rounds]].concat();
        let alternating: Vec<&[&str]> = [db, ldap].repeat(50);
        for (what, rounds, expected) in [
            ("the first", vec![db], Some(true)),
            ("the same again", vec![db; 20], Some(true)),
            ("told twice in a round", vec![&["db", "db"][..]], Some(true)),
            ("just changed", changed(1), Some(false)),
            ("changed 105 s ago", changed(8), Some(false)),
            ("changed two minutes ago", changed(9), Some(true)),
            ("now this and now that", alternating, Some(false)),
            ("both in one round", vec![&["db", "ldap"][..]], Some(false)),
            ("both in one round before", vec![&["db", "ldap"][..], ldap], Some(false)),
            ("not told in this round", vec![db, none], None),
            ("the same after a gap", vec![db, none, db], Some(true)),
            ("another after a gap", vec![db, none, ldap], Some(false)),
        ] {
            assert_eq!(settled(&rounds), expected, "{what}");
        }
    }

    #[test]
    fn a_backend_that_is_gone_is_forgotten() {
        let backend = BackendName::parse("a").unwrap();
        let mut known = KnownSettings::default();
        let learn = |known: &mut KnownSettings, value: &str| {
            let mut notes = NotedSettings::default();
            notes.note(&backend, Setting::TlsVersion, value.to_owned());
            known.learn(notes, Instant::now())[&backend][&Setting::TlsVersion].settled
        };
        assert!(learn(&mut known, "1.2"));
        known.keep(&[]);
        assert!(learn(&mut known, "1.3"), "a new backend of the same name");
    }
}
