//! What outlives a round: the memory of every registry, its incidents with the rounds that are kept
//! of them, and the journal that keeps all of it over a restart.
//!
//! What is in memory and what is on disk have a lock each: a disk that takes its time keeps no page
//! waiting and no other registry's round.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::history::{
    Event, Incidents, Journal, JournalError, KeptPlace, KeptRoundError, Ring, Rounds, apply, events,
};
use crate::model::{Earlier, Incident, Judged, RegistryName, RoundLine, ShownRound, round_id};

/// Turns a round into the form in which it is kept. The number is the registry's interval in
/// seconds.
pub type ShowRound = dyn Fn(&Arc<Judged>, f64) -> ShownRound + Send + Sync;

/// The past of all registries.
pub(super) struct Past {
    /// Never held while the disk works.
    memory: Mutex<Memory>,
    /// Taken before the memory where both are needed.
    disk: Mutex<Disk>,
    show: Box<ShowRound>,
}

#[derive(Default)]
struct Memory {
    earlier: BTreeMap<RegistryName, Earlier>,
    incidents: Incidents,
    ring: Ring,
}

#[derive(Default)]
struct Disk {
    rounds: Rounds,
    journal: Option<Journal>,
    /// Whether the last write failed: a full disk is logged once, not at every round.
    failing: bool,
}

/// What a round left to be written.
pub(super) struct Change {
    events: Vec<Event>,
    incidents: Vec<Incident>,
}

impl Past {
    /// The past that a journal remembers; without one it begins now. Where the folder of kept rounds
    /// cannot be used, as on a full disk, they are kept in memory.
    pub(super) fn new(journal: Option<Journal>, show: Box<ShowRound>) -> Self {
        let (mut memory, mut disk) = (Memory::default(), Disk::default());
        if let Some(journal) = &journal {
            if journal.unreadable() > 0 {
                let lines = journal.unreadable();
                warn!(lines, "lines of the journal cannot be read and are skipped");
            }
            if let Some(error) = journal.unshortened() {
                warn!(%error, "the journal is large and cannot be shortened; it is used as it is");
            }
            memory.earlier = journal.known();
            memory.incidents = journal.incidents().clone();
            disk.rounds = journal.rounds().unwrap_or_else(|error| {
                warn!(%error, "rounds of incidents are kept in memory only");
                Rounds::default()
            });
        }
        disk.journal = journal;
        Self { memory: Mutex::new(memory), disk: Mutex::new(disk), show }
    }

    /// What earlier rounds of a registry left behind.
    pub(super) fn earlier(&self, registry: &RegistryName) -> Earlier {
        self.memory().earlier.get(registry).cloned().unwrap_or_default()
    }

    /// Every incident, the latest to open last.
    pub(super) fn incidents(&self) -> Vec<Incident> {
        self.memory().incidents.all().to_vec()
    }

    /// The last rounds, newest first.
    pub(super) fn last_rounds(&self) -> Vec<RoundLine> {
        self.memory().ring.lines()
    }

    /// A round by its id, as it was shown then; none if it is not kept.
    ///
    /// # Errors
    /// It is kept and cannot be read.
    pub(super) async fn round(
        self: &Arc<Self>,
        id: &str,
    ) -> Option<Result<ShownRound, KeptRoundError>> {
        let recent = self.memory().ring.get(id);
        if let Some((judged, interval)) = recent {
            return Some(Ok((self.show)(&judged, interval)));
        }
        let (past, id) = (Arc::clone(self), id.to_owned());
        let read = move || {
            let place = past.disk().rounds.place(&id);
            place.as_ref().map(KeptPlace::read)
        };
        spawn_blocking(read).await.ok()?
    }

    /// Ends the incidents of all other registries, because no round will. The caller has stopped
    /// those registries before.
    pub(super) fn leave(
        self: &Arc<Self>,
        registries: &BTreeSet<&str>,
        now: DateTime<Utc>,
        writes: &TaskTracker,
    ) {
        let incidents = self.memory().incidents.leave(registries, now);
        if !incidents.is_empty() {
            let (past, change) = (Arc::clone(self), Change { events: Vec::new(), incidents });
            writes.spawn_blocking(move || past.write(&change, None));
        }
    }

    /// Writes what a round changed, or keeps it in memory if the disk refuses it. A write that has
    /// begun goes on even if its caller is gone.
    pub(super) async fn save(
        self: &Arc<Self>,
        change: Change,
        judged: &Arc<Judged>,
        interval: f64,
        writes: &TaskTracker,
    ) {
        let (past, judged) = (Arc::clone(self), Arc::clone(judged));
        let write = move || past.write(&change, Some((&judged, interval)));
        if writes.spawn_blocking(write).await.is_err() {
            warn!("the changes of a round were not written to the journal");
        }
    }

