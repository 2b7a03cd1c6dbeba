//! Refusals that a clock explains, and lifetimes too short for what clients do (B1, B2, B4).

use std::collections::BTreeSet;

use super::super::leeway::{ahead, checking_clock, issuing_clock, leeway};
use super::case::{Case, Draft, Impact, list};
use super::keys::describe;
use crate::model::{BackendName, Cell, Confidence, FindingName, Flow, Leeway, Refusal, Step};

/// A shorter life than this fails large layers in mid-transfer.
const SHORT_LIFE_SECONDS: i64 = 300;

/// All backends off by more than this, and alike: the prober's clock is the suspect.
const PROBER_OFF_SECONDS: f64 = 5.0;

pub(super) fn examine(case: &mut Case<'_>) {
    not_yet_valid(case);
    already_expired(case);
    short_life(case);
    own_clock(case);
}

struct Pair<'a> {
    index: usize,
    cell: &'a Cell,
    refusal: &'a Refusal,
    issuer: &'a BackendName,
    verifier: &'a BackendName,
}

/// Open refusals between backends. A backend may refuse its own tokens for their time too, where
/// its token server has another clock than its registry.
fn pairs<'a>(case: &Case<'a>) -> Vec<Pair<'a>> {
    let pair = |(index, cell, refusal): (usize, &'a Cell, &'a Refusal)| {
        let (issuer, verifier) = (cell.issuer.backend()?, cell.verifier.backend()?);
        Some(Pair { index, cell, refusal, issuer, verifier })
    };
    case.open_cells().into_iter().filter_map(pair).collect()
}

fn same_key(case: &Case<'_>, pair: &Pair<'_>) -> bool {
    pair.cell.key.is_some() && pair.cell.key.as_ref() == case.verifies(pair.verifier)
}

fn forgiven(case: &Case<'_>, verifier: &BackendName) -> f64 {
    match case.round.backend(verifier).map(leeway) {
        Some(Leeway::Seconds(seconds)) => seconds,
        _ => 60.0,
    }
}

/// Whether the issuer's clock is certainly further ahead than the verifier forgives.
fn certainly_ahead(case: &Case<'_>, pair: &Pair<'_>) -> bool {
    ahead(case.round, pair.issuer, pair.verifier)
        .is_some_and(|ahead| ahead.lower() > forgiven(case, pair.verifier))
}

/// Fresh tokens that are not valid yet where they are shown (B1): the same token heals, or the
/// measured clocks leave no doubt.
fn not_yet_valid(case: &mut Case<'_>) {
    let (mut found, mut healed) = (Vec::new(), 0);
    for pair in pairs(case) {
        // Healing is time's mark only where the clocks leave room for it: behind one address
        // with several replicas the next one may simply have accepted.
        let possible = ahead(case.round, pair.issuer, pair.verifier)
            .is_none_or(|ahead| ahead.upper() > forgiven(case, pair.verifier));
        let heals = pair.refusal.healed_after.is_some() && possible;
        if heals || (same_key(case, &pair) && certainly_ahead(case, &pair)) {
            healed += usize::from(heals);
            found.push(pair);
        }
    }
    if found.is_empty() {
        return;
    }
    let edges: Vec<(&BackendName, &BackendName)> =
        found.iter().map(|pair| (pair.issuer, pair.verifier)).collect();
    let guilty = guilty(case, &edges);
    let mut evidence = clock_lines(case, &edges);
    evidence.push(format!(
        "{} pairs refuse a token that is not valid yet there; in {healed} of them the same token \
         was accepted later",
        found.len()
    ));
    evidence.extend(found.iter().take(4).filter_map(|pair| describe(pair.cell)));
    let keys_equal = found.iter().all(|pair| same_key(case, pair));
    let proved = (healed > 0 || found.iter().all(|pair| certainly_ahead(case, pair))) && keys_equal;
    let cells: Vec<usize> = found.iter().map(|pair| pair.index).collect();
    let flows = own_flows(case, &edges);
    case.add(
        Draft {
            name: FindingName::ClockSkewNbf,
            confidence: if proved { Confidence::Proved } else { Confidence::Suspected },
            impact: Impact::Refusals,
            summary: format!(
                "The clock of {} is off by more than the nodes forgive: fresh tokens are not \
                 valid yet elsewhere.",
                list(&guilty)
            ),
            backends: guilty,
            evidence,
            alternatives: if proved { Vec::new() } else { vec![FindingName::TokenKeyMismatch] },
        },
        &cells,
        &flows,
    );
}

