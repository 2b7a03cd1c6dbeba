//! Tables of rounds and of what must be found in them.

use crate::diagnosis::verdict::judge;
use crate::model::sample::{backend, changed};
use crate::model::{Assessment, BackendName, Earlier, Family, Finding, Outcome, Round};

pub(super) const THREE: &[&str] = &["a", "b", "c"];

pub(super) type Change = fn(&mut Round);
/// What is special, how, and every finding, separated by `; `.
pub(super) type Row = (&'static str, Change, &'static str);

/// Judges a round by itself.
pub(super) fn assess(round: &Round) -> Assessment {
    judge(round, &Earlier::default())
}

/// Every finding of a judgement, as `name severity confidence [backends]`.
pub(super) fn lines(assessment: &Assessment) -> Vec<String> {
    let line = |finding: &Finding| {
        let names: Vec<&str> = finding.backends.iter().map(BackendName::as_str).collect();
        let (severity, confidence) = (finding.severity.as_str(), finding.confidence.as_str());
        format!("{} {severity} {confidence} [{}]", finding.finding, names.join(" "))
    };
    let mut lines: Vec<String> = assessment.findings.iter().map(line).collect();
    lines.sort();
    lines
}

/// Judges healthy rounds of three backends after a change.
pub(super) fn expect(rows: &[Row]) {
    let mut wrong = Vec::new();
    for (what, change, expected) in rows {
        let found = lines(&assess(&changed(THREE, change))).join("; ");
        if found != *expected {
            wrong.push(format!("{what}:\n  expected {expected}\n     found {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Gives every backend a family, and no version.
pub(super) fn families(round: &mut Round, family: Family) {
    for name in THREE.iter().map(|name| backend(name)) {
        for facts in round.backends.iter_mut().filter(|facts| facts.name == name) {
            (facts.family, facts.version) = (family, Outcome::Measured(None));
        }
    }
}
