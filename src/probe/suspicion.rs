//! Questions that only a refusal raises: does an address hide replicas, does a token of an
//! earlier round still pass, does a node that gave no token know the repository.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::client::Client;
use super::flow;
use super::matrix::Row;
use super::path::Path;
use super::request::Token;
use super::token;
use crate::model::{
    BackendName, BalancerRun, Flow, ForeignToken, HeldToken, Issuer, KeyCensus, KeyCount, KeyId,
    Matrix, Outcome, Route, Skipped, Step,
};

/// Tokens that a census counts: two replicas with equal shares stay unseen once in 256.
const CENSUS_TOKENS: u32 = 9;

/// Above this many backends under suspicion the cause is a common one, and counting would cost
/// more than it tells.
const MAX_SUSPECTS: usize = 12;

/// A held token with less left to live is replaced before it could expire in hand.
const LEAST_LEFT_SECONDS: f64 = 90.0;

/// Counts the signing keys of every backend that takes part in a refusal.
pub(super) async fn key_census(
    client: &Client<'_>,
    rows: &[Row],
    matrix: &Matrix,
) -> Vec<KeyCensus> {
    let mut suspects: Vec<&BackendName> = matrix
        .refused()
        .flat_map(|(cell, _)| [cell.issuer.backend(), cell.verifier.backend()])
        .flatten()
        .collect();
    suspects.sort();
    suspects.dedup();
    count_all(client, rows, &suspects).await
}

/// Counts the signing keys of every backend that was not counted yet, where the balancer handed out
/// a key that none of them showed: a replica behind one of their addresses may have it.
pub(super) async fn key_census_of_strangers(
    client: &Client<'_>,
    rows: &[Row],
    (flows, sampled): (&[Flow], &Outcome<BalancerRun>),
    counted: &mut Vec<KeyCensus>,
) {
    let of_flows = flows.iter().filter(|flow| flow.route.backend().is_some());
    let of_flows = of_flows.filter_map(|flow| flow.token.measured()?.kid.as_ref());
    let of_census = counted.iter().flat_map(|census| &census.keys).map(|count| &count.key);
    let known: Vec<&KeyId> = of_flows.chain(of_census).collect();
    let seen = sampled.measured().map_or(&[][..], |run| run.keys.as_slice());
    if known.is_empty() || seen.iter().all(|count| known.contains(&&count.key)) {
        return;
    }
    let left = client.backends.iter().map(|backend| &backend.name);
    let left: Vec<&BackendName> =
        left.filter(|name| !counted.iter().any(|census| census.backend == **name)).collect();
    counted.extend(count_all(client, rows, &left).await);
}

async fn count_all(client: &Client<'_>, rows: &[Row], suspects: &[&BackendName]) -> Vec<KeyCensus> {
    if suspects.len() > MAX_SUSPECTS {
        return Vec::new();
    }
    let rows =
        rows.iter().filter(|row| row.issuer.backend().is_some_and(|b| suspects.contains(&b)));
    let counts = join_all(rows.map(|row| flow::boxed(count(client, row)))).await;
    counts.into_iter().flatten().collect()
}

async fn count(client: &Client<'_>, row: &Row) -> Option<KeyCensus> {
    let backend = row.issuer.backend()?.clone();
    let (endpoint, family) = row.source.as_ref().ok()?;
    let mut keys: BTreeMap<KeyId, u32> = BTreeMap::new();
    for _ in 0..CENSUS_TOKENS {
        if client.is_over() {
            break;
        }
        let mut link = endpoint.link(client);
        let (_, token) = token::token(client, link.as_mut(), endpoint, *family).await;
        if let Some(key) = token.ok().and_then(|token| token.facts.kid) {
            *keys.entry(key).or_default() += 1;
        }
    }
    let mut keys: Vec<KeyCount> =
        keys.into_iter().map(|(key, tokens)| KeyCount { key, tokens }).collect();
    keys.sort_by_key(|count| std::cmp::Reverse(count.tokens));
    Some(KeyCensus { backend, keys })
}

/// Shows a good backend's token to the repository of every backend that gave none.
pub(super) async fn foreign_tokens(
    client: &Client<'_>,
    rows: &[Row],
    flows: &[Flow],
) -> Vec<ForeignToken> {
    let Some(scope) = &client.registry.scope else { return Vec::new() };
    let without: Vec<&Route> = flows
        .iter()
        .filter(|flow| flow.route.backend().is_some() && flow.passed(Step::Token) == Some(false))
        .map(|flow| &flow.route)
        .collect();
    let source = rows.iter().find(|row| row.source.is_ok() && row.issuer.backend().is_some());
    let (Some(source), false) = (source, without.is_empty()) else { return Vec::new() };
    let Ok((endpoint, family)) = &source.source else { return Vec::new() };
    let mut link = endpoint.link(client);
    let (_, token) = token::token(client, link.as_mut(), endpoint, *family).await;
    let Ok(token) = token else { return Vec::new() };
    let path = Path::of(&scope.repository).then("/tags/list");
    let mut shown = Vec::new();
    for route in without {
        let Some(backend) = route.backend().cloned() else { continue };
        let mut link = client.link(route);
        let (response, failure) =
            flow::access(client, link.as_mut(), route, Step::Repository, path.clone(), &token)
                .await;
        let answer = match (response.answer, failure) {
            (Some(answer), _) => Outcome::Measured(answer),
            (None, Some(failure)) => Outcome::Failed(failure),
            (None, None) => Outcome::Skipped(Skipped::DeadlineReached),
        };
        shown.push(ForeignToken { backend, issuer: source.issuer.clone(), answer });
    }
    shown
}

/// Tokens held from round to round, one for each backend. Never written anywhere.
pub(super) type HeldTokens = BTreeMap<BackendName, Token>;

/// Shows every held token to its issuer, and takes fresh ones where one was refused, is near its
/// end, or is missing.
pub(super) async fn held_tokens(
    client: &Client<'_>,
    held: &mut HeldTokens,
    tokens: Vec<Option<Token>>,
) -> Vec<HeldToken> {
    held.retain(|name, _| client.backends.iter().any(|backend| backend.name == *name));
    let shows = held.values().map(|token| flow::boxed(show(client, token)));
    let shown: Vec<HeldToken> = join_all(shows).await.into_iter().flatten().collect();
    for token in &shown {
        let refused = token.accepted == Outcome::Measured(false);
        if refused || token.left_seconds < LEAST_LEFT_SECONDS {
            held.remove(&token.backend);
        }
    }
    for token in tokens.into_iter().flatten() {
        if let Some(backend) = token.issuer.backend().cloned() {
            held.entry(backend).or_insert(token);
        }
    }
    shown
}

async fn show(client: &Client<'_>, token: &Token) -> Option<HeldToken> {
    let Issuer::Route(route) = &token.issuer else { return None };
    let backend = route.backend()?.clone();
    let age_seconds = token.received.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a lifetime is far below 2^52 seconds")]
    let lifetime = token.facts.lifetime()? as f64;
    let mut link = client.link(route);
    let (response, failure) =
        flow::access(client, link.as_mut(), route, Step::Access, "/v2/", token).await;
    let accepted = match (failure, response.answer.map(|answer| answer.status)) {
        (None, _) => Outcome::Measured(true),
        (Some(_), Some(401 | 403)) => Outcome::Measured(false),
        (Some(failure), _) => Outcome::Failed(failure),
    };
    let left_seconds = lifetime - age_seconds;
    Some(HeldToken { backend, key: token.facts.kid.clone(), age_seconds, left_seconds, accepted })
}
