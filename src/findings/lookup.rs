//! Finding a page by its name, and the name that was meant where there is none.

use super::{AlertPage, FindingName, alerts};

/// A page that people read: of a finding, or of an alert that is none.
#[derive(Debug, Clone, Copy)]
pub enum Runbook {
    /// Of a finding.
    Finding(FindingName),
    /// Of an alert.
    Alert(&'static AlertPage),
}

impl Runbook {
    /// Every page, findings first.
    pub fn all() -> impl Iterator<Item = Self> {
        let findings = FindingName::ALL.iter().copied().map(Self::Finding);
        findings.chain(alerts().iter().map(Self::Alert))
    }

    /// The page of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|page| page.name() == name)
    }

    /// The name of the page that was probably meant.
    pub fn meant(name: &str) -> Option<&'static str> {
        nearest(name, Self::all().map(Self::name))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Finding(finding) => finding.as_str(),
            Self::Alert(alert) => alert.name,
        }
    }

    /// What it is about, in one line.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Finding(finding) => finding.definition().meaning,
            Self::Alert(alert) => alert.meaning,
        }
    }

    /// Its Markdown, without its title.
    pub fn text(self) -> &'static str {
        let page = match self {
            Self::Finding(finding) => finding.definition().page,
            Self::Alert(alert) => alert.page,
        };
        page.split_once('\n').map_or(page, |(_, text)| text.trim_start())
    }

    /// What is known of it in general, by what it is called; empty for an alert.
    pub fn facts(self) -> Vec<(&'static str, String)> {
        let Self::Finding(finding) = self else { return Vec::new() };
        let of = finding.definition();
        let code = of.code.map_or(String::new(), |code| format!(" ({code})"));
        vec![
            ("Group", format!("{}{code}", of.group.title())),
            ("Severity", of.severity.to_owned()),
            ("Confidence", format!("At best: {}.", of.at_best)),
            // Links to other pages are for those who read the table of all modes.
            ("Shown by", without_links(of.shown_by)),
            ("To confirm", of.confirm.to_owned()),
        ]
    }
}

/// How a command of a page is written where the prober is no program of the host.
pub const ELSEWHERE: &str = "In place of `sudo registry-prober`, write `docker exec registry-prober \
                             /registry-prober` where the prober runs in a container, and `kubectl -n \
                             monitoring exec svc/registry-prober -- /registry-prober` where it runs in \
                             a pod.";

/// `[text](target)` as `text`.
fn without_links(text: &str) -> String {
    let mut parts = text.split('[');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once("](").and_then(|(name, rest)| Some((name, rest.split_once(')')?.1))) {
            Some((name, rest)) => plain.extend([name, rest]),
            None => plain.extend(["[", part]),
        }
    }
    plain
}

/// The name that resembles another most; none if none does.
pub fn nearest<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    /// Below it, names have too little in common to be a slip of the pen.
    const ALIKE: f64 = 0.8;
    let wanted = wanted.to_lowercase();
    let likeness = |name: &'n str| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name);
    let all = names.into_iter().map(likeness).filter(|(likeness, _)| *likeness >= ALIKE);
    all.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_leads_to_the_name_that_was_meant() {
        for (slip, meant) in [
            ("token-key-missmatch", Some("token-key-mismatch")),
            ("Token-Key-Mismatch", Some("token-key-mismatch")),
            ("tokenkeymismatch", Some("token-key-mismatch")),
            ("clock-skew-npf", Some("clock-skew-nbf")),
            ("clock-skew", Some("clock-skew-exp")),
            ("csrf-mismatch", Some("csrf-key-mismatch")),
            ("registryproberstale", Some("RegistryProberStale")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(Runbook::meant(slip), meant, "{slip}");
            assert!(Runbook::named(slip).is_none(), "{slip}");
        }
    }

    #[test]
    fn every_page_is_found_by_its_name_and_says_something() {
        for page in Runbook::all() {
            let found = Runbook::named(page.name()).unwrap();
            assert_eq!(found.name(), page.name());
            assert!(found.text().starts_with("## Meaning"), "{}", page.name());
            assert!(!found.meaning().is_empty());
        }
    }

    #[test]
    fn links_of_a_fact_become_their_text() {
        assert_eq!(without_links("As [a](a.md), or [b](b.md)."), "As a, or b.");
        assert_eq!(without_links("no [link"), "no [link");
    }
}
