//! The families of a page, from the newest snapshot and the counters.
//!
//! Gauges are never stored: they are what the newest round says, so a series cannot outlive its
//! cause. Each family of the table of names is written here once, in the table's order.

use std::collections::{BTreeMap, BTreeSet};

use super::counters::{RouteTally, Tallies, Tally, signing_backend};
use super::exposition::{Page, Sample};
use super::names;
use crate::model::{
    BackendFacts, Certificate, Check, ClockReading, ClockSource, EVERY_PAIR_UP_TO, Finding, Flow,
    Judged, KeyId, Leeway, Outcome, Route, Severity, Snapshot, TokenFacts,
};

/// Above this many routes the matrix has more accepted pairs than a page should hold.
const FULL_MATRIX_ROUTES: usize = EVERY_PAIR_UP_TO + 1;
/// The component that stands for all that are healthy.
const ALL: &str = "all";

/// Writes every family of registries, backends and routes.
pub(super) fn registries(page: &mut Page, snapshot: &Snapshot, tallies: &Tallies) {
    flows(page, snapshot, tallies);
    balancer_and_matrix(page, snapshot, tallies);
    keys(page, snapshot, tallies);
    clocks(page, snapshot, tallies);
    checks(page, snapshot);
    verdicts(page, snapshot);
    rounds(page, snapshot, tallies);
}

/// Writes what only a running daemon has.
pub(super) fn program(page: &mut Page, snapshot: &Snapshot, tallies: &Tallies) {
    page.family(
        &names::ROUNDS_OVERRUN,
        tallies.iter().map(|(name, tally)| Sample::count([name.as_str()], tally.overruns)),
    );
    page.family(
        &names::INTERVAL,
        snapshot
            .registries
            .iter()
            .map(|(name, state)| Sample::number([name.as_str()], state.interval_seconds)),
    );
    let facts = &snapshot.program;
    page.family(&names::RELOAD_SUCCESSFUL, [Sample::flag([], facts.reload_successful)]);
    page.family(
        &names::RELOAD_SUCCESS_TIMESTAMP,
        [Sample::number([], seconds_since_1970(facts.reload_success))],
    );
}

fn flows(page: &mut Page, snapshot: &Snapshot, tallies: &Tallies) {
    page.family(
        &names::FLOWS,
        by_route(tallies).map(|(name, route, tally)| Sample::count([name, route], tally.flows)),
    );
    page.family(
        &names::FLOW_FAILURES,
        by_route(tallies).flat_map(|(name, route, tally)| {
            tally.failures.iter().map(move |((step, reason), count)| {
                Sample::count([name, route, step.as_str(), reason.as_str()], count.shown)
            })
        }),
    );
    client_flows(page, tallies);
    page.family(
        &names::FLOW_SUCCESS,
        newest_flows(snapshot)
            .map(|(name, flow)| Sample::flag([name, flow.route.as_str()], flow.succeeded())),
    );
    page.family(
        &names::STEP_SUCCESS,
        newest_flows(snapshot).flat_map(|(name, flow)| {
            flow.steps.iter().map(move |report| {
                let labels = [name, flow.route.as_str(), report.step.as_str()];
                Sample::flag(labels, report.failure.is_none())
            })
        }),
    );
    page.family(
        &names::FLOW_SECONDS,
        by_route(tallies).map(|(name, route, tally)| Sample::number([name, route], tally.seconds)),
    );
    page.family(
        &names::STEP_DURATION,
        tallies.iter().flat_map(|(name, tally)| {
            tally.steps.iter().map(move |(step, histogram)| {
                Sample::histogram([name.as_str(), step.as_str()], histogram)
            })
        }),
    );
    page.family(
        &names::PHASE_SECONDS,
        tallies.iter().flat_map(|(name, tally)| {
            tally.phases.iter().map(move |(phase, seconds)| {
                Sample::number([name.as_str(), phase.as_str()], *seconds)
            })
        }),
    );
    page.family(&names::RESPONSES, responses(tallies, |tally| &tally.responses));
    page.family(&names::AUTHENTICATED_RESPONSES, responses(tallies, |tally| &tally.authenticated));
}

