//! A matrix as a table, or in words where it is too large for one: the tokens' in every text, and
//! those of the checks in which something was refused.

use std::collections::{BTreeMap, BTreeSet};

use super::super::wording::{count, list};
use super::page::{BAD, BOLD, Field, GOOD, PLAIN, Page, WARN, table_width};
use crate::model::{
    BackendName, Carried, Cell, CellResult, Check, CheckPair, Checks, Issuer, Matrix, Route,
};

/// Columns of a table that people still read at a glance.
const MOST: usize = 12;

/// What was carried, in the words around a matrix.
struct Words {
    title: &'static str,
    remark: &'static str,
    /// What was tried and refused, said once below a table.
    refused: &'static str,
    /// What there was no answer about.
    about: &'static str,
    /// Before the name of an issuer.
    of: &'static str,
}

const TOKENS: Words = Words {
    title: "Matrix",
    remark: "row: issued the token; column: checked it",
    refused: "a fresh token was refused, and refused again when tried later",
    about: "the token",
    of: "tokens of",
};

/// Whether a pair was tried and the token not simply accepted. A pair that could not be tried is
/// the consequence of something that other cells or routes show.
pub(super) fn wrong(cell: &Cell) -> bool {
    Pair::of_cell(cell).is_wrong()
}

/// Whether a check found a pair that is refused.
pub(super) fn refuses(checks: &Checks) -> bool {
    checks.matrices().any(|matrix| matrix.refused().next().is_some())
}

/// The matrix of the tokens.
pub(super) fn tokens(page: &mut Page, matrix: &Matrix) {
    let issuers = matrix.issuers().into_iter().map(Issuer::as_str).collect();
    let verifiers = matrix.verifiers().into_iter().map(Route::as_str).collect();
    show(page, &TOKENS, &Grid::of(issuers, verifiers, matrix.cells.iter().map(Pair::of_cell)));
}

/// The matrices of the checks in which a pair is refused.
pub(super) fn of_checks(page: &mut Page, checks: &Checks) {
    for matrix in checks.matrices().filter(|matrix| matrix.refused().next().is_some()) {
        let names: Vec<&str> = matrix.backends().into_iter().map(BackendName::as_str).collect();
        let words = match matrix.check {
            Check::Csrf => Words {
                title: "CSRF cookies",
                remark: "row: gave the cookie; column: checked it",
                refused: "the cookie was refused, twice",
                about: "the cookie",
                of: "cookies of",
            },
            Check::Session => Words {
                title: "Sessions",
                remark: "row: gave the session; column: checked it",
                refused: "the session was replaced by a new one, twice",
                about: "the session",
                of: "sessions of",
            },
            _ => Words {
                title: "Uploads",
                remark: "row: began the upload; column: was asked to continue it",
                refused: "the upload cannot go on there, also when asked again",
                about: "the upload",
                of: "uploads of",
            },
        };
        show(
            page,
            &words,
            &Grid::of(names.clone(), names, matrix.pairs.iter().map(Pair::of_check)),
        );
    }
}

/// One pair as it is printed.
#[derive(Clone, Copy)]
struct Pair<'a> {
    issuer: &'a str,
    verifier: &'a str,
    result: Shown,
    reason: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum Shown {
    Accepted,
    /// Refused, and accepted this number of seconds later.
    Healed(f64),
    Refused,
    Failed,
    Skipped,
}

impl<'a> Pair<'a> {
    fn of_cell(cell: &'a Cell) -> Self {
        let result = match &cell.result {
            CellResult::Accepted => Shown::Accepted,
            CellResult::Refused(refusal) => {
                refusal.healed_after.map_or(Shown::Refused, Shown::Healed)
            }
            CellResult::Failed { .. } => Shown::Failed,
            CellResult::Skipped { .. } => Shown::Skipped,
        };
        let (issuer, verifier) = (cell.issuer.as_str(), cell.verifier.as_str());
        Self { issuer, verifier, result, reason: cell.reason() }
    }

    fn of_check(pair: &CheckPair<'a>) -> Self {
        let result = match pair.result {
            Carried::Accepted { .. } => Shown::Accepted,
            Carried::Refused(_) => Shown::Refused,
            Carried::Failed(_) => Shown::Failed,
            Carried::Skipped(_) => Shown::Skipped,
        };
        let (issuer, verifier) = (pair.issuer.as_str(), pair.verifier.as_str());
        Self { issuer, verifier, result, reason: pair.reason() }
    }

    fn is_refused(&self) -> bool {
        matches!(self.result, Shown::Refused | Shown::Healed(_))
    }

    fn is_wrong(&self) -> bool {
        self.is_refused() || matches!(self.result, Shown::Failed)
    }
}

