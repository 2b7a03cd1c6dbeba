//! What should have been measured and was not. Without an essential part the status is `unknown`,
//! for no one can say that all is well. Each entry says why it is missing and what to do.

use crate::model::{
    AccessScheme, BalancerRun, CellResult, Check, CheckRun, Checks, Failure, Flow, OfPair, OfRoute,
    Outcome, Reason, Round, Route, Skipped, Step, TokenFacts, Unmeasured,
};

/// Everything that was not measured.
pub(super) fn unmeasured(round: &Round) -> Vec<Unmeasured> {
    let mut all: Vec<Unmeasured> = round.flows.iter().filter_map(flow).collect();
    all.extend(matrix(round));
    all.extend(claims(round));
    all.extend(samples(round));
    all.extend(limited(round, &all));
    all.extend(round.checks.runs().iter().filter_map(check));
    all.extend(cut_short(&round.checks));
    all
}

fn entry(what: &str, route: Option<&Route>, why: String) -> Unmeasured {
    let route = route.map(ToString::to_string);
    Unmeasured { what: what.to_owned(), route, why, essential: true }
}

/// Why the prober could not ask, and what helps.
fn own(failure: &Failure) -> String {
    match failure.reason {
        Reason::DeadlineReached => {
            "the time of this check ran out; allow more with --timeout, or a longer interval"
                .to_owned()
        }
        Reason::ProberLimit => format!(
            "this host has no descriptor, port or memory left for a connection ({}); raise the \
             limit (LimitNOFILE, ulimit -n)",
            failure.detail
        ),
        Reason::ProberBusy => format!("{}; give the prober more CPU", failure.detail),
        Reason::DnsFailed => format!(
            "this host's resolver does not know the name ({}); check its DNS, or give an address",
            failure.detail
        ),
        _ => failure.to_string(),
    }
}

fn flow(flow: &Flow) -> Option<Unmeasured> {
    let (step, failure) = flow.failure().filter(|(_, failure)| failure.reason.is_own())?;
    let what = if step == Step::Challenge { "flow" } else { "tokens" };
    Some(entry(what, Some(&flow.route), own(failure)))
}

/// Pairs that were not tried although there was a token and a verifier.
fn matrix(round: &Round) -> Option<Unmeasured> {
    if round.backends.is_empty() {
        let why = match &round.discovery_error {
            Some(error) => format!("no node is known, because discovery fails: {error}"),
            None => "no node is known: discovery found none".to_owned(),
        };
        return Some(entry("matrix", None, why));
    }
    if let Some(why) = without_tokens(round) {
        return Some(why);
    }
    let cells = &round.matrix.cells;
    let tried = cells.iter().filter(|cell| cell.accepted().is_some()).count();
    let skipped = |wanted: fn(Skipped) -> bool| {
        cells.iter().filter(move |cell| match &cell.result {
            CellResult::Skipped { reason } => wanted(*reason),
            CellResult::Failed { failure, .. } => {
                failure.reason.is_own() && wanted(Skipped::DeadlineReached)
            }
            _ => false,
        })
    };
    let late = skipped(|reason| reason == Skipped::DeadlineReached).count();
    if late > 0 {
        let own_limit = cells.iter().find_map(|cell| match &cell.result {
            CellResult::Failed { failure, .. } if failure.reason.is_shortage() => {
                Some(own(failure))
            }
            _ => None,
        });
        let why = own_limit.unwrap_or_else(|| {
            "the time of this check ran out; allow more with a longer interval".to_owned()
        });
        let why = format!("{late} of {} pairs were not tried: {why}", cells.len());
        return Some(entry("matrix", None, why));
    }
    if tried > 0 {
        return None;
    }
    let why = if let Some(failure) = ran_out(round) {
        own(failure)
    } else if skipped(|reason| reason == Skipped::NoCredentials).next().is_some() {
        "no credentials were given: add --username, or credentials in the configuration".to_owned()
    } else if let Some((_, failure)) =
        round.flows.iter().filter_map(Flow::failure).find(|(step, _)| *step <= Step::Token)
    {
        format!("no node issued a token ({})", failure.reason)
    } else {
        "no token was shown to any node".to_owned()
    };
    Some(entry("tokens", None, why))
}

/// Tokens that are no JWT tell nothing of keys and clocks.
fn claims(round: &Round) -> Option<Unmeasured> {
    let mut tokens = round.flows.iter().filter_map(|flow| flow.token.measured()).peekable();
    tokens.peek()?;
    tokens.all(TokenFacts::is_opaque).then(|| {
        let why = "not applicable: the tokens are opaque, so only the nodes can read key, lifetime \
                   and clock";
        Unmeasured { essential: false, ..entry("keys", None, why.to_owned()) }
    })
}

