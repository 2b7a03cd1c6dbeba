//! Lines of text with styles. Everything that reaches the page is cleaned here, so that no
//! caller can forget it.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use textwrap::core::display_width;
use textwrap::{Options, WordSeparator, WordSplitter};

use super::super::wording::clean;
use crate::model::{Round, Severity, Status};

/// No style.
pub(in crate::report) const PLAIN: Style = Style::new();
/// Headings and labels.
pub(in crate::report) const BOLD: Style = Style::new().bold();
/// Right.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Wrong for now, or on failover.
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
/// Wrong for users.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// A command to copy.
pub(super) const COMMAND: Style = AnsiColor::Cyan.on_default();

/// The style of a status word.
pub(in crate::report) fn status_style(status: Status) -> Style {
    match status {
        Status::Ok => GOOD.bold(),
        Status::Warning => WARN.bold(),
        Status::Unknown => AnsiColor::Magenta.on_default().bold(),
        Status::Critical => BAD.bold(),
    }
}

/// The style of a severity word.
pub(in crate::report) fn severity_style(severity: Severity) -> Style {
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
        display_width(&self.text)
    }
}

/// A text in the making.
pub(in crate::report) struct Page {
    text: String,
    width: usize,
}

impl Page {
    /// An empty page whose lines have this many columns, where words allow it. Commands, tables and
    /// long words are never broken.
    pub(in crate::report) fn new(width: usize) -> Self {
        Self { text: String::new(), width }
    }

    /// Columns of a line.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The finished text.
    pub(in crate::report) fn into_text(self) -> String {
        self.text
    }

    /// An empty line, unless the page begins here or there is one already.
    pub(in crate::report) fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// A heading, with a remark in plain type.
    pub(super) fn heading(&mut self, title: &str, remark: &str) {
        self.gap();
        self.paragraph(&format!("{title}  "), BOLD, remark);
    }

    /// A paragraph behind a styled lead; further lines hang under the first word after the lead.
    pub(in crate::report) fn paragraph(&mut self, lead: &str, style: Style, text: &str) {
        let indent = display_width(lead);
        let mark = clean(lead);
        let word = mark.trim();
        let before = mark.chars().take_while(|c| *c == ' ').count();
        let mut line = format!("{:before$}{style}{word}{style:#}", "");
        let after = indent.saturating_sub(before + display_width(word));
        let _ = write!(line, "{:after$}", "");
        for (number, words) in
            wrap(&clean(text), self.width.saturating_sub(indent)).iter().enumerate()
        {
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
                let fill = width.saturating_sub(display_width(text));
                let (before, after) = if *right { (fill, 0) } else { (0, fill) };
                let _ = write!(line, " {:before$}{style}{text}{style:#}{:after$} ", "", "");
            }
            self.line(&line);
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
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

/// Breaks a text at spaces into lines; a longer word stays whole, as it may be a URL or a digest to
/// copy. There is always a line.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let whole_words = Options::new(width)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation);
    // A number and its unit stay in one line.
    let text = text.trim().replace(" %", "\u{a0}%");
    let lines = textwrap::wrap(&text, whole_words);
    lines.into_iter().map(|line| line.replace('\u{a0}', " ")).collect()
}

/// Columns of a label before the texts of a finding.
pub(super) const LABEL: usize = 12;

/// A labelled text, or one without a label; nothing if there is no text.
pub(super) fn entry(page: &mut Page, label: &str, text: &str) {
    if label.is_empty() && !text.is_empty() {
        page.paragraph("  ", PLAIN, text);
    } else if !text.is_empty() {
        page.paragraph(&format!("  {label:LABEL$}"), BOLD, text);
    }
}

/// When a round was taken, and how long it took.
pub(super) fn when(round: &Round) -> String {
    let started = round.started.format("%Y-%m-%d %H:%M:%S UTC");
    format!("Checked at {started} in {:.1} s", round.seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_long_words_stay_whole() {
        let cases: [(&str, usize, &[&str]); 7] = [
            ("", 10, &[""]),
            ("one two three", 7, &["one two", "three"]),
            ("one two three", 8, &["one two", "three"]),
            ("a muchlongerword b", 5, &["a", "muchlongerword", "b"]),
            ("äöü äöü", 7, &["äöü äöü"]),
            ("時計 時計", 8, &["時計", "時計"]),
            ("up to 70 %", 8, &["up to", "70 %"]),
        ];
        for (text, width, lines) in cases {
            assert_eq!(wrap(text, width), lines, "{text:?} at {width}");
        }
    }

    #[test]
    fn a_paragraph_hangs_under_its_first_word() {
        let mut page = Page::new(80);
        page.paragraph("  Lead  ", BOLD, &"word ".repeat(20));
        let plain = anstream::adapter::strip_str(&page.into_text()).to_string();
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("  Lead  word") && lines[0].len() <= 80, "{plain}");
        assert!(lines[1].starts_with("        word"), "{plain}");
    }
}
