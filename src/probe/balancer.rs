//! Sampling through the load balancer: independent pairs, and flows as a docker client makes
//! them. The two are never mixed in one figure.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use super::ask::{Asked, Asker};
use super::flow;
use super::matrix;
use super::token::{self, Endpoint};
use crate::model::{
    BalancerRun, Challenge, Failure, Family, Flow, KeyCount, KeyId, Outcome, Phase, Ratio, Reason,
    Route, Skipped, Step,
};

/// Pairs for each client-like flow.
const PAIRS_PER_CLIENT_FLOW: u32 = 4;

/// At most so many challenges stand between token and access.
const MAX_DUMMIES: usize = 8;

/// A far balancer is asked in so many lanes at once, so that the sampling ends within the round.
const FAR_LANES: usize = 4;

/// From this time for one flow on, a balancer is far.
const FAR: Duration = Duration::from_millis(300);

/// So many losses in a row end a lane: the balancer is down or limits us, and more requests would
/// only add to its trouble.
const MAX_LOSSES: u32 = 3;

/// One sample's result.
enum Sample {
    Pair {
        refused: bool,
        key: Option<KeyId>,
        certificate: Option<String>,
        realms: Ratio,
    },
    Client {
        refused: bool,
    },
    /// A client-like flow whose connection changed without a word of the server: perhaps no
    /// client's flow, and through a balancer another node's.
    Torn {
        refused: bool,
    },
    Lost(Failure),
}

/// Samples the balancer, if its own flow showed a way to a token at all.
pub(super) async fn sample(asker: &Asker<'_>, lb: &Flow) -> Outcome<BalancerRun> {
    let pairs = asker.registry.balancer.samples;
    if pairs == 0 {
        return Outcome::Skipped(Skipped::Disabled);
    }
    if asker.holds(&Route::Balancer) {
        return Outcome::Skipped(Skipped::BackingOff);
    }
    let challenge = match &lb.challenge {
        Outcome::Measured(challenge) => challenge,
        Outcome::Failed(failure) => return Outcome::Failed(failure.clone()),
        Outcome::Skipped(reason) => return Outcome::Skipped(*reason),
    };
    let family = matrix::family(lb);
    let endpoint = match token::endpoint(asker, &Route::Balancer, challenge) {
        Ok(endpoint) => endpoint,
        Err(failure) => return Outcome::Failed(failure),
    };
    let anonymous = lb.token.measured().is_some_and(crate::model::TokenFacts::is_anonymous);
    if anonymous && family == Family::Harbor2 && asker.registry.credentials.is_none() {
        return Outcome::Skipped(Skipped::NoCredentials);
    }
    // A credential that is refused makes every sample wait for Harbor's 1.5 s and tells nothing.
    if let Some((Step::Token, failure)) = lb.failure()
        && matches!(failure.reason, Reason::Unauthorized | Reason::AnonymousToken)
    {
        return Outcome::Failed(failure.clone());
    }
    let lanes = if lb.seconds() > FAR.as_secs_f64() { FAR_LANES } else { 1 };
    let mut plans = vec![Vec::new(); lanes];
    for (index, plan) in plan(asker.backends.len(), pairs, asker.seed).into_iter().enumerate() {
        plans[index % lanes].push(plan);
    }
    let lanes = plans.into_iter().map(|plan| flow::boxed(lane(asker, &endpoint, family, plan)));
    Outcome::Measured(sum(join_all(lanes).await.into_iter().flatten()))
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
    asker: &Asker<'_>,
    endpoint: &Endpoint,
    family: Family,
    plan: Vec<Next>,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut losses = 0;
    for next in plan {
        if asker.is_over() || asker.holds(&Route::Balancer) || losses >= MAX_LOSSES {
            break;
        }
        let sample = match next {
            Next::Pair { dummies } => pair(asker, endpoint, family, dummies).await,
            Next::Client => client(asker, family).await,
        };
        losses = if matches!(sample, Sample::Lost(_)) { losses + 1 } else { 0 };
        // Time's end is nobody's failure.
        if matches!(&sample, Sample::Lost(_)) && asker.is_over() {
            break;
        }
        samples.push(sample);
    }
    samples
}

