//! Does every backend have the canary's content? One tag is looked for at each: in its list, by
//! tag, by digest, and the configuration blob of its manifest. What is missing somewhere is looked
//! for again after 1 s and after 5 s, which tells a late cache from content that is not there.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use http::header::{ACCEPT, RANGE};
use http::{HeaderName, Method};
use tokio::time::Instant;

use super::super::answer::unexpected;
use super::super::client::Client;
use super::super::flow::boxed;
use super::super::path::Path;
use super::blob;
use super::visit::{Extra, Got, Pass, Visit, is_there, leads_on};
use crate::config::Scope;
use crate::model::{
    BackendName, Check, Content, ContentAt, ContentFound, Failure, Family, Flow, Outcome, Reason,
    Route, Skipped,
};
use crate::registry;

/// When what is missing is looked for again, after the first look.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Every kind of manifest: without them distribution answers 404 to an OCI manifest.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json, */*";

/// Pulls over the load balancer, each of which may meet another node.
const PULLS: usize = 3;

/// Looks at every backend; `before` is what was found the last time.
pub(super) async fn look(
    client: &Client<'_>,
    flows: &[Flow],
    before: Option<&Content>,
) -> Outcome<Content> {
    let registry = client.registry;
    let Some(scope) = registry.scope.as_ref().filter(|s| s.actions.iter().any(|a| a == "pull"))
    else {
        return Outcome::Skipped(Skipped::NoScope);
    };
    let backends = || flows.iter().filter(|flow| flow.route.backend().is_some());
    let harbor = |flow: &Flow| super::super::matrix::family(flow) == Family::Harbor2;
    if registry.credentials.is_none() && backends().any(harbor) {
        return Outcome::Skipped(Skipped::NoCredentials);
    }
    let began = Instant::now();
    let opened = backends().map(|flow| boxed(Place::open(client, flow, scope)));
    let mut places: Vec<Place<'_>> = join_all(opened).await.into_iter().flatten().collect();
    if places.iter().all(|place| matches!(place.state, State::Skipped(_))) {
        return Outcome::Skipped(Skipped::EarlierStepFailed);
    }
    let Some(tag) = tag(&places) else { return nowhere(places, scope, "") };
    let mut compared = false;
    for _ in 0..2 {
        let Some(wanted) = compare(client, &mut places, (scope, &tag), before, began).await else {
            // It may have been deleted since it was listed.
            join_all(places.iter_mut().map(|place| boxed(place.list(scope)))).await;
            continue;
        };
        compared = true;
        if !moved(&mut places, scope, &wanted).await {
            let now = client.clock.at(client.began);
            let at = places.into_iter().map(|place| place.finish(&wanted, before, now)).collect();
            let through = through(client, flows, scope, &wanted).await;
            return Outcome::Measured(Content { at, through, ..wanted });
        }
    }
    // What nodes have cannot be compared while the tag moves.
    if compared { Outcome::Skipped(Skipped::Moved) } else { nowhere(places, scope, &tag) }
}

/// Where no backend gives any content: what each answers instead, if any of that is a failure.
fn nowhere(places: Vec<Place<'_>>, scope: &Scope, tag: &str) -> Outcome<Content> {
    let at: Vec<ContentAt> = places.into_iter().map(|place| place.without(tag)).collect();
    if !at.iter().any(|at| matches!(at.found, Outcome::Failed(_))) {
        return Outcome::Skipped(Skipped::NothingPushed);
    }
    let (repository, tag) = (scope.repository.clone(), tag.to_owned());
    let through = Outcome::Skipped(Skipped::NothingPushed);
    Outcome::Measured(Content { repository, tag, digest: String::new(), config: None, at, through })
}

