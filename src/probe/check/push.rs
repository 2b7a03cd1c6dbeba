//! Does a push over every route succeed, and is it seen at every backend? One after the other each
//! route pushes the same configuration and layer and a manifest of its own under one tag; then the
//! tag must lead to that manifest at every other backend. Nothing grows: the blobs are fixed, and
//! there are as many manifests as routes.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use http::header::ACCEPT;
use tokio::time::{Instant, sleep_until};

use super::super::answer::unexpected;
use super::super::client::Client;
use super::super::flow::boxed;
use super::super::path::Path;
use super::blob::{BLOB, BLOB_DIGEST, Pushers, Start, digest, is_read_only, put, start};
use super::visit::{Extra, Got, Pass, Visit, is_there};
use crate::model::{
    BackendName, Check, Failure, Flow, OfRoute, Outcome, PushFailure, PushRun, PushStep, Pushed,
    ReadBack, Route, SeenAt, Skipped,
};
use crate::registry::{self, OWN_TAG};

/// The kind of the manifest.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The layer: an empty archive, which is two blocks of zeros.
const LAYER: &str = match std::str::from_utf8(&[0; 1024]) {
    Ok(zeros) => zeros,
    Err(_) => "",
};

/// When the tag is looked for again, after the first look.
const LADDER: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(3)];

/// So often a node shows another manifest while the tag stands, before it is called late.
const BELIEVED: usize = 3;

/// The most routes that push in one run, the balancer always among them.
const MAX_ROUTES: usize = 5;

pub(super) async fn look(client: &Client<'_>, flows: &[Flow]) -> Outcome<Pushed> {
    let pushers = match Pushers::begin(client, Check::Push, flows).await {
        Ok(pushers) => pushers,
        Err(reason) => return Outcome::Skipped(reason),
    };
    let mut late: Vec<BackendName> = Vec::new();
    let mut by = Vec::new();
    // Another part of many backends each time.
    let many = pushers.routes.len().saturating_sub(1).max(1);
    let turn = usize::try_from(client.seed % 1_000_003).unwrap_or_default() % many;
    for (number, (route, pass)) in pushers.routes.iter().enumerate() {
        let chosen = (number + many - turn) % many < MAX_ROUTES - 1;
        let value = match pass {
            Err(Outcome::Failed(failure)) => Outcome::Failed(failure.clone()),
            Err(Outcome::Skipped(reason)) => Outcome::Skipped(*reason),
            Err(Outcome::Measured(())) => Outcome::Skipped(Skipped::NoToken),
            Ok(_) if route.backend().is_some() && !chosen => {
                Outcome::Skipped(Skipped::NotThisRound)
            }
            Ok(pass) if Instant::now() < pushers.until => {
                Outcome::Measured(over(&pushers, pass, &mut late).await)
            }
            Ok(_) => Outcome::Skipped(Skipped::DeadlineReached),
        };
        by.push(OfRoute { route: (*route).clone(), value });
    }
    let repository = pushers.repository.to_owned();
    Outcome::Measured(Pushed { repository, tag: OWN_TAG.to_owned(), by })
}

/// Pushes over a route and looks for the result everywhere else. Backends that were not seen to
/// have an earlier push are not waited for again.
async fn over(pushers: &Pushers<'_>, pass: &Pass<'_>, late: &mut Vec<BackendName>) -> PushRun {
    let manifest = manifest(pass.route);
    let digest = digest(&manifest);
    let failed = push(pushers, pass, manifest, &digest).await.err();
    let mut seen = Vec::new();
    if failed.as_ref().is_none_or(|failed| failed.step == PushStep::Pull) {
        let others = pushers.backends().filter(|other| other.route != pass.route);
        let looks = others.filter_map(|other| {
            let name = other.route.backend()?.clone();
            let patient = !late.contains(&name);
            let (by, of) = (Some(pass.visit()), (pushers.repository, digest.as_str()));
            Some(boxed(see(other.visit(), by, name, of, patient)))
        });
        seen = join_all(looks).await;
    }
    let lacks = |seen: &SeenAt| {
        matches!(seen.value, Outcome::Measured(ReadBack::ManifestUnknown | ReadBack::Other))
    };
    if let Some(own) = pass.route.backend().cloned().filter(|_| seen.iter().any(lacks)) {
        let of = (pushers.repository, digest.as_str());
        let own = see(pass.visit(), None, own, of, false).await;
        if own.value != Outcome::Measured(ReadBack::There) {
            for seen in &mut seen {
                seen.value = Outcome::Skipped(Skipped::Moved);
            }
        }
    }
    late.extend(seen.iter().filter(|seen| lacks(seen)).map(|seen| seen.backend.clone()));
    PushRun { digest, failed, seen }
}

/// The manifest of a route: fixed blobs, and the route's name as what makes it another one.
fn manifest(route: &Route) -> String {
    let layer = digest(LAYER);
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"config\":{{\"mediaType\":\
         \"application/vnd.oci.image.config.v1+json\",\"digest\":\"{BLOB_DIGEST}\",\"size\":{}}},\
         \"layers\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\
         \"{layer}\",\"size\":{}}}],\"annotations\":{{\"registry-prober.route\":{}}}}}",
        BLOB.len(),
        LAYER.len(),
        serde_json::Value::from(route.as_str()),
    )
}

