//! Events in a file, one JSON object a line, so that they survive a restart.
//!
//! The file is read once at the start, bounded, and then only appended to, by one process at a
//! time: a lock on it, which ends with the process, keeps a second one away. A line that cannot be
//! read (cut off by a full disk or a crash, or of a later version) is left out and counted, and
//! what follows it begins on a line of its own. What the disk refuses is kept in memory and tried
//! again. When the file has grown large it is replaced by the few lines that say all that is known.
//!
//! Next to the file lies a folder with the rounds that are kept with incidents.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::event::{Event, What, apply, of_incident, replay, summary};
use super::incidents::Incidents;
use super::rounds::{KeptRoundError, Rounds};
use crate::model::{Earlier, Incident, RegistryName};

/// From this size on the file is replaced by its summary.
const LARGE: u64 = 4 * 1024 * 1024;

/// The most of the file that is read: its end, which is what happened last.
const MAX_READ: u64 = 64 * 1024 * 1024;

/// The most bytes that wait in memory for a disk that takes them.
const MAX_WAITING: usize = 1024 * 1024;

/// Why a journal cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The file cannot be opened, locked, read or written.
    #[error("journal {path}: {what}: {source}")]
    File {
        /// The file.
        path: String,
        /// What was tried.
        what: &'static str,
        /// What went wrong.
        source: io::Error,
    },
    /// The folder of its rounds cannot be used.
    #[error("journal: {0}")]
    Rounds(#[from] KeptRoundError),
    /// Another process holds it.
    #[error(
        "journal {path}: another registry-prober writes to it; stop that one, or give this one a \
         file of its own with --history.file"
    )]
    InUse {
        /// The file.
        path: String,
    },
}

/// The journal of all registries.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    known: BTreeMap<String, Earlier>,
    incidents: Incidents,
    unreadable: usize,
    unshortened: Option<io::Error>,
    /// Whole lines that are not in the file yet.
    waiting: String,
    /// How many lines had to make room for later ones.
    dropped: usize,
    /// The file ends in a line that was cut off.
    torn: bool,
    /// What was written last may not have reached the disk.
    unsynced: bool,
    /// The size at which it is shortened next.
    large: u64,
}