/// A registry that asks for nothing, or for Basic, on every route has no tokens to compare.
fn without_tokens(round: &Round) -> Option<Unmeasured> {
    let asked = |step| round.flows.iter().any(|flow| flow.step(step).is_some());
    match round.flows.first()?.scheme {
        AccessScheme::Token => None,
        AccessScheme::Open => {
            let why = "not applicable: every route answers without asking for credentials";
            Some(Unmeasured { essential: false, ..entry("tokens", None, why.to_owned()) })
        }
        AccessScheme::Basic if asked(Step::Access) => {
            let why = "not applicable: every route asks for Basic authentication, so there are no \
                       tokens to compare";
            Some(Unmeasured { essential: false, ..entry("tokens", None, why.to_owned()) })
        }
        AccessScheme::Basic => {
            let why = "every route asks for Basic authentication and no credentials were given: \
                       add --username, or credentials in the configuration";
            Some(entry("access", None, why.to_owned()))
        }
    }
}

fn samples(round: &Round) -> Option<Unmeasured> {
    match &round.balancer {
        Outcome::Measured(run) => {
            if let Some(why) = cut_off(run) {
                return Some(entry("samples", Some(&Route::Balancer), why));
            }
            if run.pairs.trials > 0 || run.lost() > 0 || is_sampled_without_tokens(round) {
                return None;
            }
            let late = "the time of this check ran out before a flow through the load balancer \
                        ended";
            let why = ran_out(round).map_or_else(|| late.to_owned(), own);
            Some(entry("samples", Some(&Route::Balancer), why))
        }
        Outcome::Failed(failure) => Some(entry("samples", Some(&Route::Balancer), own(failure))),
        Outcome::Skipped(Skipped::Disabled) => None,
        Outcome::Skipped(Skipped::NoCredentials) => {
            let why = "no credentials were given: add --username, or credentials in the \
                       configuration";
            Some(entry("samples", Some(&Route::Balancer), why.to_owned()))
        }
        Outcome::Skipped(reason) => {
            let why = format!("skipped: {}", reason.as_str().replace('_', " "));
            Some(entry("samples", Some(&Route::Balancer), why))
        }
    }
}

/// Why too little was sampled: the time ran out while requests waited for answers, or before more
/// than a few were sent. Even a few lost requests can use up the time for all others.
fn cut_off(run: &BalancerRun) -> Option<String> {
    const FEW: u32 = 3;
    let ended = run.pairs.trials + run.client_flows.trials + run.lost();
    let lost = run.lost_to_network() + run.outside.events;
    let planned = ended + run.cut;
    if run.cut == 0 || (lost == 0 && ended >= FEW) {
        return None;
    }
    let waited = if lost > 0 {
        format!("{lost} of {} requests got no answer, and ", run.requests() + run.outside.trials)
    } else {
        String::new()
    };
    Some(format!(
        "{waited}the time of this check ran out before {} of {planned} flows ended; allow more \
         with --timeout, or a longer interval",
        run.cut
    ))
}

fn is_sampled_without_tokens(round: &Round) -> bool {
    let plain = round.flows.first().is_some_and(|flow| flow.scheme != AccessScheme::Token);
    plain && round.balancer.measured().is_some_and(|run| run.requests() > 0)
}

/// Requests that this host could not send because it had no descriptor, port or memory left, where
/// no other entry says so.
fn limited(round: &Round, told: &[Unmeasured]) -> Option<Unmeasured> {
    let why = own(ran_out(round)?);
    let said = told.iter().any(|missing| missing.essential && missing.why.ends_with(&why));
    (!said).then(|| entry("some requests", None, why))
}

/// The first request that this host had no descriptor, port or memory left for.
fn ran_out(round: &Round) -> Option<&Failure> {
    let of_flows = round.flows.iter().flat_map(|flow| {
        flow.failure().map(|(_, failure)| failure).into_iter().chain(&flow.lost_before)
    });
    let of_pairs = round.matrix.cells.iter().filter_map(|cell| match &cell.result {
        CellResult::Failed { failure, .. } => Some(failure),
        _ => None,
    });
    let checks = &round.checks;
    let of_checks = [
        failed(&checks.authorization_header.found),
        failed(&checks.public_url.found),
        failed(&checks.health.found),
        failed(&checks.body_limit.found),
        failed_pair(&checks.csrf.found),
        failed_pair(&checks.session.found),
    ];
    let of_sampling = match &round.balancer {
        Outcome::Failed(failure) => Some(failure),
        _ => None,
    };
    let all = of_flows.chain(of_pairs).chain(of_sampling).chain(of_checks.into_iter().flatten());
    all.into_iter().find(|failure| failure.reason.is_shortage())
}

/// The failure of a check, as a whole or on a route, because this host ran out of something.
fn failed<T>(found: &Outcome<Vec<OfRoute<T>>>) -> Option<&Failure> {
    let of = |failure: &&Failure| failure.reason.is_shortage();
    match found {
        Outcome::Failed(failure) => Some(failure).filter(of),
        Outcome::Measured(routes) => routes
            .iter()
            .filter_map(|at| match &at.value {
                Outcome::Failed(failure) => Some(failure),
                _ => None,
            })
            .find(of),
        Outcome::Skipped(_) => None,
    }
}

