//! `check --output=junit`: a test suite for each registry, as CI servers read it.
//!
//! Every route's flow and every pair is a test case, and so is every finding that fails users or
//! soon will. A pair that was not tried is skipped; one without an answer about the token is an
//! error, not a failure.

use std::fmt::Write as _;

use super::wording::{clean, headline, runbook};
use crate::model::{
    Cell, CellResult, Finding, Flow, RegistryName, RegistryState, Remedy, Severity, Snapshot,
    Status, Unmeasured,
};

pub(super) fn render(snapshot: &Snapshot) -> String {
    let suites: Vec<Suite> =
        snapshot.registries.iter().map(|(name, state)| Suite::of(name, state)).collect();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let whole = suites.iter().fold(Counts::default(), |sum, suite| sum.plus(suite.counts()));
    let seconds = suites.iter().fold(0.0, |sum, suite| sum + suite.seconds);
    let _ = writeln!(xml, "<testsuites name=\"registry-prober\" {}>", whole.attributes(seconds));
    for suite in &suites {
        suite.write(&mut xml);
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// How a test case ended.
enum Ending {
    Passed,
    Skipped {
        message: String,
    },
    /// The text may have lines; each part of it that is foreign is one line already.
    Failure {
        kind: &'static str,
        message: String,
        text: String,
    },
    Error {
        kind: &'static str,
        message: String,
    },
}

struct Case {
    /// `flow`, `pair`, `finding`, `unmeasured` or `round`.
    class: &'static str,
    name: String,
    seconds: f64,
    ending: Ending,
}

#[derive(Default, Clone, Copy)]
struct Counts {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            tests: self.tests + other.tests,
            failures: self.failures + other.failures,
            errors: self.errors + other.errors,
            skipped: self.skipped + other.skipped,
        }
    }

    fn attributes(self, seconds: f64) -> String {
        let Self { tests, failures, errors, skipped } = self;
        format!(
            "tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" \
             time=\"{seconds:.3}\""
        )
    }
}

struct Suite {
    name: String,
    url: String,
    started: Option<String>,
    seconds: f64,
    cases: Vec<Case>,
}

impl Suite {
    fn of(name: &RegistryName, state: &RegistryState) -> Self {
        let judged = state.latest.as_deref();
        let mut cases = Vec::new();
        if let Some(judged) = judged {
            cases.extend(judged.round.flows.iter().map(flow));
            cases.extend(judged.round.matrix.cells.iter().map(pair));
            let telling = |finding: &&Finding| finding.severity >= Severity::Warning;
            cases.extend(judged.assessment.findings.iter().filter(telling).map(finding));
        }
        let unmeasured = judged.map_or(&[][..], |judged| &judged.assessment.unmeasured);
        cases.extend(unmeasured.iter().map(missing));
        let unknown = judged.is_none_or(|judged| judged.assessment.status == Status::Unknown);
        if unknown && !unmeasured.iter().any(|missing| missing.essential) {
            let message = "too little was measured".to_owned();
            let ending = Ending::Error { kind: "unknown", message };
            cases.push(Case { class: "round", name: "round".to_owned(), seconds: 0.0, ending });
        }
        Self {
            name: name.to_string(),
            url: state.url.clone(),
            started: judged.map(|j| j.round.started.format("%Y-%m-%dT%H:%M:%SZ").to_string()),
            seconds: judged.map_or(0.0, |judged| judged.round.seconds),
            cases,
        }
    }

    fn counts(&self) -> Counts {
        self.cases.iter().fold(Counts::default(), |sum, case| {
            let (failures, errors, skipped) = match case.ending {
                Ending::Passed => (0, 0, 0),
                Ending::Failure { .. } => (1, 0, 0),
                Ending::Error { .. } => (0, 1, 0),
                Ending::Skipped { .. } => (0, 0, 1),
            };
            sum.plus(Counts { tests: 1, failures, errors, skipped })
        })
    }

    fn write(&self, xml: &mut String) {
        let counts = self.counts().attributes(self.seconds);
        let started = self.started.as_ref();
        let stamp = started.map_or(String::new(), |at| format!(" timestamp=\"{}\"", escape(at)));
        let _ = writeln!(xml, "  <testsuite name=\"{}\" {counts}{stamp}>", escape(&self.name));
        let _ = writeln!(
            xml,
            "    <properties><property name=\"url\" value=\"{}\"/></properties>",
            escape(&self.url)
        );
        for case in &self.cases {
            case.write(xml, &self.name);
        }
        xml.push_str("  </testsuite>\n");
    }
}

