//! Connections are accepted and answers come late, or not in time: at the token endpoint, or
//! already at the challenge.

use super::backend_unreachable::{answers_late, only_now_and_then};
use crate::diagnosis::facts::{Facts, ObservationId, backends_of, token_server};
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::diagnosis::wording::{list, verb};
use crate::model::{
    BackendName, Evidence, FindingName, Flow, Observation, Reach, Reason, Route, Rung, Step,
};

/// From here on a token is slow: docker gives up at 15 s, and users complain long before. Harbor's
/// delay after a wrong secret (1.5 s) is below.
const SLOW_TOKEN_SECONDS: f64 = 2.0;

/// From here on a rung of the ladder is the slow one.
const SLOW_RUNG_SECONDS: f64 = 1.0;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let mut hanging = facts.flows_that(|flow, _, _| answers_late(flow));
    if only_now_and_then(facts, &hanging) {
        hanging.clear();
    }
    let (at_server, hanging): (Vec<_>, Vec<_>) =
        hanging.into_iter().partition(|(_, flow)| token_server(flow).is_some());
    let early = |flow: &Flow| flow.failure().is_some_and(|(step, _)| step != Step::Token);
    let node_is_early =
        hanging.iter().any(|(_, flow)| early(flow) && flow.route.backend().is_some());
    // Where the balancer's flow meets such a node is luck: at its token it is the same node's.
    let (early, at_token): (Vec<_>, Vec<_>) = hanging
        .into_iter()
        .partition(|(_, flow)| early(flow) || (node_is_early && flow.route == Route::Balancer));
    let all = [silent_server(facts, &at_server), silent(facts, &early), slow(facts, &at_token)];
    all.into_iter().flatten().collect()
}

fn seconds(flow: &Flow, step: Step) -> f64 {
    flow.step(step).map_or(0.0, |report| report.timeline.total().as_secs_f64())
}

/// The nodes answer, and the token server to which they send clients does not in time.
fn silent_server(facts: &Facts<'_>, late: &[(ObservationId, &Flow)]) -> Option<Hypothesis> {
    let server = token_server(late.first()?.1)?;
    let summary = format!(
        "The token server {server} accepts connections and does not answer in time; docker waits \
         15 s."
    );
    let flows: Vec<&Flow> = late.iter().map(|(_, flow)| *flow).collect();
    let h = Hypothesis::new(FindingName::TokenEndpointSlow, Vec::new(), summary);
    Some(h.evidence(lines(facts, &flows)).explains(late.iter().map(|(id, _)| *id)))
}

/// No answer in time where none needs the account: core waits for Redis, or the host is too busy.
fn silent(facts: &Facts<'_>, late: &[(ObservationId, &Flow)]) -> Option<Hypothesis> {
    if late.is_empty() {
        return None;
    }
    let backends = backends_of(late.iter().map(|(_, flow)| *flow));
    let (whose, several) = whose(&backends);
    let summary = format!(
        "{whose} {} connections and {} not answer in time; docker waits 15 s.",
        verb(several, "accepts", "accept"),
        verb(several, "does", "do"),
    );
    let flows: Vec<&Flow> = late.iter().map(|(_, flow)| *flow).collect();
    let others = [FindingName::RedisUnavailable, FindingName::BackendUnreachable];
    Some(
        Hypothesis::new(FindingName::TokenEndpointSlow, backends, summary)
            .suspected(&others)
            .evidence(lines(facts, &flows))
            .flows(late)
            .fits(lost(facts, late)),
    )
}

fn whose(backends: &[BackendName]) -> (String, usize) {
    let whose = if backends.is_empty() { "The load balancer".to_owned() } else { list(backends) };
    (whose, backends.len())
}

/// What samples lose where the balancer's own flow gets no answer either.
fn lost(facts: &Facts<'_>, late: &[(ObservationId, &Flow)]) -> Vec<ObservationId> {
    let own = late.iter().any(|(_, flow)| flow.route == Route::Balancer);
    facts.through_balancer(|seen: &Observation| own && seen.reason() == Reason::Timeout)
}

