//! Where does each backend send clients for a blob? A registry may answer a blob with a redirect
//! to its object store, which clients must reach, trust and be let in by. One blob of the canary
//! is asked for at every backend; a redirect is followed by hand, without any credential or
//! cookie, for one byte.

use std::net::{IpAddr, SocketAddr};

use futures_util::future::join_all;
use http::header::{ACCEPT, LOCATION, RANGE};
use http::{HeaderValue, Method};
use tokio::time::Instant;
use url::Url;

use super::super::answer::unexpected;
use super::super::client::{Client, TRY_AGAIN_AFTER};
use super::super::flow::boxed;
use super::super::path::Path;
use super::visit::{Extra, Got, Pass, Visit, is_there};
use crate::config::{Authority, Scope};
use crate::model::{
    BlobRedirects, BlobWay, Check, Failure, Family, Fetched, Flow, OfRoute, Outcome, Reason, Route,
    Skipped,
};
use crate::registry;

const CHECK: Check = Check::BlobRedirect;

const ONE_BYTE: &str = "bytes=0-0";

/// Without naming them a registry answers 404 to the newer kinds.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// Looks at every backend; `before` is what was found the last time.
pub(super) async fn look(
    client: &Client<'_>,
    flows: &[Flow],
    before: Option<&BlobRedirects>,
) -> Outcome<BlobRedirects> {
    let pulls = |scope: &&Scope| scope.actions.iter().any(|action| action == "pull");
    let Some(scope) = client.registry.scope.as_ref().filter(pulls) else {
        return Outcome::Skipped(Skipped::NoScope);
    };
    let backends = || flows.iter().filter(|flow| flow.route.backend().is_some());
    let harbor = |flow: &Flow| super::super::matrix::family(flow) == Family::Harbor2;
    if client.registry.credentials.is_none() && backends().any(harbor) {
        return Outcome::Skipped(Skipped::NoCredentials);
    }
    let passes = backends().map(|flow| boxed(Pass::begin(client, CHECK, flow, scope)));
    let passes = join_all(passes).await;
    if passes.iter().all(|pass| matches!(pass, Err(Outcome::Skipped(_)))) {
        return Outcome::Skipped(Skipped::EarlierStepFailed);
    }
    let mut places: Vec<Place<'_>> =
        backends().zip(passes).map(|(flow, pass)| Place::of(&flow.route, pass)).collect();
    // A blob never changes under its digest. One that no node has any more is looked for again.
    let kept = before.filter(|before| before.at.iter().any(|at| at.value.measured().is_some()));
    let digest = match kept {
        Some(before) => Some(before.digest.clone()),
        None => first_config(&mut places, scope).await,
    };
    let path =
        digest.as_ref().map(|digest| Path::of(&scope.repository).then("/blobs/").reference(digest));
    let path = path.as_ref();
    let ways = places.into_iter().map(|place| boxed(place.way(client, path)));
    let at = join_all(ways).await;
    if digest.is_none() && !at.iter().any(|at| matches!(at.value, Outcome::Failed(_))) {
        return Outcome::Skipped(Skipped::NothingPushed);
    }
    Outcome::Measured(BlobRedirects { at, digest: digest.unwrap_or_default() })
}

/// One backend as the look goes on.
struct Place<'a> {
    route: &'a Route,
    pass: Result<Pass<'a>, Outcome<BlobWay>>,
}

impl<'a> Place<'a> {
    fn of(route: &'a Route, pass: Result<Pass<'a>, Outcome<()>>) -> Self {
        let pass = pass.map_err(|why| match why {
            Outcome::Failed(failure) => Outcome::Failed(failure),
            Outcome::Skipped(reason) => Outcome::Skipped(reason),
            Outcome::Measured(()) => Outcome::Skipped(Skipped::NoToken),
        });
        Self { route, pass }
    }

    /// How it serves the blob under a path, if any is known.
    async fn way(self, client: &Client<'_>, path: Option<&Path>) -> OfRoute<BlobWay> {
        let value = match (self.pass, path) {
            (Err(why), _) => why,
            (Ok(pass), Some(path)) => way(client, &pass, path).await,
            (Ok(_), None) => Outcome::Skipped(Skipped::NothingPushed),
        };
        OfRoute { route: self.route.clone(), value }
    }
}

