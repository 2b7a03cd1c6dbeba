//! One line for each round of a registry that is watched while it is being repaired.

use super::text::{PLAIN, Page, status_style};
use super::wording::{count, status_word, verdict};
use crate::model::{Judged, RegistryName, RegistryState, Snapshot, Status};

/// What a round came to, for every registry, and what is different from the round before.
pub fn line(before: Option<&Snapshot>, after: &Snapshot, width: usize) -> String {
    let mut page = Page::new(width);
    for (name, state) in &after.registries {
        let earlier = before.and_then(|snapshot| snapshot.registries.get(name));
        registry(&mut page, name, earlier, state);
    }
    page.into_text()
}

fn registry(
    page: &mut Page,
    name: &RegistryName,
    before: Option<&RegistryState>,
    after: &RegistryState,
) {
    let Some(judged) = after.latest.as_deref() else {
        page.paragraph("", PLAIN, &format!("{name}: {}", verdict(after)));
        return;
    };
    let status = judged.assessment.status;
    let earlier = before.and_then(|state| state.latest.as_deref());
    let lead = format!("{}  {:8}  ", judged.round.started.format("%H:%M:%S"), status_word(status));
    let mut text = format!("{name}: {}", verdict(after).trim_end_matches('.'));
    if status != Status::Ok {
        text = format!("{text}; {}", figures(judged));
    }
    if let Some(changes) = earlier.map(|earlier| changes(earlier, judged)) {
        text.push_str(&changes);
    }
    page.paragraph(&lead, status_style(status), &text);
}

/// What is wrong, in numbers.
fn figures(judged: &Judged) -> String {
    let refused = judged.round.matrix.refused().count();
    let failing = judged.round.flows.iter().filter(|flow| !flow.succeeded()).count();
    let mut parts = vec![
        format!("{} refused", count(refused, "pair")),
        format!("{failing} of {} failing", count(judged.round.flows.len(), "route")),
    ];
    if let Some(run) = judged.round.balancer.measured().filter(|run| run.pairs.trials > 0) {
        parts.push(format!("{} of {} tokens refused", run.pairs.events, run.pairs.trials));
    }
    parts.join(", ")
}

/// Findings that are new and those that are gone.
fn changes(before: &Judged, after: &Judged) -> String {
    let names = |judged: &Judged| -> std::collections::BTreeSet<String> {
        judged.assessment.findings.iter().map(super::wording::headline).collect()
    };
    let (earlier, now) = (names(before), names(after));
    let list = |word: &str, names: Vec<&String>| match names.as_slice() {
        [] => String::new(),
        names => format!(
            "; {word}: {}",
            names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
        ),
    };
    let new = list("new", now.difference(&earlier).collect());
    let gone = list("gone", earlier.difference(&now).collect());
    format!("{new}{gone}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{FindingName, Severity, sample};

    fn plain(before: Option<&Snapshot>, after: &Snapshot) -> String {
        anstream::adapter::strip_str(&line(before, after, 1000)).to_string()
    }

    #[test]
    fn each_round_is_a_line_that_says_what_has_changed() {
        let found = sample::finding(FindingName::TokenKeyMismatch, Severity::Critical, &["b"]);
        let broken = sample::changed(&["a", "b"], |round| {
            sample::refuse(round, "a", "b");
            sample::refuse(round, "b", "a");
        });
        let broken = sample::snapshot(&[sample::judged(broken, vec![found])]);
        let well = sample::judged(sample::round(&["a", "b"]), Vec::new());
        let well = sample::snapshot(&[Arc::clone(&well)]);
        let first = plain(None, &broken);
        assert!(
            first.contains("CRITICAL  main: token-key-mismatch at b; 2 pairs refused"),
            "{first}"
        );
        assert!(!first.contains("new"), "the first has nothing before it: {first}");
        let second = plain(Some(&broken), &well);
        assert!(second.contains("  OK        main: "), "{second}");
        assert!(second.ends_with("; gone: token-key-mismatch at b\n"), "{second}");
        let third = plain(Some(&well), &broken);
        assert!(third.ends_with("; new: token-key-mismatch at b\n"), "{third}");
    }
}
