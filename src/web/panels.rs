//! What was measured, arranged for the page: routes, clocks, balancer.
//!
//! Graphics are rectangles whose places are computed here, since the page may have no inline
//! style. Every one of them repeats what stands next to it in words.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::text::{milliseconds, offset, percent, seconds};
use crate::model::{
    BackendFacts, BackendName, BalancerRun, Certificate, ClientView, ClockReading, Estimate,
    Failure, Flow, Judged, KeyCount, KeyId, Leeway, Outcome, Round, Setting, Step, Told,
};

/// One route: its flow, its key, its certificate.
pub(super) struct RouteRow<'a> {
    pub(super) route: &'a str,
    pub(super) address: &'a str,
    pub(super) software: String,
    /// What the backend said about its settings, in a line.
    pub(super) settings: String,
    pub(super) failure: Option<(&'static str, &'a Failure)>,
    pub(super) steps: Vec<StepMark>,
    pub(super) took: String,
    pub(super) key: Option<&'a str>,
    pub(super) certificate: Option<(&'static str, String)>,
}

/// One step in a row of them.
pub(super) struct StepMark {
    pub(super) step: &'static str,
    pub(super) class: &'static str,
    pub(super) sign: &'static str,
    pub(super) word: &'static str,
}

/// The routes of a round.
pub(super) struct Routes<'a> {
    /// In the order of the round; of many only those with something to say, and the load balancer.
    pub(super) rows: Vec<RouteRow<'a>>,
    /// Those of many that are as they should be.
    pub(super) folded: Vec<RouteRow<'a>>,
    /// The settings that all backends tell alike.
    pub(super) common: String,
}

impl<'a> Routes<'a> {
    pub(super) fn new(round: &'a Round, now: DateTime<Utc>) -> Self {
        let common = common(round);
        let rows = round.flows.iter().map(|flow| RouteRow::new(flow, round, &common, now));
        let many = round.backends.len() > UNFOLDED;
        let usual = usual(round);
        let is_fine = |row: &RouteRow<'_>| {
            let plain = row.failure.is_none() && row.settings.is_empty();
            let certified = row.certificate.as_ref().is_none_or(|(class, _)| class.is_empty());
            many && plain
                && certified
                && row.route != "lb"
                && (&row.software, row.key) == (&usual.0, usual.1)
        };
        let (folded, rows) = rows.partition(is_fine);
        let words = common.iter().map(|(setting, told)| in_words(**setting, told));
        Self { rows, folded, common: words.collect::<Vec<_>>().join(", ") }
    }
}

/// The settings that every backend tells, and tells alike.
fn common(round: &Round) -> Vec<(&Setting, &Told)> {
    let Some((first, others)) = round.backends.split_first() else { return Vec::new() };
    if others.is_empty() {
        return Vec::new();
    }
    let alike = |(setting, told): &(&Setting, &Told)| {
        let same = |facts: &BackendFacts| {
            facts.settings.get(*setting).is_some_and(|other| other.value == told.value)
        };
        **setting != Setting::HarborVersion && others.iter().all(same)
    };
    first.settings.iter().filter(alike).collect()
}

