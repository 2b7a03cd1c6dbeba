//! A matrix, arranged for the page: who accepts whose tokens, and what else the backends take from
//! each other. All have the same colours and the same words.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::groups::{Grouped, grouped};
use super::text::seconds;
use crate::model::{
    BackendName, Carried, Cell, CellResult, Check, CheckMatrix, CheckPair, Failure, Issuer, KeyId,
    Matrix, Reason, Round, Route,
};

/// Above this many verifiers only the pairs that were not accepted are listed, unless there are few
/// groups of nodes.
const WIDEST: usize = 16;
/// Above this many nodes that are treated alike share a row and a column.
const UNGROUPED: usize = 13;
/// The most of those that are listed.
const LISTED_PAIRS: usize = 100;
/// Above this many backends the checks do not try every pair, and a table would have holes.
const WIDEST_OF_CHECK: usize = 12;
/// Above this many a matrix of a check in which nothing is wrong is folded.
const UNFOLDED: usize = 4;
/// And above this many its cells hold signs alone, so that the table needs no scrolling.
const WORDED: usize = 8;

/// Who accepts what.
pub(super) struct MatrixPanel<'a> {
    pub(super) title: &'static str,
    /// What a row is, in a table and in a list.
    pub(super) issuer: &'static str,
    pub(super) verifiers: Vec<&'a str>,
    pub(super) rows: Vec<MatrixRow<'a>>,
    /// Instead of the rows, where nodes are many and alike.
    pub(super) groups: Option<Grouped<'a>>,
    /// Instead of the rows, where there would be too many columns and no groups.
    pub(super) exceptions: Vec<(&'a str, &'a str, CellMark)>,
    pub(super) wide: bool,
    /// The meaning of each sign, for a table without words; empty if the table has words.
    pub(super) legend: Vec<CellMark>,
    /// Whether the table waits for a click.
    pub(super) folded: bool,
    /// Whether pairs were left out because other pairs show the same.
    pub(super) sampled: bool,
    pub(super) unlisted: usize,
    pub(super) accepted: usize,
    pub(super) refused: usize,
    pub(super) unanswered: usize,
    pub(super) untried: usize,
    pub(super) keys: usize,
}

/// What one issuer gave.
pub(super) struct MatrixRow<'a> {
    pub(super) issuer: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) cells: Vec<CellMark>,
}

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

/// What the checks that ran in a round carried.
pub(super) fn carried(round: &Round) -> Vec<MatrixPanel<'_>> {
    round.checks.matrices().map(|matrix| MatrixPanel::of_check(&matrix)).collect()
}

impl<'a> MatrixPanel<'a> {
    pub(super) fn new(matrix: &'a Matrix) -> Self {
        let verifiers: Vec<&str> = matrix.verifiers().into_iter().map(Route::as_str).collect();
        let issuers = matrix.issuers().into_iter().map(Issuer::as_str).collect();
        let placed = matrix.cells.iter().map(|cell| Placed {
            issuer: cell.issuer.as_str(),
            verifier: cell.verifier.as_str(),
            key: cell.key.as_ref(),
            mark: CellMark::of_cell(cell),
        });
        let wide = verifiers.len() > WIDEST;
        let words = ("Who accepts whose tokens", "token of");
        Self::of(words, issuers, verifiers, &placed.collect::<Vec<_>>(), wide)
    }

    fn of_check(matrix: &CheckMatrix<'a>) -> Self {
        let names: Vec<&str> = matrix.backends().into_iter().map(BackendName::as_str).collect();
        let placed = matrix.pairs.iter().map(|pair| Placed {
            issuer: pair.issuer.as_str(),
            verifier: pair.verifier.as_str(),
            key: None,
            mark: CellMark::of_check(pair),
        });
        let words = match matrix.check {
            Check::Csrf => ("CSRF cookies", "cookie of"),
            Check::Session => ("Sessions", "session of"),
            _ => ("Uploads", "begun at"),
        };
        let wide = names.len() > WIDEST_OF_CHECK;
        let panel = Self::of(words, names.clone(), names, &placed.collect::<Vec<_>>(), wide);
        let names = panel.verifiers.len();
        let well = panel.refused + panel.unanswered == 0;
        let legend = if names > WORDED && !wide && panel.groups.is_none() {
            legend(&panel.rows)
        } else {
            Vec::new()
        };
        Self { folded: names > UNFOLDED && well && !panel.wide, legend, ..panel }
    }

    fn of(
        (title, issuer): (&'static str, &'static str),
        issuers: Vec<&'a str>,
        verifiers: Vec<&'a str>,
        placed: &[Placed<'a>],
        wide: bool,
    ) -> Self {
        let number = |word| placed.iter().filter(|placed| placed.mark.word == word).count();
        let keys: BTreeSet<&KeyId> = placed.iter().filter_map(|placed| placed.key).collect();
        let odd = |placed: &&Placed<'_>| !matches!(placed.mark.word, ACCEPTED | NOT_TRIED);
        let exception = |placed: &Placed<'a>| {
            let Placed { issuer, verifier, mark, .. } = placed;
            (*issuer, *verifier, mark.clone())
        };
        let listed = placed.iter().filter(|_| wide).filter(odd);
        let groups = (verifiers.len() > UNGROUPED)
            .then(|| grouped(&issuers, &verifiers, placed))
            .flatten()
            .filter(|groups| groups.rows.len() < issuers.len());
        let wide = wide && groups.is_none();
        let left_out = (issuers.len() * verifiers.len()).saturating_sub(placed.len());
        Self {
            title,
            issuer,
            rows: if wide || groups.is_some() {
                Vec::new()
            } else {
                rows(issuers, &verifiers, placed)
            },
            groups,
            exceptions: listed.map(exception).take(LISTED_PAIRS).collect(),
            unlisted: placed.iter().filter(odd).count().saturating_sub(LISTED_PAIRS),
            wide,
            legend: Vec::new(),
            folded: false,
            sampled: left_out > 0,
            accepted: number(ACCEPTED),
            refused: number(REFUSED),
            unanswered: number(NO_ANSWER),
            untried: number(NOT_TRIED) + left_out,
            keys: keys.len(),
            verifiers,
        }
    }
}

fn rows<'a>(
    issuers: Vec<&'a str>,
    verifiers: &[&'a str],
    placed: &[Placed<'a>],
) -> Vec<MatrixRow<'a>> {
    let row = |issuer: &'a str| {
        let of_it = || placed.iter().filter(|placed| placed.issuer == issuer);
        let row: BTreeMap<&str, &CellMark> =
            of_it().map(|placed| (placed.verifier, &placed.mark)).collect();
        let cell = |verifier| row.get(verifier).map_or_else(CellMark::none, |mark| (*mark).clone());
        MatrixRow {
            issuer,
            key: of_it().find_map(|placed| placed.key).map(KeyId::short),
            cells: verifiers.iter().map(cell).collect(),
        }
    };
    issuers.into_iter().map(row).collect()
}

/// Every kind of cell once.
fn legend(rows: &[MatrixRow<'_>]) -> Vec<CellMark> {
    let mut kinds: Vec<CellMark> = Vec::new();
    for mark in rows.iter().flat_map(|row| &row.cells) {
        if !kinds.contains(mark) {
            kinds.push(mark.clone());
        }
    }
    kinds
}

const ACCEPTED: &str = "accepted";
const REFUSED: &str = "refused";
const NO_ANSWER: &str = "no answer";
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

    fn of_cell(cell: &Cell) -> Self {
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

    fn of_check(pair: &CheckPair<'_>) -> Self {
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
