//! One run: which backends there are, what they answer, what it means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{Backend, Registry};
use crate::diagnosis;
use crate::discovery::{DiscoveryError, Finder};
use crate::model::{Earlier, Judged, Neighbour, Round, Status};
use crate::probe::{Prober, Progress};
use crate::transport::{ClientPem, HttpClient, Tls, TlsError, USER_AGENT, Wire};

/// How long it may take to see whether the backends have changed.
const RECHECK: Duration = Duration::from_secs(1);

/// Runs rounds of one registry, and remembers what the next round needs.
pub struct Runner {
    registry: Arc<Registry>,
    prober: Prober,
    /// Shared with twins and those on demand.
    finder: Arc<Finder>,
    /// The backends that were found last; kept while discovery fails.
    backends: Vec<Backend>,
}

/// The result of a run.
#[derive(Debug)]
pub struct Run {
    /// The round with what it means.
    pub judged: Arc<Judged>,
    /// Why discovery failed this time. The round then used the backends found last, and the load
    /// balancer.
    pub discovery: Option<DiscoveryError>,
    /// Whether the backends had changed when the round ended: what it met may be their coming and
    /// going.
    pub unsettled: bool,
}

impl Runner {
    /// A runner on real sockets.
    ///
    /// # Errors
    /// [`TlsError`] if the registry's trust or client certificate cannot be used.
    pub fn new(registry: Arc<Registry>) -> Result<Self, TlsError> {
        let tls = &registry.tls;
        let client = tls
            .client
            .as_ref()
            .map(|identity| ClientPem { certificates: &identity.certificates, key: &identity.key });
        let tls =
            Tls::prepare(tls.extra_roots.as_deref(), client.as_ref(), tls.insecure_skip_verify)?;
        let agent = registry.user_agent.as_deref().unwrap_or(USER_AGENT);
        let client = HttpClient::new(tls, agent);
        Ok(Self::over(registry, Arc::new(client)))
    }

    /// A runner over another wire.
    pub fn over(registry: Arc<Registry>, wire: Arc<dyn Wire>) -> Self {
        let prober = Prober::new(Arc::clone(&registry), wire);
        let finder = Arc::new(Finder::new(&registry));
        Self { registry, prober, finder, backends: Vec::new() }
    }

    /// A second runner for the same registry, to run in the place of this one. Both share what the
    /// checks found last, and the sessions and the pace of each route.
    #[must_use]
    pub fn twin(&self) -> Self {
        self.with(self.prober.twin())
    }

    /// A runner for rounds on demand, in addition to this one and its twins. It leaves to them the
    /// checks that do not run in every round, and reports what they found last. It shares the pace
    /// of each route.
    #[must_use]
    pub fn on_demand(&self) -> Self {
        self.with(self.prober.on_demand())
    }

    fn with(&self, prober: Prober) -> Self {
        let (registry, backends) = (Arc::clone(&self.registry), self.backends.clone());
        Self { registry, prober, finder: Arc::clone(&self.finder), backends }
    }

    /// What finds the backends.
    pub fn finder(&self) -> &Finder {
        &self.finder
    }