/// Tokens that come late, or never after a challenge that came.
fn slow(facts: &Facts<'_>, hanging: &[(ObservationId, &Flow)]) -> Option<Hypothesis> {
    let late = |flow: &&Flow| {
        let hangs = hanging.iter().any(|(_, other)| other.route == flow.route);
        let took = seconds(flow, Step::Token) - facts.round.processor_wait_seconds;
        let counted = !answers_late(flow) && took > SLOW_TOKEN_SECONDS;
        hangs || counted
    };
    let slow: Vec<&Flow> = facts.round.flows.iter().filter(late).collect();
    if slow.is_empty() {
        return None;
    }
    let backends = backends_of(slow.iter().copied());
    let at = if backends.is_empty() { "the load balancer".to_owned() } else { list(&backends) };
    let part = slow_part(facts, &slow);
    let summary = format!(
        "The token endpoint takes seconds at {at}; docker waits 15 s.{}",
        part.map_or("", part_words)
    );
    let others: &[FindingName] = match part {
        Some(Reach::Challenge) => &[FindingName::RedisUnavailable],
        Some(Reach::Signing) => &[],
        Some(Reach::Database | Reach::Credential) | None => &[FindingName::DatabaseUnavailable],
    };
    let mut h = Hypothesis::new(FindingName::TokenEndpointSlow, backends, summary)
        .evidence(lines(facts, &slow))
        .flows(hanging)
        .fits(lost(facts, hanging));
    h.alternatives.extend_from_slice(others);
    // A token that comes late still comes.
    if slow.len() > hanging.len() {
        h = h.alone();
    }
    Some(if hanging.is_empty() { h.hits(Hits::Later) } else { h })
}

fn lines(facts: &Facts<'_>, flows: &[&Flow]) -> Vec<Evidence> {
    let line = |flow: &&Flow| {
        let rungs = rungs(facts, &flow.route);
        let failed = flow.failure().map_or_else(String::new, |(_, why)| format!("; {why}"));
        if rungs.is_empty() {
            let (challenge, token) = (seconds(flow, Step::Challenge), seconds(flow, Step::Token));
            let asked = flow.step(Step::Token).is_some();
            let token = if asked { format!(", token {token:.2} s") } else { String::new() };
            let text = format!("{}: challenge {challenge:.2} s{token}{failed}", flow.route);
            let line = Evidence::from(text).with("challenge_seconds", challenge);
            let token = flow.step(Step::Token).map(|_| seconds(flow, Step::Token));
            return token.into_iter().fold(line, |line, took| line.with("token_seconds", took));
        }
        let words: Vec<String> = rungs
            .iter()
            .map(|rung| format!("{} {:.2} s", rung.reach.as_str(), rung.seconds))
            .collect();
        let line = Evidence::from(format!("{}: {}{failed}", flow.route, words.join(", ")));
        rungs.iter().fold(line, |line, rung| line.with(number(rung.reach), rung.seconds))
    };
    flows.iter().map(line).collect()
}

/// What programs call the time of a rung.
fn number(reach: Reach) -> &'static str {
    match reach {
        Reach::Challenge => "challenge_seconds",
        Reach::Signing => "anonymous_token_seconds",
        Reach::Database => "anonymous_repository_token_seconds",
        Reach::Credential => "token_seconds",
    }
}

/// The ladder of latencies of a route; empty where none was climbed.
fn rungs<'a>(facts: &Facts<'a>, route: &Route) -> &'a [Rung] {
    let mut ladders = facts.round.checks.latency.measured().into_iter().flatten();
    let ladder = ladders.find(|ladder| ladder.route == *route);
    ladder.and_then(|ladder| ladder.value.measured()).map_or(&[], Vec::as_slice)
}

