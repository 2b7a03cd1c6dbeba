//! `check --output=nagios`: one line with performance data and details after it, as Nagios,
//! Icinga and Naemon take it from a plug-in. `check` gives the exit code.

use super::wording::{clean, headline, runbook, severity_word, status_word, verdict};
use crate::model::{Judged, Outcome, RegistryName, Snapshot, Status};

pub(super) fn render(snapshot: &Snapshot) -> String {
    let status = snapshot.status();
    let measured: Vec<(&RegistryName, &Judged)> = snapshot
        .registries
        .iter()
        .filter_map(|(name, state)| Some((name, state.latest.as_deref()?)))
        .collect();
    let figures: Vec<String> =
        measured.iter().flat_map(|(name, judged)| perf(name, judged)).collect();
    let mut first = format!("REGISTRY {}: {}", status_word(status), plain(&summary(snapshot)));
    if !figures.is_empty() {
        first.push_str(" | ");
        first.push_str(&figures.join(" "));
    }
    let mut lines = vec![first];
    for (name, judged) in measured {
        for finding in &judged.assessment.findings {
            let word = severity_word(finding.severity);
            let text = format!("{name}: {word} {}: {}", headline(finding), finding.summary);
            lines.push(plain(&text));
            let page = runbook(finding.finding);
            let effect = finding.effect.as_str();
            let joint = if effect.is_empty() { "" } else { "; " };
            lines.push(plain(&format!("{name}: {effect}{joint}see {page}")));
        }
        for missing in &judged.assessment.unmeasured {
            let text = format!("{name}: NOT MEASURED {}: {}", missing.words(), missing.why);
            lines.push(plain(&text));
        }
    }
    lines.join("\n") + "\n"
}

/// The registries that are not well, or what was checked in all of them.
fn summary(snapshot: &Snapshot) -> String {
    let status = |judged: Option<&Judged>| judged.map_or(Status::Unknown, |j| j.assessment.status);
    let all = &snapshot.registries;
    let mut telling: Vec<_> =
        all.iter().map(|(name, s)| (status(s.latest.as_deref()), name, s)).collect();
    let well = telling.iter().filter(|(status, ..)| *status == Status::Ok).count();
    if well < telling.len() {
        telling.retain(|(status, ..)| *status != Status::Ok);
    }
    telling.sort_by_key(|(status, ..)| std::cmp::Reverse(*status));
    if telling.is_empty() {
        return "no registry is configured".to_owned();
    }
    let parts: Vec<String> =
        telling.iter().map(|(_, name, state)| format!("{name}: {}", verdict(state))).collect();
    parts.join("; ")
}

/// Performance data: `'label'=value[unit];warn;crit;min;max`.
fn perf(name: &RegistryName, judged: &Judged) -> Vec<String> {
    let round = &judged.round;
    let failed = round.flows.iter().filter(|flow| !flow.succeeded()).count();
    let refused = round.matrix.refused().count();
    let tried = round.matrix.cells.iter().filter(|cell| cell.accepted().is_some()).count();
    let mut figures = vec![
        format!("'{name}_failed_routes'={failed};;;0;{}", round.flows.len()),
        format!("'{name}_refused_pairs'={refused};;;0;{tried}"),
        format!("'{name}_round'={:.3}s;;;0;", round.seconds),
    ];
    if let Some(flow) = round.balancer_flow() {
        figures.push(format!("'{name}_lb_flow'={:.3}s;;;0;", flow.seconds()));
    }
    if let Outcome::Measured(run) = &round.balancer
        && let Some(ratio) = run.pairs.value()
    {
        figures.push(format!("'{name}_unauthorized'={:.1}%;;;0;100", ratio * 100.0));
    }
    if let Some(margin) = judged.assessment.clock_margin {
        figures.push(format!("'{name}_clock_margin'={margin:.3}s;;;;"));
    }
    figures
}

/// One line without the bar, which would start performance data.
fn plain(text: &str) -> String {
    clean(text).replace('|', "/")
}

#[cfg(test)]
mod tests {
    use super::super::sample::{healthy, key_mismatch, snapshot};
    use super::*;

    #[test]
    fn the_first_line_says_status_and_cause_and_has_one_bar() {
        let cases = [
            (
                healthy(3),
                "REGISTRY OK: main: All OK: 4 of 4 routes work, every node accepts every token. ",
                "'main_refused_pairs'=0;;;0;16",
            ),
            (
                key_mismatch(3, 2),
                "REGISTRY CRITICAL: main: token-key-mismatch at harbor-02",
                "'main_refused_pairs'=6;;;0;16",
            ),
        ];
        for (mut judged, start, figure) in cases {
            judged.assessment.clock_margin = Some(-1.5);
            let text = render(&snapshot([judged]));
            let first = text.lines().next().unwrap();
            let (said, figures) = first.split_once(" | ").unwrap();
            assert!(said.starts_with(start), "{first}");
            assert!(figures.split(' ').any(|field| field == figure), "{first}");
            assert!(figures.split(' ').all(|f| f.starts_with('\'') && f.matches(';').count() == 4));
            assert_eq!(text.matches('|').count(), 1);
        }
    }
}
