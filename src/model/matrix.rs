//! Tokens carried from where they were issued to every verifier.

use serde::Serialize;

use super::{Answer, Failure, Issuer, KeyId, Route, Skipped};

/// Up to this number of backends a round tries every pair.
pub const EVERY_PAIR_UP_TO: usize = 12;

/// A token that was just issued and was not accepted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refusal {
    /// The answer to the first try.
    pub answer: Answer,
    /// How often the same token was shown in all.
    pub tries: u32,
    /// Seconds after the first try at which the same token was accepted. Healing means time;
    /// through the load balancer it may mean another backend.
    pub healed_after: Option<f64>,
    /// Seconds after the first try of the last refusal that was seen.
    pub refused_until: f64,
}

/// What came of showing one token to one verifier.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum CellResult {
    /// 200.
    Accepted,
    /// 401 or 403: an answer about the token.
    Refused(Refusal),
    /// No answer about the token: the network, a gateway or a server error.
    Failed {
        /// What was met instead.
        failure: Failure,
        /// The answer, if one arrived.
        answer: Option<Answer>,
    },
    /// Not tried.
    Skipped {
        /// Why not.
        reason: Skipped,
    },
}

impl CellResult {
    /// The word of the JSON contract.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused(_) => "refused",
            Self::Failed { .. } => "failed",
            Self::Skipped { .. } => "skipped",
        }
    }
}

/// One pair of issuer and verifier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Where the token came from.
    pub issuer: Issuer,
    /// Where it was shown.
    pub verifier: Route,
    /// The signing key of the token that was shown.
    pub key: Option<KeyId>,
    /// Seconds from the token's answer to its first presentation.
    pub age_seconds: f64,
    /// What came of it.
    #[serde(flatten)]
    pub result: CellResult,
}

impl Cell {
    /// Whether the token was accepted; `None` if nothing was learned about it.
    pub fn accepted(&self) -> Option<bool> {
        match self.result {
            CellResult::Accepted => Some(true),
            CellResult::Refused(_) => Some(false),
            CellResult::Failed { .. } | CellResult::Skipped { .. } => None,
        }
    }

    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.result {
            CellResult::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The reason word of the JSON contract: why it was refused, failed or skipped.
    pub fn reason(&self) -> Option<&'static str> {
        match &self.result {
            CellResult::Accepted => None,
            CellResult::Refused(refusal) if refusal.answer.status == 403 => Some("forbidden"),
            CellResult::Refused(_) => Some("unauthorized"),
            CellResult::Failed { failure, .. } => Some(failure.reason.as_str()),
            CellResult::Skipped { reason } => Some(reason.as_str()),
        }
    }
}

/// Every pair of a round, row by row.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Matrix {
    /// The cells, sorted by issuer and then verifier in the order of the routes.
    pub cells: Vec<Cell>,
}

impl Matrix {
    /// The cell of a pair.
    pub fn cell(&self, issuer: &Issuer, verifier: &Route) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.issuer == *issuer && cell.verifier == *verifier)
    }

    /// Every issuer, in the order of the rows.
    pub fn issuers(&self) -> Vec<&Issuer> {
        distinct(self.cells.iter().map(|cell| &cell.issuer))
    }

    /// Every verifier, in the order of the columns.
    pub fn verifiers(&self) -> Vec<&Route> {
        distinct(self.cells.iter().map(|cell| &cell.verifier))
    }

    /// Every refused pair.
    pub fn refused(&self) -> impl Iterator<Item = (&Cell, &Refusal)> {
        self.cells.iter().filter_map(|cell| cell.refusal().map(|refusal| (cell, refusal)))
    }
}

fn distinct<'a, T: PartialEq>(items: impl Iterator<Item = &'a T>) -> Vec<&'a T> {
    let mut seen: Vec<&T> = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}