    /// The registry.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Finds the backends, probes them and judges the round with what earlier rounds left behind.
    /// Ends by `deadline`.
    ///
    /// A round in which something is wrong says nothing if the backends had changed at its end. It
    /// is then taken again, once, if there is time.
    pub async fn run(
        &mut self,
        deadline: Instant,
        earlier: &Earlier,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Run {
        let began = Instant::now();
        let first = self.run_once(deadline, earlier, progress).await;
        let took = began.elapsed();
        if !first.unsettled || deadline.saturating_duration_since(Instant::now()) < took * 2 {
            return first;
        }
        self.run_once(deadline, earlier, progress).await
    }

    async fn run_once(
        &mut self,
        deadline: Instant,
        earlier: &Earlier,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Run {
        let clock = Clock::read();
        let discovery = match self.find(deadline).await {
            Ok(backends) => {
                self.prober.forget_moved(&self.backends, &backends);
                self.backends = backends;
                None
            }
            Err(error) => {
                // A runner of rounds on demand has found none itself.
                if self.backends.is_empty() {
                    self.backends = self.finder.last_found();
                }
                Some(error)
            }
        };
        let mut round =
            Box::pin(self.prober.round(&self.backends, clock, deadline, progress)).await;
        round.discovery_error = discovery.as_ref().map(ToString::to_string);
        let judged = Arc::new(judge(round, earlier));
        // If nothing is wrong, it does not matter which backends came or went.
        let sound = judged.assessment.status == Status::Ok && judged.assessment.findings.is_empty();
        let unsettled = !sound && discovery.is_none() && self.has_changed(deadline).await;
        Run { judged, discovery, unsettled }
    }

    async fn find(&self, deadline: Instant) -> Result<Vec<Backend>, DiscoveryError> {
        let found = tokio::time::timeout_at(deadline, self.finder.find()).await;
        found.unwrap_or_else(|_| Err(self.finder.too_late()))
    }

    /// Whether the backends differ from those of the round. One that only became ready is no reason
    /// to ask all of them again.
    async fn has_changed(&self, deadline: Instant) -> bool {
        let until = deadline.min(Instant::now() + RECHECK);
        let now = tokio::time::timeout_at(until, self.finder.find()).await;
        let Ok(Ok(now)) = now else { return false };
        let places = |backends: &[Backend]| -> BTreeMap<_, _> {
            let place = |b: &Backend| (b.name.clone(), (b.scheme, b.address.clone()));
            backends.iter().map(place).collect()
        };
        places(&now) != places(&self.backends)
    }
}

/// Judges rounds that ended together once more, each with the others as neighbours, if that can
/// show more.
pub fn judge_together(judged: Vec<Arc<Judged>>) -> Vec<Arc<Judged>> {
    let neighbours: Vec<Neighbour> =
        judged.iter().filter_map(|judged| Neighbour::of(&judged.round)).collect();
    if neighbours.len() < 2 {
        return judged;
    }
    let earlier = Earlier { neighbours, ..Earlier::default() };
    let anew = |judged: Arc<Judged>| Arc::new(judge(judged.round.clone(), &earlier));
    judged.into_iter().map(anew).collect()
}

/// The one place in which rounds are judged.
fn judge(round: Round, earlier: &Earlier) -> Judged {
    let assessment = diagnosis::assess_after(&round, earlier);
    Judged { round, assessment }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, OnceLock};

    use super::*;
    use crate::config::{BackendSource, HostPort, PublicUrl, Scheme};
    use crate::model::{BackendName, RegistryName};
    use crate::schedule::refusing::Refusing;

    fn listed(names: &[&str]) -> BackendSource {
        let backend = |name: &&str| Backend {
            name: BackendName::parse(name).unwrap(),
            scheme: Scheme::Http,
            address: HostPort { host: "10.0.0.1".to_owned(), port: 80 },
            ready: true,
        };
        BackendSource::Static(names.iter().map(backend).collect())
    }

    /// The backends of a round in which each connection that is opened may find others in the list,
    /// and whether they never came to rest.
    async fn run(lists: Vec<BackendSource>) -> (Vec<String>, bool) {
        let registry = Registry::new(
            RegistryName::parse("main").unwrap(),
            PublicUrl::parse("http://127.0.0.1:1").unwrap(),
            listed(&["a", "b"]),
        );
        let finder: Arc<OnceLock<Arc<Finder>>> = Arc::default();
        let (lists, known) = (Mutex::new(lists), Arc::clone(&finder));
        let change = move || {
            if let Some(list) = lists.lock().unwrap().pop() {
                known.get().unwrap().look_at(list);
            }
        };
        let mut runner = Runner::over(Arc::new(registry), Arc::new(Refusing(change)));
        finder.set(Arc::clone(&runner.finder)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let run = runner.run(deadline, &Earlier::default(), &|_| ()).await;
        let names = run.judged.round.backends.iter().map(|b| b.name.to_string()).collect();
        (names, run.unsettled)
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_leaves_in_mid_round_is_not_taken_for_one_that_failed() {
        assert_eq!(run(Vec::new()).await, (vec!["a".to_owned(), "b".to_owned()], false));
        assert_eq!(run(vec![listed(&["a"])]).await, (vec!["a".to_owned()], false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_never_rests_is_said_to_be_unsettled() {
        let lists = (0..1000).map(|n| listed(&[&format!("n{n}")])).collect();
        assert!(run(lists).await.1);
    }
}
