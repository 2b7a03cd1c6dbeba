//! What the measured clocks mean for tokens: how many of an issuer's fresh ones a verifier will
//! refuse, and when a drift will have used up what is forgiven.
//!
//! A token says the second it was issued in, cut to whole seconds. An issuer that is ahead of a
//! verifier by s, beyond what is forgiven and the way from one to the other, makes tokens of which
//! that part of a second is not valid yet.

use std::collections::{BTreeMap, BTreeSet};

use super::super::leeway::{ahead, issued, leeway};
use super::case::{Case, Draft, Impact, list};
use super::time;
use crate::model::{
    BackendFacts, BackendName, CellResult, ClockInterval, ClockSource, Confidence, Family,
    FindingName, Leeway, Outcome, Round,
};

/// Clocks that nobody would call wrong differ by so much, and a token's way from issuer to
/// verifier hides as much: less than one refusal in a hundred follows.
const HARMLESS_SECONDS: f64 = 0.015;

/// A drift that uses up what is forgiven within so many days is said.
const SOON_DAYS: f64 = 60.0;

/// How many of an issuer's fresh tokens a verifier will refuse, by their clocks.
pub(super) struct Prediction<'a> {
    pub(super) issuer: &'a BackendName,
    pub(super) verifier: &'a BackendName,
    /// How far the issuer is ahead.
    pub(super) ahead: ClockInterval,
    /// What is forgiven of it, in seconds.
    forgiven: f64,
}

impl Prediction<'_> {
    /// The least part of the tokens that is refused.
    pub(super) fn least(&self) -> f64 {
        (self.ahead.lower() - self.forgiven - HARMLESS_SECONDS).clamp(0.0, 1.0)
    }

    /// The greatest part that is refused, if a token arrives in no time.
    pub(super) fn most(&self) -> f64 {
        (self.ahead.upper() - self.forgiven).clamp(0.0, 1.0)
    }
}

/// The prediction for every pair of different backends whose clocks and leeway are known.
pub(super) fn predictions(round: &Round) -> Vec<Prediction<'_>> {
    let mut all = Vec::new();
    for verifier in &round.backends {
        let Leeway::Seconds(seconds) = leeway(verifier) else { continue };
        for issuer in round.backends.iter().filter(|issuer| issuer.name != verifier.name) {
            let Some(ahead) = ahead(round, &issuer.name, &verifier.name) else { continue };
            let forgiven = seconds + early(round, &issuer.name);
            let (issuer, verifier) = (&issuer.name, &verifier.name);
            all.push(Prediction { issuer, verifier, ahead, forgiven });
        }
    }
    all
}

/// How long before its issue a token is valid already; some token servers grant that.
fn early(round: &Round, issuer: &BackendName) -> f64 {
    let token = round.backend_flow(issuer).and_then(|flow| flow.token.measured());
    let early = token.and_then(|token| token.issued_at?.checked_sub(token.not_before?));
    early.and_then(|seconds| i32::try_from(seconds).ok()).map_or(0.0, |s| f64::from(s.max(0)))
}

/// Clocks that will refuse tokens although none was refused in this round (B1, before it shows).
pub(super) fn examine(case: &mut Case<'_>) {
    let skews = [FindingName::ClockSkewNbf, FindingName::ClockSkewExp];
    if case.findings.iter().any(|finding| skews.contains(&finding.finding)) {
        return;
    }
    let refusing: Vec<Prediction<'_>> = predictions(case.round)
        .into_iter()
        // Where all tokens would be refused and one passed, the verifier forgives more than known.
        .filter(|it| it.least() > 0.0 && !(it.least() >= 1.0 && passed(case.round, it)))
        .collect();
    if refusing.is_empty() {
        return;
    }
    let edges: Vec<(&BackendName, &BackendName)> =
        refusing.iter().map(|it| (it.issuer, it.verifier)).collect();
    let guilty = time::guilty(case, &edges);
    let certain = refusing.iter().all(|it| {
        let (issues, checks) = (issued(case.round, it.issuer), issued(case.round, it.verifier));
        issues.zip(checks).is_some_and(|(issues, checks)| {
            issues.minus(checks).lower() > it.forgiven + HARMLESS_SECONDS
        })
    });
    let mut evidence = time::clock_lines(case, &edges);
    evidence.extend(refusals(case.round, &refusing));
    let summary = format!(
        "The clock of {} is off by more than the nodes forgive: some fresh tokens are not valid \
         yet elsewhere, though none was met in this round.",
        list(&guilty)
    );
    let draft = Draft {
        name: FindingName::ClockSkewNbf,
        confidence: if certain { Confidence::Proved } else { Confidence::Suspected },
        impact: Impact::Latent,
        backends: guilty,
        summary,
        evidence,
        alternatives: Vec::new(),
    };
    case.add(draft, &[], &[]);
}

fn passed(round: &Round, it: &Prediction<'_>) -> bool {
    round.matrix.cells.iter().any(|cell| {
        let pair = (cell.issuer.backend(), cell.verifier.backend());
        pair == (Some(it.issuer), Some(it.verifier)) && cell.result == CellResult::Accepted
    })
}

