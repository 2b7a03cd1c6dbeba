//! Do the paths that clients meet first send them to the same token endpoint as `/v2/`? Some
//! clients, containerd among them, begin with the repository and follow its challenge; a proxy with
//! a rule for one path may rewrite `Host` or lead elsewhere only there. Anonymous: a request to a
//! repository gets the challenge before its existence is looked up
//! (captures/harbor-2.15.2/01-no-token.http,
//! captures/distribution-2.8.2/03-resource-no-token.http).
//!
//! Two requests to each route. The second asks where `/v2` leads; where the first named something
//! else than `/v2/` did in the flow, it asks `/v2/` once more instead.

use futures_util::future::join_all;
use http::Method;

use super::super::answer::{outcome, unexpected};
use super::super::client::{Client, Connection};
use super::super::path::Path;
use super::super::request::{Auth, Request, Response};
use super::super::{endpoint, flow};
use crate::config::Authority;
use crate::model::{
    Answer, AuthScheme, Challenge, Check, Failure, Flow, Named, OfRoute, Outcome, RedirectTarget,
    Skipped, UrlSaid,
};

/// Asked for where no scope is configured; no registry has it.
const NOBODYS: &str = "registry-prober/none";

pub(super) async fn look(client: &Client<'_>, flows: &[Flow]) -> Outcome<Vec<OfRoute<UrlSaid>>> {
    let repository = client.registry.scope.as_ref().map_or(NOBODYS, |scope| &scope.repository);
    let path = Path::of(repository).then("/tags/list");
    let routes = flows.iter().map(|flow| {
        let path = &path;
        flow::boxed(async move {
            OfRoute { route: flow.route.clone(), value: said(client, flow, path).await }
        })
    });
    Outcome::Measured(join_all(routes).await)
}

async fn said(client: &Client<'_>, own: &Flow, path: &Path) -> Outcome<UrlSaid> {
    let route = &own.route;
    let Some(base) = own.challenge.measured().and_then(|it| named(client, own, it)) else {
        return Outcome::Skipped(Skipped::EarlierStepFailed);
    };
    if client.holds(route) {
        return Outcome::Skipped(Skipped::BackingOff);
    }
    let mut link = client.link(route);
    let repository = challenge(client, link.as_mut(), own, path.clone()).await;
    let said = UrlSaid { base, repository, slash: Outcome::Skipped(Skipped::NotThisRound) };
    if client.is_over() || client.holds(route) {
        return Outcome::Measured(said);
    }
    if said.other().is_none() {
        let slash = slash(client, link.as_mut(), own).await;
        return Outcome::Measured(UrlSaid { slash, ..said });
    }
    // The setting may have changed since the flow, or another node have answered it.
    match challenge(client, link.as_mut(), own, "/v2/".into()).await {
        Outcome::Measured(base) => Outcome::Measured(UrlSaid { base, ..said }),
        Outcome::Failed(failure) => Outcome::Failed(failure),
        Outcome::Skipped(reason) => Outcome::Skipped(reason),
    }
}

/// The challenge under a path.
async fn challenge(
    client: &Client<'_>,
    link: &mut Connection,
    own: &Flow,
    path: Path,
) -> Outcome<Named> {
    let expected = "401 with a Bearer challenge";
    let response = get(client, link, own, path).await;
    let answer = match outcome(&response) {
        Ok(answer) => answer,
        Err(failure) => return Outcome::Failed(failure),
    };
    let challenge = answer.challenge.as_ref().filter(|it| it.scheme == AuthScheme::Bearer);
    match challenge.and_then(|challenge| named(client, own, challenge)) {
        Some(named) if answer.status == 401 => Outcome::Measured(named),
        _ => Outcome::Failed(unexpected(answer, expected)),
    }
}

/// Where `/v2` leads.
async fn slash(client: &Client<'_>, link: &mut Connection, own: &Flow) -> Outcome<RedirectTarget> {
    let response = get(client, link, own, "/v2".into()).await;
    match outcome(&response).and_then(|answer| place(client, answer)) {
        Ok(place) => Outcome::Measured(place),
        Err(failure) => Outcome::Failed(failure),
    }
}

fn place(client: &Client<'_>, answer: &Answer) -> Result<RedirectTarget, Failure> {
    match &answer.location {
        Some(to) if (300..400).contains(&answer.status) => {
            let is_home = |at: Authority| at == *client.registry.url.authority();
            let public = to == "/" || Authority::of_url(to).is_ok_and(is_home);
            Ok(RedirectTarget { to: to.clone(), public })
        }
        // A proxy may know a shorter way than its servers do.
        _ => Err(unexpected(answer, "a redirect to /v2/")),
    }
}

async fn get(client: &Client<'_>, link: &mut Connection, own: &Flow, path: Path) -> Response {
    let request = Request::of(Check::PublicUrl, Method::GET, path, Auth::None);
    let first = client.send(link, &own.route, request.clone()).await;
    let lost = first.exchange.result.as_ref().is_err_and(|failure| failure.reason.is_network());
    if lost && !client.is_over() { client.send_afresh(&own.route, request).await } else { first }
}

/// What a challenge names; none without a realm.
fn named(client: &Client<'_>, own: &Flow, challenge: &Challenge) -> Option<Named> {
    let realm = challenge.realm.clone().filter(|realm| !realm.is_empty())?;
    let allowed = endpoint::endpoint(client, &own.route, challenge).is_ok();
    Some(Named { realm, service: challenge.service.clone(), allowed })
}
