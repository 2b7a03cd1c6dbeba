//! Reading the files that a configuration consists of, each within a limit.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::problem::ReadError;

/// Largest file that a configuration names, in bytes.
pub(super) const MAX_NAMED: u64 = 1 << 20;

/// A file's content, if it is a regular file within the limit.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    // Before opening: a named pipe would block.
    if !fs::metadata(path)?.is_file() {
        return Err(ReadError::NotAFile);
    }
    let mut content = Vec::new();
    fs::File::open(path)?.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(ReadError::TooLarge(limit));
    }
    Ok(content)
}

/// A path of the file: `~/` is the home directory, all else is relative to the file's directory.
pub(super) fn expand(directory: &Path, path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => directory.join(path),
    }
}

pub(super) fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}
