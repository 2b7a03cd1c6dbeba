//! What several tests need: a lab with a prober before it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use registry_prober::clock::Clock;
use registry_prober::config::{self, Registry};
use registry_prober::lab::{Cluster, Options, Scenario};
use registry_prober::model::{Assessment, Earlier, Neighbour, Round};
use registry_prober::probe::Prober;
use registry_prober::transport::{HttpClient, Tls, install_crypto_provider};
use registry_prober::{diagnosis, discovery};
use tempfile::TempDir;
use tokio::time::Instant;

pub(crate) mod outputs;
pub(crate) mod program;
pub(crate) mod rust_source;
pub(crate) mod simulated;
pub(crate) mod written;

/// A lab on loopback and the registry that its own configuration describes.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) registry: Arc<Registry>,
    /// The second registry, if the scenario has one.
    pub(crate) second: Option<Arc<Registry>>,
    /// The configuration file.
    pub(crate) path: PathBuf,
    _files: TempDir,
}

impl Bench {
    /// Starts a scenario.
    pub(crate) fn start(scenario: &Scenario, options: &Options) -> Self {
        install_crypto_provider();
        let cluster = Cluster::start(scenario, options).expect("the lab starts");
        let files = TempDir::new().expect("a folder");
        let text = cluster.config_yaml(files.path()).expect("a configuration");
        let path = files.path().join("prober.yml");
        std::fs::write(&path, text).expect("the configuration is written");
        let loaded = config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let mut registries = loaded.config.registries.into_iter().map(Arc::new);
        let registry = registries.next().expect("one registry");
        Self { cluster, registry, second: registries.next(), path, _files: files }
    }

    /// A prober of the lab.
    pub(crate) fn prober(&self) -> Prober {
        prober(&self.registry)
    }
}

/// One round of a bench, judged next to the other registry if there is one.
pub(crate) async fn bench_round(bench: &Bench, prober: &mut Prober) -> (Round, Assessment) {
    let (first, mut assessment) = round(&bench.registry, prober).await;
    if let Some(registry) = &bench.second {
        let (second, _) = round(registry, &mut self::prober(registry)).await;
        let neighbours = Neighbour::of(&second).into_iter().collect();
        let earlier = Earlier { neighbours, ..Earlier::default() };
        assessment = diagnosis::assess_after(&first, &earlier);
    }
    (first, assessment)
}

/// A prober over real sockets.
pub(crate) fn prober(registry: &Arc<Registry>) -> Prober {
    let tls = &registry.tls;
    let tls = Tls::prepare(tls.extra_roots.as_deref(), None, tls.insecure_skip_verify)
        .expect("the roots are usable");
    Prober::new(Arc::clone(registry), Arc::new(HttpClient::new(tls, "registry-prober/test")))
}

/// One round, judged.
pub(crate) async fn round(registry: &Registry, prober: &mut Prober) -> (Round, Assessment) {
    let backends = discovery::backends(registry).await.expect("backends are found");
    let deadline = Instant::now() + Duration::from_secs(13);
    let round = prober.round(&backends, Clock::read(), deadline, &|_| {}).await;
    let assessment = diagnosis::assess(&round);
    (round, assessment)
}

/// Looks again and again until something holds.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "{what}: not within a minute");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
