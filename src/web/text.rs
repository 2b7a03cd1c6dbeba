//! Numbers as people read them. Units stand behind a space that does not break.

/// A duration in the unit that leaves few digits.
pub(super) fn seconds(value: f64) -> String {
    match value.abs() {
        v if v < 1.0 => format!("{:.0}\u{a0}ms", value * 1000.0),
        v if v < 10.0 => format!("{value:.2}\u{a0}s"),
        v if v < 120.0 => format!("{value:.0}\u{a0}s"),
        v if v < 7200.0 => format!("{:.0}\u{a0}min", value / 60.0),
        v if v < 172_800.0 => format!("{:.0}\u{a0}h", value / 3600.0),
        _ => format!("{:.0}\u{a0}d", value / 86_400.0),
    }
}

/// How long ago something was. A moment in the future is "just now": clocks step.
pub(super) fn ago(elapsed: f64) -> String {
    match elapsed {
        e if e < 1.0 => "just now".to_owned(),
        e if e < 120.0 => format!("{e:.0}\u{a0}s ago"),
        e => format!("{} ago", seconds(e)),
    }
}

/// A clock's offset with its sign, in seconds.
pub(super) fn offset(value: f64) -> String {
    // What rounds to nothing has no sign.
    let sign = match value {
        v if v.abs() < 0.005 => "±",
        v if v < 0.0 => "−",
        _ => "+",
    };
    let digits = usize::from(value.abs() < 100.0) * 2;
    format!("{sign}{:.digits$}\u{a0}s", value.abs())
}

/// A clock's offset in milliseconds, with as many digits as a good network gives.
pub(super) fn milliseconds(value: f64) -> String {
    let digits = usize::from(value.abs() < 10.0);
    let sign = if value < 0.0 { "−" } else { "" };
    format!("{sign}{:.digits$}\u{a0}ms", value.abs() * 1000.0)
}

/// A ratio from 0 to 1; small ones keep a digit.
pub(super) fn percent(ratio: f64) -> String {
    let hundred = ratio * 100.0;
    let digits = usize::from(hundred > 0.0 && hundred < 10.0);
    format!("{hundred:.digits$}\u{a0}%")
}

/// One or several of something.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number}\u{a0}{}", if number == 1 { one } else { many })
}

/// A piece of a text: prose, or a command between backticks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Span<'a> {
    pub(super) code: bool,
    pub(super) text: &'a str,
}

/// Splits a text at its backticks; a lone one stays what it is.
pub(super) fn spans(text: &str) -> Vec<Span<'_>> {
    if !text.matches('`').count().is_multiple_of(2) {
        return vec![Span { code: false, text }];
    }
    let pieces = text.split('`').enumerate();
    let pieces = pieces.map(|(place, text)| Span { code: place % 2 == 1, text });
    pieces.filter(|span| !span.text.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_their_unit() {
        let cases = [
            (seconds(0.0123), "12 ms"),
            (seconds(1.254), "1.25 s"),
            (seconds(90.0), "90 s"),
            (seconds(86_400.0 * 90.0), "90 d"),
            (ago(-3.0), "just now"),
            (ago(12.4), "12 s ago"),
            (ago(3.0), "3 s ago"),
            (offset(0.001), "±0.00 s"),
            (offset(-3.5), "−3.50 s"),
            (offset(3600.0), "+3600 s"),
            (percent(1.0 / 3.0), "33 %"),
            (percent(0.004), "0.4 %"),
            (percent(0.0), "0 %"),
            (count(1, "pair", "pairs"), "1 pair"),
            (count(0, "pair", "pairs"), "0 pairs"),
        ];
        for (text, expected) in cases {
            assert_eq!(text.replace('\u{a0}', " "), expected);
        }
    }

    #[test]
    fn commands_stand_between_backticks() {
        let code = |text| Span { code: true, text };
        let prose = |text| Span { code: false, text };
        assert_eq!(spans("run `date -u` now"), [prose("run "), code("date -u"), prose(" now")]);
        assert_eq!(spans("`a``b`"), [code("a"), code("b")]);
        assert_eq!(spans("a lone ` stays"), [prose("a lone ` stays")]);
    }
}