/// The flows of backends that refuse their own tokens for their time.
fn own_flows(case: &Case<'_>, edges: &[(&BackendName, &BackendName)]) -> Vec<usize> {
    let own = |flow: &Flow| {
        flow.route.backend().is_some_and(|name| edges.contains(&(name, name)))
            && flow.failure().is_some_and(|(step, _)| step >= Step::Access)
    };
    case.open_flows().into_iter().filter(|(_, flow)| own(flow)).map(|(index, _)| index).collect()
}

/// Fresh tokens that have already expired where they are shown (B2).
fn already_expired(case: &mut Case<'_>) {
    let mut found = Vec::new();
    for pair in pairs(case) {
        let lifetime = case
            .round
            .backend_flow(pair.issuer)
            .and_then(|flow| flow.token.measured())
            .and_then(crate::model::TokenFacts::lifetime);
        let ahead = ahead(case.round, pair.issuer, pair.verifier);
        #[expect(clippy::cast_precision_loss, reason = "a lifetime is far below 2^52 seconds")]
        let certain = lifetime.zip(ahead).is_some_and(|(lifetime, ahead)| {
            -ahead.upper() > lifetime as f64 + forgiven(case, pair.verifier)
        });
        if certain && pair.refusal.healed_after.is_none() && same_key(case, &pair) {
            found.push(pair);
        }
    }
    if found.is_empty() {
        return;
    }
    let edges: Vec<(&BackendName, &BackendName)> =
        found.iter().map(|pair| (pair.issuer, pair.verifier)).collect();
    let guilty = guilty(case, &edges);
    let mut evidence = clock_lines(case, &edges);
    evidence.extend(found.iter().take(4).filter_map(|pair| describe(pair.cell)));
    let cells: Vec<usize> = found.iter().map(|pair| pair.index).collect();
    let flows = own_flows(case, &edges);
    // A clock that is so far behind refuses in the other direction too, as not valid yet.
    case.add(
        Draft {
            name: FindingName::ClockSkewExp,
            confidence: Confidence::Proved,
            impact: Impact::Refusals,
            summary: format!(
                "The clock of {} is off by more than a token lives: fresh tokens are already \
                 expired elsewhere.",
                list(&guilty)
            ),
            backends: guilty,
            evidence,
            alternatives: Vec::new(),
        },
        &cells,
        &flows,
    );
    merge_directions(case);
}

/// One clock that is off by half an hour shows in both directions: one cause, one finding.
fn merge_directions(case: &mut Case<'_>) {
    let at = |name| case.findings.iter().position(|finding| finding.finding == name);
    let (Some(nbf), Some(exp)) = (at(FindingName::ClockSkewNbf), at(FindingName::ClockSkewExp))
    else {
        return;
    };
    let of_exp: BTreeSet<BackendName> = case.findings[exp].backends.iter().cloned().collect();
    if case.findings[nbf].backends.iter().all(|name| of_exp.contains(name)) {
        case.absorb(exp, nbf);
    }
}

/// The clocks of the backends in question against the prober's.
pub(super) fn clock_lines(case: &Case<'_>, edges: &[(&BackendName, &BackendName)]) -> Vec<String> {
    let names: BTreeSet<&BackendName> = edges.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let text = |clock: crate::model::ClockInterval| {
        format!("{:+.4} s ± {:.1} ms", clock.middle(), clock.width() * 500.0)
    };
    let line = |name: &BackendName| {
        let (issues, checks) =
            (issuing_clock(case.round, name)?, checking_clock(case.round, name)?);
        let forgives = match case.round.backend(name).map(leeway) {
            Some(Leeway::Seconds(seconds)) => format!("forgives {seconds:.0} s"),
            _ => "forgives an unknown time".to_owned(),
        };
        let clocks = if issues == checks {
            format!("clock {}", text(issues))
        } else {
            format!("issues at {}, checks at {}", text(issues), text(checks))
        };
        Some(format!("{name}: {clocks} against the prober, {forgives}"))
    };
    names.into_iter().filter_map(line).collect()
}