fn show(page: &mut Page, words: &Words, grid: &Grid<'_>) {
    let (rows, columns) = (grid.issuers.len(), grid.verifiers.len());
    if rows == 0 {
        return;
    }
    page.heading(words.title, words.remark);
    if rows.max(columns) <= MOST {
        grid.table(page, &(0..rows).collect::<Vec<_>>(), &(0..columns).collect::<Vec<_>>());
        legend(page, words, &grid.cells.values().copied().collect::<Vec<_>>());
        return;
    }
    let bad = || grid.cells.iter().filter(|(_, pair)| pair.is_wrong());
    let bad_rows: BTreeSet<usize> = bad().map(|((row, _), _)| *row).collect();
    let bad_columns: BTreeSet<usize> = bad().map(|((_, column), _)| *column).collect();
    page.paragraph("  ", PLAIN, &grid.summary());
    if bad_rows.len().max(bad_columns.len()) > MOST {
        grid.lines(page, words);
    } else if !bad_rows.is_empty() {
        let (shown, across): (Vec<_>, Vec<_>) =
            (bad_rows.into_iter().collect(), bad_columns.into_iter().collect());
        grid.table(page, &shown, &across);
        let cells = shown.iter().flat_map(|row| across.iter().map(move |column| (*row, *column)));
        let cells: Vec<_> = cells.filter_map(|at| grid.cells.get(&at).copied()).collect();
        legend(page, words, &cells);
    }
}

/// The pairs by row and column.
struct Grid<'a> {
    issuers: Vec<&'a str>,
    verifiers: Vec<&'a str>,
    cells: BTreeMap<(usize, usize), Pair<'a>>,
}

impl<'a> Grid<'a> {
    fn of(
        issuers: Vec<&'a str>,
        verifiers: Vec<&'a str>,
        pairs: impl Iterator<Item = Pair<'a>>,
    ) -> Self {
        let place = |names: &[&'a str]| -> BTreeMap<&'a str, usize> {
            names.iter().enumerate().map(|(index, name)| (*name, index)).collect()
        };
        let (rows, columns) = (place(&issuers), place(&verifiers));
        let at = |pair: &Pair<'_>| Some((*rows.get(pair.issuer)?, *columns.get(pair.verifier)?));
        let cells = pairs.filter_map(|pair| Some((at(&pair)?, pair))).collect();
        Self { issuers, verifiers, cells }
    }

    fn summary(&self) -> String {
        let number =
            |of: fn(&Shown) -> bool| self.cells.values().filter(|pair| of(&pair.result)).count();
        // Checks say nothing of the pairs that they leave out.
        let all = self.issuers.len() * self.verifiers.len();
        let left_out = all - self.cells.len();
        let parts = [
            (number(|r| matches!(r, Shown::Accepted)), "accepted"),
            (number(|r| matches!(r, Shown::Refused | Shown::Healed(_))), "refused"),
            (number(|r| matches!(r, Shown::Failed)), "failed"),
            (number(|r| matches!(r, Shown::Skipped)) + left_out, "not tried"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, word)| format!("{number} {word}"))
            .collect();
        let wrong = self.cells.values().any(Pair::is_wrong);
        let rest = if wrong { "; only what is wrong is shown" } else { "" };
        format!("{}: {}{rest}", count(all, "pair"), list(&parts))
    }

    /// A table of some rows and columns. Where names make it too wide, columns have numbers and
    /// the names stand below.
    fn table(&self, page: &mut Page, rows: &[usize], columns: &[usize]) {
        let names: Vec<&str> =
            columns.iter().filter_map(|column| self.verifiers.get(*column).copied()).collect();
        let mut table = vec![head(&names)];
        for row in rows {
            let name = self.issuers.get(*row).copied().unwrap_or_default();
            let cells = columns.iter().map(|column| field(self.cells.get(&(*row, *column))));
            table.push([Field::word(name, BOLD)].into_iter().chain(cells).collect());
        }
        if table_width(&table) <= page.width() {
            page.table(&table);
            return;
        }
        let numbers: Vec<String> = (1..=names.len()).map(|number| format!("#{number}")).collect();
        if let Some(first) = table.first_mut() {
            *first = head(&numbers);
        }
        page.table(&table);
        let key: Vec<String> =
            numbers.iter().zip(&names).map(|(number, name)| format!("{number} {name}")).collect();
        page.paragraph("  ", PLAIN, &key.join(", "));
    }

    /// Whole rows and columns, the worst first, until every wrong cell is in one of them. One bad
    /// backend of a hundred makes two such lines out of two hundred cells.
    fn lines(&self, page: &mut Page, words: &Words) {
        let wrong = self.cells.iter().filter(|(_, pair)| pair.is_wrong());
        let mut left: BTreeMap<(usize, usize), &Pair<'_>> =
            wrong.map(|(at, pair)| (*at, pair)).collect();
        let mut printed = 0;
        while let Some((is_row, index)) = worst(&left) {
            let on_line = |at: &(usize, usize)| index == if is_row { at.0 } else { at.1 };
            if printed == MOST {
                page.paragraph("  ", PLAIN, &format!("and {} more such pairs", left.len()));
                break;
            }
            let here = || left.iter().filter(|(at, _)| on_line(at)).map(|(_, pair)| *pair);
            let total = self.cells.keys().filter(|at| on_line(at)).count();
            let what = reasons(here());
            let names = if is_row { &self.issuers } else { &self.verifiers };
            let name = names.get(index).copied().unwrap_or_default();
            let (number, of) = (here().count(), if is_row { words.of } else { "shown to" });
            let text = format!("{of} {name}: {number} of {total} pairs ({what})");
            let refused = here().any(Pair::is_refused);
            let (lead, style) = if refused { ("REFUSED", BAD) } else { ("failed", WARN) };
            page.paragraph(&format!("  {lead:9}"), style, &text);
            left.retain(|at, _| !on_line(at));
            printed += 1;
        }
    }
}

/// The row (`true`) or column that holds most of the cells.
fn worst(left: &BTreeMap<(usize, usize), &Pair<'_>>) -> Option<(bool, usize)> {
    let mut lines: BTreeMap<(bool, usize), usize> = BTreeMap::new();
    for (row, column) in left.keys() {
        *lines.entry((true, *row)).or_default() += 1;
        *lines.entry((false, *column)).or_default() += 1;
    }
    lines.into_iter().max_by_key(|(_, cells)| *cells).map(|(line, _)| line)
}

fn head(names: &[impl AsRef<str>]) -> Vec<Field> {
    let names = names.iter().map(|name| Field::word(name.as_ref(), BOLD));
    [Field::word("", PLAIN)].into_iter().chain(names).collect()
}

fn field(pair: Option<&Pair<'_>>) -> Field {
    match pair.map(|pair| pair.result) {
        Some(Shown::Accepted) => Field::word("ok", GOOD),
        Some(Shown::Refused) => Field::word("REFUSED", BAD),
        Some(Shown::Healed(seconds)) => Field::word(&format!("healed {seconds:.1}s"), WARN),
        Some(Shown::Failed) => Field::word("failed", WARN),
        Some(Shown::Skipped) | None => Field::word("-", PLAIN),
    }
}

fn reasons<'a>(pairs: impl Iterator<Item = &'a Pair<'a>>) -> String {
    let words: BTreeSet<&str> = pairs.filter_map(|pair| pair.reason).collect();
    list(&words.into_iter().collect::<Vec<_>>())
}

