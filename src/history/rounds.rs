//! The rounds that are kept with incidents: one compressed file each, in a folder next to the
//! journal, or in memory where there is no journal.
//!
//! A file is written under another name, and only then put in its place, so that a crash leaves a
//! whole round or none. What the disk refuses stays in memory and is tried again with the next
//! round.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use thiserror::Error;
use tracing::warn;

use crate::model::ShownRound;

/// The most bytes of all kept rounds on disk.
const MOST_ON_DISK: u64 = 64 * 1024 * 1024;
/// The most bytes of all kept rounds in memory.
const MOST_IN_MEMORY: u64 = 4 * 1024 * 1024;
/// The most bytes of one round, compressed; a longer one is not kept.
const LARGEST: usize = 2 * 1024 * 1024;
/// The most bytes of one round, read from disk; a file that holds more is damaged.
const LONGEST: u64 = 64 * 1024 * 1024;

/// How the files are called.
const ENDING: &str = ".json.gz";

/// Why a round cannot be shown or kept.
#[derive(Debug, Error)]
#[error("kept round {place}: {what}")]
pub struct KeptRoundError {
    place: String,
    what: String,
}

impl KeptRoundError {
    fn of(place: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { place: place.display().to_string(), what: error.to_string() }
    }
}

/// The kept rounds by id.
#[derive(Debug, Default)]
pub struct Rounds {
    folder: Option<PathBuf>,
    /// Those on disk, with their sizes.
    files: BTreeMap<String, u64>,
    /// Those that are only in memory.
    memory: BTreeMap<String, Vec<u8>>,
}

impl Rounds {
    /// Opens a folder, making it if there is none, and leaves in it only the rounds that are
    /// wanted. Whoever holds the lock of the journal may do so.
    ///
    /// # Errors
    /// The folder cannot be read or created.
    pub fn open(folder: &Path, wanted: &BTreeSet<&str>) -> Result<Self, KeptRoundError> {
        fs::create_dir_all(folder).map_err(KeptRoundError::of(folder))?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(KeptRoundError::of(folder))? {
            let entry = entry.map_err(KeptRoundError::of(folder))?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(ENDING));
            match id.filter(|id| wanted.contains(id)) {
                Some(id) => {
                    let size = entry.metadata().map_or(0, |metadata| metadata.len());
                    files.insert(id.to_owned(), size);
                }
                // A crash between two steps left it.
                None if name.to_str().is_some_and(is_ours) => drop(fs::remove_file(entry.path())),
                None => {}
            }
        }
        Ok(Self { folder: Some(folder.to_owned()), files, memory: BTreeMap::new() })
    }

    /// Keeps a round, unless one of that id is kept already.
    ///
    /// # Errors
    /// It cannot be written: then it stays in memory for the next try, while there is room. One that
    /// is too large is left out, which the log says.
    pub fn keep(&mut self, id: &str, round: &ShownRound) -> Result<(), KeptRoundError> {
        if self.has(id) {
            return Ok(());
        }
        let bytes = packed(round).map_err(KeptRoundError::of(Path::new(id)))?;
        if bytes.len() > LARGEST {
            warn!(id, bytes = bytes.len(), "a round is too large to be kept with its incident");
            return Ok(());
        }
        if self.folder.is_some() && self.in_memory() > MOST_IN_MEMORY {
            let what = "no round can be written, and too many wait: this one is lost".to_owned();
            return Err(KeptRoundError { place: id.to_owned(), what });
        }
        self.memory.insert(id.to_owned(), bytes);
        self.flush()
    }

    /// Writes what is only in memory, where there is a disk.
    ///
    /// # Errors
    /// One cannot be written; it and those after it stay in memory.
    pub fn flush(&mut self) -> Result<(), KeptRoundError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        while let Some((id, bytes)) = self.memory.first_key_value() {
            let path = folder.join(format!("{id}{ENDING}"));
            write(&path, bytes).map_err(KeptRoundError::of(&path))?;
            self.files.insert(id.clone(), bytes.len() as u64);
            self.memory.pop_first();
        }
        Ok(())
    }

    /// Whether a round is kept.
    pub fn has(&self, id: &str) -> bool {
        self.files.contains_key(id) || self.memory.contains_key(id)
    }

    /// Removes the rounds that are not wanted.
    pub fn retain(&mut self, wanted: &BTreeSet<&str>) {
        self.memory.retain(|id, _| wanted.contains(id.as_str()));
        let Some(folder) = &self.folder else { return };
        self.files.retain(|id, _| {
            let stays = wanted.contains(id.as_str());
            if !stays {
                let _ = fs::remove_file(folder.join(format!("{id}{ENDING}")));
            }
            stays
        });
    }

    /// Whether more is kept than there is room for.
    pub fn are_too_many(&self) -> bool {
        let memory_is_all = self.folder.is_none();
        self.files.values().sum::<u64>() > MOST_ON_DISK
            || memory_is_all && self.in_memory() > MOST_IN_MEMORY
    }

    fn in_memory(&self) -> u64 {
        self.memory.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Where a round is kept, so that it can be read without a lock; none if it is not kept.
    pub fn place(&self, id: &str) -> Option<KeptPlace> {
        if let Some(bytes) = self.memory.get(id) {
            return Some(KeptPlace::Memory(bytes.clone()));
        }
        let folder = self.folder.as_ref().filter(|_| self.files.contains_key(id))?;
        Some(KeptPlace::File(folder.join(format!("{id}{ENDING}"))))
    }
}

