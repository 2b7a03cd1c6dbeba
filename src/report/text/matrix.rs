//! The matrix as a table, or in words where it is too large for one.

use std::collections::{BTreeMap, BTreeSet};

use super::super::wording::{count, list};
use super::page::{BAD, BOLD, Field, GOOD, PLAIN, Page, WARN, WIDTH, table_width};
use crate::model::{Cell, CellResult, Issuer, Matrix, Route};

/// Columns of a table that people still read at a glance.
const MOST: usize = 12;

/// Whether a pair was tried and the token not simply accepted. A pair that could not be tried is
/// the consequence of something that other cells or routes show.
pub(super) fn wrong(cell: &Cell) -> bool {
    matches!(cell.result, CellResult::Refused(_) | CellResult::Failed { .. })
}

pub(super) fn print(page: &mut Page, matrix: &Matrix) {
    let grid = Grid::of(matrix);
    let (rows, columns) = (grid.issuers.len(), grid.verifiers.len());
    if rows == 0 {
        return;
    }
    page.heading("Matrix", "row: issued the token; column: was shown it");
    if rows.max(columns) <= MOST {
        grid.table(page, &(0..rows).collect::<Vec<_>>(), &(0..columns).collect::<Vec<_>>());
        legend(page, &matrix.cells.iter().collect::<Vec<_>>());
        return;
    }
    let bad = || grid.cells.iter().filter(|(_, cell)| wrong(cell));
    let bad_rows: BTreeSet<usize> = bad().map(|((row, _), _)| *row).collect();
    let bad_columns: BTreeSet<usize> = bad().map(|((_, column), _)| *column).collect();
    page.paragraph("  ", PLAIN, &summary(matrix));
    if bad_rows.len().max(bad_columns.len()) > MOST {
        grid.lines(page);
    } else if !bad_rows.is_empty() {
        let (shown, across): (Vec<_>, Vec<_>) =
            (bad_rows.into_iter().collect(), bad_columns.into_iter().collect());
        grid.table(page, &shown, &across);
        let cells = shown.iter().flat_map(|row| across.iter().map(move |column| (*row, *column)));
        legend(page, &cells.filter_map(|at| grid.cells.get(&at).copied()).collect::<Vec<_>>());
    }
}