/// Pulls as users do, over the load balancer. One failure among several tries is enough, except
/// that what was only just moved or deleted has another try.
async fn through(
    client: &Client<'_>,
    flows: &[Flow],
    scope: &Scope,
    wanted: &Content,
) -> Outcome<()> {
    let Some(flow) = flows.iter().find(|flow| flow.route == Route::Balancer) else {
        return Outcome::Skipped(Skipped::NotApplicable);
    };
    let pass = match Pass::begin(client, Check::Content, flow, scope).await {
        Ok(pass) => pass,
        Err(why) => return why,
    };
    for number in 0..PULLS {
        if client.is_over() {
            let none = number == 0;
            return if none {
                Outcome::Skipped(Skipped::DeadlineReached)
            } else {
                Outcome::Measured(())
            };
        }
        let first = pull(&pass, wanted).await;
        let again = matches!(&first, Err(failure) if failure.reason == Reason::NotFound);
        let last = if again && client.sleep_until(Instant::now() + AGAIN[0]).await {
            pull(&pass, wanted).await
        } else {
            first
        };
        if let Err(failure) = last {
            return Outcome::Failed(failure);
        }
    }
    Outcome::Measured(())
}

/// The tag's manifest and one byte of the configuration, over a connection of their own.
async fn pull(pass: &Pass<'_>, wanted: &Content) -> Result<(), Failure> {
    let mut visit = pass.visit();
    let path = Path::of(&wanted.repository).then("/manifests/").reference(&wanted.tag);
    let got = visit.send(&Method::HEAD, &path, &accept(ACCEPT, MANIFESTS)).await?;
    if !is_there(&got)? {
        return Err(unexpected(&got.answer, "the manifest of the tag"));
    }
    let Some(config) = &wanted.config else { return Ok(()) };
    let path = Path::of(&wanted.repository).then("/blobs/").reference(config);
    let got = visit.send(&Method::GET, &path, &accept(RANGE, "bytes=0-0")).await?;
    if is_there(&got)? { Ok(()) } else { Err(unexpected(&got.answer, "a byte of the blob")) }
}