/// The same of a check from one backend to another.
fn failed_pair<T>(found: &Outcome<Vec<OfPair<T>>>) -> Option<&Failure> {
    let pairs = found.measured()?.iter();
    let of_pairs = pairs.filter_map(|pair| match &pair.value {
        Outcome::Failed(failure) => Some(failure),
        _ => None,
    });
    of_pairs.into_iter().find(|failure| failure.reason.is_shortage())
}

/// A check that never fits into a round. One that the configuration does not ask for, or that this
/// family does not have, is not missed.
fn check(run: &CheckRun) -> Option<Unmeasured> {
    let late = run.made == Outcome::Skipped(Skipped::DeadlineReached);
    if !late || run.at.is_some() {
        return None;
    }
    let asked_for = matches!(run.check, Check::Upload | Check::Push | Check::Content);
    let why = "it does not fit into the time of a round; allow a longer interval".to_owned();
    Some(Unmeasured { essential: asked_for, ..entry(run.check.as_str(), None, why) })
}

/// Checks that ran and of which a part was not reached, or could not be asked for a reason of this
/// host: what that part would have shown is unknown. Only those that are asked for.
fn cut_short(checks: &Checks) -> Vec<Unmeasured> {
    let uploads = checks.upload.measured().map(|found| {
        found.begun.iter().any(|at| is_missing(&at.value))
            || found.pairs.iter().any(|pair| is_missing(&pair.value))
            || found.ended.iter().any(|at| is_missing(&at.value))
    });
    let pushes = checks.push.measured().map(|found| {
        found.by.iter().any(|by| is_missing(&by.value))
            || found.by.iter().filter_map(|by| by.value.measured()).any(|run| {
                run.failed.as_ref().is_some_and(|failed| failed.failure.reason.is_own())
                    || run.seen.iter().any(|seen| is_missing(&seen.value))
            })
    });
    let content = checks
        .content
        .measured()
        .map(|found| found.at.iter().any(|at| is_missing(&at.found)) || is_missing(&found.through));
    [(Check::Upload, uploads), (Check::Push, pushes), (Check::Content, content)]
        .into_iter()
        .filter(|(_, missing)| *missing == Some(true))
        .map(|(check, _)| {
            let why = "a part of it did not fit into the time of a round; allow a longer interval";
            entry(check.as_str(), None, why.to_owned())
        })
        .collect()
}

/// Whether a value was not reached in time, or not for a reason of this host.
fn is_missing<T>(value: &Outcome<T>) -> bool {
    match value {
        Outcome::Skipped(reason) => *reason == Skipped::DeadlineReached,
        Outcome::Failed(failure) => failure.reason.is_own(),
        Outcome::Measured(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Checked, Content, ContentAt, ContentFound, Ratio, sample};

    #[test]
    fn a_part_of_a_check_that_was_not_reached_is_missed() {
        let failed = |reason| Outcome::Failed(Failure::of_answer(reason, "x"));
        for (found, missed) in [
            (Outcome::Measured(ContentFound::default()), false),
            (failed(Reason::ServerError), false),
            (failed(Reason::ProberLimit), true),
            (Outcome::Skipped(Skipped::NoToken), false),
            (Outcome::Skipped(Skipped::DeadlineReached), true),
        ] {
            let content = Content {
                repository: "probe/canary".to_owned(),
                tag: "v1".to_owned(),
                digest: String::new(),
                config: None,
                at: vec![ContentAt { backend: sample::backend("b"), found: found.clone() }],
                through: Outcome::Skipped(Skipped::NotThisRound),
            };
            let found = Outcome::Measured(content);
            let checks =
                Checks { content: Checked { found, ..Checked::default() }, ..Checks::default() };
            let what: Vec<String> = cut_short(&checks).into_iter().map(|it| it.what).collect();
            assert_eq!(what, Vec::from_iter(missed.then(|| "content".to_owned())), "{checks:?}");
        }
    }

    #[test]
    fn what_was_cut_off_is_missed_where_requests_were_lost_or_next_to_nothing_was_asked() {
        for (trials, cut, lost, missed) in [
            (20, 0, 0, false),
            (20, 0, 1, false),
            (20, 5, 1, true),
            (20, 5, 0, false),
            (3, 22, 0, false),
            (2, 23, 0, true),
            (0, 25, 0, true),
        ] {
            let run = BalancerRun {
                pairs: Ratio { events: 0, trials },
                outside: Ratio { events: lost, trials: 30 },
                cut,
                ..BalancerRun::default()
            };
            let why = cut_off(&run);
            assert_eq!(why.is_some(), missed, "{trials} {cut} {lost}: {why:?}");
            let told = why.unwrap_or_default().contains("got no answer");
            assert_eq!(told, missed && lost > 0, "{trials} {cut} {lost}");
        }
    }
}
