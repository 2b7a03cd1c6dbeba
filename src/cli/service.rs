//! The daemon with its web server: what `run` runs, and `demo` as well.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::clock::Clock;
use crate::config::{Loaded, PublicUrl, Shard};
use crate::history::Journal;
use crate::metrics::{self, Metrics};
use crate::model::{Incident, Judged, RegistryName, RoundLine, ShownRound, Snapshot};
use crate::report;
use crate::schedule::{Daemon, Hangups};
use crate::web::{self, Pending, Rendered};

/// The limit for stopping, below the two seconds that are promised.
const END_LIMIT: Duration = Duration::from_millis(1700);

/// How the service is run.
pub(super) struct ServiceSettings {
    /// Where it listens.
    pub(super) listeners: Vec<TcpListener>,
    /// How often the configuration's files are looked at; never if zero.
    pub(super) auto_reload: Duration,
    /// Where incidents, findings and keys are kept over a restart.
    pub(super) journal: Option<Journal>,
    /// Which of the file's registries are probed here.
    pub(super) shard: Shard,
    /// TLS and users of the port.
    pub(super) access: Option<Arc<web::Access>>,
    /// Who may reload from elsewhere than loopback.
    pub(super) reload_token: Option<SecretString>,
    /// How it is reached from elsewhere.
    pub(super) external: Vec<PublicUrl>,
}

/// A running service.
pub(super) struct Service {
    daemon: Arc<Daemon>,
    web: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Service {
    /// Probes what was loaded from `path`, and answers.
    ///
    /// # Errors
    /// A registry's certificates or SIGHUP cannot be used.
    pub(super) async fn start(
        path: &Path,
        loaded: Loaded,
        settings: ServiceSettings,
    ) -> anyhow::Result<Self> {
        let hangups = Hangups::listen().context("SIGHUP")?;
        let daemon =
            Daemon::start(path, loaded, settings.journal, settings.shard, Box::new(shown)).await?;
        let daemon = Arc::new(daemon);
        let shutdown = CancellationToken::new();
        let addresses: Vec<SocketAddr> =
            settings.listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        let hosts = settings.external.iter().map(|url| url.authority().host_port.host.clone());
        let names = web::Names::new(&addresses, hosts);
        let router = web::router(web::State {
            snapshots: daemon.snapshots(),
            program: Box::new(Program::new(&daemon)),
            reload_token: settings.reload_token,
            names,
        });
        let web =
            tokio::spawn(web::serve(settings.listeners, router, settings.access, shutdown.clone()));
        let (tended, until) = (Arc::clone(&daemon), shutdown.clone());
        tokio::spawn(async move { tended.tend(hangups, settings.auto_reload, until).await });
        Ok(Self { daemon, web, shutdown })
    }

    /// The newest rounds, as they come.
    pub(super) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.daemon.snapshots()
    }

    /// Ends only if the web server does, which it never should.
    pub(super) async fn failed(&mut self) {
        let _ = (&mut self.web).await;
        error!("the web server ended: a bug in registry-prober");
    }

    /// Stops everything, running rounds included.
    pub(super) async fn end(self) {
        self.shutdown.cancel();
        let all = async {
            self.daemon.stop().await;
            let _ = self.web.await;
        };
        if timeout(END_LIMIT, all).await.is_err() {
            warn!("some tasks did not end in time");
        }
    }
}

/// A round in the forms in which it is kept.
fn shown(judged: &Arc<Judged>, interval: f64) -> ShownRound {
    ShownRound {
        page: web::round_page(judged, interval),
        document: report::round::document(judged, interval),
    }
}

/// The program as the web room asks for it.
struct Program {
    daemon: Arc<Daemon>,
    metrics: Metrics,
}

impl Program {
    fn new(daemon: &Arc<Daemon>) -> Self {
        let metrics = Metrics::new(daemon.snapshots(), daemon.counters());
        Self { daemon: Arc::clone(daemon), metrics }
    }
}

impl web::Program for Program {
    fn now(&self) -> DateTime<Utc> {
        Clock::read().now()
    }

    fn metrics(&self, accept: Option<&str>) -> Rendered {
        self.metrics.render(accept)
    }

    fn document(&self, snapshot: &Snapshot) -> serde_json::Value {
        serde_json::to_value(report::json::document(snapshot, true)).unwrap_or_default()
    }

    fn configuration(&self) -> Pending<String> {
        let daemon = Arc::clone(&self.daemon);
        Box::pin(async move { daemon.configuration().await })
    }

    fn probe(&self, registry: RegistryName, within: Duration) -> Pending<Option<Arc<Judged>>> {
        let daemon = Arc::clone(&self.daemon);
        Box::pin(async move { daemon.probe_now(&registry, within).await })
    }

    fn probe_metrics(
        &self,
        judged: Option<&Arc<Judged>>,
        took: Duration,
        accept: Option<&str>,
    ) -> Rendered {
        metrics::probe_page(judged, took, accept)
    }

    fn probe_text(&self, judged: &Arc<Judged>) -> String {
        report::round::text(judged)
    }

    fn reload(&self) -> Pending<Result<(), String>> {
        let daemon = Arc::clone(&self.daemon);
        Box::pin(async move { daemon.reload().await.map_err(|error| error.to_string()) })
    }

    fn incidents(&self) -> Vec<Incident> {
        self.daemon.incidents()
    }

    fn last_rounds(&self) -> Vec<RoundLine> {
        self.daemon.last_rounds()
    }

    fn round(&self, id: String) -> Pending<Option<Result<ShownRound, String>>> {
        let daemon = Arc::clone(&self.daemon);
        Box::pin(async move {
            daemon.round(&id).await.map(|round| round.map_err(|error| error.to_string()))
        })
    }
}

/// Listens at `host:port`, or at `:port` on every address of the machine.
///
/// # Errors
/// The address cannot be used. The error says what to do.
pub(super) async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let bound = match address.strip_prefix(':') {
        // Where IPv6 is switched off there is still IPv4.
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
                TcpListener::bind(format!("0.0.0.0:{port}")).await
            }
            other => other,
        },
        None => TcpListener::bind(address).await,
    };
    bound.with_context(|| {
        format!(
            "cannot listen at {address}; choose another address or port with --web.listen-address"
        )
    })
}

/// How a browser on this machine reaches a listener.
pub(super) fn url(address: SocketAddr) -> String {
    let host = match address {
        address if !address.ip().is_unspecified() => address.ip(),
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    format!("http://{}", SocketAddr::new(host, address.port()))
}
