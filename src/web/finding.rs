//! A finding with its commands, as the status page and the page of its name show it.

use chrono::{DateTime, Utc};

use super::text::{Span, ago, seconds, spans};
use crate::model::{Finding, FindingName, Remedy, Round, Severity, Snapshot};

/// One finding.
pub(super) struct FindingView<'a> {
    pub(super) finding: &'a Finding,
    pub(super) sign: &'static str,
    /// None in the first round that found it.
    pub(super) since: Option<String>,
    /// Whether the verdict above it shows its summary already.
    pub(super) said: bool,
    pub(super) remedies: Vec<RemedyView<'a>>,
    pub(super) confirm: Vec<Span<'a>>,
}

/// One thing to do: a sentence, and the commands below it.
pub(super) struct RemedyView<'a> {
    pub(super) prose: Vec<Span<'a>>,
    /// Each to be copied alone; empty where there is none. One that is a comment says what the ones
    /// after it are for.
    pub(super) commands: Vec<(bool, &'a str)>,
}

/// The most registries whose finding stands on the page of its name.
const MOST_CURRENT: usize = 5;

/// Where a finding is in the newest rounds, with the registry's name and the round's age: the first
/// few, and how many more.
pub(super) fn current(
    snapshot: &Snapshot,
    name: FindingName,
    now: DateTime<Utc>,
) -> (Vec<(&str, String, FindingView<'_>)>, usize) {
    let latest = snapshot.registries.values().filter_map(|state| state.latest.as_deref());
    let mut all = latest.flat_map(|judged| {
        let round = &judged.round;
        let here = judged.assessment.findings.iter().filter(|finding| finding.finding == name);
        let age = ago((now - round.started).as_seconds_f64() - round.seconds);
        here.map(move |finding| {
            let view = FindingView::new(finding, false, round, now);
            (round.registry.as_str(), age.clone(), view)
        })
    });
    let shown = all.by_ref().take(MOST_CURRENT).collect();
    (shown, all.count())
}

impl<'a> FindingView<'a> {
    /// Of a round, at a moment.
    pub(super) fn new(finding: &'a Finding, said: bool, round: &Round, now: DateTime<Utc>) -> Self {
        let sign = match finding.severity {
            Severity::Critical => "✕",
            Severity::Warning => "▲",
            Severity::Info => "i",
        };
        Self {
            finding,
            sign,
            since: (finding.since < round.started).then(|| since(finding.since, now)),
            said,
            remedies: finding.remedies.iter().map(remedy).collect(),
            confirm: spans(&finding.confirm),
        }
    }
}

/// `12 min (02:47 UTC)`, with the day where that is another.
fn since(since: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let time = if since.date_naive() == now.date_naive() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    let long = seconds((now - since).as_seconds_f64().round());
    format!("{long} ({} UTC)", since.format(time))
}

fn remedy(remedy: &Remedy) -> RemedyView<'_> {
    fn line(command: &str) -> (bool, &str) {
        match command.strip_prefix("# ") {
            Some(label) => (true, label),
            None => (false, command),
        }
    }
    RemedyView {
        prose: spans(&remedy.text),
        commands: remedy.commands.iter().map(|it| line(it)).collect(),
    }
}
