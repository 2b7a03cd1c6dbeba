//! Where does the public name lead? Every configured resolver is asked, and every address that is
//! no backend by itself must answer as a backend does.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use futures_util::future::join_all;
use http::Method;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::super::answer::{outcome, unexpected};
use super::super::client::{Client, Connection, TRY_AGAIN_AFTER};
use super::super::flow;
use super::super::request::{Auth, Request, Response};
use crate::config::HostPort;
use crate::model::{
    BackendName, Check, DnsAddress, DnsAnswer, DnsReport, DnsSeen, Failure, Outcome, Route, Skipped,
};
use crate::registry;

/// More addresses are not asked.
const MAX_ADDRESSES: usize = 16;

pub(super) async fn look(client: &Client<'_>) -> Outcome<DnsReport> {
    let HostPort { host, port } = &client.registry.url.authority().host_port;
    if host.parse::<IpAddr>().is_ok() {
        return Outcome::Skipped(Skipped::NotApplicable);
    }
    let resolvers = client.registry.checks.dns_resolvers.iter().copied().map(Some);
    let answers = [None].into_iter().chain(resolvers).map(|resolver| async move {
        let records = match client.lookup(host, resolver, Check::Dns).await {
            Ok(records) => Outcome::Measured(records),
            Err(failure) => Outcome::Failed(failure),
        };
        let resolver = resolver.map_or_else(|| "system".to_owned(), |at| at.to_string());
        DnsAnswer { resolver, records }
    });
    let answers = join_all(answers).await;
    let distinct: BTreeSet<IpAddr> = answers
        .iter()
        .filter_map(|answer| answer.records.measured())
        .flatten()
        .map(|record| record.address.to_canonical())
        .collect();
    // The flows through the load balancer already go to an only address.
    let alone = distinct.len() == 1;
    let addresses = distinct.into_iter().take(MAX_ADDRESSES).map(|address| {
        let backend = backend_at(client, address, *port);
        flow::boxed(async move {
            let seen = if alone || backend.is_some() {
                Outcome::Skipped(Skipped::NotNeeded)
            } else {
                seen(client, SocketAddr::new(address, *port)).await
            };
            DnsAddress { address, backend, seen }
        })
    });
    let addresses = join_all(addresses).await;
    Outcome::Measured(DnsReport { host: host.clone(), answers, addresses })
}

fn backend_at(client: &Client<'_>, address: IpAddr, port: u16) -> Option<BackendName> {
    let here = |at: &HostPort| at.port == port && at.host.parse() == Ok(address);
    client.backends.iter().find(|backend| here(&backend.address)).map(|b| b.name.clone())
}

/// Asked twice before it counts as silent.
async fn seen(client: &Client<'_>, at: SocketAddr) -> Outcome<DnsSeen> {
    match challenge(client, at).await {
        Err(failure) if failure.reason.is_network() && !client.is_over() => {
            client.sleep_until(Instant::now() + TRY_AGAIN_AFTER).await;
            challenge(client, at).await.map_or_else(Outcome::Failed, Outcome::Measured)
        }
        first => first.map_or_else(Outcome::Failed, Outcome::Measured),
    }
}

async fn challenge(client: &Client<'_>, at: SocketAddr) -> Result<DnsSeen, Failure> {
    let mut link = client.link_at(at);
    let response = get(client, link.as_mut(), "/v2/").await;
    let answer = outcome(&response)?;
    let Some(challenge) = answer.challenge.clone().filter(|_| answer.status == 401) else {
        return Err(unexpected(answer, "401 with a challenge"));
    };
    // Harbor gives anyone a token for a scope that no one has, without asking its database.
    let key = if challenge.service.as_deref() == Some("harbor-registry") {
        let path = "/service/token?service=harbor-registry&scope=x:y:z";
        let response = get(client, link.as_mut(), path).await;
        response.raw().filter(|reply| reply.status == 200).and_then(|reply| {
            let given = registry::read_token_response(&reply.body).ok()?;
            let hide = |text: &str| client.redactor.changed(text);
            registry::read_token_hiding(given.token.expose_secret(), None, &hide).ok()?.kid
        })
    } else {
        None
    };
    Ok(DnsSeen { realm: challenge.realm, service: challenge.service, key })
}

/// Without credentials: it is not known yet who answers there.
async fn get(client: &Client<'_>, link: &mut Connection, path: &'static str) -> Response {
    client
        .send(link, &Route::Balancer, Request::of(Check::Dns, Method::GET, path, Auth::None))
        .await
}
