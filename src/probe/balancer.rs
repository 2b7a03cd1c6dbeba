//! Sampling through the load balancer: independent pairs, and flows as a docker client makes
//! them. The two are never mixed in one figure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use super::client::Client;
use super::flow;
use super::matrix;
use super::request::Response;
use super::token::{self, Endpoint};
use crate::model::{
    Answer, BalancerRun, Challenge, Failure, Family, Flow, KeyCount, KeyId, Outcome, Phase, Ratio,
    Reason, Route, SampledFlow, Skipped, Step,
};

/// Pairs for each client-like flow.
const PAIRS_PER_CLIENT_FLOW: u32 = 4;

/// The most challenges between token and access.
const MAX_DUMMIES: usize = 8;

/// Lanes in which a far balancer is asked at once, so that the sampling ends within the round.
const FAR_LANES: usize = 4;

/// Lanes once a request was not answered: each that is not answered then costs its lane alone.
const LANES_PAST_A_HANG: usize = 8;

/// From this time for one flow on, a balancer is far.
const FAR: Duration = Duration::from_millis(300);

/// This number of losses in a row ends a lane: the balancer is down or limits us, and more requests
/// would only add to its trouble.
const MAX_LOSSES: u32 = 3;

/// The number of lost requests that makes the sampling go on: one or two of a hundred may be
/// chance, and twice as many requests tell.
const WORTH_A_SECOND_LOOK: u32 = 2;

/// One sample's result, with what its requests met on the way.
struct Sample {
    flow: SampledFlow,
    /// The steps that were tried, each with how often.
    tried: Vec<(Step, u32)>,
    failures: Vec<Unexpected>,
    /// The token came from a cache.
    kept_token: bool,
    end: End,
}

/// A request of a sample that failed.
struct Unexpected {
    step: Step,
    failure: Failure,
    answer: Option<Answer>,
}

/// How a sample ended.
enum End {
    /// The token was shown, and accepted or refused.
    Answered {
        refusal: Option<Box<Answer>>,
        key: Option<KeyId>,
        certificate: Option<String>,
        realms: Ratio,
    },
    /// A client-like flow whose connection changed without a word of the server: perhaps no
    /// client's flow, and through a balancer another node's.
    Torn { refused: bool },
    /// A step failed otherwise.
    Lost,
}

impl Sample {
    fn new(flow: SampledFlow) -> Self {
        let (tried, failures) = (Vec::new(), Vec::new());
        Self { flow, tried, failures, kept_token: false, end: End::Lost }
    }

    fn step(&mut self, step: Step) {
        self.tried.push((step, 1));
    }

    fn fail(&mut self, step: Step, failure: Failure, answer: Option<Answer>) {
        self.failures.push(Unexpected { step, failure, answer });
    }

    fn ended(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    fn is_lost(&self) -> bool {
        matches!(self.end, End::Lost)
    }

    /// Whether something failed for reasons of the prober's own.
    fn is_own(&self) -> bool {
        self.failures.iter().any(|failed| failed.failure.reason.is_own())
    }

    /// Whether it was over before it ended.
    fn is_late(&self) -> bool {
        self.failures.iter().any(|failed| failed.failure.reason == Reason::DeadlineReached)
    }

    /// Whether a request got no answer in time.
    fn hung(&self) -> bool {
        self.failures.iter().any(|failed| failed.failure.reason == Reason::Timeout)
    }
}

/// What is still to be sampled, for all lanes, and how many samples the end of the round cut off.
struct Queue {
    next: Mutex<VecDeque<Next>>,
    cut: Mutex<u32>,
}

impl Queue {
    fn new(plan: Vec<Next>) -> Self {
        Self { next: Mutex::new(plan.into()), cut: Mutex::new(0) }
    }

