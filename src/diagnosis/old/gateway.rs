//! Answers that no registry gave: gateways, limits, HTML in place of JSON (C4, C8, I1, I2, I3).

use std::collections::BTreeMap;

use super::case::{Case, Draft, Impact, list};
use super::connection::token_hangs;
use crate::model::{
    Answer, BackendName, Confidence, Family, FindingName, Flow, Reach, Reason, Route, Rung, Step,
};

/// From here on a token is slow: docker gives up at 15 s, and users complain long before. Harbor's
/// delay after a wrong secret (1.5 s) is below.
const SLOW_TOKEN_SECONDS: f64 = 2.0;

/// From here on a rung of the ladder is the slow one.
const SLOW_RUNG_SECONDS: f64 = 1.0;

pub(super) fn examine(case: &mut Case<'_>) {
    rate_limited(case);
    html(case);
    server_errors(case);
    slow_tokens(case);
}

struct Culprits<'a> {
    flows: Vec<(usize, &'a Flow)>,
    backends: Vec<BackendName>,
    lb_only: bool,
}

impl<'a> Culprits<'a> {
    fn find(case: &Case<'a>, wanted: impl Fn(&Flow, Reason) -> bool) -> Option<Self> {
        let fits = |flow: &Flow| flow.failure().is_some_and(|(_, why)| wanted(flow, why.reason));
        let flows: Vec<_> = case.open_flows().into_iter().filter(|(_, f)| fits(f)).collect();
        let backends: Vec<BackendName> =
            flows.iter().filter_map(|(_, flow)| flow.route.backend().cloned()).collect();
        let lb_only = !flows.is_empty() && backends.is_empty();
        (!flows.is_empty()).then_some(Self { flows, backends, lb_only })
    }

    fn impact(&self) -> Impact {
        if self.lb_only { Impact::Balancer } else { Impact::BackendLoss }
    }

    fn whose(&self) -> String {
        if self.lb_only { "The load balancer".to_owned() } else { list(&self.backends) }
    }

    fn indexes(&self) -> Vec<usize> {
        self.flows.iter().map(|(index, _)| *index).collect()
    }

    fn evidence(&self) -> Vec<String> {
        let line = |flow: &Flow| {
            let (step, failure) = flow.failure()?;
            let who = flow.answer(step).map_or("", who_answered);
            Some(format!("{}: {} failed, {failure}{who}", flow.route, step.as_str()))
        };
        self.flows.iter().filter_map(|(_, flow)| line(flow)).collect()
    }
}

/// The five shapes of a gateway's answer (I3): who answers tells where it broke.
fn who_answered(answer: &Answer) -> &'static str {
    if answer.request_id && answer.body_bytes == 0 {
        "; Harbor's core answered with an empty body: the registry behind it is not reached"
    } else if answer.request_id {
        "; Harbor's core answered"
    } else if answer.error_code.as_deref() == Some("UNAVAILABLE") {
        "; the registry's own health check fails"
    } else if answer.html {
        "; a proxy answered in place of the registry"
    } else {
        ""
    }
}

fn rate_limited(case: &mut Case<'_>) {
    let limited = Culprits::find(case, |_, reason| reason == Reason::RateLimited);
    let mut counted: BTreeMap<&Route, u64> = BTreeMap::new();
    for response in case.round.responses.iter().filter(|response| response.code == 429) {
        *counted.entry(&response.route).or_default() += response.count;
    }
    if limited.is_none() && counted.is_empty() {
        return;
    }
    let mut evidence = limited.as_ref().map(Culprits::evidence).unwrap_or_default();
    evidence.extend(counted.iter().map(|(route, count)| format!("{route}: {count} answers 429")));
    let mut backends = limited.as_ref().map(|l| l.backends.clone()).unwrap_or_default();
    backends.extend(counted.keys().filter_map(|route| route.backend().cloned()));
    backends.sort();
    backends.dedup();
    // A limit that only the sampling runs into counts the prober; users may stay below it.
    let impact = limited.as_ref().map_or(Impact::Latent, Culprits::impact);
    let whose = if backends.is_empty() { "The load balancer".to_owned() } else { list(&backends) };
    let flows = limited.as_ref().map(Culprits::indexes).unwrap_or_default();
    case.add(
        Draft {
            name: FindingName::RateLimited,
            confidence: Confidence::Proved,
            impact,
            backends,
            summary: format!("{whose} answers 429: a limiter counts the prober, or everybody."),
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &flows,
    );
}

fn html(case: &mut Case<'_>) {
    let found = Culprits::find(case, |flow, reason| match reason {
        Reason::Html => true,
        // A path that leads nowhere, or to a login page, while /v2/ itself may be right.
        Reason::NotFound | Reason::Redirected | Reason::UnexpectedStatus | Reason::NoChallenge => {
            flow.failure().and_then(|(step, _)| flow.answer(step)).is_some_and(|answer| {
                !answer.api_version && !answer.request_id && answer.error_code.is_none()
            })
        }
        Reason::BadTokenResponse => flow.answer(Step::Token).is_some_and(|answer| answer.html),
        _ => false,
    });
    let Some(found) = found else { return };
    // At a backend this is an nginx that leads to another container, through the balancer a rule
    // that sends the path elsewhere.
    let name =
        if found.lb_only { FindingName::LbMisroutesApiPath } else { FindingName::NotARegistry };
    let alternatives = if found.lb_only {
        Vec::new()
    } else {
        vec![FindingName::LbMisroutesApiPath, FindingName::ServerErrors]
    };
    case.add(
        Draft {
            name,
            confidence: if found.lb_only { Confidence::Proved } else { Confidence::Suspected },
            impact: found.impact(),
            backends: found.backends.clone(),
            summary: format!(
                "{} answers a path of the registry's API with something that is not the registry.",
                found.whose()
            ),
            evidence: found.evidence(),
            alternatives,
        },
        &[],
        &found.indexes(),
    );
}

fn server_errors(case: &mut Case<'_>) {
    let found = Culprits::find(case, |flow, reason| {
        // A token endpoint that answers 500 with an empty body is about the key; see `keys`.
        is_5xx(reason) && !(token_without_key(flow))
    });
    let Some(found) = found else { return };
    let evidence = found.evidence();
    let by_nginx = found.flows.iter().all(|(_, flow)| {
        flow.failure().and_then(|(step, _)| flow.answer(step)).is_some_and(|answer| {
            answer.html
                && !answer.request_id
                && case.family_of(&flow.route) != Family::Distribution2
        })
    });
    case.add(
        Draft {
            name: FindingName::ServerErrors,
            confidence: Confidence::Proved,
            impact: found.impact(),
            backends: found.backends.clone(),
            summary: format!("{} answers with server errors.", found.whose()),
            evidence,
            alternatives: if by_nginx && !found.lb_only {
                vec![FindingName::NotARegistry]
            } else {
                Vec::new()
            },
        },
        &[],
        &found.indexes(),
    );
}

/// Harbor's core cannot sign: 500 with an empty body (captures/harbor-2.15.2/73-key-unreadable.http).
pub(super) fn token_without_key(flow: &Flow) -> bool {
    let Some((Step::Token, failure)) = flow.failure() else { return false };
    failure.reason == Reason::ServerError
        && flow.answer(Step::Token).is_some_and(|answer| answer.body_bytes == 0)
}

/// Whether a gateway or the server behind it failed.
pub(super) fn is_5xx(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ServerError | Reason::BadGateway | Reason::Unavailable | Reason::GatewayTimeout
    )
}