    /// Takes a round in; none if its registry was stopped.
    pub(super) fn take(
        &self,
        judged: &Arc<Judged>,
        interval: f64,
        stop: &CancellationToken,
    ) -> Option<Change> {
        let mut memory = self.memory();
        // Looked at under the lock: what leaves the configuration must not come back.
        if stop.is_cancelled() {
            return None;
        }
        let registry = &judged.round.registry;
        let mut earlier = memory.earlier.get(registry).cloned().unwrap_or_default();
        let events = events(&earlier, judged);
        for event in &events {
            apply(&mut earlier, event);
        }
        earlier.sampled(judged);
        memory.earlier.insert(registry.clone(), earlier);
        memory.ring.push(judged, interval);
        let incidents = memory.incidents.take(judged);
        Some(Change { events, incidents })
    }

    /// Writes down a change, and the round that caused it if an incident names it.
    fn write(&self, change: &Change, round: Option<(&Arc<Judged>, f64)>) {
        let mut disk = self.disk();
        let named = |id: &str| {
            change.incidents.iter().flat_map(|incident| incident.rounds.all()).any(|it| it == id)
        };
        let round = round.map(|(judged, interval)| (round_id(&judged.round), judged, interval));
        let rounds = match round.filter(|(id, ..)| named(id)) {
            Some((id, judged, interval)) => disk.rounds.keep(&id, &(self.show)(judged, interval)),
            None => disk.rounds.flush(),
        };
        let all = self.memory().incidents.clone();
        // When a registry leaves, the end of its incidents may be written before what its last round
        // changed; that must not open them again.
        let has_ended = |then: &Incident| {
            let now = all.all().iter().find(|now| now.is_same(then));
            then.closed.is_none() && now.is_some_and(|now| now.closed.is_some())
        };
        let incidents: Vec<Incident> =
            change.incidents.iter().filter(|then| !has_ended(then)).cloned().collect();
        let lines = match &mut disk.journal {
            Some(journal) => journal.record(&change.events, &incidents, &all),
            None => Ok(()),
        };
        if lines.is_ok() && self.make_room(&mut disk.rounds) {
            let all = self.memory().incidents.clone();
            if let Some(journal) = &mut disk.journal
                && let Err(error) = journal.rewrite(&all)
            {
                warn!(%error, "the journal still names incidents that were let go");
            }
        }
        disk.say(lines.and(rounds.map_err(JournalError::from)));
    }

    /// Removes the rounds that no incident names, and the oldest incidents if the kept rounds take
    /// too much room; whether there were such incidents.
    fn make_room(&self, rounds: &mut Rounds) -> bool {
        let mut forgot = false;
        loop {
            let all = self.memory().incidents.clone();
            rounds.retain(&all.rounds());
            let kept = |id: &str| rounds.has(id);
            if !rounds.are_too_many() || !self.memory().incidents.forget_oldest(kept) {
                return forgot;
            }
            forgot = true;
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Logs once that the journal cannot be written, and once that it can be again.
    fn say(&mut self, done: Result<(), JournalError>) {
        match done {
            Ok(()) if self.failing => {
                self.failing = false;
                let lost = self.journal.as_ref().map_or(0, Journal::dropped);
                info!(lost, "the journal can be written again");
            }
            Err(error) if !self.failing => {
                self.failing = true;
                warn!(%error, "the journal cannot be written; changes wait in memory");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::model::{FindingName, Severity, sample};

    fn judged() -> Arc<Judged> {
        let found = sample::finding(FindingName::TokenKeyMismatch, Severity::Critical, &["b"]);
        sample::judged(sample::round(&["a", "b"]), vec![found])
    }

    /// A past on disk that takes its time.
    fn slow(folder: &std::path::Path) -> Arc<Past> {
        let journal = Journal::open(&folder.join("journal.jsonl")).unwrap();
        let show = |_: &Arc<Judged>, _: f64| {
            std::thread::sleep(Duration::from_millis(300));
            ShownRound { page: String::new(), document: serde_json::Value::Null }
        };
        Arc::new(Past::new(Some(journal), Box::new(show)))
    }

    #[tokio::test]
    async fn the_end_waits_for_what_is_being_written_and_pages_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let (past, writes) = (slow(folder.path()), TaskTracker::new());
        let judged = judged();
        let change = past.take(&judged, 15.0, &CancellationToken::new()).unwrap();
        let saved = past.save(change, &judged, 15.0, &writes);
        // The registry's task is stopped in the middle of it.
        assert!(timeout(Duration::from_millis(20), saved).await.is_err(), "it takes its time");
        assert_eq!(past.incidents().len(), 1, "what is in memory can be read meanwhile");
        writes.close();
        writes.wait().await;
        let again = Journal::open(&folder.path().join("journal.jsonl"));
        assert!(again.is_err(), "the first one still has it");
        drop(past);
        let again = Journal::open(&folder.path().join("journal.jsonl")).unwrap();
        assert_eq!(again.incidents().all().len(), 1);
        assert!(again.rounds().unwrap().has(&round_id(&judged.round)));
    }

    #[tokio::test]
    async fn a_round_of_a_registry_that_was_stopped_opens_no_incident() {
        let past = Arc::new(Past::new(None, Box::new(|_, _| unreachable!("nothing is kept"))));
        let (stop, judged) = (CancellationToken::new(), judged());
        stop.cancel();
        assert!(past.take(&judged, 15.0, &stop).is_none());
        assert_eq!(past.incidents().len(), 0);
        assert_eq!(past.earlier(&judged.round.registry), Earlier::default());
    }
}
