//! Where does the public name lead? Every configured resolver is asked, and every address that is
//! no backend by itself must answer as a backend does.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use futures_util::future::join_all;
use http::Method;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::super::ask::{Ask, Asked, Asker, Auth, Line, TRY_AGAIN_AFTER};
use super::super::flow;
use crate::config::HostPort;
use crate::model::{
    BackendName, Check, DnsAddress, DnsAnswer, DnsReport, DnsSeen, Failure, Outcome, Route, Skipped,
};
use crate::registry;

/// More addresses are not asked.
const MAX_ADDRESSES: usize = 16;

pub(super) async fn look(asker: &Asker<'_>) -> Outcome<DnsReport> {
    let HostPort { host, port } = &asker.registry.url.authority().host_port;
    if host.parse::<IpAddr>().is_ok() {
        return Outcome::Skipped(Skipped::NotApplicable);
    }
    let resolvers = asker.registry.checks.dns_resolvers.iter().copied().map(Some);
    let answers = [None].into_iter().chain(resolvers).map(|resolver| async move {
        let records = match asker.lookup(host, resolver, Check::Dns).await {
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
        let backend = backend_at(asker, address, *port);
        flow::boxed(async move {
            let seen = if alone || backend.is_some() {
                Outcome::Skipped(Skipped::NotSampled)
            } else {
                seen(asker, SocketAddr::new(address, *port)).await
            };
            DnsAddress { address, backend, seen }
        })
    });
    let addresses = join_all(addresses).await;
    Outcome::Measured(DnsReport { host: host.clone(), answers, addresses })
}

fn backend_at(asker: &Asker<'_>, address: IpAddr, port: u16) -> Option<BackendName> {
    let here = |at: &HostPort| at.port == port && at.host.parse() == Ok(address);
    asker.backends.iter().find(|backend| here(&backend.address)).map(|b| b.name.clone())
}

/// Asked twice before it counts as silent.
async fn seen(asker: &Asker<'_>, at: SocketAddr) -> Outcome<DnsSeen> {
    match challenge(asker, at).await {
        Err(failure) if failure.reason.is_network() && !asker.is_over() => {
            asker.sleep_until(Instant::now() + TRY_AGAIN_AFTER).await;
            challenge(asker, at).await.map_or_else(Outcome::Failed, Outcome::Measured)
        }
        first => first.map_or_else(Outcome::Failed, Outcome::Measured),
    }
}

async fn challenge(asker: &Asker<'_>, at: SocketAddr) -> Result<DnsSeen, Failure> {
    let mut link = asker.link_at(at);
    let asked = get(asker, link.as_mut(), "/v2/").await;
    let answer = flow::outcome(&asked)?;
    let Some(challenge) = answer.challenge.clone().filter(|_| answer.status == 401) else {
        return Err(flow::unexpected(answer, "401 with a challenge"));
    };
    // Harbor gives anybody a token for a scope that nobody has, without asking its database.
    let key = if challenge.service.as_deref() == Some("harbor-registry") {
        let path = "/service/token?service=harbor-registry&scope=x:y:z";
        let asked = get(asker, link.as_mut(), path).await;
        asked.raw().filter(|reply| reply.status == 200).and_then(|reply| {
            let response = registry::read_token_response(&reply.body).ok()?;
            let hide = |text: &str| asker.redactor.changed(text);
            registry::read_token_hiding(response.token.expose_secret(), None, &hide).ok()?.kid
        })
    } else {
        None
    };
    Ok(DnsSeen { realm: challenge.realm, service: challenge.service, key })
}

/// Without credentials: nobody knows yet who answers there.
async fn get(asker: &Asker<'_>, link: &mut Line, path: &'static str) -> Asked {
    asker.ask(link, &Route::Balancer, Ask::of(Check::Dns, Method::GET, path, Auth::None)).await
}