async fn push(
    pushers: &Pushers<'_>,
    pass: &Pass<'_>,
    manifest: String,
    digest: &str,
) -> Result<(), PushFailure> {
    let fail = |step| move |failure| PushFailure { step, failure, read_only: false };
    let layer = self::digest(LAYER);
    for blob in [(BLOB, BLOB_DIGEST), (LAYER, layer.as_str())] {
        let place = match start(&mut pass.visit(), pushers.repository).await {
            Start::At(place) => place,
            Start::ReadOnly(failure) => {
                let step = PushStep::Begin;
                return Err(PushFailure { step, failure, read_only: true });
            }
            Start::Failed(failure) => return Err(fail(PushStep::Begin)(failure)),
        };
        if let Err(failure) = put(&mut pass.visit(), &place, blob).await {
            // The upload is ended elsewhere, or by a second try; the first failure counts.
            let _ = pushers.end(pass, &place, blob).await;
            return Err(fail(PushStep::Blob)(failure));
        }
    }
    let mut visit = pass.visit();
    let path = Path::of(pushers.repository).then("/manifests/").then(OWN_TAG);
    let got = visit.send(&Method::PUT, &path, &Extra::body(MANIFEST, manifest)).await;
    let got = got.map_err(fail(PushStep::Manifest))?;
    if got.answer.status != 201 {
        let failure = unexpected(&got.answer, "201 to the manifest");
        let read_only = is_read_only(&got.answer);
        return Err(PushFailure { step: PushStep::Manifest, failure, read_only });
    }
    pull(&mut visit, pushers.repository, digest).await.map_err(fail(PushStep::Pull))
}

/// Reads manifest and configuration over the route that pushed them.
async fn pull(visit: &mut Visit<'_>, repository: &str, digest: &str) -> Result<(), Failure> {
    let accept = Extra::header(ACCEPT, MANIFEST);
    let path = Path::of(repository).then("/manifests/").reference(digest);
    let got = visit.send(&Method::GET, &path, &accept).await?;
    if !is_there(&got)? {
        return Err(unexpected(&got.answer, "the manifest just pushed"));
    }
    let path = Path::of(repository).then("/blobs/").then(BLOB_DIGEST);
    let got = visit.send(&Method::GET, &path, &Extra::none()).await?;
    if is_there(&got)? { Ok(()) } else { Err(unexpected(&got.answer, "the blob just pushed")) }
}

/// What a backend has under the tag, after a push elsewhere; `by` visits where it was pushed.
async fn see(
    mut visit: Visit<'_>,
    by: Option<Visit<'_>>,
    backend: BackendName,
    (repository, digest): (&str, &str),
    patient: bool,
) -> SeenAt {
    let path = Path::of(repository).then("/manifests/").then(OWN_TAG);
    let accept = Extra::header(ACCEPT, MANIFEST);
    let read = |got: Got| match (is_there(&got)?, registry::digest_of(&got.reply.headers)) {
        (true, Some(found)) if found == digest => Ok(ReadBack::There),
        (false, _) if got.answer.error_code.as_deref() == Some("MANIFEST_UNKNOWN") => {
            Ok(ReadBack::ManifestUnknown)
        }
        _ => Ok(ReadBack::Other),
    };
    let began = Instant::now();
    let mut last = visit.send(&Method::GET, &path, &accept).await.and_then(read);
    if let Some(mut by) = by {
        // Whoever moves the tag may move it back, which would look like a late cache. That shows
        // the old one while the tag stands; three times in a row no client hits the moment between.
        for _ in 0..BELIEVED {
            if last != Ok(ReadBack::Other) {
                break;
            }
            let there = by.send(&Method::GET, &path, &accept).await.and_then(read);
            if there != Ok(ReadBack::There) {
                return SeenAt { backend, value: Outcome::Skipped(Skipped::Moved) };
            }
            last = visit.send(&Method::GET, &path, &accept).await.and_then(read);
        }
    }
    for rung in LADDER.into_iter().take(if patient { LADDER.len() } else { 1 }) {
        if !matches!(last, Ok(ReadBack::ManifestUnknown | ReadBack::Other)) {
            break;
        }
        if began + rung >= visit.pass.until {
            // Too early to say that it will not come.
            return SeenAt { backend, value: Outcome::Skipped(Skipped::DeadlineReached) };
        }
        sleep_until(began + rung).await;
        visit.renew();
        last = visit.send(&Method::GET, &path, &accept).await.and_then(read);
        if last == Ok(ReadBack::There) {
            let after_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            last = Ok(ReadBack::Late { after_ms });
        }
    }
    let value = last.map_or_else(Outcome::Failed, Outcome::Measured);
    SeenAt { backend, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_what_its_digests_say_and_differs_by_route_only() {
        assert_eq!(digest(BLOB), BLOB_DIGEST);
        assert_eq!(LAYER.len(), 1024);
        let [one, other] =
            ["a", "b"].map(|name| manifest(&Route::Backend(BackendName::parse(name).unwrap())));
        assert_ne!(digest(&one), digest(&other));
        assert_eq!(one.replace("\"a\"", "\"b\""), other);
        let value: serde_json::Value = serde_json::from_str(&one).unwrap();
        assert_eq!(value["config"]["size"], BLOB.len());
    }
}
