//! The page of a finding or alert as terminals show it: words wrapped at 80 columns, commands
//! whole, so that they can be copied.

use std::fmt::Write as _;

use anstyle::Style;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::findings::{ELSEWHERE, FindingName, Group, Runbook, alerts};

/// Columns of a line, where words allow it.
const WIDTH: usize = 80;

const BOLD: Style = Style::new().bold();

/// What a name, a heading or the title of a fact takes of a line.
const LABEL: usize = 12;

/// A whole page.
pub fn page(runbook: Runbook) -> String {
    let mut sheet = Sheet::default();
    sheet.line(&format!("{BOLD}{}{BOLD:#}", runbook.name()));
    sheet.words(runbook.meaning());
    sheet.flush();
    sheet.gap();
    for (label, text) in runbook.facts() {
        sheet.hang(&format!("{label:LABEL$}"));
        sheet.words(&text);
        sheet.release(LABEL);
    }
    for event in Parser::new_ext(runbook.text(), Options::ENABLE_TABLES) {
        sheet.take(event);
    }
    sheet.gap();
    sheet.words(&ELSEWHERE.replace('`', ""));
    sheet.flush();
    sheet.text
}

/// Every page by group, with what it is about.
pub fn list() -> String {
    let mut sheet = Sheet::default();
    let group = |group: Group| {
        FindingName::ALL.iter().copied().filter(move |name| name.definition().group == group)
    };
    for title in Group::ALL {
        let pages = group(title).map(Runbook::Finding);
        sheet.section(title.title(), pages);
    }
    sheet.section("Alerts", alerts().iter().map(Runbook::Alert));
    sheet.gap();
    sheet.words("registry-prober explain NAME prints a page.");
    sheet.flush();
    sheet.text
}