fn client_flows(page: &mut Page, tallies: &Tallies) {
    let clients =
        || tallies.iter().flat_map(|(name, tally)| tally.clients.iter().map(move |it| (name, it)));
    page.family(
        &names::CLIENT_FLOWS,
        clients()
            .map(|(name, (kind, count))| Sample::count([name.as_str(), kind.as_str()], count.0)),
    );
    page.family(
        &names::CLIENT_FLOW_FAILURES,
        clients()
            .map(|(name, (kind, count))| Sample::count([name.as_str(), kind.as_str()], count.1)),
    );
}

fn balancer_and_matrix(page: &mut Page, snapshot: &Snapshot, tallies: &Tallies) {
    page.family(
        &names::UNAUTHORIZED_RATIO,
        newest(snapshot).filter_map(|(name, judged)| {
            let ratio = judged.round.balancer.measured()?.pairs.value()?;
            Some(Sample::number([name], ratio))
        }),
    );
    page.family(
        &names::EXPECTED_UNAUTHORIZED_RATIO,
        newest(snapshot).filter_map(|(name, judged)| {
            Some(Sample::number([name], judged.assessment.expected_unauthorized?))
        }),
    );
    page.family(
        &names::BALANCER_SHARE,
        newest(snapshot).flat_map(|(name, judged)| {
            judged.assessment.shares.iter().map(move |share| {
                let backend = share.backend.as_ref().map_or("unknown", |backend| backend.as_str());
                Sample::number([name, backend], share.share)
            })
        }),
    );
    page.family(
        &names::TOKEN_CROSS_VALID,
        newest(snapshot).flat_map(|(name, judged)| {
            let all = judged.round.flows.len() <= FULL_MATRIX_ROUTES;
            judged.round.matrix.cells.iter().filter_map(move |cell| {
                let accepted = cell.accepted()?;
                let labels = [name, cell.issuer.as_str(), cell.verifier.as_str()];
                (all || !accepted).then(|| Sample::flag(labels, accepted))
            })
        }),
    );
    page.family(
        &names::TOKEN_CROSS_CHECKS,
        by_route(tallies)
            .map(|(name, route, tally)| Sample::count([name, route], tally.shown.checks)),
    );
    page.family(
        &names::TOKEN_CROSS_REFUSALS,
        by_route(tallies)
            .map(|(name, route, tally)| Sample::count([name, route], tally.shown.refusals)),
    );
}

fn keys(page: &mut Page, snapshot: &Snapshot, tallies: &Tallies) {
    page.family(
        &names::TOKEN_KEY_INFO,
        newest_tokens(snapshot).map(|(name, backend, token)| {
            let kid = token.kid.as_ref().map_or("", KeyId::as_str);
            Sample::number([name, backend, kid, &token.alg], 1.0)
        }),
    );
    page.family(
        &names::TOKEN_KEYS,
        newest(snapshot).filter_map(|(name, judged)| {
            let keys = distinct_keys(judged);
            (keys > 0).then(|| Sample::count([name], keys))
        }),
    );
    page.family(
        &names::TOKEN_KEY_LAST_CHANGE,
        tallies.iter().flat_map(|(name, tally): (_, &Tally)| {
            tally.keys.iter().map(move |(backend, memory)| {
                let changed = memory.changed.map_or(0.0, seconds_since_1970);
                Sample::number([name.as_str(), backend.as_str()], changed)
            })
        }),
    );
    page.family(
        &names::TOKEN_LIFETIME,
        newest_tokens(snapshot).filter_map(|(name, backend, token)| {
            let claimed = token.lifetime().and_then(|seconds| i32::try_from(seconds).ok());
            let told = || token.expires_in.and_then(|seconds| i32::try_from(seconds).ok());
            Some(Sample::number([name, backend], f64::from(claimed.or_else(told)?)))
        }),
    );
}

