//! All registries of a configuration file, and the file itself as it changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use thiserror::Error;
use tokio::sync::{Mutex, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::on_demand::OnDemand;
use super::past::{Past, ShowRound};
use super::registry::{Publisher, RegistryTask};
use super::runner::Runner;
use super::signals::Hangups;
use super::timer::first_delay;
use crate::clock::Clock;
use crate::config::{self, BackendSource, ConfigErrors, Fingerprint, Loaded, Registry, Shard};
use crate::history::{Journal, JournalError, KeptRoundError};
use crate::metrics::Counters;
use crate::model::{
    Incident, Judged, ProgramFacts, RegistryName, RegistryState, RoundLine, Route, ShownRound,
    Snapshot,
};
use crate::transport::TlsError;

/// How long tasks may take to notice that they are stopped.
const STOP_LIMIT: Duration = Duration::from_millis(500);

/// Why a configuration is not taken.
#[derive(Debug, Error)]
pub enum ConfigurationError {
    /// The file has problems.
    #[error(transparent)]
    File(#[from] ConfigErrors),
    /// A registry's certificates cannot be used.
    #[error("registry {registry}: {source}")]
    Tls {
        /// The registry.
        registry: RegistryName,
        /// What is wrong.
        source: TlsError,
    },
    /// The folder of kept rounds cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A fault of this program.
    #[error("the configuration could not be read: a bug in registry-prober")]
    Internal,
}

/// Probes every configured registry on its own timer and publishes what was found.
pub struct Daemon {
    path: PathBuf,
    publisher: Arc<Publisher>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Which of the file's registries are probed here.
    shard: Shard,
    /// Held while a configuration is read and taken, so that two reloads cannot mix.
    reloading: Mutex<()>,
    registries: Mutex<Registries>,
}

struct Registries {
    /// The configuration in use, as people read it: every default filled in, no secrets.
    shown: String,
    /// The state of the files when they were last read, good or bad.
    fingerprint: Fingerprint,
    members: BTreeMap<RegistryName, Member>,
}

struct Member {
    /// It never runs itself. Its twin does, and so do the copies for probes on demand.
    runner: Runner,
    on_demand: OnDemand,
    stop: CancellationToken,
}

impl Daemon {
    /// Starts to probe what was loaded from `path`, with what the journal remembers. `show` turns a
    /// round into the form in which it is kept. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ConfigurationError::Tls`] if a registry's certificates cannot be used, and
    /// [`ConfigurationError::Journal`] if the folder of kept rounds cannot.
    pub async fn start(
        path: &Path,
        loaded: Loaded,
        journal: Option<Journal>,
        shard: Shard,
        show: Box<ShowRound>,
    ) -> Result<Self, ConfigurationError> {
        let program = ProgramFacts {
            reload_successful: true,
            reload_success: Clock::read().now(),
            reload_error: None,
        };
        let snapshot = Snapshot { registries: BTreeMap::new(), program };
        let tasks = TaskTracker::new();
        let publisher = Publisher {
            snapshots: watch::channel(Arc::new(snapshot)).0,
            counters: Arc::default(),
            past: Arc::new(Past::new(journal, show)),
            writes: tasks.clone(),
        };
        let daemon = Self {
            path: path.to_owned(),
            publisher: Arc::new(publisher),
            tasks,
            stop: CancellationToken::new(),
            shard,
            reloading: Mutex::default(),
            registries: Mutex::new(Registries {
                shown: String::new(),
                fingerprint: loaded.fingerprint,
                members: BTreeMap::new(),
            }),
        };
        let mut registries = daemon.registries.lock().await;
        daemon.take(&mut registries, loaded)?;
        drop(registries);
        Ok(daemon)
    }

    /// The newest rounds, as they come.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.publisher.snapshots.subscribe()
    }

    /// What lives on from round to round.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.publisher.counters)
    }

    /// The configuration in use, as `config show` prints it.
    pub async fn configuration(&self) -> String {
        self.registries.lock().await.shown.clone()
    }

    /// Every incident, the latest to open last.
    pub fn incidents(&self) -> Vec<Incident> {
        self.publisher.past.incidents()
    }

    /// The last rounds of all registries, newest first.
    pub fn last_rounds(&self) -> Vec<RoundLine> {
        self.publisher.past.last_rounds()
    }

    /// A round by its id, as it was shown then; none if it is not kept.
    ///
    /// # Errors
    /// It is kept and cannot be read.
    pub async fn round(&self, id: &str) -> Option<Result<ShownRound, KeptRoundError>> {
        self.publisher.past.round(id).await
    }

    /// Reads the configuration file again and takes it if it is good. Otherwise the old one goes
    /// on, which the log and [`ProgramFacts`] say.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn reload(&self) -> Result<(), ConfigurationError> {
        let _one_at_a_time = self.reloading.lock().await;
        let path = self.path.clone();
        // A credential helper may take its time; pages and probes do not wait for it.
        let read = spawn_blocking(move || (config::fingerprint(&path), config::load(&path))).await;
        let mut registries = self.registries.lock().await;
        let taken = match read {
            Ok((_, Ok(loaded))) => {
                registries.fingerprint = loaded.fingerprint;
                self.take(&mut registries, loaded)
            }
            Ok((fingerprint, Err(errors))) => {
                registries.fingerprint = fingerprint;
                Err(errors.into())
            }
            Err(_) => Err(ConfigurationError::Internal),
        };
        if let Err(error) = &taken {
            error!(%error, "the configuration is not valid; the old one stays in use");
            self.publisher.snapshots.send_modify(|snapshot| {
                let program = &mut Arc::make_mut(snapshot).program;
                program.reload_successful = false;
                program.reload_error = Some(error.to_string());
            });
        }
        taken
    }

    /// One round of a registry now, outside its timer and its counters. Checks that do not run in
    /// every round are left to the registry's own rounds; their last results are reported. A caller
    /// who asks while such a round runs gets that round. None if the registry is not configured, or
    /// is stopped meanwhile.
    pub async fn probe_now(&self, name: &RegistryName, within: Duration) -> Option<Arc<Judged>> {
        let deadline = Instant::now() + within;
        let registries = self.registries.lock().await;
        let member = registries.members.get(name)?;
        let round = member.on_demand.join(|| {
            let (mut runner, stop) = (member.runner.on_demand(), member.stop.clone());
            let mut earlier = self.publisher.past.earlier(name);
            earlier.neighbours = self.publisher.neighbours(name);
            let turn = async move { runner.run(deadline, &earlier, &|_| ()).await.judged };
            async move { stop.run_until_cancelled(turn).await }.boxed()
        });
        drop(registries);
        round.await
    }

    /// Reads the configuration again on SIGHUP and when its files have changed, until it is
    /// cancelled. It looks at the files at every `interval`; never if that is zero.
    pub async fn tend(&self, mut hangups: Hangups, interval: Duration, until: CancellationToken) {
        let look = async || match interval {
            Duration::ZERO => std::future::pending().await,
            interval => sleep(interval).await,
        };
        loop {
            tokio::select! {
                () = until.cancelled() => return,
                () = hangups.next() => info!("SIGHUP: reading the configuration again"),
                () = look() => {
                    if !self.has_changed().await {
                        continue;
                    }
                    info!("the configuration's files have changed; reading them again");
                }
            }
            // What is wrong has been said already.
            let _ = self.reload().await;
        }
    }

    async fn has_changed(&self) -> bool {
        let path = self.path.clone();
        let known = self.registries.lock().await.fingerprint;
        spawn_blocking(move || config::fingerprint(&path)).await.is_ok_and(|now| now != known)
    }

    /// Stops every round where it is.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(STOP_LIMIT, self.tasks.wait()).await.is_err() {
            warn!(tasks = self.tasks.len(), "some rounds did not end before the program stopped");
        }
    }

    /// Makes a configuration the one that runs. Registries that stay as they are are not touched.
    fn take(&self, registries: &mut Registries, loaded: Loaded) -> Result<(), ConfigurationError> {
        let shown = config::show(&loaded.config);
        let mut wanted = loaded.config.registries;
        wanted.retain(|registry| self.shard.takes(&registry.name));
        let plan = plan(&registries.members, wanted);
        // Everything that can fail comes before anything is stopped.
        let mut runners = Vec::new();
        for registry in plan.start {
            let name = registry.name.clone();
            let runner = Runner::new(Arc::new(registry))
                .map_err(|source| ConfigurationError::Tls { registry: name, source })?;
            runners.push(runner);
        }
        for (name, source) in plan.moved {
            if let Some(member) = registries.members.get(&name) {
                member.runner.finder().look_at(source);
            }
        }
        registries.shown = shown;
        for name in &plan.stop {
            if let Some(member) = registries.members.remove(name) {
                member.stop.cancel();
            }
        }
        let now = Clock::read().now();
        self.publisher.snapshots.send_modify(|snapshot| {
            let snapshot = Arc::make_mut(snapshot);
            let mut old = BTreeMap::new();
            for name in &plan.stop {
                old.extend(snapshot.registries.remove_entry(name));
            }
            for runner in &runners {
                let registry = runner.registry();
                let state = state(registry, old.remove(&registry.name));
                snapshot.registries.insert(registry.name.clone(), state);
            }
            snapshot.program =
                ProgramFacts { reload_successful: true, reload_success: now, reload_error: None };
            self.publisher.counters.retain(snapshot);
            let names = snapshot.registries.keys().map(RegistryName::as_str).collect();
            self.publisher.past.leave(&names, now, &self.publisher.writes);
        });
        info!(
            registries = plan.kept + runners.len(),
            started = runners.len(),
            stopped = plan.stop.len(),
            "the configuration is loaded"
        );
        let count = runners.len();
        for (index, runner) in runners.into_iter().enumerate() {
            self.launch(registries, runner, index, count);
        }
        Ok(())
    }

    fn launch(&self, registries: &mut Registries, runner: Runner, index: usize, count: usize) {
        let registry = runner.registry();
        let (name, stop) = (registry.name.clone(), self.stop.child_token());
        let delay = first_delay(index, count, registry.interval);
        let latest = self.publisher.snapshots.borrow().registries.get(&name).cloned();
        let latest = latest.and_then(|state| state.latest);
        let task = RegistryTask::new(
            runner.twin(),
            delay,
            Arc::clone(&self.publisher),
            stop.clone(),
            latest,
        );
        self.tasks.spawn(task.run());
        registries.members.insert(name, Member { runner, on_demand: OnDemand::default(), stop });
    }
}

