//! Events in a file, one JSON object a line, so that they survive a restart.
//!
//! The file is read once at the start, bounded, and then only appended to. A line that cannot be
//! read (cut off by a full disk or a crash, or of a later version) is left out and counted. When
//! it has grown large it is replaced by the few lines that say all that is known.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::event::{Event, replay, summary};
use crate::model::{Earlier, RegistryName};

/// From this size on the file is replaced by its summary when it is opened.
const LARGE: u64 = 4 * 1024 * 1024;

/// At most so much of the file is read.
const MAX_READ: u64 = 64 * 1024 * 1024;

/// Why a journal cannot be used.
#[derive(Debug, Error)]
#[error("journal {path}: {what}: {source}")]
pub struct JournalError {
    /// The file.
    path: String,
    /// What was tried.
    what: &'static str,
    /// What went wrong.
    source: io::Error,
}

/// The journal of all registries.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    known: BTreeMap<String, Earlier>,
    unreadable: usize,
}

impl Journal {
    /// Opens a journal, making the file if there is none.
    ///
    /// # Errors
    /// [`JournalError`] if the file cannot be read or written.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed =
            |what| move |source| JournalError { path: path.display().to_string(), what, source };
        let (events, unreadable, size) = match File::open(path) {
            Ok(file) => read(file).map_err(failed("cannot be read"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), 0, 0),
            Err(error) => return Err(failed("cannot be opened")(error)),
        };
        let known = replay(&events);
        if size > LARGE {
            shorten(path, &known).map_err(failed("cannot be shortened"))?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(failed("cannot be written"))?;
        Ok(Self { path: path.to_owned(), file, known, unreadable })
    }

    /// What was known of a registry when the journal was opened.
    pub fn earlier(&self, registry: &RegistryName) -> Earlier {
        self.known.get(registry.as_str()).cloned().unwrap_or_default()
    }

    /// How many lines could not be read.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// Appends events, whole lines only.
    ///
    /// # Errors
    /// [`JournalError`] if the file cannot be written; the events are lost to it then.
    pub fn append(&mut self, events: &[Event]) -> Result<(), JournalError> {
        let written = self.file.write_all(lines(events).as_bytes());
        written.map_err(|source| JournalError {
            path: self.path.display().to_string(),
            what: "cannot be written",
            source,
        })
    }
}

fn lines(events: &[Event]) -> String {
    let line = |event| serde_json::to_string(event).ok().map(|text| text + "\n");
    events.iter().filter_map(line).collect()
}

fn read(file: File) -> io::Result<(Vec<Event>, usize, u64)> {
    let size = file.metadata()?.len();
    let (mut events, mut unreadable) = (Vec::new(), 0);
    for line in BufReader::new(file.take(MAX_READ)).split(b'\n') {
        let line = line?;
        match serde_json::from_slice::<Event>(&line) {
            Ok(event) => events.push(event),
            Err(_) if line.is_empty() => {}
            Err(_) => unreadable += 1,
        }
    }
    Ok((events, unreadable, size))
}

/// Writes the summary beside the file and puts it in its place, so that a crash leaves one or the
/// other whole.
fn shorten(path: &Path, known: &BTreeMap<String, Earlier>) -> io::Result<()> {
    let events: Vec<Event> =
        known.iter().flat_map(|(registry, earlier)| summary(registry, earlier)).collect();
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(lines(&events).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{apply, events};
    use crate::model::{FindingName, Severity, sample};

    fn fill(journal: &mut Journal) -> Earlier {
        let round = sample::round(&["a", "b"]);
        let found = sample::finding(FindingName::TokenKeyMismatch, Severity::Critical, &["b"]);
        let mut earlier = Earlier::default();
        let changes = events(&earlier, &sample::judged(round, vec![found]));
        for event in &changes {
            apply(&mut earlier, event);
        }
        journal.append(&changes).unwrap();
        earlier
    }

    #[test]
    fn what_was_known_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let earlier = fill(&mut Journal::open(&path).unwrap());
        let registry = sample::round(&["a"]).registry;
        assert_eq!(Journal::open(&path).unwrap().earlier(&registry), earlier);
        let other = RegistryName::parse("other").unwrap();
        assert_eq!(Journal::open(&path).unwrap().earlier(&other), Earlier::default());
    }

    #[test]
    fn a_damaged_line_costs_itself_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let earlier = fill(&mut Journal::open(&path).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{{\"at\":\"now\"}}\n\n{text}{{\"cut o")).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.unreadable(), 2);
        assert_eq!(journal.earlier(&sample::round(&["a"]).registry), earlier);
    }

    #[test]
    fn a_large_journal_is_shortened_to_what_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let earlier = fill(&mut Journal::open(&path).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        let times = usize::try_from(LARGE).unwrap() / text.len() + 1;
        std::fs::write(&path, text.repeat(times)).unwrap();
        let registry = sample::round(&["a"]).registry;
        assert_eq!(Journal::open(&path).unwrap().earlier(&registry).open, earlier.open);
        assert!(std::fs::metadata(&path).unwrap().len() < 10_000);
        assert_eq!(Journal::open(&path).unwrap().earlier(&registry).open, earlier.open);
    }

    #[test]
    fn a_journal_that_cannot_be_written_names_its_file() {
        let error = Journal::open(Path::new("/proc/no/such/journal")).unwrap_err().to_string();
        assert!(error.contains("/proc/no/such/journal"), "{error}");
    }
}
