//! What can be wrong with a configuration, and where: one sentence for each way.
//!
//! Every sentence says what was found and what is allowed. None ever holds a secret: text from
//! places where a password may stand by mistake is not repeated.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::url::UrlError;
use crate::model::{NameError, nearest};

/// Where a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Place {
    /// The file as a whole.
    #[default]
    Whole,
    /// A line and a column, both from 1; a column counts characters.
    At(u64, u64),
    /// An option of the command line, such as `--backend`.
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("before"),
            Self::At(line, _) => write!(f, "in line {line}"),
            Self::Flag(flag) => write!(f, "with {flag}"),
        }
    }
}

/// The name that was meant, as a part of a sentence; empty if none is like it.
pub(super) fn did_you_mean(found: &str, names: &[&str]) -> String {
    nearest(found, names.iter().copied())
        .map_or(String::new(), |name| format!(" (did you mean {name}?)"))
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Mistake {
    /// The configuration file cannot be read.
    #[error("{0}")]
    Unreadable(ReadError),
    /// No text.
    #[error("a byte that is not UTF-8 text; save the file as UTF-8")]
    NotUtf8,
    /// Not YAML.
    #[error("not valid YAML: {0}")]
    Yaml(String),
    /// Nothing but blanks and comments.
    #[error(
        "the file has no settings; it needs registries: a list of entries with name, url and \
         backends"
    )]
    EmptyFile,
    /// Aliases or nesting beyond every use.
    #[error("aliases, merges or nesting beyond the limits of a configuration")]
    Bomb,
    /// The same key twice in one mapping.
    #[error("a key occurs twice in one mapping; remove one of the two")]
    DuplicateKey,
    /// A key that means nothing here.
    #[error("unknown key {key}{meant}; allowed here: {allowed}")]
    UnknownKey {
        /// The key, quoted and cut.
        key: String,
        /// The key that was meant, in words; empty if none is like it.
        meant: String,
        /// What could stand here.
        allowed: String,
    },
    /// A key that other programs know in a file of this format.
    #[error("{key} is not supported; {instead}")]
    NotSupported {
        /// The key.
        key: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A password in the file itself.
    #[error(
        "this file must not contain a password; use password_file or password_env (the value is \
         not shown)"
    )]
    InlinePassword,
    /// A key that must be there.
    #[error("missing key {key} of {thing}")]
    Missing {
        /// The key, and what can stand instead.
        key: &'static str,
        /// What lacks it.
        thing: &'static str,
    },
    /// A value of another type or form.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What is allowed.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A name that no check has.
    #[error("{found} is no check{meant}; the checks are: {known}")]
    UnknownCheck {
        /// What stands there.
        found: String,
        /// The name that was meant, in words; empty if none is like it.
        meant: String,
        /// Every check.
        known: String,
    },
    /// An empty list where something must be.
    #[error("{0} is empty; at least one entry is needed")]
    Empty(&'static str),
    /// More than the program is built for.
    #[error("{found} {things} are too many; at most {limit} are allowed")]
    TooMany {
        /// What there is too much of.
        things: &'static str,
        /// How many there are.
        found: usize,
        /// How many may be.
        limit: usize,
    },
    /// Not usable as a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A name or address that is already taken.
    #[error("{what} {value} is already used {by}; each must be different")]
    Duplicate {
        /// Kind of thing.
        what: &'static str,
        /// The value, quoted.
        value: String,
        /// Where it was used first.
        by: Place,
    },
    /// Not usable as a URL or address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A request would have no time before the next round starts.
    #[error(
        "timeout {timeout} is not below interval {interval}; lower the timeout or raise the interval"
    )]
    TimeoutNotBelowInterval {
        /// As written.
        timeout: String,
        /// As written.
        interval: String,
    },
    /// Credentials would cross a network in the clear.
    #[error(
        "credentials would be sent to {0} unencrypted; use https, or accept that with \
         allow_plaintext"
    )]
    Plaintext(String),
    /// Two keys that exclude each other.
    #[error("{0} and {1} exclude each other; keep one")]
    Both(&'static str, &'static str),
    /// A key that makes no sense alone.
    #[error("{0} also needs {1}")]
    Alone(&'static str, &'static str),
    /// A file that the configuration names.
    #[error("{what} {path}: {error}")]
    File {
        /// The key that names it.
        what: &'static str,
        /// The path, as resolved.
        path: String,
        /// What is wrong with it.
        error: ReadError,
    },
    /// An environment variable that holds no password.
    ///
    /// Its name is not repeated: a template may have put the password in its place.
    #[error("the environment variable is not set, empty or not UTF-8; it must hold the password")]
    Environment,
    /// Docker's configuration gives no password.
    #[error("docker_config {path}: {why}")]
    Docker {
        /// The path, as resolved.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The operating system's word.
    #[error("{0}")]
    Io(String),
    /// A directory, pipe or device.
    #[error("not a regular file")]
    NotAFile,
    /// Over its limit.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// Nothing inside.
    #[error("empty; it must hold the password")]
    Empty,
    /// Not text.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// No certificate inside.
    #[error("no certificate inside; PEM blocks that start with BEGIN CERTIFICATE are expected")]
    NoCertificate,
    /// A certificate that cannot be parsed.
    #[error("certificate number {0} is damaged")]
    BadCertificate(usize),
    /// No private key inside.
    #[error("no private key inside; a PEM block that ends in PRIVATE KEY is expected")]
    NoKey,
    /// A key that needs a passphrase.
    #[error("the private key is encrypted; an unencrypted one is needed")]
    EncryptedKey,
}

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Io("no such file".to_owned()),
            // The kind's own words are the same on every system and end without a number.
            kind => Self::Io(kind.to_string()),
        }
    }
}

/// A mistake and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub mistake: Mistake,
}

/// All that was found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    /// Notes one.
    pub(super) fn add(&mut self, place: Place, mistake: impl Into<Mistake>) {
        self.0.push(Problem { place, mistake: mistake.into() });
    }

    /// Notes the error of a result and gives its value.
    pub(super) fn note<T, E: Into<Mistake>>(
        &mut self,
        place: Place,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.add(place, error)).ok()
    }

    /// In the order of the file, each once.
    pub(super) fn sorted(mut self) -> Vec<Problem> {
        self.0.sort_by_key(|problem| problem.place);
        self.0.dedup();
        self.0
    }
}

/// Every problem of one configuration file; one line each when displayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    path: PathBuf,
    problems: Vec<Problem>,
}

impl ConfigErrors {
    pub(super) fn new(path: &Path, problems: Problems) -> Self {
        Self { path: path.to_owned(), problems: problems.sorted() }
    }

    /// The problems in the order of the file; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.path.display())?;
            if let Place::At(line, column) = problem.place {
                write!(f, "{line}:{column}:")?;
            }
            write!(f, " {}", problem.mistake)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Every problem of a registry given on the command line; one line each when displayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdHocErrors(pub Vec<Problem>);

impl fmt::Display for AdHocErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            if let Place::Flag(flag) = problem.place {
                write!(f, "{flag}: ")?;
            }
            write!(f, "{}", problem.mistake)?;
        }
        Ok(())
    }
}

impl std::error::Error for AdHocErrors {}

/// A text in quotes, escaped and cut to a length that fits on a line.
pub(super) fn quoted(text: &str) -> String {
    let mut cut: String = text.chars().take(60).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}
