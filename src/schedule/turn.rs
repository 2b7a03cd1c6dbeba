//! One turn of the wheel: which backends there are, what they answer, what it means.

use std::sync::Arc;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{Backend, Registry};
use crate::diagnosis;
use crate::discovery::{self, DiscoveryCause, DiscoveryError};
use crate::model::{Earlier, Judged, Neighbour, Round};
use crate::probe::{Prober, Progress};
use crate::transport::{ClientPem, HttpClient, Tls, TlsError, Wire};

/// How servers see the prober in their logs, unless the configuration says otherwise.
const USER_AGENT: &str = concat!("registry-prober/", env!("CARGO_PKG_VERSION"));

/// Turns again and again for one registry, and remembers what is needed in between.
pub struct Wheel {
    registry: Arc<Registry>,
    prober: Prober,
    /// As last found; kept while they cannot be found.
    backends: Vec<Backend>,
}

/// What a turn brought.
#[derive(Debug)]
pub struct Turned {
    /// The round with what it means.
    pub judged: Arc<Judged>,
    /// Why backends could not be found this time. The round was made with those last found, and
    /// through the load balancer.
    pub discovery: Option<DiscoveryError>,
}

impl Wheel {
    /// A wheel on real sockets.
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

    /// A wheel over another wire.
    pub fn over(registry: Arc<Registry>, wire: Arc<dyn Wire>) -> Self {
        let prober = Prober::new(Arc::clone(&registry), wire);
        Self { registry, prober, backends: Vec::new() }
    }

    /// A second wheel for the same registry, to turn in the place of this one: of what a round
    /// changes, it shares what the checks found last, and sessions and pace of each route.
    #[must_use]
    pub fn twin(&self) -> Self {
        self.with(self.prober.twin())
    }

    /// A wheel for turns on demand beside those of this one and its twins: it leaves to them the
    /// checks that are not made in every round, and tells what they found last. No route is asked
    /// more often for it.
    #[must_use]
    pub fn on_demand(&self) -> Self {
        self.with(self.prober.on_demand())
    }

    fn with(&self, prober: Prober) -> Self {
        let (registry, backends) = (Arc::clone(&self.registry), self.backends.clone());
        Self { registry, prober, backends }
    }

    /// The registry.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Finds the backends, probes them and judges the round with what earlier rounds left behind.
    /// Ends by `deadline`.
    pub async fn turn(
        &mut self,
        deadline: Instant,
        earlier: &Earlier,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Turned {
        let clock = Clock::read();
        let found = tokio::time::timeout_at(deadline, discovery::backends(&self.registry)).await;
        let discovery = match found {
            Ok(Ok(backends)) => {
                self.backends = backends;
                None
            }
            Ok(Err(error)) => Some(error),
            Err(_) => Some(DiscoveryError {
                registry: self.registry.name.clone(),
                host: self.registry.url.authority().host_port.host.clone(),
                cause: DiscoveryCause::Timeout,
            }),
        };
        let round = self.prober.round(&self.backends, clock, deadline, progress).await;
        Turned { judged: Arc::new(judge(round, earlier)), discovery }
    }
}

/// Judges rounds that ended together anew, each beside the others, where that can tell more.
pub fn beside(judged: Vec<Arc<Judged>>) -> Vec<Arc<Judged>> {
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
