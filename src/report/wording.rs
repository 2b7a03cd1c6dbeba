//! Words and phrases that all outputs share, and the one place where foreign text is cleaned.

use std::fmt::Write as _;

use crate::model::{
    Confidence, Finding, FindingName, Flow, Judged, Outcome, Reason, RegistryState, Severity,
    Status, Unmeasured,
};

/// The status as people read it in capitals.
pub(super) fn status_word(status: Status) -> &'static str {
    match status {
        Status::Ok => "OK",
        Status::Warning => "WARNING",
        Status::Unknown => "UNKNOWN",
        Status::Critical => "CRITICAL",
    }
}

/// The severity as people read it in capitals.
pub(super) fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "INFO",
        Severity::Warning => "WARNING",
        Severity::Critical => "CRITICAL",
    }
}

/// The command that prints the page of a finding.
pub(super) fn runbook(finding: FindingName) -> String {
    format!("registry-prober explain {finding}")
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

/// `1 route`, `4 routes`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// `a`, `a and b`, `a, b and c`, or the first twelve and how many more.
pub(super) fn list<T: ToString>(items: &[T]) -> String {
    const MOST: usize = 12;
    let mut words: Vec<String> = items.iter().take(MOST).map(ToString::to_string).collect();
    if items.len() > MOST {
        words.push(format!("{} more", items.len() - MOST));
    }
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// A finding in few words: its name, the backends at fault, and whether it is only suspected.
pub(super) fn headline(finding: &Finding) -> String {
    let place = match finding.backends.as_slice() {
        [] => String::new(),
        backends => format!(" at {}", list(backends)),
    };
    let sure = match finding.confidence {
        Confidence::Proved => "",
        Confidence::Suspected => " (suspected)",
    };
    format!("{}{place}{sure}", finding.finding)
}

/// What is wrong with a registry, or what was checked and found right, in one phrase.
pub(super) fn verdict(state: &RegistryState) -> String {
    const MOST: usize = 3;
    let Some(judged) = state.latest.as_deref() else { return "nothing measured yet".to_owned() };
    let findings = &judged.assessment.findings;
    let status = judged.assessment.status;
    let mut names: Vec<String> = findings.iter().take(MOST).map(headline).collect();
    if findings.len() > MOST {
        names.push(count(findings.len() - MOST, "more finding"));
    }
    let not_tested = judged.assessment.not_tested();
    let names = names.join("; ");
    match (status, names.is_empty()) {
        (Status::Ok, true) => sound(judged),
        (Status::Ok, false) => format!("{} Worth knowing: {names}", sound(judged)),
        (Status::Unknown, false) if is_other_scheme(findings) => {
            let summary = findings.first().map_or("", |finding| &finding.summary);
            clean(&format!("{summary} {}", not_tested.unwrap_or_default()))
        }
        (Status::Unknown, none) => match (not_tested, none) {
            (Some(missing), true) => clean(&missing),
            (Some(missing), false) => clean(&format!("{missing}. Found anyway: {names}")),
            (None, true) => "nothing could be measured".to_owned(),
            (None, false) => names,
        },
        (_, true) => format!("{} checked", checked(judged)),
        (_, false) if nothing_listens(judged) => {
            format!("nothing listens at the port of any route; is the port right? {names}")
        }
        (_, false) => names,
    }
}

/// Whether the URL has http for https, or the reverse: then that is all there is to say.
fn is_other_scheme(findings: &[Finding]) -> bool {
    findings.first().is_some_and(|first| first.finding == FindingName::HttpHttpsMismatch)
}

/// Whether every route refuses the connection, as at a port without a listener.
fn nothing_listens(judged: &Judged) -> bool {
    let refused = |flow: &Flow| {
        flow.failure().is_some_and(|(_, failure)| failure.reason == Reason::ConnectionRefused)
    };
    let flows = &judged.round.flows;
    !flows.is_empty() && flows.iter().all(refused)
}

/// What was seen to be right, and how much could hide in what was looked at. What was not measured
/// is named, so that no reader takes it for sound.
fn sound(judged: &Judged) -> String {
    let (round, assessment) = (&judged.round, &judged.assessment);
    let works = round.flows.iter().filter(|flow| flow.succeeded()).count();
    let routes = format!("{works} of {} work", count(round.flows.len(), "route"));
    let cells = &round.matrix.cells;
    let accepted = cells.iter().filter(|cell| cell.accepted() == Some(true)).count();
    let tokens = match accepted {
        0 => String::new(),
        all if all == cells.len() => ", every node accepts every token".to_owned(),
        1 => ", the one token that was shown was accepted".to_owned(),
        some => format!(", all {some} tokens that were shown were accepted"),
    };
    let whole = works == round.flows.len() && assessment.is_complete();
    let all = if whole { "All OK: " } else { "" };
    let mut text = format!("{all}{routes}{tokens}.");
    if let (Outcome::Measured(run), Some((_, upper))) =
        (&round.balancer, assessment.unauthorized_interval)
        && run.pairs.events + run.client_flows.events + run.lost() == 0
    {
        let _ = write!(
            text,
            " None of {} through the load balancer failed; up to {} could fail unseen.",
            count(usize::try_from(run.pairs.trials).unwrap_or(usize::MAX), "flow"),
            percent(upper)
        );
    }
    if !assessment.unmeasured.is_empty() {
        let missing: Vec<String> = assessment.unmeasured.iter().map(Unmeasured::words).collect();
        let why = match assessment.unmeasured.as_slice() {
            [only] => only.why.strip_prefix("not applicable: "),
            _ => None,
        };
        let why = why.map_or(String::new(), |why| format!(", because {why}"));
        let _ = write!(text, " Not measured: {}{why}.", list(&missing));
    }
    text
}

/// How much was looked at: `4 routes, 16 pairs and 20 flows through lb`.
pub(super) fn checked(judged: &Judged) -> String {
    let cells = &judged.round.matrix.cells;
    let tried = cells.iter().filter(|cell| cell.accepted().is_some()).count();
    let pairs = if tried == cells.len() {
        count(tried, "pair")
    } else {
        format!("{tried} of {}", count(cells.len(), "pair"))
    };
    let mut parts = vec![count(judged.round.flows.len(), "route"), pairs];
    if let Outcome::Measured(run) = &judged.round.balancer {
        let flows = usize::try_from(run.pairs.trials).unwrap_or(usize::MAX);
        parts.push(format!("{} through lb", count(flows, "flow")));
    }
    list(&parts)
}

/// A ratio from 0 to 1 as `44.4 %`.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

/// Six decimals: finer than anything measured here, and free of the tails of binary fractions.
pub(super) fn micros(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
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
    }

    #[test]
    fn lists_read_as_people_write_them() {
        let many: Vec<u32> = (0..40).collect();
        let cases: [(&[u32], &str); 4] = [
            (&[], ""),
            (&[1], "1"),
            (&[1, 2, 3], "1, 2 and 3"),
            (&many, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 28 more"),
        ];
        for (items, text) in cases {
            assert_eq!(list(items), text);
        }
    }
}