/// What a new configuration does to the registries that run.
struct Plan {
    start: Vec<Registry>,
    /// Registries of which only the backends changed, or where to find them. The next round asks
    /// the new ones, and what is known of the backends that stay is kept.
    moved: Vec<(RegistryName, BackendSource)>,
    /// Those that are gone, and those that are different and start again.
    stop: Vec<RegistryName>,
    kept: usize,
}

fn plan(running: &BTreeMap<RegistryName, Member>, wanted: Vec<Registry>) -> Plan {
    let same = |registry: &Registry| {
        running.get(&registry.name).is_some_and(|member| {
            let backends = registry.backends.clone();
            Registry { backends, ..(**member.runner.registry()).clone() } == *registry
        })
    };
    let (kept, start): (Vec<_>, Vec<_>) = wanted.into_iter().partition(same);
    let stays = |name: &RegistryName| kept.iter().any(|registry| registry.name == *name);
    let stop = running.keys().filter(|name| !stays(name)).cloned().collect();
    let count = kept.len();
    let elsewhere = |registry: &Registry| {
        let member = running.get(&registry.name);
        member.is_some_and(|member| member.runner.finder().source() != registry.backends)
    };
    let moved = kept.into_iter().filter(elsewhere);
    let moved = moved.map(|registry| (registry.name, registry.backends)).collect();
    Plan { start, moved, stop, kept: count }
}