fn clocks(page: &mut Page, snapshot: &Snapshot, tallies: &Tallies) {
    let mut bound = |definition, value: fn(&ClockReading) -> f64| {
        page.family(
            definition,
            newest(snapshot).flat_map(move |(name, judged)| {
                telling(&judged.round.clocks).map(move |clock| {
                    let labels = [name, clock.backend.as_str(), clock.source.as_str()];
                    Sample::number(labels, value(clock))
                })
            }),
        );
    };
    bound(&names::CLOCK_OFFSET, |clock| clock.interval.middle());
    bound(&names::CLOCK_OFFSET_LOWER, |clock| clock.interval.lower());
    bound(&names::CLOCK_OFFSET_UPPER, |clock| clock.interval.upper());
    page.family(
        &names::CLOCK_LEEWAY,
        newest(snapshot).flat_map(|(name, judged)| {
            judged.assessment.leeways.iter().filter_map(move |(backend, leeway)| match leeway {
                Leeway::Seconds(seconds) => {
                    Some(Sample::number([name, backend.as_str()], *seconds))
                }
                Leeway::Unknown => None,
            })
        }),
    );
    page.family(
        &names::CLOCK_MARGIN,
        newest(snapshot).filter_map(|(name, judged)| {
            Some(Sample::number([name], judged.assessment.clock_margin?))
        }),
    );
    page.family(
        &names::CLOCK_STEPS,
        tallies.iter().map(|(name, tally)| Sample::count([name.as_str()], tally.clock_steps)),
    );
}

/// The clocks that get a series: those by `Date`, and other sources if a backend has no `Date` or
/// the two cannot both be true.
fn telling(clocks: &[ClockReading]) -> impl Iterator<Item = &ClockReading> {
    clocks.iter().filter(|clock| {
        let mut dates = clocks
            .iter()
            .filter(|other| other.backend == clock.backend && other.source == ClockSource::Date);
        let apart = |date: &ClockReading| {
            let (a, b) = (&date.interval, &clock.interval);
            a.upper() < b.lower() || b.upper() < a.lower()
        };
        clock.source == ClockSource::Date || dates.next().is_none_or(apart)
    })
}

/// What the checks in addition to the flow found last.
fn checks(page: &mut Page, snapshot: &Snapshot) {
    page.family(
        &names::COMPONENT_HEALTHY,
        newest(snapshot).flat_map(|(name, judged)| {
            let mut told: BTreeMap<(&str, &str), bool> = BTreeMap::new();
            for (backend, told_of) in judged.round.checks.components() {
                // Ten components that are well are one series, and each that is not has its own.
                *told.entry((backend.as_str(), ALL)).or_insert(true) &= told_of.healthy;
                if !told_of.healthy {
                    told.insert((backend.as_str(), told_of.component.as_str()), false);
                }
            }
            told.into_iter().map(move |((backend, component), healthy)| {
                Sample::flag([name, backend, component], healthy)
            })
        }),
    );
    for (definition, check) in [
        (&names::CSRF_CROSS_VALID, Check::Csrf),
        (&names::SESSION_CROSS_VALID, Check::Session),
        (&names::UPLOAD_CROSS_VALID, Check::Upload),
    ] {
        page.family(definition, pairs(snapshot, check));
    }
    page.family(
        &names::CONTENT_PRESENT,
        newest(snapshot).flat_map(|(name, judged)| {
            judged.round.checks.content_present().filter_map(move |(backend, present)| {
                Some(Sample::flag([name, backend.as_str()], *present.measured()?))
            })
        }),
    );
}

/// The pairs of a check of which something is known.
fn pairs(snapshot: &Snapshot, check: Check) -> impl Iterator<Item = Sample> {
    newest(snapshot).flat_map(move |(name, judged)| {
        let pairs = judged.round.checks.matrix(check).map_or(Vec::new(), |matrix| matrix.pairs);
        pairs.into_iter().filter_map(move |pair| {
            let accepted = pair.accepted()?;
            let labels = [name, pair.issuer.as_str(), pair.verifier.as_str()];
            let shown = !accepted || pair.issuer == pair.verifier;
            shown.then(|| Sample::flag(labels, accepted))
        })
    })
}

