//! A cell of a matrix on the page: its colour, its sign and its words.

use std::time::Duration;

use super::text::seconds;
use crate::model::{Carried, Cell, CellResult, CheckPair, Failure, KeyId, Reason};

/// One pair.
#[derive(Clone, PartialEq)]
pub(super) struct CellMark {
    pub(super) class: &'static str,
    pub(super) sign: &'static str,
    pub(super) word: &'static str,
    pub(super) detail: String,
}

/// A pair with its place.
pub(super) struct Placed<'a> {
    pub(super) issuer: &'a str,
    pub(super) verifier: &'a str,
    pub(super) key: Option<&'a KeyId>,
    pub(super) mark: CellMark,
}

pub(super) const ACCEPTED: &str = "accepted";
pub(super) const REFUSED: &str = "refused";
pub(super) const NO_ANSWER: &str = "no answer";
pub(super) const NOT_TRIED: &str = "not tried";

impl CellMark {
    pub(super) fn accepted(detail: String) -> Self {
        Self { class: "ok", sign: "✓", word: ACCEPTED, detail }
    }

    pub(super) fn refused(detail: String) -> Self {
        Self { class: "critical", sign: "✕", word: REFUSED, detail }
    }

    fn unanswered(detail: String) -> Self {
        Self { class: "warning", sign: "!", word: NO_ANSWER, detail }
    }

    /// What the prober had no time for says nothing of the nodes.
    fn failed(failure: &Failure) -> Self {
        match failure.reason {
            Reason::DeadlineReached => Self::untried(Reason::DeadlineReached.as_str()),
            reason => Self::unanswered(reason.to_string()),
        }
    }

    fn untried(reason: &str) -> Self {
        Self { class: "none", sign: "–", word: NOT_TRIED, detail: reason.replace('_', " ") }
    }

    pub(super) fn none() -> Self {
        Self::untried("")
    }

    pub(super) fn of_cell(cell: &Cell) -> Self {
        match &cell.result {
            CellResult::Accepted => Self::accepted(String::new()),
            CellResult::Refused(refusal) => {
                let status = refusal.answer.status;
                Self::refused(match refusal.healed_after {
                    Some(after) => format!("{status}, accepted after {}", seconds(after)),
                    None => format!("{status}, {}\u{a0}×", refusal.tries),
                })
            }
            CellResult::Failed { failure, .. } => Self::failed(failure),
            CellResult::Skipped { reason } => Self::untried(reason.as_str()),
        }
    }

    pub(super) fn of_check(pair: &CheckPair<'_>) -> Self {
        match pair.result {
            Carried::Accepted { after_ms: None } => Self::accepted(String::new()),
            Carried::Accepted { after_ms: Some(after) } => {
                let after = Duration::from_millis(after).as_secs_f64();
                Self::accepted(format!("after {}", seconds(after)))
            }
            Carried::Refused(reason) => Self::refused(reason.replace('_', " ")),
            Carried::Failed(failure) => Self::failed(failure),
            Carried::Skipped(reason) => Self::untried(reason.as_str()),
        }
    }
}
