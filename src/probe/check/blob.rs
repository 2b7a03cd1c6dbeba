//! Uploads as the pushing checks make them: begun, and ended whatever happens in between, so that
//! no session stays. A push robot may not delete one; finished with a fixed blob it is gone, and
//! the same few bytes remain each time.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use http::header::LOCATION;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::super::answer::unexpected;
use super::super::client::Client;
use super::super::flow::boxed;
use super::super::path::Path;
use super::visit::{Extra, Got, Pass, Visit};
use crate::config::Scope;
use crate::model::{Answer, Check, Failure, Flow, Outcome, Route, Skipped};
use crate::registry::{self, UploadPlace};

/// The fixed blob, which is also the configuration of the pushed image. No other image has it:
/// while a node writes it, another that has the storage in common may find it half written, and an
/// image that users pull must not be hit by that. (distribution 2.8 answers 500, "invalid checksum
/// digest format", while the link to a blob is written again.)
pub(super) const BLOB: &str = r#"{"author":"registry-prober"}"#;

/// Its digest.
pub(super) const BLOB_DIGEST: &str =
    "sha256:785414db8be51616978a64f640df5bf9250b2912ad2655672c84219166b2ee98";

/// The digest of content.
pub(super) fn digest(content: impl AsRef<[u8]>) -> String {
    let hash = Sha256::digest(content);
    hash.iter().fold("sha256:".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// What is kept of the round's time to end uploads in.
const RESERVE: Duration = Duration::from_secs(2);

/// Tries after which a node behind an address is met again, if it hides replicas.
const TRIES: usize = 4;

/// Every route with a token that may push, or why not.
pub(super) struct Pushers<'a> {
    pub(super) routes: Vec<(&'a Route, Result<Pass<'a>, Outcome<()>>)>,
    pub(super) repository: &'a str,
    /// When uploads must be ended.
    pub(super) until: Instant,
}

impl<'a> Pushers<'a> {
    /// Fetches the tokens; the reason if nothing can be pushed at all.
    pub(super) async fn begin(
        client: &'a Client<'a>,
        check: Check,
        flows: &'a [Flow],
    ) -> Result<Self, Skipped> {
        let Some(push) = &client.registry.checks.push else { return Err(Skipped::Disabled) };
        if client.registry.credentials.is_none() {
            return Err(Skipped::NoCredentials);
        }
        let actions = ["pull", "push"].map(str::to_owned).into();
        let scope = Scope { repository: push.repository.clone(), actions };
        let begun = flows.iter().map(|flow| {
            let scope = &scope;
            boxed(async move { (&flow.route, Pass::begin(client, check, flow, scope).await) })
        });
        let mut routes = join_all(begun).await;
        let until = client.deadline.checked_sub(RESERVE).unwrap_or(client.deadline);
        if Instant::now() + RESERVE >= until {
            return Err(Skipped::DeadlineReached);
        }
        for (_, pass) in &mut routes {
            if let Ok(pass) = pass {
                pass.until = until;
            }
        }
        if routes.iter().all(|(_, pass)| matches!(pass, Err(Outcome::Skipped(_)))) {
            return Err(Skipped::EarlierStepFailed);
        }
        Ok(Self { routes, repository: &push.repository, until })
    }

    /// The backends at which may be pushed.
    pub(super) fn backends(&self) -> impl Iterator<Item = &Pass<'a>> {
        let good = self.routes.iter().filter_map(|(_, pass)| pass.as_ref().ok());
        good.filter(|pass| pass.route.backend().is_some())
    }

    /// Ends an upload with a blob, where it was begun or wherever it is known: what came of the
    /// first try, and whether it is gone.
    pub(super) async fn end(
        &self,
        begun: &Pass<'_>,
        place: &UploadPlace,
        blob: (&'static str, &str),
    ) -> (Result<(), Failure>, bool) {
        let mut first = Ok(());
        let own = std::iter::repeat_with(|| begun.visit()).take(TRIES);
        for (number, mut visit) in own.chain(self.backends().map(Pass::visit)).enumerate() {
            visit.pass.until = begun.until + RESERVE;
            let ended = put(&mut visit, place, blob).await;
            let gone = ended.is_ok();
            if number == 0 {
                first = ended;
            }
            if gone {
                return (first, true);
            }
        }
        (first, false)
    }
}

/// What came of the beginning of an upload.
pub(super) enum Start {
    At(UploadPlace),
    ReadOnly(Failure),
    Failed(Failure),
}

/// Begins an upload. Never tried twice: a lost answer may have left one.
pub(super) async fn start(visit: &mut Visit<'_>, repository: &str) -> Start {
    let path = Path::of(repository).then("/blobs/uploads/");
    match visit.once(&Method::POST, &path, &Extra::none()).await {
        Err(failure) => Start::Failed(failure),
        Ok(got) if got.answer.status == 202 => {
            match registry::upload_place(&got.raw().headers, repository) {
                Some(mut place) => {
                    place.authority = place.authority.map(|it| visit.pass.hidden(&it));
                    Start::At(place)
                }
                None => Start::Failed(elsewhere(&got, repository)),
            }
        }
        Ok(got) if is_read_only(&got.answer) => {
            Start::ReadOnly(unexpected(&got.answer, "202 to the beginning of an upload"))
        }
        Ok(got) => Start::Failed(unexpected(&got.answer, "202 to the beginning of an upload")),
    }
}

/// What a server names where nothing of an upload is sent to. The query is left out: it may hold
/// the state of one.
fn elsewhere(got: &Got, repository: &str) -> Failure {
    let expected = format!("a Location under /v2/{repository}/blobs/uploads/");
    let mut failure = unexpected(&got.answer, &expected);
    let location = got.reply.headers.get(LOCATION).map(|it| String::from_utf8_lossy(it.as_bytes()));
    if let Some(location) = location {
        let shown: String = location.chars().take_while(|c| *c != '?').take(120).collect();
        failure.detail = format!("{}; it names {shown:?}, where nothing was sent", failure.detail);
    }
    failure
}

/// Harbor says so in words (captures/harbor-2.15.2/51-read-only.http), distribution knows no
/// writing methods (captures/distribution-2.8.2/58-readonly.http).
pub(super) fn is_read_only(answer: &Answer) -> bool {
    let denied = answer.error_code.as_deref() == Some("DENIED")
        && answer.error_message.as_deref().is_some_and(|text| text.contains("read only"));
    (answer.status == 403 && denied) || (answer.status == 405 && answer.api_version && !answer.html)
}

/// Sends a blob and ends its upload.
pub(super) async fn put(
    visit: &mut Visit<'_>,
    place: &UploadPlace,
    (blob, digest): (&'static str, &str),
) -> Result<(), Failure> {
    let target = Path::closed_upload(place, digest);
    let extra = Extra::body("application/octet-stream", blob.to_owned());
    let got = visit.send(&Method::PUT, &target, &extra).await?;
    match got.answer.status {
        201 => Ok(()),
        _ => Err(unexpected(&got.answer, "201 to a blob")),
    }
}
