//! Words and phrases that all outputs share, and the one place where foreign text is made safe.

use crate::model::FindingName;

/// The runbook page of a finding, from the top of the repository.
pub(super) fn runbook(finding: FindingName) -> String {
    format!("deploy/runbooks/{finding}.md")
}

/// One line without anything that a terminal, a log or a parser would take for a command: control
/// characters, line breaks, and the invisible characters that reorder or hide text. Servers write
/// some of what is printed here.
pub(super) fn clean(text: &str) -> String {
    let harmless = |c: char| match c {
        '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}' => ' ',
        '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fffe}'..='\u{ffff}' => '?',
        c if c.is_control() => '?',
        c => c,
    };
    text.trim_end().chars().map(harmless).collect()
}

/// As [`clean`], line by line: for texts whose line breaks are the program's own.
pub(super) fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_becomes_one_harmless_line() {
        let cases = [
            ("plain text, ünïcödé 漢字", "plain text, ünïcödé 漢字"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", "?[2J?]0;title?"),
            ("a\r\nOK main", "a  OK main"),
            ("\u{9b}31m\u{7f}\u{0}", "?31m??"),
            ("user\u{202e}gpj.exe\u{2066}\u{feff}\u{200b}", "user?gpj.exe???"),
            ("one\u{2028}two\ttabs ", "one two tabs"),
        ];
        for (raw, safe) in cases {
            assert_eq!(clean(raw), safe, "{raw:?}");
        }
        assert_eq!(clean_lines("do it\ncp a b\u{1b}c"), "do it\ncp a b?c");
    }
}
