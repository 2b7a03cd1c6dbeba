//! One registry's task: a round when the timer says so, for as long as the registry is configured.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use super::changes::changes;
use super::past::Past;
use super::runner::{Run, Runner};
use super::timer::Timer;
use crate::metrics::Counters;
use crate::model::{Judged, Neighbour, RegistryName, Snapshot};

/// Where finished rounds go. Whoever publishes does so inside the channel's own lock, so there is
/// one writer at a time.
pub(super) struct Publisher {
    /// What every output reads.
    pub(super) snapshots: watch::Sender<Arc<Snapshot>>,
    /// What lives on from round to round.
    pub(super) counters: Arc<Counters>,
    /// What outlives a round, and a restart where there is a journal.
    pub(super) past: Arc<Past>,
    /// Writes that are under way; the end of the program waits for them.
    pub(super) writes: TaskTracker,
}

impl Publisher {
    /// Replaces a registry's newest round, unless the registry has been stopped: a round that ends
    /// late must not bring back what was removed.
    fn publish(&self, judged: &Arc<Judged>, stop: &CancellationToken) {
        self.snapshots.send_if_modified(|snapshot| {
            if stop.is_cancelled() {
                return false;
            }
            self.counters.observe(judged);
            let state = Arc::make_mut(snapshot).registries.get_mut(&judged.round.registry);
            let Some(state) = state else { return false };
            state.routes = judged.round.flows.iter().map(|flow| flow.route.clone()).collect();
            state.latest = Some(Arc::clone(judged));
            true
        });
    }

    /// The other registries, by their newest rounds.
    pub(super) fn neighbours(&self, registry: &RegistryName) -> Vec<Neighbour> {
        let snapshot = self.snapshots.borrow();
        let others = snapshot.registries.iter().filter(|(name, _)| *name != registry);
        others.filter_map(|(_, state)| Neighbour::of(&state.latest.as_ref()?.round)).collect()
    }

    fn overrun(&self, registry: &RegistryName, stop: &CancellationToken) {
        self.snapshots.send_if_modified(|_| {
            if !stop.is_cancelled() {
                self.counters.overrun(registry);
            }
            false
        });
    }
}

/// How many rounds in a row may not count because backends came and went. A name that has other
/// addresses each time it is asked must not hide what is wrong for ever.
const MAX_UNSETTLED: u32 = 3;

/// The task of one registry.
pub(super) struct RegistryTask {
    runner: Runner,
    timer: Timer,
    publisher: Arc<Publisher>,
    stop: CancellationToken,
    latest: Option<Arc<Judged>>,
    /// Whether the backends could not be found at the last run.
    lost: bool,
    /// How many rounds in a row were not kept because the backends changed in them.
    unsettled: u32,
}

impl RegistryTask {
    /// A task whose first round begins after `delay`. `latest` is the round that outputs show
    /// already, if there is one.
    pub(super) fn new(
        runner: Runner,
        delay: Duration,
        publisher: Arc<Publisher>,
        stop: CancellationToken,
        latest: Option<Arc<Judged>>,
    ) -> Self {
        let timer = Timer::new(Instant::now() + delay, runner.registry().interval);
        Self { runner, timer, publisher, stop, latest, lost: false, unsettled: 0 }
    }

