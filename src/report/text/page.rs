//! Lines of text with styles. Everything that reaches the page is made safe here, so that no
//! caller can forget it.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::super::wording::clean;
use crate::model::{Severity, Status};

/// Columns of a line, where words allow it. Commands, tables and long words are never broken.
pub(super) const WIDTH: usize = 100;

/// No style.
pub(super) const PLAIN: Style = Style::new();
/// Headings and labels.
pub(super) const BOLD: Style = Style::new().bold();
/// Right.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Wrong for now, or on failover.
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
/// Wrong for users.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// A command to copy.
pub(super) const COMMAND: Style = AnsiColor::Cyan.on_default();

/// The style of a status word.
pub(super) fn status_style(status: Status) -> Style {
    match status {
        Status::Ok => GOOD.bold(),
        Status::Warning => WARN.bold(),
        Status::Unknown => AnsiColor::Magenta.on_default().bold(),
        Status::Critical => BAD.bold(),
    }
}

/// The style of a severity word.
pub(super) fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::Info => BOLD,
        Severity::Warning => WARN.bold(),
        Severity::Critical => BAD.bold(),
    }
}

/// One field of a table.
pub(super) struct Field {
    text: String,
    style: Style,
    right: bool,
}

impl Field {
    /// A word, set to the left.
    pub(super) fn word(text: &str, style: Style) -> Self {
        Self { text: clean(text), style, right: false }
    }

    /// A number, set to the right.
    pub(super) fn number(text: &str) -> Self {
        Self { text: clean(text), style: PLAIN, right: true }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// A text in the making.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// The finished text.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// An empty line, unless the page begins here or there is one already.
    pub(super) fn gap(&mut self) {
        if !self.0.is_empty() && !self.0.ends_with("\n\n") {
            self.0.push('\n');
        }
    }

    /// A heading, with a remark in plain type.
    pub(super) fn heading(&mut self, title: &str, remark: &str) {
        self.gap();
        self.paragraph(&format!("{title}  "), BOLD, remark);
    }

    /// A paragraph behind a styled lead; further lines hang under the first word after the lead.
    pub(super) fn paragraph(&mut self, lead: &str, style: Style, text: &str) {
        let indent = lead.chars().count();
        let mark = clean(lead);
        let word = mark.trim();
        let before = mark.chars().take_while(|c| *c == ' ').count();
        let mut line = format!("{:before$}{style}{word}{style:#}", "");
        let after = indent.saturating_sub(before + word.chars().count());
        let _ = write!(line, "{:after$}", "");
        for (number, words) in wrap(&clean(text), WIDTH.saturating_sub(indent)).iter().enumerate() {
            if number > 0 {
                line = format!("{:indent$}", "");
            }
            line.push_str(words);
            self.line(&line);
        }
    }

    /// A command, unbroken and without anything before it that would have to be cut off.
    pub(super) fn command(&mut self, indent: usize, command: &str) {
        let command = clean(command);
        self.line(&format!("{:indent$}{COMMAND}{command}{COMMAND:#}", ""));
    }

    /// Rows in aligned columns.
    pub(super) fn table(&mut self, rows: &[Vec<Field>]) {
        let widths = widths(rows);
        for row in rows {
            let mut line = " ".to_owned();
            for (Field { text, style, right }, width) in row.iter().zip(&widths) {
                let fill = width.saturating_sub(text.chars().count());
                let (before, after) = if *right { (fill, 0) } else { (0, fill) };
                let _ = write!(line, " {:before$}{style}{text}{style:#}{:after$} ", "", "");
            }
            self.line(&line);
        }
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }
}

/// The width of a table in columns, as [`Page::table`] prints it.
pub(super) fn table_width(rows: &[Vec<Field>]) -> usize {
    widths(rows).iter().map(|width| width + 2).sum()
}

fn widths(rows: &[Vec<Field>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|r| r.get(column)).map(Field::width).max();
    (0..columns).map(|column| width(column).unwrap_or(0)).collect()
}

/// Breaks a text at spaces into lines of at most so many characters; a longer word stays whole, as
/// it may be a URL or a digest to copy. There is always a line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_long_words_stay_whole() {
        let cases: [(&str, usize, &[&str]); 5] = [
            ("", 10, &[""]),
            ("one two three", 7, &["one two", "three"]),
            ("one two three", 8, &["one two", "three"]),
            ("a muchlongerword b", 5, &["a", "muchlongerword", "b"]),
            ("äöü äöü", 7, &["äöü äöü"]),
        ];
        for (text, width, lines) in cases {
            assert_eq!(wrap(text, width), lines, "{text:?} at {width}");
        }
    }

    #[test]
    fn a_paragraph_hangs_under_its_first_word() {
        let mut page = Page::default();
        page.paragraph("  Lead  ", BOLD, &"word ".repeat(30));
        let plain = anstream::adapter::strip_str(&page.into_text()).to_string();
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("  Lead  word") && lines[0].len() <= WIDTH, "{plain}");
        assert!(lines[1].starts_with("        word"), "{plain}");
    }
}