fn slow_tokens(case: &mut Case<'_>) {
    let seconds = |flow: &Flow| {
        flow.step(Step::Token).map_or(0.0, |report| report.timeline.total().as_secs_f64())
    };
    // What timed out because a backend is gone is that backend's.
    let open: Vec<usize> = case.open_flows().into_iter().map(|(index, _)| index).collect();
    let slow: Vec<(usize, &Flow)> = case
        .round
        .flows
        .iter()
        .enumerate()
        .filter(|(index, flow)| {
            let hangs = token_hangs(flow);
            (hangs && open.contains(index)) || (!hangs && seconds(flow) > SLOW_TOKEN_SECONDS)
        })
        .collect();
    if slow.is_empty() {
        return;
    }
    let backends: Vec<BackendName> =
        slow.iter().filter_map(|(_, flow)| flow.route.backend().cloned()).collect();
    let lost = slow.iter().any(|(_, flow)| flow.route == Route::Balancer && token_hangs(flow));
    let evidence = slow
        .iter()
        .map(|(_, flow)| {
            let quick =
                flow.step(Step::Challenge).map_or(0.0, |r| r.timeline.total().as_secs_f64());
            let token = seconds(flow);
            let rungs = rungs(case, &flow.route);
            if rungs.is_empty() {
                return format!("{}: challenge {quick:.2} s, token {token:.2} s", flow.route);
            }
            let words: Vec<String> = rungs
                .iter()
                .map(|rung| format!("{} {:.2} s", rung.reach.as_str(), rung.seconds))
                .collect();
            format!("{}: {}", flow.route, words.join(", "))
        })
        .collect();
    let part = slow_part(case, &slow);
    let indexes: Vec<usize> = slow.iter().map(|(index, _)| *index).collect();
    let whose = if backends.is_empty() { "the load balancer".to_owned() } else { list(&backends) };
    case.add(
        Draft {
            name: FindingName::TokenEndpointSlow,
            confidence: Confidence::Proved,
            impact: if lost { Impact::Balancer } else { Impact::Latent },
            backends,
            summary: format!(
                "The token endpoint takes seconds at {whose}; docker waits 15 s.{}",
                part.map_or("", part_words)
            ),
            evidence,
            alternatives: match part {
                Some(Reach::Challenge) => vec![FindingName::RedisUnavailable],
                Some(Reach::Signing) => Vec::new(),
                Some(Reach::Database | Reach::Credential) | None => {
                    vec![FindingName::DatabaseUnavailable]
                }
            },
        },
        &[],
        &indexes,
    );
}

/// The ladder of latencies of a route; empty where none was climbed.
fn rungs<'a>(case: &Case<'a>, route: &Route) -> &'a [Rung] {
    let mut ladders = case.round.checks.latency.measured().into_iter().flatten();
    let ladder = ladders.find(|ladder| ladder.route == *route);
    ladder.and_then(|ladder| ladder.value.measured()).map_or(&[], Vec::as_slice)
}

/// The first rung that is slow, if it is the same at all backends that are.
fn slow_part(case: &Case<'_>, slow: &[(usize, &Flow)]) -> Option<Reach> {
    let first = |route: &Route| {
        rungs(case, route).iter().find(|rung| rung.seconds >= SLOW_RUNG_SECONDS).map(|r| r.reach)
    };
    let mut parts = slow
        .iter()
        .filter(|(_, flow)| flow.route.backend().is_some())
        .map(|(_, f)| first(&f.route));
    let part = parts.next()??;
    parts.all(|other| other == Some(part)).then_some(part)
}

/// What the first slow rung means.
fn part_words(part: Reach) -> &'static str {
    match part {
        Reach::Challenge => " Already the challenge is slow: core waits, for Redis or for CPU.",
        Reach::Signing => {
            " So is a token that asks no database: the way to the endpoint, or core's CPU."
        }
        Reach::Database => " The first slow part is the database.",
        Reach::Credential => " The first slow part is the account: its look-up, or its secret.",
    }
}