    /// Probes until it is stopped. A panic costs the round it happens in and no other.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        while stop.run_until_cancelled(sleep_until(self.timer.due())).await.is_some() {
            let deadline = self.timer.begin(rand::random());
            // What a panic leaves half done is thrown away below.
            let round = AssertUnwindSafe(Box::pin(self.round(deadline))).catch_unwind();
            let Some(result) = stop.run_until_cancelled(round).await else { return };
            let name = &self.runner.registry().name;
            if result.is_err() {
                error!(registry = %name, "a round failed: a bug in registry-prober");
            }
            let skipped = self.timer.skip(Instant::now());
            for _ in 0..skipped {
                self.publisher.overrun(name, &stop);
            }
            if skipped > 0 {
                warn!(registry = %name, skipped, "a round took too long; the rounds due meanwhile are skipped");
            }
            if result.is_err() {
                self.runner = self.runner.twin();
            }
        }
    }

    async fn round(&mut self, deadline: Instant) {
        let mut earlier = self.publisher.past.earlier(&self.runner.registry().name);
        earlier.neighbours = self.publisher.neighbours(&self.runner.registry().name);
        let Run { judged, discovery, unsettled } =
            self.runner.run(deadline, &earlier, &|_| ()).await;
        if unsettled && self.unsettled < MAX_UNSETTLED {
            self.unsettled += 1;
            let registry = &judged.round.registry;
            info!(%registry, "backends changed during a round; its result is dropped");
            return;
        }
        self.unsettled = 0;
        let name = &judged.round.registry;
        debug!(
            registry = %name,
            status = judged.assessment.status.as_str(),
            findings = judged.assessment.findings.len(),
            refused_pairs = judged.round.matrix.refused().count(),
            seconds = judged.round.seconds,
            "a round ended"
        );
        match (&discovery, self.lost) {
            (Some(error), false) => warn!(registry = %name, %error, "backends cannot be found"),
            (None, true) => info!(registry = %name, "backends are found again"),
            _ => {}
        }
        self.lost = discovery.is_some();
        for change in changes(self.latest.as_deref(), &judged) {
            change.log(name);
        }
        let (past, interval) = (&self.publisher.past, self.runner.registry().interval);
        let interval = interval.as_secs_f64();
        let change = past.take(&judged, interval, &self.stop);
        self.publisher.publish(&judged, &self.stop);
        if let Some(change) = change {
            past.save(change, &judged, interval, &self.publisher.writes).await;
        }
        self.latest = Some(judged);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::config::{self, BackendSource, PublicUrl};
    use crate::model::ShownRound;
    use crate::model::sample::fresh_snapshot;
    use crate::schedule::refusing::Refusing;

    fn shown(_: &Arc<Judged>, _: f64) -> ShownRound {
        ShownRound { page: String::new(), document: serde_json::Value::Null }
    }

    fn publisher() -> Arc<Publisher> {
        let snapshot = fresh_snapshot(&[]);
        Arc::new(Publisher {
            snapshots: watch::channel(Arc::new(snapshot)).0,
            counters: Arc::default(),
            past: Arc::new(Past::new(None, Box::new(shown))),
            writes: TaskTracker::new(),
        })
    }

    fn task(panics: u32, publisher: &Arc<Publisher>, stop: &CancellationToken) -> RegistryTask {
        let registry = config::Registry::new(
            RegistryName::parse("main").unwrap(),
            PublicUrl::parse("http://127.0.0.1:1").unwrap(),
            BackendSource::Static(Vec::new()),
        );
        let left = AtomicU32::new(panics);
        let first_ones_panic = move || {
            let left =
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1));
            assert!(left.is_err(), "as ordered");
        };
        let runner = Runner::over(Arc::new(registry), Arc::new(Refusing(first_ones_panic)));
        RegistryTask::new(runner, Duration::ZERO, Arc::clone(publisher), stop.clone(), None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_costs_its_round_and_no_other() {
        let (publisher, stop) = (publisher(), CancellationToken::new());
        let mut snapshots = publisher.snapshots.subscribe();
        let began = Instant::now();
        let running = tokio::spawn(task(3, &publisher, &stop).run());
        let measured = |snapshot: &Arc<Snapshot>| {
            snapshot.registries.values().all(|state| state.latest.is_some())
        };
        snapshots.wait_for(measured).await.unwrap();
        let rounds = began.elapsed().as_secs_f64() / 15.0;
        assert!((2.9..3.2).contains(&rounds), "three rounds were lost: {rounds}");
        stop.cancel();
        running.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn rounds_follow_each_other_at_the_interval_until_the_end() {
        let (publisher, stop) = (publisher(), CancellationToken::new());
        let mut snapshots = publisher.snapshots.subscribe();
        let running = tokio::spawn(task(0, &publisher, &stop).run());
        let began = Instant::now();
        for round in 0..5u32 {
            snapshots.changed().await.unwrap();
            let even = 15.0 * f64::from(round);
            let off = (began.elapsed().as_secs_f64() - even).abs();
            // Jitter of 0.75 s, and a second try after 0.1 s.
            assert!(off <= 0.9, "round {round} is {off} s from its even time");
        }
        stop.cancel();
        running.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_ends_after_its_registry_was_stopped_is_not_published() {
        let (publisher, stop) = (publisher(), CancellationToken::new());
        let deadline = Instant::now() + Duration::from_secs(5);
        let shown = || publisher.snapshots.borrow().registries.values().any(|s| s.latest.is_some());
        // Stopped because it starts again with other settings, under the same name.
        stop.cancel();
        task(0, &publisher, &stop).round(deadline).await;
        assert!(!shown());
        task(0, &publisher, &CancellationToken::new()).round(deadline).await;
        assert!(shown(), "it would have been otherwise");
    }
}