/// Where a kept round is.
#[derive(Debug)]
pub enum KeptPlace {
    /// Here.
    Memory(Vec<u8>),
    /// On disk.
    File(PathBuf),
}

impl KeptPlace {
    /// Reads the round. That takes as long as a disk takes.
    ///
    /// # Errors
    /// It is damaged, or the disk does not give it.
    pub fn read(&self) -> Result<ShownRound, KeptRoundError> {
        match self {
            Self::Memory(bytes) => unpacked(bytes.as_slice()).map_err(|error| KeptRoundError {
                place: "in memory".to_owned(),
                what: error.to_string(),
            }),
            Self::File(path) => {
                File::open(path).and_then(unpacked).map_err(KeptRoundError::of(path))
            }
        }
    }
}

fn is_ours(name: &str) -> bool {
    name.ends_with(ENDING) || name.ends_with(".json.new")
}

fn packed(round: &ShownRound) -> io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    serde_json::to_writer(&mut packer, round)?;
    packer.finish()
}

fn unpacked(from: impl io::Read) -> io::Result<ShownRound> {
    Ok(serde_json::from_reader(io::BufReader::new(GzDecoder::new(from).take(LONGEST)))?)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let moved = written.and_then(|()| fs::rename(&fresh, path));
    if moved.is_err() {
        // On a full disk, half a round would only take room from the others.
        let _ = fs::remove_file(&fresh);
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str) -> ShownRound {
        ShownRound { page: text.to_owned(), document: serde_json::json!({ "said": text }) }
    }

    fn read(rounds: &Rounds, id: &str) -> Result<ShownRound, String> {
        rounds.place(id).expect("it is kept").read().map_err(|error| error.to_string())
    }

    #[test]
    fn a_round_is_the_same_after_a_restart_and_what_no_incident_wants_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("journal.rounds");
        let mut rounds = Rounds::open(&folder, &BTreeSet::new()).unwrap();
        for id in ["main-1", "main-2"] {
            rounds.keep(id, &round(id)).unwrap();
        }
        fs::write(folder.join("main-3.json.new"), "half").unwrap();
        fs::write(folder.join("of-somebody-else"), "stays").unwrap();
        let rounds = Rounds::open(&folder, &["main-2"].into()).unwrap();
        assert_eq!(read(&rounds, "main-2"), Ok(round("main-2")));
        assert!(!rounds.has("main-1"));
        let mut left: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["main-2.json.gz", "of-somebody-else"]);
    }

    #[test]
    fn without_a_folder_rounds_are_in_memory() {
        let mut rounds = Rounds::default();
        rounds.keep("main-1", &round("one")).unwrap();
        assert_eq!(read(&rounds, "main-1"), Ok(round("one")));
        rounds.retain(&BTreeSet::new());
        assert!(!rounds.has("main-1"));
    }

    #[test]
    fn a_damaged_file_is_named_and_costs_itself_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut rounds = Rounds::open(dir.path(), &BTreeSet::new()).unwrap();
        for id in ["main-1", "main-2"] {
            rounds.keep(id, &round(id)).unwrap();
        }
        let path = dir.path().join("main-1.json.gz");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let error = read(&rounds, "main-1").unwrap_err();
        assert!(error.contains("main-1.json.gz"), "{error}");
        assert_eq!(read(&rounds, "main-2"), Ok(round("main-2")));
    }

    #[test]
    fn what_the_disk_refuses_stays_in_memory_until_it_has_room() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("rounds");
        let mut rounds = Rounds::open(&folder, &BTreeSet::new()).unwrap();
        // A folder that is gone refuses files as a full disk does, to root as well.
        fs::remove_dir(&folder).unwrap();
        let error = rounds.keep("main-1", &round("one")).unwrap_err().to_string();
        assert!(error.contains("main-1.json.gz"), "{error}");
        assert_eq!(read(&rounds, "main-1"), Ok(round("one")));
        fs::create_dir(&folder).unwrap();
        rounds.flush().unwrap();
        assert!(folder.join("main-1.json.gz").is_file());
        assert_eq!(read(&rounds, "main-1"), Ok(round("one")));
    }
}
