//! Do the paths that clients meet first send them to the same token endpoint as `/v2/`? Some
//! clients, containerd among them, begin with the repository and follow its challenge; a proxy with
//! a rule for one path may rewrite `Host` or lead elsewhere only there. Anonymous: a request to a
//! repository gets the challenge before anybody looks whether it exists
//! (captures/harbor-2.15.2/01-no-token.http, captures/distribution-2.8.2/03-resource-no-token.http).
//!
//! Two requests to each route. The second asks where `/v2` leads; where the first named something
//! else than `/v2/` did in the flow, it asks `/v2/` once more instead.

use futures_util::future::join_all;
use http::Method;

use super::super::ask::{Ask, Asked, Asker, Auth, Line};
use super::super::path::Path;
use super::super::{flow, token};
use crate::config::Authority;
use crate::model::{
    Answer, AuthScheme, Challenge, Check, Failure, Flow, Named, OfRoute, Outcome, RedirectTarget,
    Skipped, UrlSaid,
};

/// Asked for where no scope is configured; nobody has it.
const NOBODYS: &str = "registry-prober/none";

pub(super) async fn look(asker: &Asker<'_>, flows: &[Flow]) -> Outcome<Vec<OfRoute<UrlSaid>>> {
    let repository = asker.registry.scope.as_ref().map_or(NOBODYS, |scope| &scope.repository);
    let path = Path::of(repository).then("/tags/list");
    let routes = flows.iter().map(|flow| {
        let path = &path;
        flow::boxed(async move {
            OfRoute { route: flow.route.clone(), value: said(asker, flow, path).await }
        })
    });
    Outcome::Measured(join_all(routes).await)
}

async fn said(asker: &Asker<'_>, own: &Flow, path: &Path) -> Outcome<UrlSaid> {
    let route = &own.route;
    let Some(base) = own.challenge.measured().and_then(|it| named(asker, own, it)) else {
        return Outcome::Skipped(Skipped::EarlierStepFailed);
    };
    if asker.holds(route) {
        return Outcome::Skipped(Skipped::BackingOff);
    }
    let mut link = asker.link(route);
    let repository = challenge(asker, link.as_mut(), own, path.clone()).await;
    let said = UrlSaid { base, repository, slash: Outcome::Skipped(Skipped::NotSampled) };
    if asker.is_over() || asker.holds(route) {
        return Outcome::Measured(said);
    }
    if said.other().is_none() {
        let slash = slash(asker, link.as_mut(), own).await;
        return Outcome::Measured(UrlSaid { slash, ..said });
    }
    // The setting may have changed since the flow, or another node have answered it.
    match challenge(asker, link.as_mut(), own, "/v2/".into()).await {
        Outcome::Measured(base) => Outcome::Measured(UrlSaid { base, ..said }),
        Outcome::Failed(failure) => Outcome::Failed(failure),
        Outcome::Skipped(reason) => Outcome::Skipped(reason),
    }
}

/// The challenge under a path.
async fn challenge(asker: &Asker<'_>, link: &mut Line, own: &Flow, path: Path) -> Outcome<Named> {
    let expected = "401 with a Bearer challenge";
    let asked = get(asker, link, own, path).await;
    let answer = match flow::outcome(&asked) {
        Ok(answer) => answer,
        Err(failure) => return Outcome::Failed(failure),
    };
    let challenge = answer.challenge.as_ref().filter(|it| it.scheme == AuthScheme::Bearer);
    match challenge.and_then(|challenge| named(asker, own, challenge)) {
        Some(named) if answer.status == 401 => Outcome::Measured(named),
        _ => Outcome::Failed(flow::unexpected(answer, expected)),
    }
}

/// Where `/v2` leads.
async fn slash(asker: &Asker<'_>, link: &mut Line, own: &Flow) -> Outcome<RedirectTarget> {
    let asked = get(asker, link, own, "/v2".into()).await;
    match flow::outcome(&asked).and_then(|answer| place(asker, answer)) {
        Ok(place) => Outcome::Measured(place),
        Err(failure) => Outcome::Failed(failure),
    }
}

fn place(asker: &Asker<'_>, answer: &Answer) -> Result<RedirectTarget, Failure> {
    match &answer.location {
        Some(to) if (300..400).contains(&answer.status) => {
            let is_home = |at: Authority| at == *asker.registry.url.authority();
            let public = to == "/" || Authority::of_url(to).is_ok_and(is_home);
            Ok(RedirectTarget { to: to.clone(), public })
        }
        // A proxy may know a shorter way than its servers do.
        _ => Err(flow::unexpected(answer, "a redirect to /v2/")),
    }
}

async fn get(asker: &Asker<'_>, link: &mut Line, own: &Flow, path: Path) -> Asked {
    let ask = Ask::of(Check::PublicUrl, Method::GET, path, Auth::None);
    let first = asker.ask(link, &own.route, ask.clone()).await;
    let lost = first.exchange.result.as_ref().is_err_and(|failure| failure.reason.is_network());
    if lost && !asker.is_over() { super::ask(asker, &own.route, ask).await } else { first }
}

/// What a challenge names; none without a realm.
fn named(asker: &Asker<'_>, own: &Flow, challenge: &Challenge) -> Option<Named> {
    let realm = challenge.realm.clone().filter(|realm| !realm.is_empty())?;
    let allowed = token::endpoint(asker, &own.route, challenge).is_ok();
    Some(Named { realm, service: challenge.service.clone(), allowed })
}