/// The software and the key that most backends have.
fn usual(round: &Round) -> (String, Option<&str>) {
    let mut counts: BTreeMap<(String, Option<&str>), usize> = BTreeMap::new();
    for facts in &round.backends {
        let flow = round.backend_flow(&facts.name);
        *counts.entry((software(facts), flow.and_then(key))).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map(|(usual, _)| usual).unwrap_or_default()
}

fn key(flow: &Flow) -> Option<&str> {
    flow.token.measured().and_then(|token| token.kid.as_ref()).map(KeyId::short)
}

fn software(facts: &BackendFacts) -> String {
    match (facts.version.measured(), facts.settings.get(&Setting::HarborVersion)) {
        (Some(Some(version)), _) => format!("{} {version}", facts.family),
        (_, Some(told)) => format!("{} {}", facts.family, told.value),
        _ => facts.family.to_string(),
    }
}

impl<'a> RouteRow<'a> {
    fn new(
        flow: &'a Flow,
        round: &'a Round,
        common: &[(&Setting, &Told)],
        now: DateTime<Utc>,
    ) -> Self {
        let facts = flow.route.backend().and_then(|backend| round.backend(backend));
        let certificate = round.certificates.iter().find(|c| c.route == flow.route);
        let steps = Step::ALL.into_iter().filter(|step| {
            *step != Step::Repository || round.scope.is_some() || flow.step(*step).is_some()
        });
        Self {
            route: flow.route.as_str(),
            address: facts.map_or(&round.url, |facts| &facts.address),
            software: facts.map_or_else(|| "load balancer".to_owned(), software),
            settings: facts.map_or_else(String::new, |facts| settings(facts, common)),
            failure: flow.failure().map(|(step, failure)| (step.as_str(), failure)),
            steps: steps.map(|step| StepMark::new(step, flow)).collect(),
            took: seconds(flow.seconds()),
            key: key(flow),
            certificate: certificate.map(|certificate| expiry(certificate, now)),
        }
    }
}

/// The settings in which this backend differs from others. The version is shown next to the family.
fn settings(facts: &BackendFacts, common: &[(&Setting, &Told)]) -> String {
    let own = facts.settings.iter().filter(|(setting, _)| {
        **setting != Setting::HarborVersion && !common.iter().any(|(same, _)| same == setting)
    });
    own.map(|(setting, told)| in_words(*setting, told)).collect::<Vec<_>>().join(", ")
}

fn in_words(setting: Setting, told: &Told) -> String {
    format!("{} {}", setting.as_str().replace('_', " "), told.value)
}

impl StepMark {
    fn new(step: Step, flow: &Flow) -> Self {
        let (class, sign, word) = match flow.passed(step) {
            Some(true) => ("ok", "✓", "passed"),
            Some(false) => ("critical", "✕", "failed"),
            None => ("none", "–", "did not run"),
        };
        Self { step: step.as_str(), class, sign, word }
    }
}

fn expiry(certificate: &Certificate, now: DateTime<Utc>) -> (&'static str, String) {
    let days = (certificate.not_after - now).num_days();
    match &certificate.invalid {
        Some(reason) => ("critical", format!("✕ {reason}")),
        None if certificate.not_after <= now => ("critical", "✕ expired".to_owned()),
        None if certificate.expires_soon(now) => ("warning", format!("▲ {days}\u{a0}d left")),
        None => ("", format!("{days}\u{a0}d left")),
    }
}

/// Above this many nodes, those that are as they should be are folded.
const UNFOLDED: usize = 4;
/// A clock that is further off than this is never folded.
const NOTABLE_OFFSET: f64 = 1.0;

/// The clocks as intervals on one common scale.
pub(super) struct Clocks<'a> {
    /// Of each backend the source that knows best, and every source where they disagree.
    pub(super) rows: Vec<ClockRow<'a>>,
    /// Those of many that are as they should be, and how far off they are at most.
    pub(super) folded: Vec<ClockRow<'a>>,
    pub(super) within: String,
    /// The end of the scale to both sides.
    pub(super) scale: String,
    pub(super) margin: Option<(bool, String)>,
    /// What it means.
    pub(super) words: &'a [String],
}

/// One reading.
pub(super) struct ClockRow<'a> {
    pub(super) backend: &'a str,
    pub(super) source: &'static str,
    pub(super) offset: String,
    pub(super) half: String,
    pub(super) leeway: String,
    pub(super) contradiction: bool,
    /// Place and width of the bar on a scale of 0 to 200.
    pub(super) bar: Bar,
}

/// A rectangle on a scale.
pub(super) struct Bar {
    pub(super) x: String,
    pub(super) width: String,
}

impl Bar {
    fn new(from: f64, to: f64) -> Self {
        // Thinner than this it cannot be seen.
        let width = (to - from).max(2.0);
        Self { x: format!("{:.1}", from.min(200.0 - width)), width: format!("{width:.1}") }
    }
}

impl<'a> Clocks<'a> {
    pub(super) fn new(judged: &'a Judged) -> Self {
        let clocks = &judged.round.clocks;
        let widest = clocks
            .iter()
            .flat_map(|clock| [clock.interval.lower().abs(), clock.interval.upper().abs()])
            .fold(1.0, f64::max);
        let place = |value: f64| 100.0 + value / widest * 100.0;
        let leeway = |backend| {
            judged.assessment.leeways.iter().find(|(name, _)| name == backend).map_or_else(
                String::new,
                |(_, leeway)| match leeway {
                    Leeway::Seconds(forgiven) => seconds(*forgiven),
                    Leeway::Unknown => "not known".to_owned(),
                },
            )
        };
        let shown = best(clocks);
        let bound =
            |clock: &ClockReading| clock.interval.lower().abs().max(clock.interval.upper().abs());
        let many = judged.round.backends.len() > UNFOLDED;
        let is_fine = |clock: &&'a ClockReading| {
            let alone = shown.iter().filter(|it| it.backend == clock.backend).count() == 1;
            many && alone && !clock.contradiction && bound(clock) < NOTABLE_OFFSET
        };
        let (fine, notable): (Vec<_>, Vec<_>) = shown.iter().copied().partition(is_fine);
        let row = |clock: &'a ClockReading| ClockRow {
            backend: clock.backend.as_str(),
            source: clock.source.as_str(),
            offset: milliseconds(clock.interval.middle()),
            half: milliseconds(clock.interval.width() / 2.0),
            leeway: leeway(&clock.backend),
            contradiction: clock.contradiction,
            bar: Bar::new(place(clock.interval.lower()), place(clock.interval.upper())),
        };
        Self {
            within: milliseconds(fine.iter().copied().map(bound).fold(0.0, f64::max)),
            rows: notable.into_iter().map(row).collect(),
            folded: fine.into_iter().map(row).collect(),
            scale: seconds(widest),
            words: &judged.assessment.clock_words,
            margin: judged.assessment.clock_margin.map(|margin| (margin < 0.0, offset(margin))),
        }
    }
}

