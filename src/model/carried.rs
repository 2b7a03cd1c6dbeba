//! What the checks carried from each backend to the others, and what they found at each, in the
//! shapes in which every output shows it: a cell that is refused in one is refused in all.

use super::{
    BackendName, Check, Checked, Checks, CsrfVerdict, Failure, OfPair, Outcome, SessionVerdict,
    Skipped, UploadVerdict,
};

/// The pairs of one check that ran.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckMatrix<'a> {
    /// Which check.
    pub check: Check,
    /// The pairs of which something is said. With many backends not every pair is tried.
    pub pairs: Vec<CheckPair<'a>>,
}

/// What one backend did with what another gave.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckPair<'a> {
    /// Who gave it.
    pub issuer: &'a BackendName,
    /// Who was shown it.
    pub verifier: &'a BackendName,
    /// What came of it.
    pub result: Carried<'a>,
}

/// What came of showing it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Carried<'a> {
    /// The verifier took it; after this number of milliseconds, if not at once.
    Accepted {
        /// Milliseconds after the first try.
        after_ms: Option<u64>,
    },
    /// The verifier did not take it, for this reason.
    Refused(&'static str),
    /// There was no answer about it.
    Failed(&'a Failure),
    /// It was not tried.
    Skipped(Skipped),
}

impl CheckPair<'_> {
    /// Whether it was accepted; `None` if nothing was learned about it.
    pub fn accepted(&self) -> Option<bool> {
        match self.result {
            Carried::Accepted { .. } => Some(true),
            Carried::Refused(_) => Some(false),
            Carried::Failed(_) | Carried::Skipped(_) => None,
        }
    }

    /// Why it was refused, failed or skipped.
    pub fn reason(&self) -> Option<&'static str> {
        match self.result {
            Carried::Accepted { .. } => None,
            Carried::Refused(reason) => Some(reason),
            Carried::Failed(failure) => Some(failure.reason.as_str()),
            Carried::Skipped(reason) => Some(reason.as_str()),
        }
    }
}

impl<'a> CheckMatrix<'a> {
    fn of<T: Copy>(
        check: Check,
        pairs: &'a [OfPair<T>],
        verdict: impl Fn(T) -> Carried<'static>,
    ) -> Self {
        let pair = |pair: &'a OfPair<T>| CheckPair {
            issuer: &pair.issuer,
            verifier: &pair.verifier,
            result: match &pair.value {
                Outcome::Measured(value) => verdict(*value),
                Outcome::Failed(failure) => Carried::Failed(failure),
                Outcome::Skipped(reason) => Carried::Skipped(*reason),
            },
        };
        Self { check, pairs: pairs.iter().map(pair).collect() }
    }

    /// Every backend that takes part, in the order in which they were come to.
    pub fn backends(&self) -> Vec<&'a BackendName> {
        let mut seen = Vec::new();
        for pair in &self.pairs {
            for name in [pair.issuer, pair.verifier] {
                if !seen.contains(&name) {
                    seen.push(name);
                }
            }
        }
        seen
    }

    /// The pairs that were refused.
    pub fn refused(&self) -> impl Iterator<Item = &CheckPair<'a>> {
        self.pairs.iter().filter(|pair| pair.accepted() == Some(false))
    }
}

impl Checks {
    /// The pairs of a check; nothing if it carries nothing, or did not run.
    pub fn matrix(&self, check: Check) -> Option<CheckMatrix<'_>> {
        fn all<T>(checked: &Checked<Vec<OfPair<T>>>) -> Option<&[OfPair<T>]> {
            checked.measured().map(Vec::as_slice)
        }
        match check {
            Check::Csrf => all(&self.csrf).map(|pairs| CheckMatrix::of(check, pairs, csrf)),
            Check::Session => {
                all(&self.session).map(|pairs| CheckMatrix::of(check, pairs, session))
            }
            Check::Upload => {
                self.upload.measured().map(|uploads| CheckMatrix::of(check, &uploads.pairs, upload))
            }
            _ => None,
        }
    }

    /// The pairs of every check that ran and carries something.
    pub fn matrices(&self) -> impl Iterator<Item = CheckMatrix<'_>> {
        let made = Check::ALL.iter().filter_map(|check| self.matrix(*check));
        made.filter(|matrix| !matrix.pairs.is_empty())
    }

    /// Whether each backend has the canary's content, whole and the same as most have.
    pub fn content_present(&self) -> impl Iterator<Item = (&BackendName, Outcome<bool>)> {
        self.content.measured().into_iter().flat_map(|content| {
            content.at.iter().map(|at| {
                let present = match &at.found {
                    Outcome::Measured(found) => Outcome::Measured(content.is_whole(found)),
                    Outcome::Failed(failure) => Outcome::Failed(failure.clone()),
                    Outcome::Skipped(reason) => Outcome::Skipped(*reason),
                };
                (&at.backend, present)
            })
        })
    }
}

fn csrf(verdict: CsrfVerdict) -> Carried<'static> {
    match verdict {
        CsrfVerdict::Accepted => Carried::Accepted { after_ms: None },
        CsrfVerdict::UnknownKey => Carried::Refused("unknown_key"),
        CsrfVerdict::ForeignOrigin => Carried::Refused("foreign_origin"),
    }
}

fn session(verdict: SessionVerdict) -> Carried<'static> {
    match verdict {
        SessionVerdict::Known => Carried::Accepted { after_ms: None },
        SessionVerdict::Unknown => Carried::Refused("unknown_session"),
    }
}

fn upload(verdict: UploadVerdict) -> Carried<'static> {
    match verdict {
        UploadVerdict::Known => Carried::Accepted { after_ms: None },
        UploadVerdict::KnownLate { after_ms } => Carried::Accepted { after_ms: Some(after_ms) },
        UploadVerdict::Invalid => Carried::Refused("upload_invalid"),
        UploadVerdict::Unknown => Carried::Refused("upload_unknown"),
    }
}
