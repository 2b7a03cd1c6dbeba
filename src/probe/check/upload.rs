//! Can an upload that was begun at one backend go on at every other? Begun at each, its status
//! asked for and an empty piece sent at the others, and ended where it was begun.

use futures_util::future::join_all;
use http::Method;
use tokio::time::{Instant, sleep_until};

use super::super::answer::unexpected;
use super::super::client::Client;
use super::super::flow::boxed;
use super::super::matrix::LADDER;
use super::super::path::Path;
use super::blob::{BLOB, BLOB_DIGEST, Pushers, Start, start};
use super::visit::{Extra, Got, Pass, Visit};
use crate::model::{
    BackendName, Begun, Check, Failure, Flow, OfPair, OfRoute, Outcome, Route, Skipped,
    UploadVerdict, Uploads,
};
use crate::registry::UploadPlace;

/// Up to this number of backends every pair is tried; above, each with its next two: what is equal
/// in a ring is equal everywhere.
const ALL_PAIRS: usize = 6;

pub(super) async fn look(client: &Client<'_>, flows: &[Flow]) -> Outcome<Uploads> {
    let pushers = match Pushers::begin(client, Check::Upload, flows).await {
        Ok(pushers) => pushers,
        Err(reason) => return Outcome::Skipped(reason),
    };
    let tries = pushers.routes.iter().map(|(route, pass)| boxed(of_route(&pushers, route, pass)));
    let mut uploads = Uploads::default();
    for tried in join_all(tries).await {
        uploads.left += u32::from(tried.left);
        uploads.begun.push(tried.begun);
        uploads.pairs.extend(tried.pairs);
        uploads.ended.extend(tried.ended);
    }
    Outcome::Measured(uploads)
}

/// An upload over one route.
struct Tried {
    begun: OfRoute<Begun>,
    pairs: Vec<OfPair<UploadVerdict>>,
    ended: Option<OfRoute<()>>,
    left: bool,
}

async fn of_route(
    pushers: &Pushers<'_>,
    route: &Route,
    pass: &Result<Pass<'_>, Outcome<()>>,
) -> Tried {
    let of_begin = |value| {
        let begun = OfRoute { route: route.clone(), value };
        Tried { begun, pairs: Vec::new(), ended: None, left: false }
    };
    let pass = match pass {
        Ok(pass) => pass,
        Err(Outcome::Failed(failure)) => {
            return of_begin(Outcome::Failed(failure.clone()));
        }
        Err(Outcome::Skipped(reason)) => {
            return of_begin(Outcome::Skipped(*reason));
        }
        Err(Outcome::Measured(())) => {
            return of_begin(Outcome::Skipped(Skipped::NoToken));
        }
    };
    let place = match start(&mut pass.visit(), pushers.repository).await {
        Start::At(place) => place,
        Start::ReadOnly(_) => {
            return of_begin(Outcome::Measured(Begun::ReadOnly));
        }
        Start::Failed(failure) => return of_begin(Outcome::Failed(failure)),
    };
    let pairs = match route.backend() {
        Some(issuer) => at_others(pushers, issuer, &place).await,
        None => Vec::new(),
    };
    let (first, gone) = pushers.end(pass, &place, (BLOB, BLOB_DIGEST)).await;
    let ended = first.map_or_else(Outcome::Failed, Outcome::Measured);
    let begun = of_begin(Outcome::Measured(Begun::At(place.authority.clone())));
    Tried {
        pairs,
        ended: Some(OfRoute { route: route.clone(), value: ended }),
        left: !gone,
        ..begun
    }
}

/// What every backend, or the next ones, make of an upload.
async fn at_others(
    pushers: &Pushers<'_>,
    issuer: &BackendName,
    place: &UploadPlace,
) -> Vec<OfPair<UploadVerdict>> {
    let all: Vec<&Pass<'_>> = pushers.backends().collect();
    let own = all.iter().position(|pass| pass.route.backend() == Some(issuer)).unwrap_or(0);
    let near = if all.len() > ALL_PAIRS { 3 } else { all.len() };
    let verifiers: Vec<&Pass<'_>> = all.iter().cycle().skip(own).take(near).copied().collect();
    let reads = verifiers.iter().map(|pass| boxed(at(pass.visit(), Method::GET, place)));
    let read = join_all(reads).await;
    let mut pairs = Vec::new();
    for (pass, mut value) in verifiers.into_iter().zip(read) {
        let Some(verifier) = pass.route.backend().cloned() else { continue };
        // Reading needs no secret in distribution 3; writing does everywhere. One after the other:
        // it is one upload.
        if value.measured() == Some(&UploadVerdict::Known) {
            value = at(pass.visit(), Method::PATCH, place).await;
        }
        pairs.push(OfPair { issuer: issuer.clone(), verifier, value });
    }
    pairs
}

/// Asks for an upload, and again where the answer is a surprise: once for a wrong secret, and
/// longer for what a cache may not show yet.
async fn at(mut visit: Visit<'_>, method: Method, place: &UploadPlace) -> Outcome<UploadVerdict> {
    let extra = match method {
        Method::PATCH => Extra::body("application/octet-stream", String::new()),
        _ => Extra::none(),
    };
    let (began, path) = (Instant::now(), Path::upload(place));
    let mut verdict = match visit.send(&method, &path, &extra).await.and_then(|got| verdict(&got)) {
        Ok(verdict) => verdict,
        Err(failure) => return Outcome::Failed(failure),
    };
    for rung in LADDER {
        let again = match verdict {
            UploadVerdict::Known | UploadVerdict::KnownLate { .. } => false,
            UploadVerdict::Invalid => rung == LADDER[0],
            UploadVerdict::Unknown => true,
        };
        if !again {
            break;
        }
        if began + rung >= visit.pass.until {
            // Too early to say that it stays so.
            return Outcome::Skipped(Skipped::DeadlineReached);
        }
        sleep_until(began + rung).await;
        visit.renew();
        let response = visit.send(&method, &path, &extra).await;
        match response.and_then(|got| self::verdict(&got)) {
            Ok(UploadVerdict::Known) => {
                let after_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                verdict = UploadVerdict::KnownLate { after_ms };
            }
            Ok(other) => verdict = other,
            Err(failure) => return Outcome::Failed(failure),
        }
    }
    Outcome::Measured(verdict)
}

fn verdict(got: &Got) -> Result<UploadVerdict, Failure> {
    match (got.answer.status, got.answer.error_code.as_deref()) {
        (200 | 202 | 204, _) if !got.answer.html => Ok(UploadVerdict::Known),
        (404, Some("BLOB_UPLOAD_INVALID")) => Ok(UploadVerdict::Invalid),
        (404, Some("BLOB_UPLOAD_UNKNOWN")) => Ok(UploadVerdict::Unknown),
        _ => Err(unexpected(&got.answer, "an upload that goes on")),
    }
}