/// A text in the making.
#[derive(Default)]
struct Sheet {
    text: String,
    /// The words of the paragraph in the making.
    paragraph: String,
    /// Columns to the left of it.
    indent: usize,
    /// What stands there on its first line: a dash, a number, a label.
    marker: String,
    /// The next number of each open list; none for one of dashes.
    lists: Vec<Option<u64>>,
    /// Whether a code block is open.
    code: bool,
    /// The cells of the open row of a table, and its rows.
    cells: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Sheet {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.code => {
                for line in text.lines() {
                    self.line(&format!("{:1$}{line}", "", self.indent + 4));
                }
            }
            Event::Text(text) => self.words(&text),
            // Its words stay together.
            Event::Code(text) => self.words(&format!("`{}`", text.replace(' ', "\u{a0}"))),
            Event::SoftBreak | Event::HardBreak => self.words(" "),
            _ => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Heading { .. } | Tag::Table(_) => self.gap(),
            Tag::Paragraph if self.marker.is_empty() => self.gap(),
            Tag::CodeBlock(_) => {
                self.flush();
                self.gap();
                self.code = true;
            }
            Tag::List(first) => {
                self.flush();
                self.gap();
                self.lists.push(*first);
            }
            Tag::Item => match self.lists.last_mut() {
                Some(Some(number)) => {
                    let marker = format!("{number}. ");
                    *number += 1;
                    self.hang(&marker);
                }
                _ => self.hang("- "),
            },
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => {
                let title = std::mem::take(&mut self.paragraph);
                self.line(&format!("{BOLD}{title}{BOLD:#}"));
            }
            TagEnd::Paragraph => self.flush(),
            TagEnd::CodeBlock => {
                self.code = false;
                self.gap();
            }
            TagEnd::Item => {
                let marker = if matches!(self.lists.last(), Some(Some(_))) { 3 } else { 2 };
                self.release(marker);
            }
            TagEnd::List(_) => {
                self.lists.pop();
            }
            TagEnd::TableCell => self.cells.push(std::mem::take(&mut self.paragraph)),
            TagEnd::TableHead | TagEnd::TableRow => self.rows.push(std::mem::take(&mut self.cells)),
            TagEnd::Table => self.table(),
            _ => {}
        }
    }

    /// A table has a first column of names, and what belongs to each wrapped to its right.
    fn table(&mut self) {
        /// A longer name has a line of its own.
        const MOST: usize = 36;
        let rows = std::mem::take(&mut self.rows);
        let first = |row: &Vec<String>| row.first().map_or(0, |cell| cell.chars().count());
        let width = rows.iter().map(first).filter(|width| *width <= MOST).max().unwrap_or(0);
        for row in &rows {
            let Some((name, rest)) = row.split_first() else { continue };
            if first(row) > width {
                self.words(name);
                self.flush();
                self.hang(&format!("{:1$}", "", width + 2));
            } else {
                self.hang(&format!("{:1$}", name, width + 2));
            }
            self.words(&rest.join("; "));
            self.release(width + 2);
        }
    }

    fn section(&mut self, title: &str, pages: impl Iterator<Item = Runbook>) {
        self.gap();
        self.line(&format!("{BOLD}{title}{BOLD:#}"));
        for page in pages {
            self.hang("  ");
            self.words(page.name());
            self.flush();
            self.hang("  ");
            self.words(page.meaning());
            self.release(4);
        }
    }

    /// Begins a paragraph that hangs behind a marker.
    fn hang(&mut self, marker: &str) {
        self.flush();
        marker.clone_into(&mut self.marker);
        self.indent += marker.chars().count();
    }

    /// Ends what hangs.
    fn release(&mut self, columns: usize) {
        self.flush();
        self.marker.clear();
        self.indent = self.indent.saturating_sub(columns);
    }

    fn words(&mut self, words: &str) {
        self.paragraph.push_str(words);
    }

    /// Writes the paragraph in the making.
    fn flush(&mut self) {
        let words = std::mem::take(&mut self.paragraph);
        if words.trim().is_empty() {
            return;
        }
        let marker = std::mem::take(&mut self.marker);
        let before = self.indent.saturating_sub(marker.chars().count());
        let mut line = format!("{:before$}{marker}", "");
        let mut empty = true;
        for word in words.split([' ', '\n']).filter(|word| !word.is_empty()) {
            if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.line(&line);
                line = format!("{:1$}", "", self.indent);
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        self.line(&line);
    }

    /// An empty line, unless there is one.
    fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    fn line(&mut self, line: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{}", line.replace('\u{a0}', " ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn shown(name: &str) -> String {
        plain(&page(Runbook::named(name).unwrap()))
    }

    #[test]
    fn words_keep_to_80_columns_and_commands_stay_whole() {
        for runbook in Runbook::all() {
            let text = shown(runbook.name());
            for command in fenced(runbook.text()) {
                let whole = text.lines().any(|line| line.trim_start() == command.trim());
                assert!(whole || command.trim().is_empty(), "{}: {command}", runbook.name());
            }
            let commands: Vec<&str> = fenced(runbook.text()).map(str::trim).collect();
            let source = runbook.text().split_whitespace().collect::<Vec<_>>().join(" ");
            for line in text.lines().filter(|line| line.chars().count() > WIDTH) {
                // Too long is only what must not be broken: a command, or one in a sentence.
                let piece = line.trim().trim_end_matches([',', '.', ':', ';']);
                let span = piece.starts_with('`') && source.contains(piece);
                let one_piece = span || commands.contains(&line.trim());
                assert!(one_piece, "{}: {line}", runbook.name());
            }
        }
    }

    fn fenced(page: &str) -> impl Iterator<Item = &str> {
        page.split("```").skip(1).step_by(2).flat_map(|block| block.lines().skip(1))
    }

    #[test]
    fn nothing_of_a_page_is_lost() {
        let letters = |text: &str| {
            let plain = text.replace("](", "\u{0}");
            let mut kept = String::new();
            // Targets of links are names that their texts say.
            for (place, part) in plain.split('\u{0}').enumerate() {
                let part = if place == 0 { part } else { part.split_once(')').unwrap().1 };
                kept.push_str(part);
            }
            kept.chars().filter(|c| c.is_alphanumeric()).collect::<Vec<char>>()
        };
        for name in ["RegistryProberStale", "token-key-mismatch", "server-errors"] {
            let runbook = Runbook::named(name).unwrap();
            let source = runbook.text().replace("```sh", "").replace("```text", "");
            let source = source.replace("```yaml", "");
            let text = shown(name);
            let page = &text[text.find("\nMeaning\n").unwrap()..];
            // What stands below every page is about its commands.
            let (page, _) = page.split_once("In place of sudo registry-prober,").unwrap();
            assert_eq!(
                letters(page).into_iter().collect::<String>(),
                letters(&source).into_iter().collect::<String>(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_page_begins_with_its_name_its_meaning_and_what_is_known_of_it() {
        let text = shown("token-key-mismatch");
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("token-key-mismatch"));
        assert_eq!(lines.next(), Some("Nodes sign and check tokens with different keys."));
        assert!(text.contains("\nGroup       Signing keys (A1)\n"), "{text}");
        assert!(text.contains("\nMeaning\n\nNodes sign and check tokens with"), "{text}");
        assert!(text.contains("\n- The same token is still refused"), "{text}");
    }

    #[test]
    fn the_list_has_every_page_under_its_group() {
        let text = plain(&list());
        for page in Runbook::all() {
            let entry = format!("\n  {}\n    {}", page.name(), &page.meaning()[..20]);
            assert!(text.contains(&entry), "{}", page.name());
        }
        let time = text.find("\nTime\n").unwrap();
        assert!(text.find("clock-skew-nbf").unwrap() > time);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
    }
}