impl Journal {
    /// Opens a journal, making the file if there is none.
    ///
    /// # Errors
    /// [`JournalError`] if the file cannot be read or written, or another process writes to it.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let file = locked(path)?;
        let read = read(&file).map_err(failed(path, "cannot be read"))?;
        let known = replay(&read.events);
        let mut incidents = Incidents::default();
        for event in &read.events {
            if let What::Incident { incident } = &event.what {
                incidents.restore(incident);
            }
        }
        let mut journal = Self {
            path: path.to_owned(),
            file,
            known,
            incidents: Incidents::default(),
            unreadable: read.unreadable,
            unshortened: None,
            waiting: String::new(),
            dropped: 0,
            torn: read.torn,
            unsynced: false,
            large: LARGE,
        };
        // A full disk must not keep the daemon from starting: the long file serves as well.
        journal.unshortened = journal.shorten_if_large(read.size, &incidents).err();
        journal.incidents = incidents;
        Ok(journal)
    }

    /// The incidents that were known when the journal was opened.
    pub fn incidents(&self) -> &Incidents {
        &self.incidents
    }

    /// The rounds that are kept with them.
    ///
    /// # Errors
    /// [`JournalError::Rounds`] if their folder cannot be used.
    pub fn rounds(&self) -> Result<Rounds, JournalError> {
        let folder = next_to(&self.path, ".rounds");
        Ok(Rounds::open(&folder, &self.incidents.rounds())?)
    }

    /// Appends what a round changed, and what the incidents that it changed are now. A file that
    /// has grown large is replaced by what is known, all incidents included.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn record(
        &mut self,
        events: &[Event],
        changed: &[Incident],
        all: &Incidents,
    ) -> Result<(), JournalError> {
        for event in events {
            apply(self.known.entry(event.registry.clone()).or_default(), event);
        }
        let incidents = changed.iter().map(of_incident);
        self.append(&events.iter().cloned().chain(incidents).collect::<Vec<_>>())?;
        let size = self.file.metadata().map_or(0, |metadata| metadata.len());
        if self.shorten_if_large(size, all).is_err() {
            // The long file still works. The next try comes after as many bytes as led to this one.
            self.large = size + LARGE;
        }
        Ok(())
    }

    /// Rewrites a large file.
    fn shorten_if_large(&mut self, size: u64, incidents: &Incidents) -> io::Result<()> {
        if size > self.large {
            self.rewrite(incidents)?;
        }
        Ok(())
    }

    /// Replaces the file by the few lines that say all that is known.
    ///
    /// # Errors
    /// If the new file cannot be written; the old one is used as it is.
    pub fn rewrite(&mut self, incidents: &Incidents) -> io::Result<()> {
        self.file = shorten(&self.path, &self.known, incidents)?;
        self.torn = false;
        // What is known may be large itself: then it is not written again at each line.
        self.large = LARGE.max(2 * self.file.metadata()?.len());
        Ok(())
    }

    /// What is known of each registry.
    pub fn known(&self) -> BTreeMap<RegistryName, Earlier> {
        let named = |(name, earlier): (&String, &Earlier)| {
            Some((RegistryName::parse(name).ok()?, earlier.clone()))
        };
        self.known.iter().filter_map(named).collect()
    }

    /// How many lines could not be read.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// Why the file could not be shortened although it is large.
    pub fn unshortened(&self) -> Option<&io::Error> {
        self.unshortened.as_ref()
    }

    /// How many lines the file will never have, for too many waited for it.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Appends events, and before them those that the file did not take earlier. Without new events
    /// it only tries those again.
    ///
    /// # Errors
    /// [`JournalError`] if the file takes not all of them; the rest waits for the next call.
    pub fn append(&mut self, events: &[Event]) -> Result<(), JournalError> {
        self.waiting.push_str(&lines(events));
        if !self.waiting.is_empty() {
            let begin = if self.torn { "\n" } else { "" };
            let text = format!("{begin}{}", self.waiting);
            let (written, result) = write(&self.file, text.as_bytes());
            self.unsynced |= written > 0;
            self.taken(written, begin.len());
            if result.is_err() {
                self.make_room();
            }
            result.map_err(failed(&self.path, "cannot be written"))?;
        }
        if self.unsynced {
            self.file.sync_data().map_err(failed(&self.path, "cannot be flushed to the disk"))?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Forgets what the file has. A line that was cut off is written again as a whole, unless only
    /// its end is missing.
    fn taken(&mut self, written: usize, begin: usize) {
        let Some(written) = written.checked_sub(begin) else { return };
        let (taken, left) = self.waiting.as_bytes().split_at(written);
        let whole = taken.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.torn = whole < written;
        let done = if self.torn && left.first() == Some(&b'\n') { written + 1 } else { whole };
        self.waiting.drain(..done);
    }

    /// Lets the oldest lines go when too many wait.
    fn make_room(&mut self) {
        let Some(excess) = self.waiting.len().checked_sub(MAX_WAITING) else { return };
        let rest = self.waiting.as_bytes().split_at(excess).1;
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return };
        self.dropped +=
            self.waiting.drain(..=excess + end).filter(|letter| *letter == '\n').count();
    }
}

/// What becomes of an error of the file.
fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> JournalError {
    move |source| JournalError::File { path: path.display().to_string(), what, source }
}

/// Opens the file and holds its lock, which ends with the process however that ends.
fn locked(path: &Path) -> Result<File, JournalError> {
    loop {
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .map_err(failed(path, "cannot be opened"))?;
        let opened = file.metadata().map_err(failed(path, "cannot be opened"))?;
        if !opened.is_file() {
            let source = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(failed(path, "is not a regular file")(source));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::InUse { path: path.display().to_string() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(failed(path, "cannot be locked")(source));
            }
        }
        // Between opening and locking another process may have put its shortened file there.
        let there = std::fs::metadata(path).map_err(failed(path, "cannot be opened"))?;
        if (there.dev(), there.ino()) == (opened.dev(), opened.ino()) {
            return Ok(file);
        }
    }
}

