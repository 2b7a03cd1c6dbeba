//! A matrix, arranged for the page: who accepts whose tokens, and what else the backends take from
//! each other. All have the same colours and the same words.

use std::collections::{BTreeMap, BTreeSet};

use super::cell::{ACCEPTED, CellMark, NO_ANSWER, NOT_TRIED, Placed, REFUSED};
use super::groups::{Grouped, grouped};
use crate::model::{
    BackendName, Check, CheckMatrix, EVERY_PAIR_UP_TO, Issuer, KeyId, Matrix, Round, Route,
};

/// Above this many verifiers only the pairs that were not accepted are listed, unless there are few
/// groups of nodes.
const WIDEST: usize = 16;
/// Above this many nodes that are treated alike share a row and a column.
const UNGROUPED: usize = 13;
/// The most of those that are listed.
const LISTED_PAIRS: usize = 100;
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
        let wide = names.len() > EVERY_PAIR_UP_TO;
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