/// The digest of the canary's configuration from the first backend that gives an answer, and what
/// the others gave instead; none if nothing was pushed.
async fn first_config(places: &mut [Place<'_>], scope: &Scope) -> Option<String> {
    for place in places {
        let Ok(pass) = &place.pass else { continue };
        match config(&mut pass.visit(), scope).await {
            Ok(digest) => return digest,
            Err(failure) => place.pass = Err(Outcome::Failed(failure)),
        }
    }
    None
}

/// The digest of the canary's configuration; none if nothing was pushed.
async fn config(visit: &mut Visit<'_>, scope: &Scope) -> Result<Option<String>, Failure> {
    let repository = &scope.repository;
    let Some(tags) = get(visit, &Path::of(repository).then("/tags/list")).await? else {
        return Ok(None);
    };
    let tags = registry::tags_of(&tags).unwrap_or_default();
    let Some(mut name) = registry::canary_tag(&tags).cloned() else { return Ok(None) };
    for _ in 0..2 {
        let path = Path::of(repository).then("/manifests/").reference(&name);
        let Some(manifest) = get(visit, &path).await? else { break };
        if let Some(config) = registry::config_of(&manifest) {
            return Ok(Some(config));
        }
        let Some(first) = registry::first_of_index(&manifest) else { break };
        name = first;
    }
    Ok(None)
}

/// What lies there; none if nothing does.
async fn get(visit: &mut Visit<'_>, path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let got = visit.send(&Method::GET, path, &Extra::header(ACCEPT, MANIFESTS)).await?;
    Ok(is_there(&got)?.then_some(got.reply.body))
}

async fn way(client: &Client<'_>, pass: &Pass<'_>, path: &Path) -> Outcome<BlobWay> {
    let first = once(client, pass, path).await;
    let is_final = match &first {
        Ok(BlobWay::Served) => true,
        Ok(BlobWay::Redirected { fetched, .. }) => {
            fetched.measured().is_some_and(|fetched| fetched.is_good())
        }
        // What the registry itself answers is its word; only what the network lost is asked again.
        Err(failure) => !failure.reason.is_network(),
    };
    // Each redirect has a signature of its own, so the second try begins at the registry.
    let last = if is_final || !client.sleep_until(Instant::now() + TRY_AGAIN_AFTER).await {
        first
    } else {
        once(client, pass, path).await
    };
    last.map_or_else(Outcome::Failed, Outcome::Measured)
}

async fn once(client: &Client<'_>, pass: &Pass<'_>, path: &Path) -> Result<BlobWay, Failure> {
    let got = pass.visit().once(&Method::GET, path, &Extra::header(RANGE, ONE_BYTE)).await?;
    match got.answer.status {
        200 | 206 => return Ok(BlobWay::Served),
        301 | 302 | 303 | 307 | 308 => {}
        _ => return Err(unexpected(&got.answer, "the blob, or a redirect to it")),
    }
    let public = client.registry.url.authority();
    let Some((url, authority)) = target(public, path, &got) else {
        return Err(unexpected(&got.answer, "a redirect by http or https"));
    };
    if authority == *public {
        return Ok(BlobWay::Served);
    }
    let fetched = fetch(client, (&authority, &url)).await;
    let fetched = fetched.map_or_else(Outcome::Failed, Outcome::Measured);
    Ok(BlobWay::Redirected { to: client.redactor.text(&authority.to_string()), fetched })
}

/// Where a redirect leads.
fn target(public: &Authority, path: &Path, got: &Got) -> Option<(Url, Authority)> {
    let location = got.raw().headers.get(LOCATION)?.to_str().ok()?;
    let url =
        Url::parse(&format!("{public}{}", path.clone().into_string())).ok()?.join(location).ok()?;
    let authority = Authority::of_url(url.as_str()).ok()?;
    Some((url, authority))
}

/// One byte, from an address at which an object store can be.
async fn fetch(
    client: &Client<'_>,
    (authority, url): (&Authority, &Url),
) -> Result<Fetched, Failure> {
    let host = &authority.host_port.host;
    let addresses: Vec<IpAddr> = if let Ok(address) = host.parse() {
        vec![address]
    } else {
        let records = client.lookup(host, None, CHECK).await?;
        records.iter().map(|record| record.address).collect()
    };
    let local = client.registry.url.authority().is_loopback() || client.is_at_loopback();
    let Some(address) = addresses.into_iter().find(|address| is_usable(*address, local)) else {
        let detail = format!(
            "{:?} leads to no address that clients could reach",
            client.redactor.text(host)
        );
        return Err(Failure::of_answer(Reason::Unreachable, detail));
    };
    let at = SocketAddr::new(address, authority.host_port.port);
    let exchange = client
        .fetch_elsewhere((authority, url), at, (RANGE, HeaderValue::from_static(ONE_BYTE)), CHECK)
        .await;
    match exchange.result {
        Ok(reply) => {
            let body = String::from_utf8_lossy(&reply.body);
            let words = ["RequestTimeTooSkewed", "Request has expired", "is not yet valid"];
            let about_time = words.iter().any(|word| body.contains(word));
            Ok(Fetched { status: reply.status, about_time })
        }
        // More than was asked for: it is there.
        Err(failure) if failure.reason == Reason::TooLarge => {
            Ok(Fetched { status: 200, about_time: false })
        }
        Err(failure) => Err(failure),
    }
}

/// Whether a server other than the node itself could be there: a registry must not lead the prober
/// to services of its own machine or to a cloud's metadata.
fn is_usable(address: IpAddr, local: bool) -> bool {
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(link_local
        || address.is_unspecified()
        || address.is_multicast()
        || (address.is_loopback() && !local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_nobody_else_are_not_asked() {
        for (address, usable, locally) in [
            ("10.1.2.3", true, true),
            ("203.0.113.9", true, true),
            ("fd00::1", true, true),
            ("127.0.0.1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("::1", false, true),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("fe80::1", false, false),
            ("0.0.0.0", false, false),
            ("224.0.0.1", false, false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(is_usable(address, false), usable, "{address}");
            assert_eq!(is_usable(address, true), locally, "{address}, from there");
        }
    }
}