/// Compares what every backend has under the tag; none if no backend has anything.
async fn compare(
    client: &Client<'_>,
    places: &mut [Place<'_>],
    (scope, tag): (&Scope, &str),
    before: Option<&Content>,
    began: Instant,
) -> Option<Content> {
    join_all(places.iter_mut().map(|place| boxed(place.resolve(scope, tag)))).await;
    let digest = most_common(places)?;
    // Harbor counts the reading of a manifest as a pull; what it names never changes.
    let known = |before: &&Content| before.digest == digest && before.config.is_some();
    let config = match before.filter(known) {
        Some(before) => before.config.clone(),
        None => config(places, scope, &digest).await,
    };
    let (repository, tag) = (scope.repository.clone(), tag.to_owned());
    let through = Outcome::Skipped(Skipped::NotThisRound);
    let wanted = Content { repository, tag, digest, config, at: Vec::new(), through };
    join_all(places.iter_mut().map(|place| boxed(place.have(&wanted)))).await;
    for after in AGAIN {
        let missing: Vec<&mut Place<'_>> =
            places.iter_mut().filter(|place| place.lacks(&wanted)).collect();
        if missing.is_empty() {
            break;
        }
        if !client.sleep_until(began + after).await {
            if after == AGAIN[0] {
                // Too early to say that it is not there.
                for place in missing {
                    place.state = State::Skipped(Skipped::DeadlineReached);
                }
            }
            break;
        }
        join_all(missing.into_iter().map(|place| boxed(place.again(&wanted, began)))).await;
    }
    Some(wanted)
}

/// Whether the tag leads elsewhere by now, where a backend gave another digest than the others:
/// then a client pushed in the meantime.
async fn moved(places: &mut [Place<'_>], scope: &Scope, wanted: &Content) -> bool {
    let agrees = |place: &&mut Place<'_>| place.found.tagged.as_ref() == Some(&wanted.digest);
    let other =
        |place: &Place<'_>| place.found.tagged.as_ref().is_some_and(|d| *d != wanted.digest);
    if !places.iter().any(other) {
        return false;
    }
    let holders = places.iter_mut().filter(agrees);
    let still = join_all(holders.map(|place| boxed(place.still(scope, wanted)))).await;
    !still.contains(&true)
}

/// One backend as the look goes on.
struct Place<'a> {
    backend: BackendName,
    state: State<'a>,
    tags: Vec<String>,
    found: ContentFound,
}

enum State<'a> {
    Open(Box<Visit<'a>>),
    Failed(Failure),
    Skipped(Skipped),
}

impl<'a> Place<'a> {
    async fn open(client: &'a Client<'a>, flow: &'a Flow, scope: &Scope) -> Option<Place<'a>> {
        let backend = flow.route.backend()?.clone();
        let state = match Pass::begin(client, Check::Content, flow, scope).await {
            Ok(pass) => State::Open(Box::new(pass.visit())),
            Err(Outcome::Failed(failure)) => State::Failed(failure),
            Err(Outcome::Skipped(reason)) => State::Skipped(reason),
            Err(Outcome::Measured(())) => State::Skipped(Skipped::NoToken),
        };
        let (tags, found) = (Vec::new(), ContentFound::default());
        let mut place = Self { backend, state, tags, found };
        place.list(scope).await;
        Some(place)
    }

    /// Asks and reads, and fails the place where that cannot be done.
    async fn read<T>(
        &mut self,
        (method, path): (&Method, &Path),
        extra: Extra,
        read: impl FnOnce(&Got) -> Result<T, Failure>,
    ) -> Option<T> {
        let State::Open(visit) = &mut self.state else { return None };
        match visit.send(method, path, &extra).await.and_then(|got| read(&got)) {
            Ok(value) => Some(value),
            Err(failure) => {
                self.state = State::Failed(failure);
                None
            }
        }
    }

    async fn list(&mut self, scope: &Scope) {
        let path = Path::of(&scope.repository).then("/tags/list");
        let read = |got: &Got| match (is_there(got)?, registry::tags_of(&got.reply.body)) {
            (true, Some(tags)) => Ok(tags),
            (true, None) => Err(unexpected(&got.answer, "a list of tags")),
            (false, _) => Ok(Vec::new()),
        };
        self.tags = self.read((&Method::GET, &path), Extra::none(), read).await.unwrap_or_default();
    }

    async fn resolve(&mut self, scope: &Scope, tag: &str) {
        self.found.listed = self.tags.iter().any(|known| known == tag);
        let path = Path::of(&scope.repository).then("/manifests/").reference(tag);
        let digest = |got: &Got| {
            let there = is_there(got)?;
            Ok(there.then(|| registry::digest_of(&got.reply.headers).or_else(|| of_body(got))))
        };
        let told = || accept(ACCEPT, MANIFESTS);
        let mut found = self.read((&Method::HEAD, &path), told(), digest).await.flatten();
        if found == Some(None) {
            // Without the header only the bytes tell, as docker does it.
            let missing = |got: &Got| match digest(got)? {
                Some(None) => Err(unexpected(&got.answer, "a digest of the manifest")),
                found => Ok(found),
            };
            found = self.read((&Method::GET, &path), told(), missing).await.flatten();
        }
        self.found.tagged = found.flatten();
    }

    /// Whether manifest and configuration are there, by digest.
    async fn have(&mut self, wanted: &Content) {
        let repository = &wanted.repository;
        let path = Path::of(repository).then("/manifests/").reference(&wanted.digest);
        let accepted = accept(ACCEPT, MANIFESTS);
        self.found.manifest =
            self.read((&Method::HEAD, &path), accepted, is_there).await.unwrap_or_default();
        let Some(config) = &wanted.config else { return };
        let path = Path::of(repository).then("/blobs/").reference(config);
        self.found.config = self.read((&Method::HEAD, &path), Extra::none(), is_there).await;
        if self.found.config != Some(true) {
            return;
        }
        // A descriptor cache may know a blob that is gone: only its bytes prove it.
        let byte = accept(RANGE, "bytes=0-0");
        let readable = |got: &Got| match got.answer.status {
            200 | 206 => Ok(Some(true)),
            404 | 500 => Ok(Some(false)),
            // Where clients are sent to is another question.
            _ if leads_on(got) => Ok(None),
            _ => Err(unexpected(&got.answer, "a byte of the blob")),
        };
        self.found.readable = self.read((&Method::GET, &path), byte, readable).await.flatten();
    }

    /// Whether the tag still leads to the same manifest here.
    async fn still(&mut self, scope: &Scope, wanted: &Content) -> bool {
        self.resolve(scope, &wanted.tag).await;
        self.found.tagged.as_ref() == Some(&wanted.digest)
    }

    fn lacks(&self, wanted: &Content) -> bool {
        matches!(self.state, State::Open(_)) && !wanted.is_whole(&self.found)
    }

    /// Looks once more over a fresh connection.
    async fn again(&mut self, wanted: &Content, began: Instant) {
        if let State::Open(visit) = &mut self.state {
            visit.renew();
        }
        let scope = Scope { repository: wanted.repository.clone(), actions: Vec::new() };
        self.list(&scope).await;
        self.resolve(&scope, &wanted.tag).await;
        self.have(wanted).await;
        if matches!(self.state, State::Open(_)) && wanted.is_whole(&self.found) {
            self.found.healed_after_ms = u64::try_from(began.elapsed().as_millis()).ok();
        }
    }

    /// What it answers where no backend gives any content.
    fn without(self, tag: &str) -> ContentAt {
        let found = match self.state {
            State::Open(_) if self.tags.iter().any(|known| known == tag) => {
                let detail = format!("the tag {tag} is listed and its manifest is not there");
                Outcome::Failed(Failure::of_answer(Reason::NotFound, detail))
            }
            State::Open(_) => Outcome::Skipped(Skipped::NothingPushed),
            State::Failed(failure) => Outcome::Failed(failure),
            State::Skipped(reason) => Outcome::Skipped(reason),
        };
        ContentAt { backend: self.backend, found }
    }

    fn finish(self, wanted: &Content, before: Option<&Content>, now: DateTime<Utc>) -> ContentAt {
        let backend = self.backend;
        let mut found = self.found;
        if !wanted.is_whole(&found) {
            let same = before.into_iter().flat_map(|before| &before.at);
            let earlier =
                same.filter(|at| at.backend == backend).find_map(|at| at.found.measured());
            found.since = earlier.and_then(|found| found.since).or(Some(now));
        }
        let found = match self.state {
            State::Open(_) => Outcome::Measured(found),
            State::Failed(failure) => Outcome::Failed(failure),
            State::Skipped(reason) => Outcome::Skipped(reason),
        };
        ContentAt { backend, found }
    }
}

/// The digest of the bytes that came, if any did.
fn of_body(got: &Got) -> Option<String> {
    let body = got.raw().body.as_slice();
    (!body.is_empty()).then(|| blob::digest(body))
}

fn accept(name: HeaderName, value: &'static str) -> Extra {
    Extra::header(name, value)
}

/// The tag to look at, of all that are listed.
fn tag(places: &[Place<'_>]) -> Option<String> {
    registry::canary_tag(places.iter().flat_map(|place| &place.tags)).cloned()
}

/// The digest that most backends give; of equally many the first.
fn most_common(places: &[Place<'_>]) -> Option<String> {
    let digests = || places.iter().filter_map(|place| place.found.tagged.as_ref());
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    for digest in digests() {
        *counts.entry(digest).or_default() += 1;
    }
    let most = counts.values().max().copied()?;
    digests().find(|digest| counts.get(digest) == Some(&most)).cloned()
}

/// The configuration blob that the manifest names, from the first backend that gives it.
async fn config(places: &mut [Place<'_>], scope: &Scope, digest: &str) -> Option<String> {
    let path = Path::of(&scope.repository).then("/manifests/").reference(digest);
    let read = |got: &Got| {
        if is_there(got)? {
            return Ok(registry::config_of(&got.reply.body));
        }
        Err(unexpected(&got.answer, "the manifest that the tag leads to"))
    };
    let having = places.iter_mut().filter(|place| place.found.tagged.as_deref() == Some(digest));
    for place in having {
        let response = place.read((&Method::GET, &path), accept(ACCEPT, MANIFESTS), read).await;
        if let Some(config) = response {
            return config;
        }
    }
    None
}
