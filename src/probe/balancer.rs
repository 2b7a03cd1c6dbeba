//! Sampling through the load balancer: independent pairs, and flows as each kind of client makes
//! them. The two are never mixed in one figure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use super::client::Client;
use super::client_flow::{self, Manner, SharedTag};
use super::endpoint::{self, Endpoint};
use super::flow;
use super::matrix;
use super::request::Response;
use super::sample::{End, Felt, Sample};
use super::token;
use crate::model::{
    Answer, BalancerRun, Challenge, ClientKind, ClientRun, Failure, Family, Flow, KeyCount, KeyId,
    Outcome, Ratio, Reason, Route, SampledFlow, Skipped, Step,
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

/// What is still to be sampled, for all lanes, and how many samples the end of the round cut off.
struct Queue {
    next: Mutex<VecDeque<Next>>,
    cut: Mutex<u32>,
    known: SharedTag,
}

impl Queue {
    fn new(plan: Vec<Next>) -> Self {
        Self { next: Mutex::new(plan.into()), cut: Mutex::new(0), known: SharedTag::default() }
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
    let endpoint = match endpoint::endpoint(client, &Route::Balancer, challenge) {
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

/// Takes a number of pairs, and the client-like flows that belong to them, in a number of lanes,
/// and in more once a request was not answered: those that wait must not keep the rest from being
/// asked. Also says how many flows the end of the round cut off.
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
    Client(Manner),
}

/// Requests of a client-like flow: challenge, token and access; with a pull, two more.
fn requests(manner: Manner) -> usize {
    if manner.pulls { 5 } else { 3 }
}

/// Pairs with their dummies, client-like flows spread between: one of each manner around every fourth
/// pair, and every second of each with a pull. No flow follows another: docker's ends at the node
/// that fails it, and strict round robin would lead the next one past that node each time. Both come
/// before three losses in a row can end the sampling.
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
        let with_flows = pair % PAIRS_PER_CLIENT_FLOW == 0;
        let pulls = (pair / PAIRS_PER_CLIENT_FLOW).is_multiple_of(2);
        if with_flows {
            let manner = Manner { keeps: true, pulls };
            plan.push(Next::Client(manner));
            position = (position + requests(manner)) % positions;
        }
        let deck = &mut decks[position];
        if deck.is_empty() {
            deck.extend(0..positions);
            deck.shuffle(&mut random);
        }
        let dummies = deck.pop().unwrap_or(0);
        plan.push(Next::Pair { dummies });
        position = (position + dummies + 2) % positions;
        if with_flows {
            let manner = Manner { keeps: false, pulls };
            plan.push(Next::Client(manner));
            position = (position + requests(manner)) % positions;
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
            Next::Client(manner) => {
                let flow = client_flow::client_flow(client, family, &queue.known, manner);
                flow::boxed(flow).await
            }
        };
        losses = if sample.is_lost() { losses + 1 } else { 0 };
        // The end of the time, or a limit of this host, is no failure of a server.
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
    let mut sample = Sample { distant: dummies > 0, ..Sample::new(SampledFlow::Pair) };
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

/// Whether a challenge sends clients where no credentials may go.
fn is_foreign(client: &Client<'_>, challenge: &Challenge) -> bool {
    let endpoint = endpoint::endpoint(client, &Route::Balancer, challenge);
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

fn add(felt: &[Felt], runs: &mut Vec<ClientRun>) {
    for felt in felt {
        felt.add_to(runs);
    }
}

fn sum(samples: &[Sample]) -> BalancerRun {
    let (mut run, mut torn) = (BalancerRun::default(), Ratio::default());
    let mut torn_felt: Vec<Felt> = Vec::new();
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
        if sample.flow == SampledFlow::Pair {
            let passed = matches!(sample.end, End::Answered { refusal: None, .. });
            let all = if sample.distant { &mut run.distant_pairs } else { &mut run.adjacent_pairs };
            *all = all.and(Ratio { events: u32::from(!passed), trials: 1 });
        }
        match &sample.end {
            End::Answered { refusal, key, certificate, realms } => {
                run.foreign_realms.events += realms.events;
                run.foreign_realms.trials += realms.trials;
                let one = Ratio { events: u32::from(refusal.is_some()), trials: 1 };
                match sample.flow {
                    SampledFlow::Pair => run.pairs = run.pairs.and(one),
                    SampledFlow::Client => run.client_flows = run.client_flows.and(one),
                }
                if run.first_refusal.is_none() {
                    run.first_refusal = refusal.as_deref().cloned();
                }
                if let Some(key) = key {
                    *keys.entry(key.clone()).or_default() += 1;
                }
                if let Some(certificate) = certificate {
                    *certificates.entry(certificate.clone()).or_default() += 1;
                }
                add(&sample.felt, &mut run.clients);
            }
            End::Torn { refused } => {
                torn.trials += 1;
                torn.events += u32::from(*refused);
                torn_felt.extend(&sample.felt);
            }
            End::Lost => add(&sample.felt, &mut run.clients),
        }
    }
    // Where no flow keeps its connection, the balancer ends them, and a client's as well.
    let kept = |run: &ClientRun| run.client != ClientKind::Docker && run.logins.trials > run.lost;
    if !run.clients.iter().any(kept) {
        run.client_flows.trials += torn.trials;
        run.client_flows.events += torn.events;
        add(&torn_felt, &mut run.clients);
    }
    run.clients.sort_by_key(|run| run.client);
    run.keys = keys.into_iter().map(|(key, tokens)| KeyCount { key, tokens }).collect();
    run.keys.sort_by_key(|count| std::cmp::Reverse(count.tokens));
    run.certificates = certificates.into_iter().collect();
    run.certificates.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flow of clients that keep their connection.
    fn of(end: End, refused: bool) -> Sample {
        let felt = [ClientKind::Podman, ClientKind::Containerd]
            .map(|kind| Felt { logged_in: !refused, ..Felt::of(kind) })
            .into();
        Sample { felt, end, ..Sample::new(SampledFlow::Client) }
    }

    #[test]
    fn torn_flows_count_only_where_no_flow_keeps_its_connection() {
        let kept = |refused: bool| {
            let refusal = refused.then(Box::default);
            let (key, certificate, realms) = (None, None, Ratio::default());
            of(End::Answered { refusal, key, certificate, realms }, refused)
        };
        let torn = |refused| of(End::Torn { refused }, refused);
        for (samples, trials, events) in [
            (vec![kept(false), torn(true), kept(true)], 2, 1),
            (vec![torn(true), torn(false), torn(true)], 3, 2),
            (vec![], 0, 0),
        ] {
            let run = sum(&samples);
            assert_eq!(run.client_flows, Ratio { events, trials });
            let kinds: Vec<_> = run.clients.iter().map(|run| run.client).collect();
            let all = [ClientKind::Podman, ClientKind::Containerd];
            assert_eq!(kinds, if trials > 0 { &all[..] } else { &[] });
            for client in run.clients {
                assert_eq!(client.logins, Ratio { events, trials });
            }
        }
    }

    #[test]
    fn no_flow_of_a_client_follows_another() {
        let plan = plan(3, 20, 7);
        let of_clients = |next: &Next| matches!(next, Next::Client(_));
        assert_eq!(plan.iter().filter(|next| of_clients(next)).count(), 10);
        assert!(!plan.windows(2).any(|two| two.iter().all(of_clients)));
        // Three losses in a row end a lane.
        let first = plan.iter().take(3).filter(|next| of_clients(next)).count();
        assert_eq!(first, 2, "each manner comes in time");
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
                Next::Client(manner) => at += requests(*manner),
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