/// What the clocks of a round mean, in words: who refuses how much of whose tokens, or how near
/// to each other all are, and what a drift will do.
pub(super) fn words(round: &Round) -> Vec<String> {
    let all = predictions(round);
    let refusing: Vec<Prediction<'_>> = predictions(round);
    let refusing: Vec<Prediction<'_>> =
        refusing.into_iter().filter(|it| it.least() > 0.0).collect();
    let mut words = refusals(round, &refusing);
    if refusing.is_empty() && !all.is_empty() {
        let apart = all.iter().map(|it| it.ahead.upper()).fold(0.0, f64::max);
        let least = all.iter().map(|it| it.forgiven).fold(f64::INFINITY, f64::min);
        let forgiven = if least > 0.0 { span(least) } else { "nothing".to_owned() };
        words.push(format!(
            "The backends are at most {} apart; the strictest of them forgives {forgiven}.",
            span(apart)
        ));
    }
    words.extend(all.iter().filter_map(|it| drifting(round, it)));
    if let Some(step) = round.clock_step_seconds {
        words.push(format!("The prober's own clock was set by {step:+.3} s."));
    }
    words
}

/// One line for each issuer: how far it is ahead, and what that costs.
fn refusals(round: &Round, refusing: &[Prediction<'_>]) -> Vec<String> {
    let mut by_issuer: BTreeMap<&BackendName, Vec<&Prediction<'_>>> = BTreeMap::new();
    for it in refusing {
        by_issuer.entry(it.issuer).or_default().push(it);
    }
    let line = |(issuer, of_it): (&BackendName, Vec<&Prediction<'_>>)| {
        let verifiers: Vec<&BackendName> =
            of_it.iter().map(|it| it.verifier).collect::<BTreeSet<_>>().into_iter().collect();
        let first = of_it.first()?;
        let family = family(round.backend(first.verifier)?);
        let forgives =
            if first.forgiven > 0.0 { span(first.forgiven) } else { "nothing".to_owned() };
        let middle = (first.ahead.middle() - first.forgiven).clamp(0.0, 1.0);
        Some(format!(
            "{issuer} is {} ahead of {}: {family} forgives {forgives}, {} tokens of {issuer} used \
             at once are refused there",
            span(first.ahead.middle()),
            list(&verifiers),
            share(middle),
        ))
    };
    by_issuer.into_iter().filter_map(line).collect()
}

/// A verifier's family as people call it.
fn family(facts: &BackendFacts) -> String {
    match (facts.family, &facts.version) {
        (Family::Harbor2, Outcome::Measured(Some(version))) => format!("Harbor {version}"),
        _ => facts.family.to_string(),
    }
}

/// When an issuer that gains on a verifier will be further ahead than is forgiven.
fn drifting(round: &Round, it: &Prediction<'_>) -> Option<String> {
    let drift = |backend: &BackendName| {
        let mut clocks = round.clocks.iter();
        let found = clocks.find(|c| c.backend == *backend && c.source == ClockSource::Date)?;
        found.drift
    };
    let (issuer, verifier) = (drift(it.issuer)?, drift(it.verifier)?);
    let (gains, error) = (issuer.ppm - verifier.ppm, issuer.error_ppm + verifier.error_ppm);
    let left = it.forgiven + HARMLESS_SECONDS - it.ahead.middle();
    let days = left / (gains * 0.0864);
    let soon = gains > 2.0 * error && left > 0.0 && days < SOON_DAYS;
    soon.then(|| {
        let when = if days < 2.0 { format!("{:.0} hours", days * 24.0) } else { format!("{days:.0} days") };
        format!(
            "{} gains {gains:.1} ± {error:.1} ppm on {} and will exceed what it forgives in {when}.",
            it.issuer, it.verifier
        )
    })
}

/// `about 3 of 10`, `about 4 of 100`, `all`.
fn share(part: f64) -> String {
    match part {
        p if p >= 0.995 => "all".to_owned(),
        p if p >= 0.095 => format!("about {:.0} of 10", p * 10.0),
        p => format!("about {:.0} of 100", (p * 100.0).max(1.0)),
    }
}

/// A time in milliseconds or seconds.
fn span(seconds: f64) -> String {
    match seconds.abs() {
        s if s < 0.0995 => format!("{:.1} ms", seconds * 1e3),
        s if s < 10.0 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.0} s"),
    }
}

/// What the clocks say against the matrix: refusals that they exclude, and tokens that passed
/// where none can.
pub(super) fn contradictions(round: &Round) -> Vec<String> {
    let line = |it: Prediction<'_>| {
        let pair = (Some(it.issuer), Some(it.verifier));
        let mut cells = round.matrix.cells.iter();
        let cell = cells.find(|cell| (cell.issuer.backend(), cell.verifier.backend()) == pair)?;
        let (issuer, verifier) = (it.issuer, it.verifier);
        if cell.refusal().is_some() && it.most() <= 0.0 {
            let ahead = span(it.ahead.upper());
            return Some(format!(
                "{issuer} → {verifier}: refused, but not for its time: {issuer} is ahead by at most \
                 {ahead}"
            ));
        }
        (cell.accepted() == Some(true) && it.least() >= 1.0).then(|| {
            format!("{issuer} → {verifier}: accepted, though by the clocks it must be refused")
        })
    };
    predictions(round).into_iter().filter_map(line).take(4).collect()
}
