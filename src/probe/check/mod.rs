//! The checks in addition to the token flow: which are due, and each in a file of its own.
//!
//! A new check: a line in the table of `model::Check`, a file here with one function from a
//! [`Client`] and the round's flows to what was found, a line in [`DueChecks::all`], and one in
//! `model::departed`. Rules that judge it are in `diagnosis`.

mod authorization_header;
mod blob;
mod blob_redirect;
mod body_limit;
mod content;
mod csrf;
mod directory_login;
mod dns;
mod health;
mod latency;
mod pairs;
mod public_url;
mod push;
mod replications;
mod session;
mod upload;
mod visit;
mod worker_pools;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::client::Client;
use super::flow;
use crate::model::{
    BackendName, BlobRedirects, Cadence, Check, Checked, Checks, Content, Flow, Outcome, Pushed,
    Replications, Skipped, Uploads, WorkerPools,
};

/// What is kept between rounds: when each check last ran, and what the checks found.
///
/// The registry's own rounds run every check that is due, and leave what they found to the rounds
/// on demand, which run only the checks of every round. So frequent scrapes do not make the
/// registry work more, and only one writer is at the scratch repository. A round on demand is cut
/// short when no one waits for it any longer; that spoils no result that stands for minutes.
#[derive(Debug, Default)]
pub(super) struct LastResults {
    ran: BTreeMap<Check, Instant>,
    /// Nothing before the end of the first round. Held to be read or replaced, never while a round
    /// lasts.
    found: Arc<Mutex<Option<Arc<Checks>>>>,
    on_demand: bool,
}

impl LastResults {
    /// For a prober that takes the place of this one.
    pub(super) fn twin(&self) -> Self {
        Self { ran: self.ran.clone(), found: Arc::clone(&self.found), on_demand: self.on_demand }
    }

    /// For rounds on demand, next to those of this one and its twins.
    pub(super) fn on_demand(&self) -> Self {
        Self { on_demand: true, ..self.twin() }
    }

    fn found(&self) -> Option<Arc<Checks>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what was found at other backends than these.
    pub(super) fn forget_others(&self, backends: &[BackendName]) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &mut *found {
            Arc::make_mut(found).keep(backends);
        }
    }

    /// Keeps what the checks found, and when they ran. Rounds on demand leave both alone.
    fn note(&mut self, client: &Client<'_>, found: &Checks) {
        if self.on_demand {
            return;
        }
        let now = Some(client.clock.at(client.began));
        for run in found.runs().into_iter().filter(|run| run.at == now) {
            self.ran.insert(run.check, client.began);
        }
        let found = Some(Arc::new(found.clone()));
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

/// Runs every check that is due, side by side, and carries the others' last results along.
pub(super) async fn run_due(client: &Client<'_>, last: &mut LastResults, flows: &[Flow]) -> Checks {
    let known = last.found();
    let first = known.is_none();
    let mut before = Arc::unwrap_or_clone(known.unwrap_or_default());
    let names: Vec<_> = client.backends.iter().map(|backend| backend.name.clone()).collect();
    before.keep(&names);
    let ran = last.ran.clone();
    let due = DueChecks { client, flows, before, ran, on_demand: last.on_demand, first };
    let found = due.all().await;
    last.note(client, &found);
    found
}

/// The checks of one round, and what decides which of them are due.
struct DueChecks<'a> {
    client: &'a Client<'a>,
    flows: &'a [Flow],
    /// What they found last, at the backends that are still there.
    before: Checks,
    ran: BTreeMap<Check, Instant>,
    on_demand: bool,
    /// Whether no round has ended yet.
    first: bool,
}