    fn left(&self) -> MutexGuard<'_, VecDeque<Next>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) -> MutexGuard<'_, u32> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Samples the balancer. Where its own flow failed and a backend's did not, it is sampled all the
/// same: one flow through a balancer tells little of the next. `times` as many samples are
/// taken as are configured.
pub(super) async fn sample(
    client: &Client<'_>,
    flows: &[Flow],
    times: u32,
) -> Outcome<BalancerRun> {
    let pairs = client.registry.balancer.samples;
    let Some(lb) = flows.iter().find(|flow| flow.route == Route::Balancer) else {
        return Outcome::Skipped(Skipped::Disabled);
    };
    if pairs == 0 {
        return Outcome::Skipped(Skipped::Disabled);
    }
    if client.holds(&Route::Balancer) {
        return Outcome::Skipped(Skipped::BackingOff);
    }
    let by_backend = || flows.iter().find(|flow| flow.passed(Step::Token) == Some(true));
    let challenge = match (&lb.challenge, by_backend().and_then(|flow| flow.challenge.measured())) {
        (Outcome::Measured(challenge), _) | (_, Some(challenge)) => challenge,
        (Outcome::Failed(failure), None) => return Outcome::Failed(failure.clone()),
        (Outcome::Skipped(reason), None) => return Outcome::Skipped(*reason),
    };
    let endpoint = match token::endpoint(client, &Route::Balancer, challenge) {
        Ok(endpoint) => endpoint,
        Err(failure) => return Outcome::Failed(failure),
    };
    let family = match matrix::family(lb) {
        Family::Unknown => by_backend().map_or(Family::Unknown, matrix::family),
        family => family,
    };
    let anonymous = lb.token.measured().is_some_and(crate::model::TokenFacts::is_anonymous);
    if anonymous && family == Family::Harbor2 && client.registry.credentials.is_none() {
        return Outcome::Skipped(Skipped::NoCredentials);
    }
    // A credential that is refused makes every sample wait for Harbor's 1.5 s and tells nothing.
    if let Some((Step::Token, failure)) = lb.failure()
        && matches!(failure.reason, Reason::Unauthorized | Reason::AnonymousToken)
        && by_backend().is_none()
    {
        return Outcome::Failed(failure.clone());
    }
    let lanes = if lb.seconds() > FAR.as_secs_f64() { FAR_LANES } else { 1 };
    let batch = |pairs, seed| flow::boxed(batch(client, &endpoint, family, (lanes, pairs, seed)));
    let (mut samples, mut cut) = batch(pairs.saturating_mul(times), client.seed).await;
    let run = sum(&samples);
    if run.lost_on_the_way() >= WORTH_A_SECOND_LOOK && !client.is_over() {
        let more = batch(pairs, client.seed.rotate_left(17)).await;
        samples.extend(more.0);
        cut += more.1;
    }
    Outcome::Measured(BalancerRun { cut, ..sum(&samples) })
}

/// Takes a number of pairs, and the client-like flows that belong to them, in a number of lanes, and
/// in more once a request was not answered: those that wait must not keep the rest from being asked.
/// Also says how many flows the end of the round cut off.
async fn batch(
    client: &Client<'_>,
    endpoint: &Endpoint,
    family: Family,
    (lanes, pairs, seed): (usize, u32, u64),
) -> (Vec<Sample>, u32) {
    let queue = Queue::new(plan(client.backends.len(), pairs, seed));
    let mut samples = Vec::new();
    for (lanes, past_a_hang) in [(lanes, false), (LANES_PAST_A_HANG, true)] {
        let each =
            (0..lanes).map(|_| flow::boxed(lane(client, endpoint, family, (&queue, past_a_hang))));
        samples.extend(join_all(each).await.into_iter().flatten());
        if !samples.iter().any(Sample::hung) {
            break;
        }
    }
    let left = if client.is_over() { queue.left().len() } else { 0 };
    let cut = queue.cut().saturating_add(u32::try_from(left).unwrap_or(u32::MAX));
    (samples, cut)
}

/// What a lane does next.
#[derive(Clone, Copy)]
enum Next {
    Pair { dummies: usize },
    Client,
}

/// Pairs with their dummies, client-like flows spread between.
///
/// Strict round robin over n backends turns a fixed distance between token and access into all or
/// nothing. So the plan keeps count of where such a balancer would stand, and at each of its n
/// positions deals the distances 0 to n - 1 from a shuffled deck of that position: every pair of
/// issuer and verifier comes up equally often. To any other balancer the distances are random.
fn plan(backends: usize, pairs: u32, seed: u64) -> Vec<Next> {
    let positions = backends.clamp(2, MAX_DUMMIES);
    let mut random = SmallRng::seed_from_u64(seed);
    let mut decks: Vec<Vec<usize>> = vec![Vec::new(); positions];
    let mut position = 0;
    let mut plan = Vec::new();
    for pair in 0..pairs {
        let deck = &mut decks[position];
        if deck.is_empty() {
            deck.extend(0..positions);
            deck.shuffle(&mut random);
        }
        let dummies = deck.pop().unwrap_or(0);
        plan.push(Next::Pair { dummies });
        position = (position + dummies + 2) % positions;
        if pair % PAIRS_PER_CLIENT_FLOW == 0 {
            plan.push(Next::Client);
            position = (position + 3) % positions;
        }
    }
    plan
}

async fn lane(
    client: &Client<'_>,
    endpoint: &Endpoint,
    family: Family,
    (queue, past_a_hang): (&Queue, bool),
) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut losses = 0;
    while !client.is_over() && !client.holds(&Route::Balancer) && losses < MAX_LOSSES {
        let Some(next) = queue.left().pop_front() else { break };
        let sample = match next {
            Next::Pair { dummies } => pair(client, endpoint, family, dummies).await,
            Next::Client => client_flow(client, family).await,
        };
        losses = if sample.is_lost() { losses + 1 } else { 0 };
        // Time's end, or a limit of this host, is nobody's failure.
        if sample.is_own() || (sample.is_lost() && client.is_over()) {
            *queue.cut() += u32::from(sample.is_late() || client.is_over());
            break;
        }
        let hung = sample.hung();
        samples.push(sample);
        if hung && !past_a_hang {
            break;
        }
    }
    samples
}

async fn pair(client: &Client<'_>, endpoint: &Endpoint, family: Family, dummies: usize) -> Sample {
    let route = &Route::Balancer;
    let mut sample = Sample::new(SampledFlow::Pair);
    let mut link = endpoint.link(client);
    sample.step(Step::Token);
    let (response, token) = token::token(client, link.as_mut(), endpoint, family).await;
    let token = match token {
        Ok(token) => token,
        Err(unusable) => {
            sample.fail(Step::Token, unusable.failure, response.answer);
            return sample;
        }
    };
    sample.kept_token = response.answer.as_ref().is_some_and(|answer| answer.kept);
    let certificate = response.exchange.certificate.map(|peer| peer.fingerprint());
    let mut realms = Ratio::default();
    for _ in 0..dummies {
        let mut link = client.link(route);
        sample.step(Step::Challenge);
        match flow::challenge(client, link.as_mut(), route).await {
            (_, Ok(challenge)) => {
                realms.trials += 1;
                realms.events += u32::from(is_foreign(client, &challenge));
            }
            (response, Err(failure)) => sample.fail(Step::Challenge, failure, response.answer),
        }
    }
    let mut link = client.link(route);
    sample.step(Step::Access);
    let (response, failure) =
        flow::access(client, link.as_mut(), route, Step::Access, "/v2/", &token).await;
    let key = token.facts.kid.clone();
    match refusal(response, failure) {
        Ok(refusal) => sample.ended(End::Answered { refusal, key, certificate, realms }),
        Err(met) => {
            let Met { failure, answer } = *met;
            sample.fail(Step::Access, failure, answer);
            sample
        }
    }
}

async fn client_flow(client: &Client<'_>, family: Family) -> Sample {
    let route = &Route::Balancer;
    let mut sample = Sample::new(SampledFlow::Client);
    let mut link = client.link(route);
    sample.step(Step::Challenge);
    let (first, challenge) = flow::challenge(client, link.as_mut(), route).await;
    // A client goes where this very challenge sends it, not where the first one did.
    let endpoint = match challenge.and_then(|c| token::endpoint(client, route, &c)) {
        Ok(endpoint) => endpoint,
        Err(failure) => {
            sample.fail(Step::Challenge, failure, first.answer);
            return sample;
        }
    };
    let endpoint = &endpoint;
    sample.step(Step::Token);
    let on_route = matches!(endpoint.issuer, crate::model::Issuer::Route(_));
    let (second, token) = if on_route {
        token::token(client, link.as_mut(), endpoint, family).await
    } else {
        let mut server = endpoint.link(client);
        token::token(client, server.as_mut(), endpoint, family).await
    };
    let token = match token {
        Ok(token) => token,
        Err(unusable) => {
            sample.fail(Step::Token, unusable.failure, second.answer);
            return sample;
        }
    };
    sample.step(Step::Access);
    let (last, failure) =
        flow::access(client, link.as_mut(), route, Step::Access, "/v2/", &token).await;
    let torn =
        if on_route { is_torn(&[&first, &second, &last]) } else { is_torn(&[&first, &last]) };
    let (key, certificate, realms) = (None, None, Ratio::default());
    match refusal(last, failure) {
        Ok(refusal) if torn => sample.ended(End::Torn { refused: refusal.is_some() }),
        Ok(refusal) => sample.ended(End::Answered { refusal, key, certificate, realms }),
        Err(met) => {
            let Met { failure, answer } = *met;
            sample.fail(Step::Access, failure, answer);
            sample
        }
    }
}

/// Whether a later request of a link went over a connection of its own, which the answer before had
/// not announced: the pool had not yet taken the first one back.
fn is_torn(on_link: &[&Response]) -> bool {
    let closes = |response: &&Response| {
        let header = response.reply().and_then(|reply| reply.headers.get(http::header::CONNECTION));
        let said = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
        said.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"))
    };
    let anew = |response: &&Response| response.timeline().phase(Phase::Connect).is_some();
    on_link.windows(2).any(|two| matches!(two, [before, after] if anew(after) && !closes(before)))
}

/// Whether a challenge sends clients where no credentials may go.
fn is_foreign(client: &Client<'_>, challenge: &Challenge) -> bool {
    let endpoint = token::endpoint(client, &Route::Balancer, challenge);
    endpoint.is_err_and(|failure| failure.reason == Reason::RealmNotAllowed)
}

/// What was met in place of an answer about the token.
struct Met {
    failure: Failure,
    answer: Option<Answer>,
}

/// The answer that refused the token, none if it was accepted; else what was met instead.
fn refusal(response: Response, failure: Option<Failure>) -> Result<Option<Box<Answer>>, Box<Met>> {
    match failure {
        None => Ok(None),
        Some(failure) if failure.reason == Reason::Unauthorized => {
            Ok(Some(Box::new(response.answer.unwrap_or_default())))
        }
        Some(failure) => Err(Box::new(Met { failure, answer: response.answer })),
    }
}

fn sum(samples: &[Sample]) -> BalancerRun {
    let (mut run, mut torn) = (BalancerRun::default(), Ratio::default());
    let mut keys: BTreeMap<KeyId, u32> = BTreeMap::new();
    let mut certificates: BTreeMap<String, u32> = BTreeMap::new();
    for sample in samples {
        run.kept_tokens += u32::from(sample.kept_token);
        for (step, times) in &sample.tried {
            run.try_step(sample.flow, *step, *times);
        }
        for failed in &sample.failures {
            run.fail(sample.flow, failed.step, failed.failure.clone(), failed.answer.clone());
        }
        match &sample.end {
            End::Answered { refusal, key, certificate, realms } => {
                run.foreign_realms.events += realms.events;
                run.foreign_realms.trials += realms.trials;
                let ratio = match sample.flow {
                    SampledFlow::Pair => &mut run.pairs,
                    SampledFlow::Client => &mut run.client_flows,
                };
                ratio.trials += 1;
                ratio.events += u32::from(refusal.is_some());
                if run.first_refusal.is_none() {
                    run.first_refusal = refusal.as_deref().cloned();
                }
                if let Some(key) = key {
                    *keys.entry(key.clone()).or_default() += 1;
                }
                if let Some(certificate) = certificate {
                    *certificates.entry(certificate.clone()).or_default() += 1;
                }
            }
            End::Torn { refused } => {
                torn.trials += 1;
                torn.events += u32::from(*refused);
            }
            End::Lost => {}
        }
    }
    // Where no flow keeps its connection, the balancer ends them, and a client's as well.
    if run.client_flows.trials == 0 {
        run.client_flows = torn;
    }
    run.keys = keys.into_iter().map(|(key, tokens)| KeyCount { key, tokens }).collect();
    run.keys.sort_by_key(|count| std::cmp::Reverse(count.tokens));
    run.certificates = certificates.into_iter().collect();
    run.certificates.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_flows_count_only_where_no_flow_keeps_its_connection() {
        let of = |end| Sample { end, ..Sample::new(SampledFlow::Client) };
        let kept = |refused: bool| {
            let refusal = refused.then(Box::default);
            let (key, certificate, realms) = (None, None, Ratio::default());
            of(End::Answered { refusal, key, certificate, realms })
        };
        let torn = |refused| of(End::Torn { refused });
        for (samples, trials, events) in [
            (vec![kept(false), torn(true), kept(true)], 2, 1),
            (vec![torn(true), torn(false), torn(true)], 3, 2),
            (vec![], 0, 0),
        ] {
            assert_eq!(sum(&samples).client_flows, Ratio { events, trials });
        }
    }

    /// What strict round robin makes of a plan: how often each issuer meets each verifier.
    fn round_robin(backends: usize, plan: &[Next], start: usize) -> BTreeMap<(usize, usize), u32> {
        let (mut at, mut met) = (start, BTreeMap::new());
        for next in plan {
            match next {
                Next::Pair { dummies } => {
                    let pair = (at % backends, (at + dummies + 1) % backends);
                    *met.entry(pair).or_default() += 1;
                    at += dummies + 2;
                }
                Next::Client => at += 3,
            }
        }
        met
    }

    #[test]
    fn strict_round_robin_meets_every_pair_about_equally_often() {
        for backends in [2, 3, 5, 8] {
            let each = 20;
            let pairs = u32::try_from(backends * backends).unwrap() * each;
            for start in 0..backends {
                let met = round_robin(backends, &plan(backends, pairs, 7), start);
                assert_eq!(met.len(), backends * backends);
                let (least, most) = (met.values().min().unwrap(), met.values().max().unwrap());
                assert!(*least >= each / 2 && *most <= each * 2, "{backends}: {met:?}");
            }
        }
    }
}