fn verdicts(page: &mut Page, snapshot: &Snapshot) {
    page.family(
        &names::CERTIFICATE_NOT_AFTER,
        newest(snapshot).flat_map(|(name, judged)| {
            earliest_expiry(&judged.round.certificates).into_iter().map(
                move |(route, certificate)| {
                    let expiry = seconds_since_1970(certificate.not_after);
                    Sample::number([name, route.as_str()], expiry)
                },
            )
        }),
    );
    page.family(
        &names::FINDING_ACTIVE,
        newest(snapshot).flat_map(|(name, judged)| {
            at_fault(judged).into_iter().map(move |(finding, severity, backend)| {
                Sample::number([name, finding, severity, backend], 1.0)
            })
        }),
    );
    page.family(
        &names::FINDING_INFO,
        newest(snapshot).flat_map(|(name, judged)| {
            explained(judged).into_iter().map(move |finding| {
                let (step, command) = first_step(finding);
                let meaning = finding.finding.definition().meaning;
                Sample::number([name, finding.finding.as_str(), meaning, &step, command], 1.0)
            })
        }),
    );
    page.family(
        &names::FINDINGS,
        snapshot.registries.iter().flat_map(|(name, state)| {
            let findings =
                state.latest.as_ref().map(|judged| judged.assessment.findings.as_slice());
            Severity::ALL.map(|severity| {
                let of_it = findings.unwrap_or_default().iter().filter(|f| f.severity == severity);
                Sample::count([name.as_str(), severity.as_str()], of_it.map(|_| 1).sum())
            })
        }),
    );
    page.family(
        &names::BACKEND_INFO,
        newest(snapshot).flat_map(|(name, judged)| {
            judged.round.backends.iter().map(move |facts| {
                let version = version_of(facts);
                let labels =
                    [name, facts.name.as_str(), &facts.address, facts.family.as_str(), &version];
                Sample::number(labels, 1.0)
            })
        }),
    );
}

fn rounds(page: &mut Page, snapshot: &Snapshot, tallies: &Tallies) {
    page.family(
        &names::ROUND_DURATION,
        tallies.iter().map(|(name, tally)| Sample::histogram([name.as_str()], &tally.duration)),
    );
    page.family(
        &names::ROUNDS,
        tallies.iter().map(|(name, tally)| Sample::count([name.as_str()], tally.rounds)),
    );
    page.family(
        &names::DISCOVERY_SUCCESS,
        newest(snapshot).map(|(name, judged)| {
            let round = &judged.round;
            Sample::flag([name], round.discovery_error.is_none() && !round.backends.is_empty())
        }),
    );
    page.family(
        &names::LAST_ROUND,
        newest(snapshot).map(|(name, judged)| {
            let round = &judged.round;
            Sample::number([name], seconds_since_1970(round.started) + round.seconds)
        }),
    );
}

/// The newest round of every registry that has one.
fn newest(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &Judged)> {
    snapshot
        .registries
        .iter()
        .filter_map(|(name, state)| Some((name.as_str(), state.latest.as_deref()?)))
}

fn newest_flows(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &Flow)> {
    newest(snapshot)
        .flat_map(|(name, judged)| judged.round.flows.iter().map(move |flow| (name, flow)))
}

/// What every backend's own tokens say.
fn newest_tokens(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &str, &TokenFacts)> {
    newest_flows(snapshot).filter_map(|(name, flow)| {
        Some((name, signing_backend(flow)?.as_str(), flow.token.measured()?))
    })
}

fn by_route(tallies: &Tallies) -> impl Iterator<Item = (&str, &str, &RouteTally)> {
    tallies.iter().flat_map(|(name, tally)| {
        tally.routes.iter().map(move |(route, tally)| (name.as_str(), route.as_str(), tally))
    })
}

fn responses<'a>(
    tallies: &'a Tallies,
    codes: impl Fn(&'a RouteTally) -> &'a BTreeMap<u16, u64> + 'a,
) -> impl Iterator<Item = Sample> + 'a {
    by_route(tallies).flat_map(move |(name, route, tally)| {
        codes(tally)
            .iter()
            .map(move |(code, count)| Sample::count([name, route, &code.to_string()], *count))
    })
}

/// Keys of the tokens of every flow and of the balancer's samples.
fn distinct_keys(judged: &Judged) -> u64 {
    let flows = judged.round.flows.iter().filter_map(|flow| flow.token.measured()?.kid.as_ref());
    let sampled = judged.round.balancer.measured().into_iter().flat_map(|run| &run.keys);
    let keys: BTreeSet<&KeyId> = flows.chain(sampled.map(|count| &count.key)).collect();
    keys.len().try_into().unwrap_or(u64::MAX)
}

