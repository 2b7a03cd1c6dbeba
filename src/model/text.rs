//! Texts that others write.

/// A text on one line and of at most this number of characters: a log, a terminal or a file reads
/// it. Control characters become blanks.
pub fn one_line(text: &str, limit: usize) -> String {
    text.chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_text_of_a_server_cannot_begin_a_line_or_move_the_cursor() {
        assert_eq!(one_line("a\nINFO b\x1b[2J\u{85}c", 100), "a INFO b [2J c");
        assert_eq!(one_line("äbc", 2), "äb");
    }
}