/// The first rung that is slow, if it is the same at all backends that are.
fn slow_part(facts: &Facts<'_>, slow: &[&Flow]) -> Option<Reach> {
    let first = |route: &Route| {
        rungs(facts, route).iter().find(|rung| rung.seconds >= SLOW_RUNG_SECONDS).map(|r| r.reach)
    };
    let at_backends = slow.iter().filter(|flow| flow.route.backend().is_some());
    let mut parts = at_backends.map(|flow| first(&flow.route));
    let part = parts.next()??;
    parts.all(|other| other == Some(part)).then_some(part)
}

/// What the first slow rung means.
fn part_words(part: Reach) -> &'static str {
    match part {
        Reach::Challenge => " Even the challenge is slow: core waits for Redis or CPU.",
        Reach::Signing => {
            " Even a token that needs no database is slow: look at the network and at core's CPU."
        }
        Reach::Database => " The first slow part is the database.",
        Reach::Credential => " The first slow part is the account: its look-up, or its secret.",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::diagnosis::verdict::judge;
    use crate::model::{
        Checked, Earlier, FindingName, OfRoute, Outcome, Phase, Reach, Rung, Step, Timeline, sample,
    };

    /// The summary and the alternatives where these rungs took these seconds at slow routes.
    fn judged(ladders: &[(&str, &[(Reach, f64)])]) -> (String, Vec<FindingName>) {
        let round = sample::changed(&["a", "b"], |round| {
            let slow = |flow: &&mut crate::model::Flow| {
                ladders.iter().any(|(name, _)| flow.route == sample::route(name))
            };
            for report in round.flows.iter_mut().filter(slow).flat_map(|flow| &mut flow.steps) {
                if report.step == Step::Token {
                    let wait = Duration::from_secs(3);
                    report.timeline = Timeline::default().then(Phase::Wait, wait);
                }
            }
            let rung = |(reach, seconds): &(Reach, f64)| Rung { reach: *reach, seconds: *seconds };
            let of_route = |(name, rungs): &(&str, &[(Reach, f64)])| {
                let value = Outcome::Measured(rungs.iter().map(rung).collect());
                OfRoute { route: sample::route(name), value }
            };
            let found = Outcome::Measured(ladders.iter().map(of_route).collect());
            let at = Some(sample::started());
            round.checks.latency = Checked { at, requests: 2, found };
        });
        let findings = judge(&round, &Earlier::default()).findings;
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!(finding.finding, FindingName::TokenEndpointSlow);
        (finding.summary.clone(), finding.alternatives.clone())
    }

    #[test]
    fn the_first_slow_rung_names_the_part() {
        let ladder = |quick: usize| {
            [Reach::Challenge, Reach::Signing, Reach::Database, Reach::Credential]
                .into_iter()
                .enumerate()
                .map(|(number, reach)| (reach, if number < quick { 0.01 } else { 3.0 }))
                .collect::<Vec<_>>()
        };
        for (quick, words, alternatives) in [
            (0, "core waits", vec![FindingName::RedisUnavailable]),
            (1, "needs no database", vec![]),
            (2, "is the database", vec![FindingName::DatabaseUnavailable]),
            (3, "is the account", vec![FindingName::DatabaseUnavailable]),
        ] {
            let (summary, others) = judged(&[("b", &ladder(quick))]);
            assert!(summary.contains(words), "{summary}");
            assert_eq!(others, alternatives, "{summary}");
        }
        // The balancer's route has no ladder of its own and is slow for what its backends are.
        let (summary, _) = judged(&[("b", &ladder(2)), ("lb", &[])]);
        assert!(summary.ends_with("is the database."), "{summary}");
        // Nothing climbed, or each slow for another part.
        for ladders in [vec![("b", [].as_slice())], vec![("a", &ladder(1)), ("b", &ladder(2))]] {
            let (summary, _) = judged(&ladders);
            assert!(summary.ends_with("docker waits 15 s."), "{summary}");
        }
    }
}
