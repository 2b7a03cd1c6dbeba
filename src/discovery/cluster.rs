//! The endpoints of a Service, listed and then watched, as Kubernetes wants it: a list has a
//! version, the changes after that version come line by line, and a version that is too old (410)
//! is listed again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::cause::DiscoveryCause;
use super::slices::{self, Event, Page, Slice, clean};
use crate::config::{Backend, ClusterAccess, KubernetesSource, cluster_access};
use crate::transport::{Api, ApiError, ClientPem, Tls, USER_AGENT};

/// How long a list may take.
const LIST_LIMIT: Duration = Duration::from_secs(10);
/// How long the API server lets one watch live. It is short, so that a connection of which only
/// this end is left is noticed; a new watch goes on where the old one ended.
const WATCH_SECONDS: u64 = 60;
/// How long a watch may say nothing.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + 15);
/// Everything is listed again after this time, whatever the watch said.
const RESYNC: Duration = Duration::from_secs(600);
/// A watch that ends sooner is none.
const SHORTEST: Duration = Duration::from_secs(1);

/// The first and the longest wait after a failure.
const WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Slices in one page of a list.
const PAGE: usize = 100;
/// Most pages of a list.
const MAX_PAGES: usize = 20;
/// What is known of a Service.
#[derive(Debug, Default, Clone)]
pub(super) struct State {
    /// The backends of the newest list with its changes, or why the slices mean none; nothing
    /// before the first.
    found: Option<Arc<Result<Vec<Backend>, String>>>,
    /// Why the API server cannot be asked, while it cannot.
    failing: Option<String>,
}

/// A Service that is watched until this is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to watch.
    pub(super) fn begin(source: KubernetesSource) -> Self {
        let (sender, state) = watch::channel(State::default());
        Self { state, task: tokio::spawn(follow(source, sender)) }
    }

    /// What is known, as it changes.
    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The backends, as soon as something is known.
pub(super) async fn backends(
    mut state: watch::Receiver<State>,
) -> Result<Vec<Backend>, DiscoveryCause> {
    let known = |state: &State| state.found.is_some() || state.failing.is_some();
    let ended = |_| DiscoveryCause::Cluster("the watch ended".to_owned());
    let state = state.wait_for(known).await.map_err(ended)?.clone();
    match (&state.failing, state.found.as_deref()) {
        (None, Some(Ok(backends))) => Ok(backends.clone()),
        (None, Some(Err(why))) | (Some(why), _) => Err(DiscoveryCause::Cluster(why.clone())),
        (None, None) => Err(DiscoveryCause::Timeout),
    }
}

async fn follow(source: KubernetesSource, state: watch::Sender<State>) {
    let mut wait = WAIT.0;
    loop {
        let mut watched = false;
        let followed = follow_once(&source, &state, &mut watched).await;
        if watched {
            wait = WAIT.0;
        }
        if let Err(cause) = followed
            && !watched
        {
            state.send_modify(|state| state.failing = Some(cause.to_string()));
        }
        // A random part, so that many probers do not come back at the same moment.
        sleep(wait.mul_f64(0.5 + rand::random::<f64>())).await;
        wait = (wait * 2).min(WAIT.1);
    }
}

/// Lists everything and follows the changes until it is time to list again. Returns whether a watch
/// lasted: one that ends at once must not be started again without a pause.
async fn follow_once(
    source: &KubernetesSource,
    state: &watch::Sender<State>,
    watched: &mut bool,
) -> Result<(), DiscoveryCause> {
    let asked = source.clone();
    let access = tokio::task::spawn_blocking(move || cluster_access(asked.kubeconfig.as_deref()));
    let access = access.await.map_err(|_| DiscoveryCause::Internal)??;
    let api = api(&access)?;
    let namespace = source.namespace.clone().or(access.namespace);
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let path = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices\
         ?labelSelector=kubernetes.io%2Fservice-name%3D{}",
        source.service
    );
    let (mut slices, mut version) = list(&api, &path).await?;
    publish(source, state, &slices);
    let until = Instant::now() + RESYNC;
    while Instant::now() < until {
        let watch = format!(
            "{path}&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}\
             &resourceVersion={version}"
        );
        let begun = Instant::now();
        let mut lines = match api.lines(&watch, SILENCE).await {
            Err(ApiError::Refused { status: 410, .. }) => return Ok(()),
            other => other?,
        };
        loop {
            // A proxy may cut a watch that says nothing. That is no failure: the list that comes
            // next says whether the API answers.
            let line = lines.next().await;
            *watched |= line.is_ok() || begun.elapsed() >= SHORTEST;
            let Some(line) = line? else { break };
            let event: Event = parse(&line)?;
            if !apply(&mut slices, &mut version, event)? {
                return Ok(());
            }
            publish(source, state, &slices);
        }
        if begun.elapsed() < SHORTEST {
            let why = "the API server ends each watch at once";
            *watched = false;
            return Err(DiscoveryCause::Cluster(why.to_owned()));
        }
    }
    Ok(())
}