/// The state of a registry that is about to start. Its last round is still shown if the routes are
/// the same: a new password must not leave a gap.
fn state(registry: &Registry, old: Option<RegistryState>) -> RegistryState {
    let url = registry.url.to_string();
    let interval_seconds = registry.interval.as_secs_f64();
    let routes = match &registry.backends {
        BackendSource::Static(backends) => {
            let backends = backends.iter().map(|backend| Route::Backend(backend.name.clone()));
            backends.chain([Route::Balancer]).collect()
        }
        _ => match &old {
            Some(old) if old.url == url => old.routes.clone(),
            _ => vec![Route::Balancer],
        },
    };
    let latest = old.filter(|old| old.url == url && old.routes == routes).and_then(|o| o.latest);
    RegistryState { url, interval_seconds, routes, latest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Backend, HostPort, PublicUrl, Scheme};
    use crate::model::BackendName;
    use crate::model::sample::{judged, round};

    fn registry(name: &str, backends: &[&str]) -> Registry {
        let backend = |name: &&str| Backend {
            name: BackendName::parse(name).unwrap(),
            scheme: Scheme::Https,
            address: HostPort { host: format!("{name}.internal"), port: 443 },
            ready: true,
        };
        Registry::new(
            RegistryName::parse(name).unwrap(),
            PublicUrl::parse("https://hub.example.com").unwrap(),
            BackendSource::Static(backends.iter().map(backend).collect()),
        )
    }

    fn running(registries: Vec<Registry>) -> BTreeMap<RegistryName, Member> {
        let member = |registry: Registry| {
            let name = registry.name.clone();
            let runner = Runner::new(Arc::new(registry)).unwrap();
            let (on_demand, stop) = (OnDemand::default(), CancellationToken::new());
            (name, Member { runner, on_demand, stop })
        };
        registries.into_iter().map(member).collect()
    }

    #[test]
    fn only_what_differs_is_touched() {
        let slow = Registry { timeout: Duration::from_secs(9), ..registry("b", &["x"]) };
        for (wanted, start, stop, kept) in [
            (vec![registry("a", &["x"]), registry("b", &["x"])], vec![], vec![], 2),
            (vec![registry("a", &["x"])], vec![], vec!["b"], 1),
            (vec![registry("a", &["x"]), slow], vec!["b"], vec!["b"], 1),
            (vec![registry("c", &["x"])], vec!["c"], vec!["a", "b"], 0),
        ] {
            let now = running(vec![registry("a", &["x"]), registry("b", &["x"])]);
            let plan = plan(&now, wanted);
            let started: Vec<_> = plan.start.iter().map(|r| r.name.as_str()).collect();
            let stopped: Vec<_> = plan.stop.iter().map(RegistryName::as_str).collect();
            assert_eq!((started, stopped, plan.kept), (start, stop, kept));
        }
    }

    #[test]
    fn other_backends_are_taken_by_the_registry_that_runs() {
        let now = running(vec![registry("a", &["x"]), registry("b", &["x"])]);
        let plan = plan(&now, vec![registry("a", &["x", "y"]), registry("b", &["x"])]);
        assert_eq!((plan.start.len(), plan.stop.len(), plan.kept), (0, 0, 2));
        let [(name, source)] = plan.moved.as_slice() else { panic!("{:?}", plan.moved) };
        assert_eq!((name.as_str(), source), ("a", &registry("a", &["x", "y"]).backends));
    }

    #[test]
    fn another_password_is_another_registry() {
        let with = |password: &str| Registry {
            credentials: Some(config::Credentials {
                username: "prober".to_owned(),
                password: password.into(),
            }),
            ..registry("a", &["x"])
        };
        assert_eq!(plan(&running(vec![with("one")]), vec![with("one")]).kept, 1);
        assert_eq!(plan(&running(vec![with("one")]), vec![with("two")]).kept, 0);
    }

    #[test]
    fn what_was_measured_is_shown_on_as_long_as_the_routes_are_the_same() {
        let measured = |registry: &Registry| {
            let judged = judged(round(&["x", "y"]), Vec::new());
            RegistryState { latest: Some(judged), ..state(registry, None) }
        };
        let old = registry("main", &["x", "y"]);
        let slower = Registry { interval: Duration::from_secs(60), ..old.clone() };
        let kept = state(&slower, Some(measured(&old)));
        assert!(kept.latest.is_some());
        assert!((kept.interval_seconds - 60.0).abs() < f64::EPSILON);
        let other = registry("main", &["x", "z"]);
        assert!(state(&other, Some(measured(&old))).latest.is_none());
        assert_eq!(state(&other, None).routes.len(), 3, "series exist before the first round");
    }
}
