//! The checks beside the token flow: which are due, and each in a file of its own.
//!
//! A new check: a line in the table of `model::Check`, a file here with one function from a
//! [`Client`] and the round's flows to what was found, a line in [`run_due`], and one in
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
use crate::model::{BackendName, Cadence, Check, Checked, Checks, Flow, Outcome, Skipped};

/// What is kept between rounds: when each check was last made, and what the checks found.
///
/// The registry's own rounds make every check that is due, and leave what they found to the rounds
/// on demand, which make none but those of every round. So nobody who asks often makes the registry
/// work more, one writer alone is at the scratch repository, and a round that is cut short, as those
/// on demand are when nobody waits for them any longer, spoils no result that stands for minutes.
#[derive(Debug, Default)]
pub(super) struct LastResults {
    ran: BTreeMap<Check, Instant>,
    /// Nothing before the end of the first round. Held to be read or replaced, never while a round
    /// lasts.
    found: Arc<Mutex<Option<Arc<Checks>>>>,
    on_demand: bool,
}

impl LastResults {
    /// For a prober that begins anew in the place of this one.
    pub(super) fn twin(&self) -> Self {
        Self { ran: self.ran.clone(), found: Arc::clone(&self.found), on_demand: self.on_demand }
    }

    /// For rounds on demand beside those of this one and its twins.
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

    fn keep(&self, found: &Checks) {
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
    let before = &before;
    let history = &History { ran: &last.ran, on_demand: last.on_demand, first };
    // A check by its field and name, with the future that runs it.
    macro_rules! check {
        ($field:ident, $name:ident, $look:expr) => {
            run_if_due(client, Check::$name, history, &before.$field, $look)
        };
    }
    // One after the other: what one of them writes must not be what another finds half written.
    let writing = async {
        let upload = check!(upload, Upload, upload::look(client, flows)).await;
        let push = check!(push, Push, push::look(client, flows)).await;
        let look = content::look(client, flows, before.content.measured());
        let content = check!(content, Content, look).await;
        let look = blob_redirect::look(client, flows, before.blob_redirect.measured());
        let redirect = check!(blob_redirect, BlobRedirect, look).await;
        (upload, push, content, redirect)
    };
    // One account, which is not shown again where it was just refused.
    let system = async {
        let pools = check!(worker_pools, WorkerPools, worker_pools::look(client, flows)).await;
        let look = replications::look(client, flows, pools.measured());
        let replications = check!(replications, Replications, look).await;
        (pools, replications)
    };
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
        flow::boxed(writing),
        check!(directory_login, DirectoryLogin, directory),
        flow::boxed(system),
    );
    let found = Checks {
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
    };
    if !last.on_demand {
        let now = Some(client.clock.at(client.began));
        for run in found.runs().into_iter().filter(|run| run.at == now) {
            last.ran.insert(run.check, client.began);
        }
        last.keep(&found);
    }
    found
}

/// What decides whether a check is due.
struct History<'a> {
    ran: &'a BTreeMap<Check, Instant>,
    on_demand: bool,
    /// Whether no round has ended yet.
    first: bool,
}

/// One check, if it is due.
async fn run_if_due<T: Clone>(
    client: &Client<'_>,
    check: Check,
    history: &History<'_>,
    before: &Checked<T>,
    look: impl Future<Output = Outcome<T>> + Send,
) -> Checked<T> {
    if !client.registry.checks.allows(check) {
        return Checked::skipped(Skipped::Disabled);
    }
    if history.on_demand && check.cadence() == Cadence::Interval {
        return if history.first {
            Checked::skipped(Skipped::NotThisRound)
        } else {
            before.clone()
        };
    }
    let due = match (check.cadence(), history.ran.get(&check)) {
        (Cadence::Round, _) | (_, None) => true,
        // A round begins a little early or late; a check must not wait for the next one for that.
        (Cadence::Interval, Some(last)) => {
            client.began.saturating_duration_since(*last) + client.registry.interval / 2
                >= client.registry.checks.interval
        }
    };
    if !due {
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