fn api(access: &ClusterAccess) -> Result<Api, DiscoveryCause> {
    let identity = access.identity.as_ref();
    let client = identity
        .map(|identity| ClientPem { certificates: &identity.certificates, key: &identity.key });
    let tls = match (&access.ca, access.insecure_skip_verify) {
        (Some(ca), false) => Tls::only(ca, client.as_ref()),
        (_, insecure) => Tls::prepare(None, client.as_ref(), insecure),
    };
    let tls = tls.map_err(ApiError::from)?;
    Ok(Api::new(&access.server, &tls, access.token.as_ref(), USER_AGENT)?)
}

async fn list(api: &Api, path: &str) -> Result<(BTreeMap<String, Slice>, String), DiscoveryCause> {
    let mut slices = BTreeMap::new();
    let mut next = String::new();
    for _ in 0..MAX_PAGES {
        let more = if next.is_empty() { String::new() } else { format!("&continue={next}") };
        let body = api.get(&format!("{path}&limit={PAGE}{more}"), LIST_LIMIT).await?;
        let page: Page = parse(&body)?;
        slices.extend(page.items.into_iter().map(|slice| (slice.metadata.name.clone(), slice)));
        if page.metadata.next.is_empty() {
            return Ok((slices, page.metadata.resource_version));
        }
        next = url::form_urlencoded::byte_serialize(page.metadata.next.as_bytes()).collect();
    }
    Err(DiscoveryCause::Cluster(format!("has more than {} EndpointSlices", PAGE * MAX_PAGES)))
}

/// Takes a change in. Returns whether the watch can go on: after 410 everything has to be listed
/// again.
fn apply(
    slices: &mut BTreeMap<String, Slice>,
    version: &mut String,
    event: Event,
) -> Result<bool, DiscoveryCause> {
    let slice = event.object;
    match event.kind.as_str() {
        "ADDED" | "MODIFIED" => {
            version.clone_from(&slice.metadata.resource_version);
            slices.insert(slice.metadata.name.clone(), slice);
        }
        "DELETED" => {
            version.clone_from(&slice.metadata.resource_version);
            slices.remove(&slice.metadata.name);
        }
        "BOOKMARK" => version.clone_from(&slice.metadata.resource_version),
        _ if slice.code == Some(410) => return Ok(false),
        _ => {
            let said = clean(slice.message.as_deref().unwrap_or("no reason"));
            return Err(DiscoveryCause::Cluster(format!("the API server ends the watch: {said}")));
        }
    }
    Ok(true)
}

fn publish(
    source: &KubernetesSource,
    state: &watch::Sender<State>,
    slices: &BTreeMap<String, Slice>,
) {
    let found = slices::backends(source, slices.values()).map_err(|cause| cause.to_string());
    state.send_replace(State { found: Some(Arc::new(found)), failing: None });
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, DiscoveryCause> {
    let other =
        |_| DiscoveryCause::Cluster("the API server's answer is not an EndpointSlice".to_owned());
    serde_json::from_slice(body).map_err(other)
}

/// What an API server's refusal says, and what to do about it.
pub(super) fn said(error: &ApiError) -> String {
    let ApiError::Refused { status, body } = error else {
        return format!("the API server: {error}");
    };
    let message = parse::<Slice>(body).ok().and_then(|status| status.message);
    let message = clean(message.as_deref().unwrap_or("no reason"));
    let hint = match status {
        401 => "; the token is not valid there",
        403 => "; a Role must allow list and watch of endpointslices in discovery.k8s.io",
        _ => "",
    };
    format!("the API server answers {status}: {message}{hint}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, object: &serde_json::Value) -> Event {
        serde_json::from_value(json!({"type": kind, "object": object})).unwrap()
    }

    #[test]
    fn changes_are_taken_in_and_the_version_follows() {
        let (mut slices, mut version) = (BTreeMap::new(), "1".to_owned());
        let slice = |name: &str, version: &str| json!({"metadata": {"name": name, "resourceVersion": version}, "addressType": "IPv4"});
        for (kind, object, names, at) in [
            ("ADDED", slice("a", "2"), vec!["a"], "2"),
            ("ADDED", slice("b", "3"), vec!["a", "b"], "3"),
            ("MODIFIED", slice("a", "4"), vec!["a", "b"], "4"),
            ("BOOKMARK", json!({"metadata": {"resourceVersion": "9"}}), vec!["a", "b"], "9"),
            ("DELETED", slice("a", "10"), vec!["b"], "10"),
        ] {
            assert!(apply(&mut slices, &mut version, event(kind, &object)).unwrap());
            assert_eq!(slices.keys().collect::<Vec<_>>(), names);
            assert_eq!(version, at);
        }
        let gone = event("ERROR", &json!({"kind": "Status", "code": 410, "message": "too old"}));
        assert!(!apply(&mut slices, &mut version, gone).unwrap(), "listed again");
        let other = event("ERROR", &json!({"kind": "Status", "code": 500, "message": "no\netcd"}));
        let error = apply(&mut slices, &mut version, other).unwrap_err().to_string();
        assert_eq!(error, "the API server ends the watch: no etcd");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let body = br#"{"kind": "Status", "message": "endpointslices is forbidden"}"#.to_vec();
        let said = said(&ApiError::Refused { status: 403, body });
        assert!(
            said.starts_with("the API server answers 403: endpointslices is forbidden; a Role")
        );
    }
}