impl Case {
    fn write(&self, xml: &mut String, suite: &str) {
        let open = format!(
            "    <testcase classname=\"{}.{}\" name=\"{}\" time=\"{:.3}\"",
            escape(suite),
            self.class,
            escape(&self.name),
            self.seconds
        );
        let inner = match &self.ending {
            Ending::Passed => {
                let _ = writeln!(xml, "{open}/>");
                return;
            }
            Ending::Skipped { message } => format!("<skipped message=\"{}\"/>", escape(message)),
            Ending::Error { kind, message } => {
                format!("<error type=\"{kind}\" message=\"{}\"/>", escape(message))
            }
            Ending::Failure { kind, message, text } => {
                let (message, text) = (escape(message), escape_lines(text));
                format!("<failure type=\"{kind}\" message=\"{message}\">{text}</failure>")
            }
        };
        let _ = writeln!(xml, "{open}>{inner}</testcase>");
    }
}

fn flow(flow: &Flow) -> Case {
    let ending = match flow.failure() {
        None => Ending::Passed,
        Some((step, failure)) => Ending::Failure {
            kind: failure.reason.as_str(),
            message: format!("failed at {}: {}", step.as_str(), failure.reason),
            text: clean(&failure.detail),
        },
    };
    Case { class: "flow", name: flow.route.to_string(), seconds: flow.seconds(), ending }
}

fn pair(cell: &Cell) -> Case {
    let ending = match &cell.result {
        CellResult::Accepted => Ending::Passed,
        CellResult::Skipped { reason } => Ending::Skipped { message: reason.as_str().to_owned() },
        CellResult::Failed { failure, .. } => {
            Ending::Error { kind: failure.reason.as_str(), message: failure.to_string() }
        }
        CellResult::Refused(refusal) => Ending::Failure {
            kind: cell.reason().unwrap_or("refused"),
            message: match refusal.healed_after {
                Some(seconds) => format!("refused at first, accepted after {seconds:.1} s"),
                None => format!("refused in each of {} tries", refusal.tries),
            },
            text: clean(refusal.answer.error_message.as_deref().unwrap_or_default()),
        },
    };
    let name = format!("{} to {}", cell.issuer, cell.verifier);
    Case { class: "pair", name, seconds: 0.0, ending }
}

/// What was not measured: an error where nobody can say that all is well without it.
fn missing(missing: &Unmeasured) -> Case {
    let message = missing.why.clone();
    let ending = if missing.essential {
        Ending::Error { kind: "unknown", message }
    } else {
        Ending::Skipped { message }
    };
    Case { class: "unmeasured", name: missing.words(), seconds: 0.0, ending }
}

fn finding(finding: &Finding) -> Case {
    let to_do = |remedy: &Remedy| {
        let lines = [format!("To do: {}", clean(&remedy.text))].into_iter();
        lines.chain(remedy.commands.iter().map(|command| clean(command))).collect::<Vec<_>>()
    };
    let evidence = finding.evidence.iter().map(|fact| format!("Evidence: {}", clean(fact)));
    let text: Vec<String> = [clean(&finding.effect)]
        .into_iter()
        .chain(finding.remedies.iter().flat_map(to_do))
        .chain(evidence)
        .chain([format!("Runbook: {}", runbook(finding.finding))])
        .collect();
    let ending = Ending::Failure {
        kind: finding.severity.as_str(),
        message: format!("{}: {}", headline(finding), finding.summary),
        text: text.join("\n"),
    };
    Case { class: "finding", name: finding.finding.to_string(), seconds: 0.0, ending }
}

/// Text for an attribute or an element (XML 1.0, section 2.4). [`clean`] takes out the characters
/// that XML cannot hold at all.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            c => safe.push(c),
        }
    }
    safe
}

fn escape_lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::sample::{add, finding as sample, key_mismatch, snapshot};
    use super::*;
    use crate::model::{Confidence, FindingName};

    #[test]
    fn markup_in_foreign_text_is_text() {
        let cases = [
            ("plain", "plain"),
            ("<a b=\"c\" d='e'>&amp;", "&lt;a b=&quot;c&quot; d=&apos;e&apos;&gt;&amp;amp;"),
            ("]]>\u{0}\u{1b}\u{fffe}", "]]&gt;???"),
        ];
        for (raw, safe) in cases {
            assert_eq!(escape(raw), safe, "{raw:?}");
        }
    }

    #[test]
    fn the_counts_are_those_of_the_cases() {
        let mut judged = key_mismatch(3, 2);
        let note = sample(FindingName::MixedVersions, Severity::Info, Confidence::Proved, &[]);
        add(&mut judged, note);
        let xml = render(&snapshot([judged]));
        let number = |what: &str| xml.matches(what).count();
        // 4 flows, 16 pairs and the finding that fails users; the note is no test.
        assert_eq!(number("<testcase "), 21);
        assert_eq!(number("<failure "), 1 + 6 + 1);
        assert_eq!(number("tests=\"21\" failures=\"8\" errors=\"0\" skipped=\"0\""), 2);
        assert!(!xml.contains("mixed-versions"));
    }
}