/// Writes as much as the file takes, and says how much that was.
fn write(mut file: &File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

fn lines(events: &[Event]) -> String {
    let line = |event| serde_json::to_string(event).ok().map(|text| text + "\n");
    events.iter().filter_map(line).collect()
}

/// What a file holds.
#[derive(Default)]
struct FileContent {
    events: Vec<Event>,
    unreadable: usize,
    size: u64,
    torn: bool,
}

fn read(mut file: &File) -> io::Result<FileContent> {
    let size = file.metadata()?.len();
    let mut held = FileContent { size, ..FileContent::default() };
    let skipped = size.saturating_sub(MAX_READ);
    file.seek(SeekFrom::Start(skipped))?;
    let mut reader = BufReader::new(file.take(MAX_READ));
    if skipped > 0 {
        // It begins somewhere in a line.
        reader.skip_until(b'\n')?;
    }
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        held.torn = !line.ends_with(b"\n");
        match serde_json::from_slice::<Event>(&line) {
            Ok(event) => held.events.push(event),
            Err(_) if line == b"\n" => {}
            Err(_) => held.unreadable += 1,
        }
        line.clear();
    }
    Ok(held)
}

/// A path with this after the file's whole name: journals that differ in their ending alone share
/// nothing.
fn next_to(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Writes the summary next to the file and moves it into place, so that a crash leaves one or the
/// other whole. It is locked before any other process can find it.
fn shorten(
    path: &Path,
    known: &BTreeMap<String, Earlier>,
    incidents: &Incidents,
) -> io::Result<File> {
    let mut events: Vec<Event> =
        known.iter().flat_map(|(registry, earlier)| summary(registry, earlier)).collect();
    events.extend(incidents.all().iter().map(of_incident));
    let fresh = next_to(path, ".new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).append(true).open(&fresh)?;
    file.lock()?;
    file.write_all(lines(&events).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(fresh, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{apply, events};
    use crate::model::{FindingName, Severity, sample};

    fn earlier(journal: &Journal) -> Earlier {
        journal.known().get(&sample::round(&["a"]).registry).cloned().unwrap_or_default()
    }

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
        let journal = Journal::open(&path).unwrap();
        assert_eq!(self::earlier(&journal), earlier);
        assert_eq!(journal.known().len(), 1);
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
        assert_eq!(self::earlier(&journal), earlier);
    }

    #[test]
    fn a_large_journal_is_shortened_to_what_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let earlier = fill(&mut Journal::open(&path).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        let times = usize::try_from(LARGE).unwrap() / text.len() + 1;
        std::fs::write(&path, text.repeat(times)).unwrap();
        assert_eq!(self::earlier(&Journal::open(&path).unwrap()).open, earlier.open);
        assert!(std::fs::metadata(&path).unwrap().len() < 10_000);
        assert_eq!(self::earlier(&Journal::open(&path).unwrap()).open, earlier.open);
    }

    #[test]
    fn a_journal_that_cannot_be_written_names_its_file() {
        let error = Journal::open(Path::new("/proc/no/such/journal")).unwrap_err().to_string();
        assert!(error.contains("/proc/no/such/journal"), "{error}");
    }

    /// Events of one more round.
    fn seen(key: &str) -> Vec<Event> {
        let text = format!(
            "{{\"at\":\"2026-01-01T00:00:00Z\",\"registry\":\"main\",\"event\":\"key_seen\",\
             \"backend\":\"a\",\"key\":\"{key}\"}}"
        );
        vec![serde_json::from_str(&text).unwrap()]
    }

    #[test]
    fn what_follows_a_line_that_was_cut_off_stands_on_a_line_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        std::fs::write(&path, lines(&seen("old")) + "{\"at\":\"2026-01-0").unwrap();
        Journal::open(&path).unwrap().append(&seen("new")).unwrap();
        let held = read(&File::open(&path).unwrap()).unwrap();
        assert_eq!(held.events, [seen("old"), seen("new")].concat());
        assert_eq!((held.unreadable, held.torn), (1, false));
    }

    #[test]
    fn a_last_line_without_its_end_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        std::fs::write(&path, lines(&seen("old")).trim_end()).unwrap();
        Journal::open(&path).unwrap().append(&seen("new")).unwrap();
        let held = read(&File::open(&path).unwrap()).unwrap();
        assert_eq!(held.events, [seen("old"), seen("new")].concat());
        assert_eq!(held.unreadable, 0);
    }

    #[test]
    fn what_a_full_disk_refuses_is_written_when_there_is_room_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        journal.append(&seen("1")).unwrap();
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let file = std::mem::replace(&mut journal.file, full);
        for key in ["2", "3"] {
            let error = journal.append(&seen(key)).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        journal.append(&[]).unwrap_err();
        journal.file = file;
        journal.append(&[]).unwrap();
        journal.append(&seen("4")).unwrap();
        let held = read(&File::open(&path).unwrap()).unwrap();
        assert_eq!(held.events, ["1", "2", "3", "4"].map(seen).concat());
        assert_eq!((held.unreadable, journal.dropped()), (0, 0));
    }

    #[test]
    fn wherever_a_write_stops_no_event_is_lost_or_written_twice() {
        let dir = tempfile::tempdir().unwrap();
        let events = [seen("1"), seen("2")].concat();
        let text = lines(&events);
        for torn in [false, true] {
            for stop in 0..=text.len() + usize::from(torn) {
                let path = dir.path().join(format!("{torn}-{stop}"));
                std::fs::write(&path, if torn { "{\"cut" } else { "" }).unwrap();
                let mut journal = Journal::open(&path).unwrap();
                // What a disk leaves that took only part of the bytes.
                let begin = if torn { "\n" } else { "" };
                (&journal.file).write_all(&format!("{begin}{text}").as_bytes()[..stop]).unwrap();
                journal.waiting.clone_from(&text);
                journal.taken(stop, begin.len());
                journal.append(&[]).unwrap();
                let held = read(&File::open(&path).unwrap()).unwrap();
                assert_eq!(held.events, events, "{torn} {stop}");
            }
        }
    }

    #[test]
    fn what_waits_for_the_disk_has_a_limit_and_the_newest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let file = std::mem::replace(&mut journal.file, full);
        let many = vec![seen("x"); MAX_WAITING / lines(&seen("x")).len() + 10].concat();
        journal.append(&many).unwrap_err();
        journal.append(&seen("y")).unwrap_err();
        assert!(journal.waiting.len() <= MAX_WAITING);
        journal.file = file;
        journal.append(&[]).unwrap();
        let held = read(&File::open(&path).unwrap()).unwrap();
        assert_eq!(held.events.last(), seen("y").last());
        assert_eq!(held.events.len() + journal.dropped(), many.len() + 1);
        assert_eq!(held.unreadable, 0);
    }

    #[test]
    fn one_file_has_one_writer_also_after_it_was_shortened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        for size in [0, LARGE + 1] {
            std::fs::write(&path, "\n".repeat(usize::try_from(size).unwrap())).unwrap();
            let first = Journal::open(&path).unwrap();
            let error = Journal::open(&path).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
            assert!(error.contains("stop that one, or give this one a file of its own"), "{error}");
            drop(first);
            Journal::open(&path).unwrap();
        }
    }

    #[test]
    fn a_journal_that_cannot_be_shortened_is_used_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let earlier = fill(&mut Journal::open(&path).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        let times = usize::try_from(LARGE).unwrap() / text.len() + 1;
        std::fs::write(&path, text.repeat(times)).unwrap();
        std::fs::create_dir(next_to(&path, ".new")).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert!(journal.unshortened().is_some());
        assert_eq!(self::earlier(&journal).open, earlier.open);
    }

    #[test]
    fn of_a_journal_beyond_all_measure_the_end_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let file = File::create(&path).unwrap();
        (&file).write_all(lines(&seen("old")).as_bytes()).unwrap();
        file.set_len(MAX_READ).unwrap();
        (&file).seek(SeekFrom::End(0)).unwrap();
        (&file).write_all(format!("\n{}", lines(&seen("new"))).as_bytes()).unwrap();
        let held = read(&File::open(&path).unwrap()).unwrap();
        assert_eq!(held.events, seen("new"));
    }

    #[test]
    fn what_is_no_file_is_no_journal() {
        let error = Journal::open(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(error.contains("/dev/zero: is not a regular file"), "{error}");
    }
}