/// Of each backend the narrowest reading; all of them where two exclude each other, or one is known
/// to be wrong.
fn best(clocks: &[ClockReading]) -> Vec<&ClockReading> {
    let apart = |one: &ClockReading, other: &ClockReading| {
        one.interval.lower() > other.interval.upper()
            || other.interval.lower() > one.interval.upper()
    };
    let disagree = |name: &BackendName| {
        readings(clocks, name)
            .any(|one| one.contradiction || readings(clocks, name).any(|other| apart(one, other)))
    };
    let width = |clock: &&ClockReading| clock.interval.width();
    let is_best = |clock: &&ClockReading| {
        let own = readings(clocks, &clock.backend);
        let narrowest = own.min_by(|a, b| width(a).total_cmp(&width(b)));
        narrowest.is_some_and(|best| std::ptr::eq(best, *clock)) || disagree(&clock.backend)
    };
    clocks.iter().filter(is_best).collect()
}

fn readings<'c>(
    clocks: &'c [ClockReading],
    backend: &BackendName,
) -> impl Iterator<Item = &'c ClockReading> {
    clocks.iter().filter(move |clock| clock.backend == *backend)
}

/// What users meet behind the load balancer.
pub(super) struct Balancer<'a> {
    /// Why there is nothing to show.
    pub(super) absent: Option<String>,
    pub(super) run: Option<BalancerFigures<'a>>,
}

/// The figures of a sampling.
pub(super) struct BalancerFigures<'a> {
    pub(super) run: &'a BalancerRun,
    pub(super) measured: Option<String>,
    pub(super) interval: Option<(String, String)>,
    pub(super) expected: Option<String>,
    pub(super) clients: Vec<ClientRow>,
    pub(super) measured_bar: Option<Bar>,
    pub(super) interval_bar: Option<Bar>,
    pub(super) expected_bar: Option<Bar>,
    pub(super) shares: Vec<ShareRow<'a>>,
    pub(super) keys: &'a [KeyCount],
}

/// What one kind of client feels.
pub(super) struct ClientRow {
    pub(super) who: &'static str,
    pub(super) flows: String,
    /// Logins, pulls and pushes: the share that fails, and its interval.
    pub(super) cells: [Option<(String, String)>; 3],
}

impl ClientRow {
    fn new(view: &ClientView) -> Self {
        let share = |it: Estimate| {
            (percent(it.value), format!("{} to {}", percent(it.lower), percent(it.upper)))
        };
        let logins = view.run.logins;
        Self {
            who: view.run.client.who(),
            flows: format!("{} of {} logins failed", logins.events, logins.trials),
            cells: [Some(view.login), view.pull, view.push].map(|it| it.map(share)),
        }
    }
}

/// One backend's part of the answers.
pub(super) struct ShareRow<'a> {
    pub(super) backend: &'a str,
    pub(super) share: String,
    pub(super) distinct: bool,
    pub(super) bar: Bar,
}

impl<'a> Balancer<'a> {
    pub(super) fn new(judged: &'a Judged) -> Self {
        match &judged.round.balancer {
            Outcome::Measured(run) => {
                Self { absent: None, run: Some(BalancerFigures::new(run, judged)) }
            }
            Outcome::Failed(failure) => {
                Self { absent: Some(format!("The sampling failed: {failure}")), run: None }
            }
            Outcome::Skipped(reason) => {
                let reason = reason.as_str().replace('_', " ");
                Self { absent: Some(format!("Not sampled: {reason}.")), run: None }
            }
        }
    }
}

impl<'a> BalancerFigures<'a> {
    fn new(run: &'a BalancerRun, judged: &'a Judged) -> Self {
        let assessment = &judged.assessment;
        let place = |ratio: f64| ratio.clamp(0.0, 1.0) * 200.0;
        let tick = |ratio: f64| Bar::new(place(ratio) - 1.0, place(ratio) + 1.0);
        let interval = assessment.unauthorized_interval;
        let share = |share: &'a crate::model::Share| ShareRow {
            backend: share.backend.as_ref().map_or("unknown", |backend| backend.as_str()),
            share: percent(share.share),
            distinct: share.distinct,
            bar: Bar::new(0.0, place(share.share)),
        };
        Self {
            run,
            measured: run.pairs.value().map(percent),
            interval: interval.map(|(lower, upper)| (percent(lower), percent(upper))),
            expected: assessment.expected_unauthorized.map(percent),
            clients: assessment.clients.iter().map(ClientRow::new).collect(),
            measured_bar: run.pairs.value().map(tick),
            interval_bar: interval.map(|(lower, upper)| Bar::new(place(lower), place(upper))),
            expected_bar: assessment.expected_unauthorized.map(tick),
            shares: assessment.shares.iter().map(share).collect(),
            keys: &run.keys,
        }
    }
}
