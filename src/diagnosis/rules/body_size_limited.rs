//! A proxy that limits the size of request bodies (C7): small images are pushed, large ones not.

use super::super::facts::Facts;
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use crate::model::{BackendName, BodyLimit, Bytes, Check, Evidence, FindingName, OfRoute, Route};

/// Few images have layers above this; a limit there hurts seldom.
const LARGE: u64 = 1 << 30;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let Some(routes) = facts.round.checks.body_limit.measured() else { return Vec::new() };
    let limited: Vec<(&Route, BodyLimit, u64)> = routes.iter().filter_map(refusal).collect();
    let Some((_, limit, smallest)) = limited.iter().min_by_key(|(.., refused)| *refused).copied()
    else {
        return Vec::new();
    };
    let backends: Vec<BackendName> =
        limited.iter().filter_map(|(route, ..)| route.backend().cloned()).collect();
    let whose = if backends.is_empty() { "The load balancer".to_owned() } else { list(&backends) };
    let refuse = verb(backends.len().max(1), "refuses", "refuse");
    let about = size(limit, smallest);
    let hits = if smallest <= LARGE {
        Hits::Some("Pushes of larger layers")
    } else {
        Hits::Background("Pushes of larger layers fail; few images have any.")
    };
    let summary =
        format!("{whose} {refuse} request bodies {about}: larger layers cannot be pushed.");
    let found = Hypothesis::new(FindingName::BodySizeLimited, backends, summary)
        .hits(hits)
        .evidence(routes.iter().filter_map(line))
        .explains(facts.met_on(Check::BodyLimit, routes, |at| refusal(at).is_some()));
    vec![found]
}

fn refusal(route: &OfRoute<BodyLimit>) -> Option<(&Route, BodyLimit, u64)> {
    let limit = route.value.measured()?;
    Some((&route.route, *limit, limit.refused?))
}

fn size(limit: BodyLimit, refused: u64) -> String {
    if refused == limit.passes + 1 {
        return format!("above {}", Bytes(limit.passes));
    }
    format!("of {} and more", Bytes(refused))
}

#[expect(clippy::cast_precision_loss, reason = "no request is near 2^53 bytes")]
fn line(route: &OfRoute<BodyLimit>) -> Option<Evidence> {
    let limit = route.value.measured()?;
    let text = match limit.refused {
        Some(refused) if limit.passes > 0 => format!(
            "{}: answers 413 to a declared length of {}, but not to {}",
            route.route,
            Bytes(refused),
            Bytes(limit.passes)
        ),
        Some(refused) => format!("{}: 413 to a declared length of {}", route.route, Bytes(refused)),
        None => format!("{}: no 413 up to {}", route.route, Bytes(limit.passes)),
    };
    let line = Evidence::from(text).with("passed_bytes", limit.passes as f64);
    Some(match limit.refused {
        Some(refused) => line.with("refused_bytes", refused as f64),
        None => line,
    })
}

#[cfg(test)]
mod tests {
    use crate::model::{
        BodyLimit, Checked, Finding, FindingName, OfRoute, Outcome, Round, Severity, Skipped,
        sample,
    };

    fn assess(round: &Round) -> crate::model::Assessment {
        crate::diagnosis::verdict::judge(round, &crate::model::Earlier::default())
    }

    const MIB: u64 = 1 << 20;

    /// The finding, where these routes refuse these lengths.
    fn found(limits: &[(&str, Option<u64>)]) -> Option<Finding> {
        let limit = |refused: Option<u64>| BodyLimit {
            passes: refused.map_or(20 << 30, |refused| refused - 1),
            refused,
        };
        let set = |round: &mut Round| {
            let routes = limits.iter().map(|(route, refused)| OfRoute {
                route: sample::route(route),
                value: Outcome::Measured(limit(*refused)),
            });
            round.checks.body_limit =
                Checked { found: Outcome::Measured(routes.collect()), ..Checked::default() };
        };
        let mut findings = assess(&sample::changed(&["a", "b"], set)).findings;
        assert!(findings.len() <= 1, "{findings:#?}");
        findings.pop()
    }

    #[test]
    fn whoever_refuses_is_named() {
        let over = Some(MIB + 1);
        for (limits, names, severity) in [
            ([("a", None), ("b", None), ("lb", over)], vec![], Severity::Critical),
            ([("a", None), ("b", over), ("lb", None)], vec!["b"], Severity::Critical),
            ([("a", over), ("b", over), ("lb", over)], vec!["a", "b"], Severity::Critical),
            ([("a", None), ("b", None), ("lb", Some(5 << 30))], vec![], Severity::Warning),
            ([("a", None), ("b", over), ("lb", Some(5 << 30))], vec!["b"], Severity::Critical),
        ] {
            let finding = found(&limits).unwrap();
            assert_eq!(finding.finding, FindingName::BodySizeLimited);
            let found: Vec<_> = finding.backends.iter().map(ToString::to_string).collect();
            assert_eq!(
                (found, finding.severity),
                (names.iter().map(ToString::to_string).collect(), severity)
            );
            assert_eq!(finding.evidence.len(), 3);
        }
    }

    #[test]
    fn no_limit_and_no_answer_are_no_finding() {
        assert_eq!(found(&[("a", None), ("lb", None)]), None);
        let round = sample::changed(&["a"], |round| {
            let value = Outcome::Skipped(Skipped::EarlierStepFailed);
            let routes = vec![OfRoute { route: sample::route("lb"), value }];
            round.checks.body_limit =
                Checked { found: Outcome::Measured(routes), ..Checked::default() };
        });
        assert!(assess(&round).findings.is_empty());
    }

    #[test]
    fn the_limit_stands_in_the_summary() {
        let finding = found(&[("lb", Some(MIB + 1))]).unwrap();
        assert!(finding.summary.contains("above 1 MiB"), "{}", finding.summary);
    }
}
