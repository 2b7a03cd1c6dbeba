//! A matrix of many nodes, in which nodes that are treated alike share a row and a column, so that
//! the odd one out is seen.

use std::collections::BTreeMap;

use super::cell::{CellMark, NOT_TRIED, Placed};

/// More groups than this are no help to the eye.
const MOST_GROUPS: usize = 12;
/// Names that stand in a heading; the rest are counted.
const NAMED: usize = 3;
/// The load balancer leads to any node: its answers do not show which nodes are alike.
const BALANCER: &str = "lb";

/// The groups as a small matrix.
pub(super) struct Grouped<'a> {
    pub(super) verifiers: Vec<Group<'a>>,
    pub(super) rows: Vec<GroupRow<'a>>,
}

/// Nodes that are alike.
pub(super) struct Group<'a> {
    /// The first few by name, and how many more there are.
    pub(super) title: String,
    /// All of them, where the title leaves some out.
    pub(super) all: Vec<&'a str>,
}

/// The results of a group's tokens.
pub(super) struct GroupRow<'a> {
    pub(super) issuers: Group<'a>,
    pub(super) key: Option<&'a str>,
    pub(super) cells: Vec<CellMark>,
}

impl<'a> Group<'a> {
    fn new(names: Vec<&'a str>) -> Self {
        let more = names.len().saturating_sub(NAMED);
        let shown = if more > 1 { NAMED } else { names.len() };
        let mut title = names[..shown].join(", ");
        if shown < names.len() {
            title = format!("{title} and {more}\u{a0}more");
        }
        let all = if shown < names.len() { names } else { Vec::new() };
        Self { title, all }
    }
}

/// The groups of a matrix; none if there are nearly as many groups as nodes.
pub(super) fn grouped<'a>(
    issuers: &[&'a str],
    verifiers: &[&'a str],
    placed: &[Placed<'a>],
) -> Option<Grouped<'a>> {
    let grid = Grid::new(placed);
    let mut rows: BTreeMap<(bool, Vec<&'static str>), Vec<&'a str>> = BTreeMap::new();
    for issuer in issuers {
        let words = verifiers.iter().filter(|verifier| **verifier != BALANCER);
        let words = words.map(|verifier| grid.word(issuer, verifier)).collect();
        rows.entry((*issuer == BALANCER, words)).or_default().push(issuer);
    }
    let mut columns: BTreeMap<(bool, Vec<&'static str>), Vec<&'a str>> = BTreeMap::new();
    for verifier in verifiers {
        let words = issuers.iter().filter(|issuer| **issuer != BALANCER);
        let words = words.map(|issuer| grid.word(issuer, verifier)).collect();
        columns.entry((*verifier == BALANCER, words)).or_default().push(verifier);
    }
    if rows.len().max(columns.len()) > MOST_GROUPS {
        return None;
    }
    let (rows, columns) = (odd_first(rows), odd_first(columns));
    let row = |issuers: Vec<&'a str>| GroupRow {
        key: issuers.first().and_then(|issuer| grid.key(issuer)),
        cells: columns.iter().map(|verifiers| grid.sum(&issuers, verifiers)).collect(),
        issuers: Group::new(issuers),
    };
    let rows = rows.into_iter().map(row).collect();
    Some(Grouped { rows, verifiers: columns.into_iter().map(Group::new).collect() })
}

/// The odd one is seen first, also on a narrow screen; the load balancer stays last.
fn odd_first<'a>(groups: BTreeMap<(bool, Vec<&'static str>), Vec<&'a str>>) -> Vec<Vec<&'a str>> {
    let mut groups: Vec<_> = groups.into_iter().map(|((last, _), names)| (last, names)).collect();
    groups.sort_by_key(|(last, names)| (*last, names.len()));
    groups.into_iter().map(|(_, names)| names).collect()
}

/// Every pair that was tried.
struct Grid<'p, 'a> {
    cells: BTreeMap<(&'a str, &'a str), &'p Placed<'a>>,
    /// How often each result occurred, by key of the token and verifier.
    by_key: BTreeMap<(&'a str, &'a str), BTreeMap<&'static str, usize>>,
    keys: BTreeMap<&'a str, &'a str>,
}

impl<'p, 'a> Grid<'p, 'a> {
    fn new(placed: &'p [Placed<'a>]) -> Self {
        let mut grid =
            Self { cells: BTreeMap::new(), by_key: BTreeMap::new(), keys: BTreeMap::new() };
        for cell in placed {
            grid.cells.insert((cell.issuer, cell.verifier), cell);
            if let Some(key) = cell.key {
                grid.keys.insert(cell.issuer, key.short());
                let words = grid.by_key.entry((key.short(), cell.verifier)).or_default();
                if cell.mark.word != NOT_TRIED {
                    *words.entry(cell.mark.word).or_default() += 1;
                }
            }
        }
        grid
    }

    fn key(&self, issuer: &str) -> Option<&'a str> {
        self.keys.get(issuer).copied()
    }

    /// The result of a pair. A pair that was left out counts as most pairs with a token of the same
    /// key.
    fn word(&self, issuer: &'a str, verifier: &'a str) -> &'static str {
        if let Some(cell) = self.cells.get(&(issuer, verifier)) {
            return cell.mark.word;
        }
        let same = self.key(issuer).and_then(|key| self.by_key.get(&(key, verifier)));
        let most = same.and_then(|words| words.iter().max_by_key(|(_, count)| **count));
        most.map_or(NOT_TRIED, |(word, _)| word)
    }

    /// All pairs of two groups in one cell: the worst result, and how often it occurred if not
    /// always.
    fn sum(&self, issuers: &[&'a str], verifiers: &[&'a str]) -> CellMark {
        let pairs = issuers.iter().flat_map(|i| verifiers.iter().map(move |v| (*i, *v)));
        let met: Vec<&CellMark> =
            pairs.filter_map(|pair| self.cells.get(&pair)).map(|cell| &cell.mark).collect();
        let tried = met.iter().filter(|mark| mark.word != NOT_TRIED).count();
        let Some(worst) = met.iter().max_by_key(|mark| badness(mark)) else {
            return CellMark::none();
        };
        let same = met.iter().filter(|mark| mark.word == worst.word).count();
        let alike = met.iter().all(|mark| mark.detail == worst.detail);
        let detail = match (tried, same) {
            (0 | 1, _) => worst.detail.clone(),
            (tried, same) if same < tried => format!("{same} of {tried}"),
            (tried, _) if alike && !worst.detail.is_empty() => {
                format!("{}, {tried} tried", worst.detail)
            }
            (tried, _) => format!("{tried} tried"),
        };
        CellMark { detail, ..(*worst).clone() }
    }
}

