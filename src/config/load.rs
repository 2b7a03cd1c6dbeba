//! Loading a configuration file, and noticing that it or a file it names has changed.

use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::file::File;
use super::files::{MAX_NAMED, directory, expand, read_file};
use super::node::{self, Value};
use super::problem::{ConfigErrors, Mistake, Place, Problems, ReadError};
use super::read::At;
use super::resolve;
use super::settings::Config;

/// Largest configuration file, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// A configuration, and the state of the files it was read from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Every rule already holds.
    pub config: Config,
    /// Differs from [`fingerprint`] as soon as one of the files has changed.
    pub fingerprint: Fingerprint,
}

/// SHA-256 over a configuration file and all files it names, secrets among them.
///
/// To be compared, never to be shown: a weak password could be guessed from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

/// Reads a configuration file and all it names.
///
/// Blocks on files and, with `docker_config`, on a credential helper of at most 10 s for each
/// registry; in async code call it through `spawn_blocking`.
///
/// # Errors
/// [`ConfigErrors`] holds every problem of the file, not the first only.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    let mut problems = Problems::default();
    let content = read_file(path, MAX_CONFIG);
    let file = parse(content.as_deref(), &mut problems);
    // Taken before the secrets are read: a change in between shows as a difference later.
    let fingerprint = hash(path, content.as_deref(), file.as_ref());
    let config = file.and_then(|file| resolve::config(&file, directory(path), &mut problems));
    match config {
        Some(config) if problems.0.is_empty() => Ok(Loaded { config, fingerprint }),
        _ => Err(ConfigErrors::new(path, problems)),
    }
}

/// The present state of a configuration file and the files it names, good or bad.
///
/// Reads and hashes them, no more: cheap enough to be asked every few seconds. Files that are
/// missing or unreadable count as a state of their own, so a secret that appears late is noticed.
pub fn fingerprint(path: &Path) -> Fingerprint {
    let content = read_file(path, MAX_CONFIG);
    let file = parse(content.as_deref(), &mut Problems::default());
    hash(path, content.as_deref(), file.as_ref())
}

fn hash(path: &Path, content: Result<&[u8], &ReadError>, file: Option<&At<File>>) -> Fingerprint {
    let mut hash = Sha256::new();
    let mut add = |content: Result<&[u8], &ReadError>| {
        // The length before the content keeps the end of one file and the start of the next apart.
        hash.update([u8::from(content.is_ok())]);
        let content = content.unwrap_or_default();
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    };
    add(content);
    let file = file.and_then(|at| at.value.as_ref());
    for named in file.map(File::paths).unwrap_or_default() {
        add(read_file(&expand(directory(path), named), MAX_NAMED).as_deref());
    }
    Fingerprint(hash.finalize().into())
}

/// The raw file, as far as it could be understood.
fn parse(content: Result<&[u8], &ReadError>, problems: &mut Problems) -> Option<At<File>> {
    let content =
        problems.note(Place::Whole, content.map_err(|e| Mistake::Unreadable(e.clone())))?;
    match std::str::from_utf8(content) {
        Ok(text) => {
            let tree = node::parse(text, problems)?;
            if matches!(tree.value, Value::Null) {
                problems.add(tree.place, Mistake::EmptyFile);
                return None;
            }
            Some(At::read(&tree, problems))
        }
        Err(error) => {
            let good = content.get(..error.valid_up_to()).unwrap_or_default();
            let lines = good.split(|byte| *byte == b'\n');
            let last_line = lines.clone().next_back().unwrap_or_default();
            let line = lines.count();
            let column = 1 + String::from_utf8_lossy(last_line).chars().count();
            problems.add(Place::At(line as u64, column as u64), Mistake::NotUtf8);
            None
        }
    }
}