fn summary(matrix: &Matrix) -> String {
    let number =
        |of: fn(&CellResult) -> bool| matrix.cells.iter().filter(|cell| of(&cell.result)).count();
    let parts = [
        (number(|r| matches!(r, CellResult::Accepted)), "accepted"),
        (number(|r| matches!(r, CellResult::Refused(_))), "refused"),
        (number(|r| matches!(r, CellResult::Failed { .. })), "failed"),
        (number(|r| matches!(r, CellResult::Skipped { .. })), "not tried"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    let rest = if matrix.cells.iter().any(wrong) { "; only what is wrong is shown" } else { "" };
    format!("{}: {}{rest}", count(matrix.cells.len(), "pair"), list(&parts))
}

/// The cells by row and column.
struct Grid<'a> {
    issuers: Vec<&'a str>,
    verifiers: Vec<&'a str>,
    cells: BTreeMap<(usize, usize), &'a Cell>,
}

impl<'a> Grid<'a> {
    fn of(matrix: &'a Matrix) -> Self {
        let issuers: Vec<&str> = matrix.issuers().into_iter().map(Issuer::as_str).collect();
        let verifiers: Vec<&str> = matrix.verifiers().into_iter().map(Route::as_str).collect();
        let place = |names: &[&'a str]| -> BTreeMap<&'a str, usize> {
            names.iter().enumerate().map(|(index, name)| (*name, index)).collect()
        };
        let (rows, columns) = (place(&issuers), place(&verifiers));
        let at = |cell: &Cell| {
            Some((*rows.get(cell.issuer.as_str())?, *columns.get(cell.verifier.as_str())?))
        };
        let cells = matrix.cells.iter().filter_map(|cell| Some((at(cell)?, cell))).collect();
        Self { issuers, verifiers, cells }
    }

    /// A table of some rows and columns. Where names make it too wide, columns have numbers and
    /// the names stand below.
    fn table(&self, page: &mut Page, rows: &[usize], columns: &[usize]) {
        let names: Vec<&str> =
            columns.iter().filter_map(|column| self.verifiers.get(*column).copied()).collect();
        let mut table = vec![head(&names)];
        for row in rows {
            let name = self.issuers.get(*row).copied().unwrap_or_default();
            let cells =
                columns.iter().map(|column| field(self.cells.get(&(*row, *column)).copied()));
            table.push([Field::word(name, BOLD)].into_iter().chain(cells).collect());
        }
        if table_width(&table) <= WIDTH {
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
    fn lines(&self, page: &mut Page) {
        let mut left: BTreeMap<(usize, usize), &Cell> = self
            .cells
            .iter()
            .filter(|(_, cell)| wrong(cell))
            .map(|(at, cell)| (*at, *cell))
            .collect();
        let mut printed = 0;
        while let Some((is_row, index)) = worst(&left) {
            let on_line = |at: &(usize, usize)| index == if is_row { at.0 } else { at.1 };
            if printed == MOST {
                page.paragraph("  ", PLAIN, &format!("and {} more such pairs", left.len()));
                break;
            }
            let here = || left.iter().filter(|(at, _)| on_line(at)).map(|(_, cell)| *cell);
            let total = self.cells.keys().filter(|at| on_line(at)).count();
            let what = reasons(here());
            let names = if is_row { &self.issuers } else { &self.verifiers };
            let name = names.get(index).copied().unwrap_or_default();
            let (number, of) = (here().count(), if is_row { "tokens of" } else { "shown to" });
            let text = format!("{of} {name}: {number} of {total} pairs ({what})");
            let refused = here().any(|cell| cell.refusal().is_some());
            let (lead, style) = if refused { ("REFUSED", BAD) } else { ("failed", WARN) };
            page.paragraph(&format!("  {lead:9}"), style, &text);
            left.retain(|at, _| !on_line(at));
            printed += 1;
        }
    }
}

/// The row (`true`) or column that holds most of the cells.
fn worst(left: &BTreeMap<(usize, usize), &Cell>) -> Option<(bool, usize)> {
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

fn field(cell: Option<&Cell>) -> Field {
    match cell.map(|cell| &cell.result) {
        Some(CellResult::Accepted) => Field::word("ok", GOOD),
        Some(CellResult::Refused(refusal)) => match refusal.healed_after {
            Some(seconds) => Field::word(&format!("healed {seconds:.1}s"), WARN),
            None => Field::word("REFUSED", BAD),
        },
        Some(CellResult::Failed { .. }) => Field::word("failed", WARN),
        Some(CellResult::Skipped { .. }) | None => Field::word("-", PLAIN),
    }
}

fn reasons<'a>(cells: impl Iterator<Item = &'a Cell>) -> String {
    let words: BTreeSet<&str> = cells.filter_map(Cell::reason).collect();
    list(&words.into_iter().collect::<Vec<_>>())
}

/// What the words of a table mean, as far as they occur in it.
fn legend(page: &mut Page, cells: &[&Cell]) {
    let of =
        |kind: fn(&CellResult) -> bool| reasons(cells.iter().copied().filter(|c| kind(&c.result)));
    let entries = [
        (
            "REFUSED",
            "a fresh token was refused, and still when it was shown again",
            of(|r| matches!(r, CellResult::Refused(refusal) if refusal.healed_after.is_none())),
        ),
        (
            "healed",
            "refused at first; the same token was accepted so much later",
            of(|r| matches!(r, CellResult::Refused(refusal) if refusal.healed_after.is_some())),
        ),
        ("failed", "no answer about the token", of(|r| matches!(r, CellResult::Failed { .. }))),
        ("-", "not tried", of(|r| matches!(r, CellResult::Skipped { .. }))),
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
        let mut page = Page::default();
        print(&mut page, matrix);
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
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
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