/// One certificate a route: the one that expires first, where several were met.
fn earliest_expiry(certificates: &[Certificate]) -> BTreeMap<&Route, &Certificate> {
    let mut earliest: BTreeMap<&Route, &Certificate> = BTreeMap::new();
    for certificate in certificates {
        let kept = earliest.entry(&certificate.route).or_insert(certificate);
        if certificate.not_after < kept.not_after {
            *kept = certificate;
        }
    }
    earliest
}

/// Every finding once for each backend at fault; with an empty backend where none is.
fn at_fault(judged: &Judged) -> BTreeSet<(&str, &str, &str)> {
    let mut rows = BTreeSet::new();
    for finding in &judged.assessment.findings {
        let (name, severity) = (finding.finding.as_str(), finding.severity.as_str());
        if finding.backends.is_empty() {
            rows.insert((name, severity, ""));
        }
        rows.extend(finding.backends.iter().map(|backend| (name, severity, backend.as_str())));
    }
    rows
}

fn version_of(facts: &BackendFacts) -> String {
    match &facts.version {
        Outcome::Measured(Some(version)) => version.to_string(),
        Outcome::Measured(None) | Outcome::Failed(_) | Outcome::Skipped(_) => String::new(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit a float until 2255")]
fn seconds_since_1970(moment: chrono::DateTime<chrono::Utc>) -> f64 {
    moment.timestamp_micros() as f64 / 1e6
}

/// Each name of a finding once, with the worst finding of that name.
fn explained(judged: &Judged) -> Vec<&Finding> {
    let mut known = BTreeSet::new();
    judged.assessment.findings.iter().filter(|found| known.insert(found.finding)).collect()
}

/// What to do first about a finding, and the command for it, for who reads an alert. A command that
/// would be cut off is left out, and so are those of which the reader has to choose one.
fn first_step(finding: &Finding) -> (String, &str) {
    const LONGEST: usize = 400;
    let Some(remedy) = finding.remedies.first() else { return (String::new(), "") };
    if remedy.text.len() > LONGEST {
        return (String::new(), "");
    }
    let text = remedy.text.as_str();
    let (labels, commands): (Vec<&String>, Vec<&String>) =
        remedy.commands.iter().partition(|line| line.starts_with('#'));
    match commands.first().filter(|command| command.len() <= LONGEST) {
        Some(command) if labels.len() < 2 => (text.to_owned(), command),
        _ if commands.is_empty() => (text.to_owned(), ""),
        _ => (
            format!("{}. The status page shows the commands.", text.trim_end_matches([':', '.'])),
            "",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;
    use crate::model::{FindingName, Remedy};

    #[test]
    fn an_alert_is_given_one_command_and_never_a_choice_or_a_part_of_one() {
        let long = "x".repeat(500);
        for (commands, step, command) in [
            (vec!["# Kubernetes", "kubectl get pods"], "Do this:", "kubectl get pods"),
            (vec!["date -u", "uptime"], "Do this:", "date -u"),
            (vec![], "Do this:", ""),
            (
                vec!["# HAProxy", "one", "# nginx", "other"],
                "Do this. The status page shows the commands.",
                "",
            ),
            (vec![long.as_str()], "Do this. The status page shows the commands.", ""),
        ] {
            let mut finding =
                sample::finding(FindingName::ServerErrors, Severity::Critical, &["a"]);
            let commands: Vec<String> = commands.into_iter().map(str::to_owned).collect();
            finding.remedies = vec![Remedy { text: "Do this:".to_owned(), commands }];
            assert_eq!(first_step(&finding), (step.to_owned(), command), "{finding:?}");
        }
        let mut finding = sample::finding(FindingName::ServerErrors, Severity::Critical, &["a"]);
        finding.remedies = vec![Remedy { text: long.clone(), commands: vec![long.clone()] }];
        assert_eq!(first_step(&finding), (String::new(), ""), "a part of a text is none");
    }
}