/// The fewest backends that take part in every refusal; among equals those furthest from the
/// prober's clock. A backend that is merely refused by a wrong one is not among them.
pub(super) fn guilty(case: &Case<'_>, edges: &[(&BackendName, &BackendName)]) -> Vec<BackendName> {
    let names: Vec<&BackendName> =
        edges.iter().flat_map(|(a, b)| [*a, *b]).collect::<BTreeSet<_>>().into_iter().collect();
    let off = |name: &BackendName| {
        issuing_clock(case.round, name).map_or(0.0, |clock| {
            // How far the clock is off at the least: an interval around zero blames nobody.
            if clock.contains(0.0) { 0.0 } else { clock.lower().abs().min(clock.upper().abs()) }
        })
    };
    let mut chosen: Vec<BackendName> = Vec::new();
    let mut open: Vec<(&BackendName, &BackendName)> = edges.to_vec();
    while !open.is_empty() {
        let count =
            |name: &BackendName| open.iter().filter(|(a, b)| *a == name || *b == name).count();
        let best = names
            .iter()
            .filter(|name| count(name) > 0)
            .max_by(|a, b| {
                let key = |name: &BackendName| (count(name), off(name));
                let ((ca, oa), (cb, ob)) = (key(a), key(b));
                // Two that take part equally often are told apart by their clocks.
                ca.cmp(&cb).then(oa.total_cmp(&ob)).then(b.cmp(a))
            })
            .copied();
        let Some(best) = best else { break };
        let rivals: Vec<&BackendName> = names
            .iter()
            .copied()
            .filter(|name| *name != best && count(name) == count(best))
            .filter(|name| (off(name) - off(best)).abs() < 1e-9)
            .collect();
        let undecided = open.iter().all(|(a, b)| {
            let other = if *a == best { *b } else { *a };
            rivals.contains(&other)
        });
        chosen.push(best.clone());
        if undecided && open.len() <= 2 {
            chosen.extend(rivals.into_iter().cloned());
            break;
        }
        open.retain(|(a, b)| *a != best && *b != best);
    }
    chosen.sort();
    chosen.dedup();
    chosen
}

fn short_life(case: &mut Case<'_>) {
    let lives: Vec<(BackendName, i64)> = case
        .round
        .backends
        .iter()
        .filter_map(|backend| {
            let token = case.round.backend_flow(&backend.name)?.token.measured()?;
            Some((backend.name.clone(), token.lifetime()?))
        })
        .collect();
    let short: Vec<&(BackendName, i64)> =
        lives.iter().filter(|(_, life)| *life > 0 && *life < SHORT_LIFE_SECONDS).collect();
    if short.is_empty() {
        return;
    }
    let all = short.len() == lives.len();
    let names: Vec<BackendName> = short.iter().map(|(name, _)| name.clone()).collect();
    let evidence =
        lives.iter().map(|(name, life)| format!("{name}: tokens live {life} s")).collect();
    case.add(
        Draft {
            name: FindingName::TokenLifetimeTooShort,
            confidence: Confidence::Proved,
            impact: Impact::Latent,
            summary: format!(
                "Tokens of {} live less than {SHORT_LIFE_SECONDS} s: a layer that takes longer to \
                 transfer fails.",
                list(&names)
            ),
            backends: if all { Vec::new() } else { names },
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

/// Every backend is off by the same amount: the prober's own clock is.
fn own_clock(case: &mut Case<'_>) {
    let clocks: Vec<_> =
        case.round.backends.iter().filter_map(|b| issuing_clock(case.round, &b.name)).collect();
    if clocks.len() < 2 || clocks.len() < case.round.backends.len() {
        return;
    }
    let mut clocks = clocks.into_iter();
    let Some(first) = clocks.next() else { return };
    let Some(common) = clocks.try_fold(first, crate::model::ClockInterval::intersect) else {
        return;
    };
    let off = if common.lower() > 0.0 { common.lower() } else { -common.upper() };
    if off < PROBER_OFF_SECONDS {
        return;
    }
    let direction = if common.lower() > 0.0 { "behind" } else { "ahead of" };
    case.add(
        Draft {
            name: FindingName::ProberClockSuspect,
            confidence: Confidence::Suspected,
            impact: Impact::Latent,
            backends: Vec::new(),
            summary: format!(
                "The prober's own clock is about {off:.0} s {direction} every backend's."
            ),
            evidence: vec![format!(
                "all backends agree with each other and are {:+.1} s to {:+.1} s off",
                common.lower(),
                common.upper()
            )],
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}
