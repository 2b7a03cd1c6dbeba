//! What was measured, arranged for the page: routes, clocks, balancer.
//!
//! Graphics are rectangles whose places are computed here, since the page may have no inline
//! style. Every one of them repeats what stands beside it in words.

use chrono::{DateTime, Utc};

use super::text::{milliseconds, offset, percent, seconds};
use crate::model::{
    BackendFacts, BalancerRun, Certificate, Failure, Flow, Judged, KeyCount, KeyId, Leeway,
    Outcome, Round, Setting, Step, Told,
};

/// A certificate with fewer days left is marked.
const SOON_DAYS: i64 = 21;

/// One route: its flow, its key, its certificate.
pub(super) struct RouteRow<'a> {
    pub(super) route: &'a str,
    pub(super) address: &'a str,
    pub(super) software: String,
    /// What the backend told of its settings, in a line.
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

/// The routes of a round, in its order.
pub(super) fn routes(round: &Round, now: DateTime<Utc>) -> Vec<RouteRow<'_>> {
    round.flows.iter().map(|flow| RouteRow::new(flow, round, now)).collect()
}

impl<'a> RouteRow<'a> {
    fn new(flow: &'a Flow, round: &'a Round, now: DateTime<Utc>) -> Self {
        let facts = flow.route.backend().and_then(|backend| round.backend(backend));
        let token = flow.token.measured();
        let certificate = round.certificates.iter().find(|c| c.route == flow.route);
        let steps = Step::ALL.into_iter().filter(|step| {
            *step != Step::Repository || round.scope.is_some() || flow.step(*step).is_some()
        });
        Self {
            route: flow.route.as_str(),
            address: facts.map_or(&round.url, |facts| &facts.address),
            software: facts.map_or_else(
                || "load balancer".to_owned(),
                |facts| match (
                    facts.version.measured(),
                    facts.settings.get(&Setting::HarborVersion),
                ) {
                    (Some(Some(version)), _) => format!("{} {version}", facts.family),
                    (_, Some(told)) => format!("{} {}", facts.family, told.value),
                    _ => facts.family.to_string(),
                },
            ),
            settings: facts.map_or_else(String::new, settings),
            failure: flow.failure().map(|(step, failure)| (step.as_str(), failure)),
            steps: steps.map(|step| StepMark::new(step, flow)).collect(),
            took: seconds(flow.seconds()),
            key: token.and_then(|token| token.kid.as_ref()).map(KeyId::short),
            certificate: certificate.map(|certificate| expiry(certificate, now)),
        }
    }
}

/// The settings that a backend told; versions stand beside the family.
fn settings(facts: &BackendFacts) -> String {
    let told = facts.settings.iter().filter(|(setting, _)| **setting != Setting::HarborVersion);
    let words = |(setting, told): (&Setting, &Told)| {
        format!("{} {}", setting.as_str().replace('_', " "), told.value)
    };
    told.map(words).collect::<Vec<_>>().join(", ")
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
        None if days < SOON_DAYS => ("warning", format!("▲ {days}\u{a0}d left")),
        None => ("", format!("{days}\u{a0}d left")),
    }
}

/// The clocks as intervals on one common scale.
pub(super) struct Clocks<'a> {
    pub(super) rows: Vec<ClockRow<'a>>,
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
        let row = |clock: &'a crate::model::ClockReading| ClockRow {
            backend: clock.backend.as_str(),
            source: clock.source.as_str(),
            offset: milliseconds(clock.interval.middle()),
            half: milliseconds(clock.interval.width() / 2.0),
            leeway: leeway(&clock.backend),
            contradiction: clock.contradiction,
            bar: Bar::new(place(clock.interval.lower()), place(clock.interval.upper())),
        };
        Self {
            rows: clocks.iter().map(row).collect(),
            scale: seconds(widest),
            words: &judged.assessment.clock_words,
            margin: judged.assessment.clock_margin.map(|margin| (margin < 0.0, offset(margin))),
        }
    }
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
    pub(super) clients: Option<String>,
    pub(super) measured_bar: Option<Bar>,
    pub(super) interval_bar: Option<Bar>,
    pub(super) expected_bar: Option<Bar>,
    pub(super) shares: Vec<ShareRow<'a>>,
    pub(super) keys: &'a [KeyCount],
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
            clients: run.client_flows.value().map(percent),
            measured_bar: run.pairs.value().map(tick),
            interval_bar: interval.map(|(lower, upper)| Bar::new(place(lower), place(upper))),
            expected_bar: assessment.expected_unauthorized.map(tick),
            shares: assessment.shares.iter().map(share).collect(),
            keys: &run.keys,
        }
    }
}
