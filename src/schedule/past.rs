//! What outlives a round: the memory of every registry, its incidents with the rounds that are kept
//! of them, and the journal that keeps all of it over a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{info, warn};

use crate::history::{Incidents, Journal, JournalError, KeptPlace, Ring, Rounds, apply, events};
use crate::model::{Earlier, Incident, Judged, RegistryName, RoundLine, ShownRound, round_id};

/// Shows a round as it is now, with the seconds between two of its registry's.
pub type ShowRound = dyn Fn(&Arc<Judged>, f64) -> ShownRound + Send + Sync;

/// The past of all registries.
pub(super) struct Past {
    kept: Mutex<Inner>,
    show: Box<ShowRound>,
}

#[derive(Default)]
struct Inner {
    memory: BTreeMap<RegistryName, Earlier>,
    incidents: Incidents,
    rounds: Rounds,
    ring: Ring,
    journal: Option<Journal>,
    /// A full disk is said once, not at every round.
    failing: bool,
}

/// A round that is kept.
pub(super) enum Found {
    /// One of the last rounds.
    Recent(Arc<Judged>, f64),
    /// One of an incident.
    Kept(KeptPlace),
}

impl Past {
    /// The past that a journal remembers; without one it begins now. Where the folder of kept rounds
    /// cannot be used, as on a full disk, they are kept in memory.
    pub(super) fn new(journal: Option<Journal>, show: Box<ShowRound>) -> Self {
        let mut kept = Inner::default();
        if let Some(journal) = &journal {
            if journal.unreadable() > 0 {
                let lines = journal.unreadable();
                warn!(lines, "lines of the journal cannot be read and are skipped");
            }
            if let Some(error) = journal.unshortened() {
                warn!(%error, "the journal is large and cannot be shortened; it is used as it is");
            }
            kept.incidents = journal.incidents().clone();
            kept.rounds = journal.rounds().unwrap_or_else(|error| {
                warn!(%error, "rounds of incidents are kept in memory only");
                Rounds::default()
            });
        }
        kept.journal = journal;
        Self { kept: Mutex::new(kept), show }
    }

    /// What earlier rounds of a registry left behind.
    pub(super) fn earlier(&self, registry: &RegistryName) -> Earlier {
        self.kept().earlier(registry)
    }

    /// Every incident, the latest to open last.
    pub(super) fn incidents(&self) -> Vec<Incident> {
        self.kept().incidents.all().to_vec()
    }

    /// The last rounds, newest first.
    pub(super) fn last_rounds(&self) -> Vec<RoundLine> {
        self.kept().ring.lines()
    }

    /// A round by its id.
    pub(super) fn round(&self, id: &str) -> Option<Found> {
        let kept = self.kept();
        let of_incident = || kept.rounds.place(id).map(Found::Kept);
        let recent = kept.ring.get(id);
        recent.map(|(judged, interval)| Found::Recent(judged, interval)).or_else(of_incident)
    }

    /// Shows one of the last rounds.
    pub(super) fn show(&self, judged: &Arc<Judged>, interval: f64) -> ShownRound {
        (self.show)(judged, interval)
    }

    /// Takes a round in, and writes down what it changed.
    pub(super) fn record(&self, judged: &Arc<Judged>, interval: f64) {
        let mut kept = self.kept();
        let registry = &judged.round.registry;
        let mut earlier = kept.earlier(registry);
        let changes = events(&earlier, judged);
        for event in &changes {
            apply(&mut earlier, event);
        }
        earlier.sampled(judged);
        kept.memory.insert(registry.clone(), earlier);
        kept.ring.push(judged, interval);
        let changed = kept.incidents.take(judged);
        let id = round_id(&judged.round);
        let wanted = changed.iter().any(|incident| incident.rounds.all().any(|kept| kept == id));
        let shown = wanted.then(|| (self.show)(judged, interval));
        let rounds = match &shown {
            Some(shown) => kept.rounds.keep(&id, shown),
            None => kept.rounds.flush(),
        };
        let Inner { journal, incidents, .. } = &mut *kept;
        let lines = match journal {
            Some(journal) => journal.record(&changes, &changed, incidents),
            None => Ok(()),
        };
        // Only what no line of the journal names any more may go.
        if lines.is_ok() {
            kept.make_room();
        }
        kept.say(lines.and(rounds.map_err(JournalError::from)));
    }

    fn kept(&self) -> MutexGuard<'_, Inner> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn earlier(&self, registry: &RegistryName) -> Earlier {
        let known = || self.journal.as_ref().map(|journal| journal.earlier(registry));
        self.memory.get(registry).cloned().or_else(known).unwrap_or_default()
    }

    /// Lets go the rounds that no incident names, and the oldest incidents where their rounds take
    /// too much room.
    fn make_room(&mut self) {
        self.rounds.retain(&self.incidents.rounds());
        while self.rounds.are_too_many() && !self.incidents.all().is_empty() {
            self.incidents.forget_oldest();
            self.rounds.retain(&self.incidents.rounds());
        }
    }

    /// Says that the disk takes nothing, and that it does again, each once.
    fn say(&mut self, done: Result<(), JournalError>) {
        match done {
            Ok(()) if self.failing => {
                self.failing = false;
                let lost = self.journal.as_ref().map_or(0, Journal::dropped);
                info!(lost, "the journal is written again");
            }
            Err(error) if !self.failing => {
                self.failing = true;
                warn!(%error, "the journal cannot be written; changes wait in memory");
            }
            _ => {}
        }
    }
}
