//! What the measured clocks mean for tokens: how many of an issuer's fresh ones a verifier will
//! refuse, and when a drift will have used up what the verifier tolerates.
//!
//! A token says when it was issued, cut to whole seconds. Let an issuer be ahead of a verifier by s
//! seconds, not counting what the verifier tolerates and the time that a token travels. Then the
//! part s of its fresh tokens arrives before it is valid; from one second on, all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::leeway::{ahead, checking_clock, issued, issuing_clock, leeway};
use super::wording::list;
use crate::model::{
    BackendFacts, BackendName, Cell, CellResult, ClockInterval, ClockSource, Evidence, Family,
    Leeway, Outcome, Round,
};

/// Clocks that no one would call wrong differ by this much, and a token's way from issuer to
/// verifier hides as much: less than one refusal in a hundred follows.
const HARMLESS_SECONDS: f64 = 0.015;

/// A drift is reported that uses up the tolerance within this number of days.
const SOON_DAYS: f64 = 60.0;

/// How many of an issuer's fresh tokens a verifier will refuse, by their clocks.
pub(super) struct Prediction<'a> {
    pub(super) issuer: &'a BackendName,
    pub(super) verifier: &'a BackendName,
    /// How far the issuer is ahead.
    pub(super) ahead: ClockInterval,
    /// What of it is tolerated, in seconds.
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
    // Each clock is looked up once: a hundred backends are ten thousand pairs.
    let issues = |name| Some((name, issuing_clock(round, name)?, early(round, name)));
    let issuers: Vec<_> = round.backends.iter().filter_map(|it| issues(&it.name)).collect();
    let mut all = Vec::new();
    for facts in &round.backends {
        let verifier = &facts.name;
        let Leeway::Seconds(seconds) = leeway(facts) else { continue };
        let Some(checks) = checking_clock(round, verifier) else { continue };
        for (issuer, issues, early) in issuers.iter().filter(|(issuer, ..)| *issuer != verifier) {
            let (ahead, forgiven) = (issues.minus(checks), seconds + early);
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

/// The pairs whose tokens will be refused, by the clocks alone.
pub(super) fn refusing(round: &Round) -> Vec<Prediction<'_>> {
    let all = predictions(round).into_iter();
    // Where all tokens would be refused and one passed, the verifier tolerates more than known.
    all.filter(|it| it.least() > 0.0 && !(it.least() >= 1.0 && passed(round, it))).collect()
}

/// Whether this follows from what the issuers themselves say of their time, without the `Date` of
/// any proxy.
pub(super) fn is_certain(round: &Round, refusing: &[Prediction<'_>]) -> bool {
    refusing.iter().all(|it| {
        let (issues, checks) = (issued(round, it.issuer), issued(round, it.verifier));
        issues.zip(checks).is_some_and(|(issues, checks)| {
            issues.minus(checks).lower() > it.forgiven + HARMLESS_SECONDS
        })
    })
}

/// The part of an issuer's fresh tokens that a verifier refuses for their time, as the clocks'
/// middles have it: for each issuer and verifier where it is more than none.
pub(super) fn refused_parts(round: &Round) -> BTreeMap<(&BackendName, &BackendName), f64> {
    let refusing = predictions(round).into_iter().filter(|it| it.least() > 0.0);
    let part = |it: &Prediction<'_>| (it.ahead.middle() - it.forgiven).clamp(0.0, 1.0);
    refusing.map(|it| ((it.issuer, it.verifier), part(&it))).collect()
}

/// How far the issuer of a pair of backends is ahead of its verifier beyond what that tolerates, as
/// an interval in seconds; `None` where a clock or the leeway is not known.
pub(super) fn beyond(round: &Round, cell: &Cell) -> Option<ClockInterval> {
    let (issuer, verifier) = (cell.issuer.backend()?, cell.verifier.backend()?);
    let Leeway::Seconds(seconds) = leeway(round.backend(verifier)?) else { return None };
    let forgiven = seconds + early(round, issuer);
    let ahead = ahead(round, issuer, verifier)?;
    Some(ClockInterval::between(ahead.lower() - forgiven, ahead.upper() - forgiven))
}

/// The clocks of these backends against the prober's, a line each.
pub(super) fn lines(round: &Round, edges: &[(&BackendName, &BackendName)]) -> Vec<Evidence> {
    let names: BTreeSet<&BackendName> = edges.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let text = |clock: ClockInterval| {
        format!("{:+.4} s ± {:.1} ms", clock.middle(), clock.width() * 500.0)
    };
    let line = |name: &BackendName| {
        let issues = issuing_clock(round, name)?;
        let checks = checking_clock(round, name)?;
        let tolerates = match round.backend(name).map(leeway) {
            Some(Leeway::Seconds(seconds)) if seconds > 0.0 => format!("tolerates {seconds:.0} s"),
            Some(Leeway::Seconds(_)) => "tolerates no clock difference".to_owned(),
            _ => "tolerates an unknown difference".to_owned(),
        };
        let clocks = if issues == checks {
            format!("clock {}", text(issues))
        } else {
            format!("issues at {}, checks at {}", text(issues), text(checks))
        };
        let line = Evidence::from(format!("{name}: {clocks} against the prober, {tolerates}"))
            .with("offset_seconds", checks.middle())
            .with("lower_bound_seconds", checks.lower())
            .with("upper_bound_seconds", checks.upper());
        Some(match round.backend(name).map(leeway) {
            Some(Leeway::Seconds(seconds)) => line.with("tolerated_seconds", seconds),
            _ => line,
        })
    };
    names.into_iter().filter_map(line).collect()
}

fn passed(round: &Round, it: &Prediction<'_>) -> bool {
    round.matrix.cells.iter().any(|cell| {
        let pair = (cell.issuer.backend(), cell.verifier.backend());
        pair == (Some(it.issuer), Some(it.verifier)) && cell.result == CellResult::Accepted
    })
}

/// What the clocks of a round mean, in words: which verifier refuses how many tokens of which
/// issuer, or how close all clocks are, and what a drift will do.
pub(super) fn words(round: &Round) -> Vec<String> {
    let all = predictions(round);
    let refusing: Vec<Prediction<'_>> =
        predictions(round).into_iter().filter(|it| it.least() > 0.0).collect();
    let mut words = refusals(round, &refusing);
    if refusing.is_empty() && !all.is_empty() {
        let apart = all.iter().map(|it| it.ahead.upper()).fold(0.0, f64::max);
        let least = all.iter().map(|it| it.forgiven).fold(f64::INFINITY, f64::min);
        let forgiven = if least > 0.0 { span(least) } else { "nothing".to_owned() };
        words.push(format!(
            "The clocks of the backends differ by at most {}; the strictest verifier tolerates {forgiven}.",
            span(apart)
        ));
    }
    words.extend(all.iter().filter_map(|it| drifting(round, it)));
    if let Some(step) = round.clock_step_seconds {
        words.push(format!("The prober's own clock jumped by {step:+.3} s."));
    }
    words
}

/// One line for each issuer: how far it is ahead, and what that costs.
pub(super) fn refusals(round: &Round, refusing: &[Prediction<'_>]) -> Vec<String> {
    let mut by_issuer: BTreeMap<&BackendName, Vec<&Prediction<'_>>> = BTreeMap::new();
    for it in refusing {
        by_issuer.entry(it.issuer).or_default().push(it);
    }
    let line = |(issuer, of_it): (&BackendName, Vec<&Prediction<'_>>)| {
        let verifiers: Vec<&BackendName> =
            of_it.iter().map(|it| it.verifier).collect::<BTreeSet<_>>().into_iter().collect();
        let first = of_it.first()?;
        let family = family(round.backend(first.verifier)?);
        let tolerates =
            if first.forgiven > 0.0 { span(first.forgiven) } else { "nothing".to_owned() };
        let middle = (first.ahead.middle() - first.forgiven).clamp(0.0, 1.0);
        Some(format!(
            "{issuer} is {} ahead of {}: {family} tolerates {tolerates}. If tokens are used \
             immediately, {} tokens of {issuer} are refused there",
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

/// When an issuer that gains on a verifier will be further ahead than the verifier tolerates.
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
        let when = if days < 2.0 {
            format!("{:.0} hours", days * 24.0)
        } else {
            format!("{days:.0} days")
        };
        format!(
            "{} gains {gains:.1} ± {error:.1} ppm on {} and will exceed that node's tolerance in \
             {when}.",
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

/// Where the clocks contradict the matrix: a refusal that they exclude, or an accepted token
/// where they let none pass.
pub(super) fn contradictions(round: &Round) -> Vec<String> {
    let line = |it: Prediction<'_>| {
        let pair = (Some(it.issuer), Some(it.verifier));
        let mut cells = round.matrix.cells.iter();
        let cell = cells.find(|cell| (cell.issuer.backend(), cell.verifier.backend()) == pair)?;
        let (issuer, verifier) = (it.issuer, it.verifier);
        if cell.refusal().is_some() && it.most() <= 0.0 {
            let ahead = span(it.ahead.upper());
            return Some(format!(
                "{issuer} → {verifier}: refused, but not because of its time: {issuer} is ahead by \
                 at most {ahead}"
            ));
        }
        (cell.accepted() == Some(true) && it.least() >= 1.0).then(|| {
            format!("{issuer} → {verifier}: accepted, although the clocks differ by too much")
        })
    };
    predictions(round).into_iter().filter_map(line).take(4).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::verdict::judge;
    use crate::model::{ClockDrift, Earlier, FindingName, Severity, sample};

    /// Three nodes of Harbor 2.10 or 2.12, of which `b` is ahead by this, known to ±5 ms.
    fn skewed(ahead: f64, minor: u64) -> Round {
        sample::changed(&["a", "b", "c"], |round| {
            for facts in &mut round.backends {
                if let Outcome::Measured(Some(version)) = &mut facts.version {
                    version.minor = minor.try_into().unwrap();
                }
            }
            for clock in &mut round.clocks {
                let at = if clock.backend.as_str() == "b" { ahead } else { 0.0 };
                clock.interval = ClockInterval::between(at - 0.005, at + 0.005);
            }
        })
    }

    #[test]
    fn a_skew_that_will_refuse_tokens_is_a_warning_before_any_is_refused() {
        for (ahead, minor, warned) in [
            (0.0, 10, false),
            (0.012, 10, false),
            (-0.012, 10, false),
            (0.05, 10, true),
            (-0.05, 10, true),
            (0.31, 10, true),
            (0.31, 12, false),
            (-30.0, 12, false),
        ] {
            let assessment = judge(&skewed(ahead, minor), &Earlier::default());
            let found: Vec<_> =
                assessment.findings.iter().map(|f| (f.finding, f.severity)).collect();
            let expected = if warned {
                vec![(FindingName::ClockSkewNbf, Severity::Warning)]
            } else {
                Vec::new()
            };
            assert_eq!(found, expected, "{ahead} s, 2.{minor}");
            for finding in &assessment.findings {
                assert_eq!(finding.backends, [sample::backend("b")], "{ahead} s, 2.{minor}");
            }
        }
    }

    #[test]
    fn the_words_say_what_a_skew_means_for_the_family() {
        assert_eq!(
            words(&skewed(0.31, 10)),
            ["b is 0.31 s ahead of a and c: Harbor 2.10.3 tolerates nothing. If tokens are used \
              immediately, about 3 of 10 tokens of b are refused there"]
        );
        assert_eq!(
            words(&skewed(0.31, 12)),
            [
                "The clocks of the backends differ by at most 0.32 s; the strictest verifier tolerates 60 s."
            ]
        );
    }

    #[test]
    fn a_drift_says_when_it_will_have_used_up_what_is_forgiven() {
        let mut round = skewed(1.0, 12);
        for clock in &mut round.clocks {
            let ppm = if clock.backend.as_str() == "b" { 76.0 } else { 0.0 };
            clock.drift = Some(ClockDrift { ppm, error_ppm: 1.0 });
        }
        let said = words(&round);
        let expected =
            "b gains 76.0 ± 2.0 ppm on a and will exceed that node's tolerance in 9 days.";
        assert!(said.iter().any(|line| line == expected), "{said:?}");
        assert_eq!(said.len(), 3, "nobody gains on b: {said:?}");
    }
}