impl DueChecks<'_> {
    async fn all(&self) -> Checks {
        let Self { client, flows, before, .. } = self;
        // A check by its field and name, with the future that runs it.
        macro_rules! check {
            ($field:ident, $name:ident, $look:expr) => {
                self.if_due(Check::$name, &before.$field, $look)
            };
        }
        let header = authorization_header::look(client, flows);
        let limit = body_limit::look(client, flows, &before.body_limit);
        let directory = directory_login::look(client, flows, before.directory_login.measured());
        let (
            authorization_header,
            public_url,
            dns,
            health,
            latency,
            csrf,
            session,
            body_limit,
            (upload, push, content, blob_redirect),
            directory_login,
            (worker_pools, replications),
        ) = tokio::join!(
            check!(authorization_header, AuthorizationHeader, header),
            check!(public_url, PublicUrl, public_url::look(client, flows)),
            check!(dns, Dns, dns::look(client)),
            check!(health, Health, health::look(client, flows)),
            check!(latency, Latency, latency::look(client, flows)),
            check!(csrf, Csrf, csrf::look(client, flows)),
            check!(session, Session, session::look(client, flows)),
            check!(body_limit, BodyLimit, limit),
            flow::boxed(self.of_content()),
            check!(directory_login, DirectoryLogin, directory),
            flow::boxed(self.of_jobs()),
        );
        Checks {
            authorization_header,
            public_url,
            dns,
            health,
            latency,
            csrf,
            session,
            body_limit,
            blob_redirect,
            content,
            upload,
            push,
            directory_login,
            worker_pools,
            replications,
        }
    }

    /// One after the other: what one of them writes must not be what another finds half written.
    async fn of_content(
        &self,
    ) -> (Checked<Uploads>, Checked<Pushed>, Checked<Content>, Checked<BlobRedirects>) {
        let Self { client, flows, before, .. } = self;
        let look = upload::look(client, flows);
        let upload = self.if_due(Check::Upload, &before.upload, look).await;
        let push = self.if_due(Check::Push, &before.push, push::look(client, flows)).await;
        let look = content::look(client, flows, before.content.measured());
        let content = self.if_due(Check::Content, &before.content, look).await;
        let look = blob_redirect::look(client, flows, before.blob_redirect.measured());
        let redirects = self.if_due(Check::BlobRedirect, &before.blob_redirect, look).await;
        (upload, push, content, redirects)
    }

    /// One account, which is not shown again where it was just refused.
    async fn of_jobs(&self) -> (Checked<WorkerPools>, Checked<Replications>) {
        let Self { client, flows, before, .. } = self;
        let look = worker_pools::look(client, flows);
        let pools = self.if_due(Check::WorkerPools, &before.worker_pools, look).await;
        let look = replications::look(client, flows, pools.measured());
        let replications = self.if_due(Check::Replications, &before.replications, look).await;
        (pools, replications)
    }

    /// What a check finds if it is due, else why it does not run or what it found before.
    async fn if_due<T: Clone>(
        &self,
        check: Check,
        before: &Checked<T>,
        look: impl Future<Output = Outcome<T>> + Send,
    ) -> Checked<T> {
        let client = self.client;
        if !client.registry.checks.allows(check) {
            return Checked::skipped(Skipped::Disabled);
        }
        if self.on_demand && check.cadence() == Cadence::Interval {
            return if self.first {
                Checked::skipped(Skipped::NotThisRound)
            } else {
                before.clone()
            };
        }
        if !self.is_due(check) {
            return before.clone();
        }
        if client.is_over() {
            return match before.at {
                Some(_) => before.clone(),
                None => Checked::skipped(Skipped::DeadlineReached),
            };
        }
        let found = flow::boxed(look).await;
        // What was asked for without success is not asked for again before it is due.
        let requests = client.requests_of(check);
        let tried = requests > 0 || !matches!(found, Outcome::Skipped(_));
        Checked { at: tried.then(|| client.clock.at(client.began)), requests, found }
    }

    fn is_due(&self, check: Check) -> bool {
        match (check.cadence(), self.ran.get(&check)) {
            (Cadence::Round, _) | (_, None) => true,
            // A round begins a little early or late; a check must not wait for the next one for
            // that.
            (Cadence::Interval, Some(last)) => {
                let (began, registry) = (self.client.began, self.client.registry);
                began.saturating_duration_since(*last) + registry.interval / 2
                    >= registry.checks.interval
            }
        }
    }
}