fn badness(mark: &CellMark) -> u8 {
    match mark.class {
        "critical" => 3,
        "warning" => 2,
        "ok" => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::KeyId;

    fn placed<'a>(
        key: &'a KeyId,
        other: &'a KeyId,
        names: &[&'a str],
        odd: &str,
        every: usize,
    ) -> Vec<Placed<'a>> {
        let mut all = Vec::new();
        for (row, issuer) in names.iter().enumerate() {
            for (column, verifier) in names.iter().enumerate() {
                // A sampled round leaves pairs out, and never all of one key.
                if every > 1 && (row + column) % every != 0 && row != column {
                    continue;
                }
                let same = (*issuer == odd) == (*verifier == odd);
                let mark = if same {
                    CellMark::accepted(String::new())
                } else {
                    CellMark::refused("401, 4\u{a0}×".to_owned())
                };
                let key = if *issuer == odd { other } else { key };
                all.push(Placed { issuer, verifier, key: Some(key), mark });
            }
        }
        all
    }

    fn shown(groups: &Grouped<'_>) -> Vec<String> {
        let line = |row: &GroupRow<'_>| {
            let cells: Vec<_> =
                row.cells.iter().map(|cell| format!("{} {}", cell.word, cell.detail)).collect();
            format!("{}: {}", row.issuers.title, cells.join(" | ")).replace('\u{a0}', " ")
        };
        groups.rows.iter().map(line).collect()
    }

    #[test]
    fn the_odd_one_of_many_has_a_row_and_a_column_of_its_own() {
        let names: Vec<String> = (0..26).map(|n| format!("n{n:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (key, other) = (KeyId::from_wire("AAAA"), KeyId::from_wire("BBBB"));
        let pairs = placed(&key, &other, &names, "n07", 1);
        let groups = grouped(&names, &names, &pairs).unwrap();
        assert_eq!(
            shown(&groups),
            [
                "n07: accepted  | refused 401, 4 ×, 25 tried",
                "n00, n01, n02 and 22 more: refused 401, 4 ×, 25 tried | accepted 625 tried"
            ]
        );
        assert_eq!(groups.verifiers[0].title, "n07");
        assert_eq!(groups.verifiers[1].all.len(), 25);
    }

    #[test]
    fn pairs_that_a_round_left_out_split_no_group() {
        let names: Vec<String> = (0..26).map(|n| format!("n{n:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (key, other) = (KeyId::from_wire("AAAA"), KeyId::from_wire("BBBB"));
        let mut pairs = placed(&key, &other, &names, "n07", 3);
        // Each verifier is asked once with each key.
        for verifier in &names {
            if !pairs.iter().any(|pair| pair.issuer == "n07" && pair.verifier == *verifier) {
                let mark = CellMark::refused("401, 4\u{a0}×".to_owned());
                pairs.push(Placed { issuer: "n07", verifier, key: Some(&other), mark });
            }
        }
        let groups = grouped(&names, &names, &pairs).unwrap();
        assert_eq!((groups.rows.len(), groups.verifiers.len()), (2, 2), "{:?}", shown(&groups));
    }

    #[test]
    fn where_hardly_two_are_alike_there_are_no_groups() {
        let names: Vec<String> = (0..26).map(|n| format!("n{n:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let key = KeyId::from_wire("AAAA");
        let mut pairs = placed(&key, &key, &names, "", 1);
        for (index, pair) in pairs.iter_mut().enumerate() {
            if index % 23 == 0 {
                pair.mark = CellMark::refused(String::new());
            }
        }
        assert!(grouped(&names, &names, &pairs).is_none());
    }
}