async fn pair(asker: &Asker<'_>, endpoint: &Endpoint, family: Family, dummies: usize) -> Sample {
    let route = &Route::Balancer;
    let mut link = endpoint.link(asker);
    let (asked, token) = token::token(asker, link.as_mut(), endpoint, family).await;
    let token = match token {
        Ok(token) => token,
        Err(unusable) => return Sample::Lost(unusable.failure),
    };
    let certificate = asked.exchange.certificate.map(|peer| peer.fingerprint());
    let mut realms = Ratio::default();
    for _ in 0..dummies {
        let mut link = asker.link(route);
        let (_, challenge) = flow::challenge(asker, link.as_mut(), route).await;
        realms.trials += u32::from(challenge.is_ok());
        realms.events += u32::from(challenge.is_ok_and(|c| is_foreign(asker, &c)));
    }
    let mut link = asker.link(route);
    let (_, failure) =
        flow::access(asker, link.as_mut(), route, Step::Access, "/v2/", &token).await;
    match refused(failure) {
        Ok(refused) => Sample::Pair { refused, key: token.facts.kid.clone(), certificate, realms },
        Err(failure) => Sample::Lost(failure),
    }
}

async fn client(asker: &Asker<'_>, family: Family) -> Sample {
    let route = &Route::Balancer;
    let mut link = asker.link(route);
    let (first, challenge) = flow::challenge(asker, link.as_mut(), route).await;
    // A client goes where this very challenge sends it, not where the first one did.
    let endpoint = match challenge.and_then(|c| token::endpoint(asker, route, &c)) {
        Ok(endpoint) => endpoint,
        Err(failure) => return Sample::Lost(failure),
    };
    let endpoint = &endpoint;
    let mut on_link = vec![first];
    let token = match &endpoint.issuer {
        crate::model::Issuer::Route(_) => {
            let (asked, token) = token::token(asker, link.as_mut(), endpoint, family).await;
            on_link.push(asked);
            token
        }
        crate::model::Issuer::Server(_) => {
            let mut server = endpoint.link(asker);
            token::token(asker, server.as_mut(), endpoint, family).await.1
        }
    };
    let token = match token {
        Ok(token) => token,
        Err(unusable) => return Sample::Lost(unusable.failure),
    };
    let (last, failure) =
        flow::access(asker, link.as_mut(), route, Step::Access, "/v2/", &token).await;
    on_link.push(last);
    match refused(failure) {
        Ok(refused) if is_torn(&on_link) => Sample::Torn { refused },
        Ok(refused) => Sample::Client { refused },
        Err(failure) => Sample::Lost(failure),
    }
}

/// Whether a later request of a link went over a connection of its own, which the answer before had
/// not announced: the pool had not yet taken the first one back.
fn is_torn(on_link: &[Asked]) -> bool {
    let closes = |asked: &Asked| {
        let header = asked.reply().and_then(|reply| reply.headers.get(http::header::CONNECTION));
        let said = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
        said.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"))
    };
    let anew = |asked: &Asked| asked.timeline().phase(Phase::Connect).is_some();
    on_link.windows(2).any(|two| matches!(two, [before, after] if anew(after) && !closes(before)))
}

/// Whether a challenge sends clients where no credentials may go.
fn is_foreign(asker: &Asker<'_>, challenge: &Challenge) -> bool {
    let endpoint = token::endpoint(asker, &Route::Balancer, challenge);
    endpoint.is_err_and(|failure| failure.reason == Reason::RealmNotAllowed)
}

fn refused(failure: Option<Failure>) -> Result<bool, Failure> {
    match failure {
        None => Ok(false),
        Some(failure) if failure.reason == Reason::Unauthorized => Ok(true),
        Some(failure) => Err(failure),
    }
}

fn sum(samples: impl Iterator<Item = Sample>) -> BalancerRun {
    let (mut run, mut torn) = (BalancerRun::default(), Ratio::default());
    let mut keys: BTreeMap<KeyId, u32> = BTreeMap::new();
    let mut certificates: BTreeMap<String, u32> = BTreeMap::new();
    for sample in samples {
        match sample {
            Sample::Pair { refused, key, certificate, realms } => {
                run.foreign_realms.events += realms.events;
                run.foreign_realms.trials += realms.trials;
                run.pairs.trials += 1;
                run.pairs.events += u32::from(refused);
                if let Some(key) = key {
                    *keys.entry(key).or_default() += 1;
                }
                if let Some(certificate) = certificate {
                    *certificates.entry(certificate).or_default() += 1;
                }
            }
            Sample::Client { refused } => {
                run.client_flows.trials += 1;
                run.client_flows.events += u32::from(refused);
            }
            Sample::Torn { refused } => {
                torn.trials += 1;
                torn.events += u32::from(refused);
            }
            Sample::Lost(failure) => {
                run.lost += 1;
                run.first_loss.get_or_insert(failure);
            }
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
        let (kept, torn) =
            (|refused| Sample::Client { refused }, |refused| Sample::Torn { refused });
        for (samples, trials, events) in [
            (vec![kept(false), torn(true), kept(true)], 2, 1),
            (vec![torn(true), torn(false), torn(true)], 3, 2),
            (vec![], 0, 0),
        ] {
            assert_eq!(sum(samples.into_iter()).client_flows, Ratio { events, trials });
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
