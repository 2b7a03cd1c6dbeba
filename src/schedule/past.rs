//! What outlives a round: the memory of every registry, and the journal that keeps it over a
//! restart.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tracing::{info, warn};

use crate::history::{Journal, apply, events};
use crate::model::{Earlier, Judged, RegistryName};

/// The past of all registries.
#[derive(Debug, Default)]
pub(super) struct Past(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    memory: BTreeMap<RegistryName, Earlier>,
    journal: Option<Journal>,
    /// A full disk is said once, not at every round.
    failing: bool,
}

impl Past {
    /// The past that a journal remembers; without one it begins now.
    pub(super) fn new(journal: Option<Journal>) -> Self {
        if let Some(lines) = journal.as_ref().map(Journal::unreadable).filter(|lines| *lines > 0) {
            warn!(lines, "lines of the journal cannot be read and are skipped");
        }
        if let Some(error) = journal.as_ref().and_then(Journal::unshortened) {
            warn!(%error, "the journal is large and cannot be shortened; it is used as it is");
        }
        Self(Mutex::new(Kept { journal, ..Kept::default() }))
    }

    /// What earlier rounds of a registry left behind.
    pub(super) fn earlier(&self, registry: &RegistryName) -> Earlier {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.earlier(registry)
    }

    /// Takes a round in, and writes down what it changed.
    pub(super) fn record(&self, judged: &Judged) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = &judged.round.registry;
        let mut earlier = kept.earlier(registry);
        let changes = events(&earlier, judged);
        for event in &changes {
            apply(&mut earlier, event);
        }
        earlier.sampled(judged);
        kept.memory.insert(registry.clone(), earlier);
        let Kept { journal: Some(journal), failing, .. } = &mut *kept else { return };
        match journal.append(&changes) {
            Ok(()) if *failing => {
                *failing = false;
                info!(lost = journal.dropped(), "the journal is written again");
            }
            Err(error) if !*failing => {
                *failing = true;
                warn!(%error, "the journal cannot be written; changes wait in memory");
            }
            _ => {}
        }
    }
}

impl Kept {
    fn earlier(&self, registry: &RegistryName) -> Earlier {
        let known = || self.journal.as_ref().map(|journal| journal.earlier(registry));
        self.memory.get(registry).cloned().or_else(known).unwrap_or_default()
    }
}