/// What the words of a table mean, as far as they occur in it.
fn legend(page: &mut Page, words: &Words, pairs: &[Pair<'_>]) {
    let of = |kind: fn(&Shown) -> bool| reasons(pairs.iter().filter(|pair| kind(&pair.result)));
    let unanswered = format!("no answer about {}", words.about);
    let entries = [
        ("REFUSED", words.refused, of(|r| matches!(r, Shown::Refused))),
        (
            "healed",
            "refused at first; the same token was accepted this much later",
            of(|r| matches!(r, Shown::Healed(_))),
        ),
        ("failed", unanswered.as_str(), of(|r| matches!(r, Shown::Failed))),
        ("-", "not tried", of(|r| matches!(r, Shown::Skipped))),
    ];
    for (word, meaning, reasons) in entries.iter().filter(|(_, _, reasons)| !reasons.is_empty()) {
        page.paragraph(&format!("  {word:9}"), PLAIN, &format!("{meaning} ({reasons})"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::{backend, healthy, pairs, refused};
    use super::*;

    fn text(matrix: &Matrix) -> String {
        let mut page = Page::new(100);
        tokens(&mut page, matrix);
        anstream::adapter::strip_str(&page.into_text()).to_string()
    }

    #[test]
    fn a_table_of_long_names_has_numbered_columns_and_fits() {
        let mut matrix = healthy(8).round.matrix;
        for cell in &mut matrix.cells {
            if cell.verifier == Route::Backend(backend(1)) {
                let long = "registry-01.rack-7.example.com";
                cell.verifier = Route::Backend(crate::model::BackendName::parse(long).unwrap());
            }
        }
        let text = text(&matrix);
        assert!(text.contains("  #1  #2  #3"), "{text}");
        assert!(text.contains("#1 registry-01.rack-7.example.com, #2 harbor-02"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn a_large_matrix_in_disorder_is_told_in_few_lines_and_a_count() {
        let mut split = healthy(40);
        let left = |name: &str| name < "harbor-21";
        pairs(&mut split, |issuer, verifier| {
            (left(issuer) != left(verifier)).then(|| refused(None))
        });
        let text = text(&split.round.matrix);
        assert_eq!(text.matches("REFUSED").count(), MOST, "{text}");
        // 20 x 21 pairs in either direction; each of the lines tells the 21 of one row or column.
        assert!(text.contains("1681 pairs: 841 accepted and 840 refused"), "{text}");
        assert!(text.contains(&format!("and {} more such pairs", 840 - MOST * 21)), "{text}");
    }

    #[test]
    fn a_large_matrix_without_a_wrong_pair_has_no_table() {
        let text = text(&healthy(40).round.matrix);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("1681 pairs: 1681 accepted"), "{text}");
    }
}
