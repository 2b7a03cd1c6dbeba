//! Prometheus' view of the newest rounds. The only room that knows the metrics library.
//!
//! [`names`] is the table of all metrics. [`Counters`] holds the little that must live on from
//! round to round; everything else is read from the newest [`Snapshot`] when somebody asks, so a
//! page costs no probe and holds no series of a backend that is gone. To add a metric: a line in
//! [`names`], a family in `collector`.

mod collector;
mod counters;
mod exposition;
mod histogram;
pub mod names;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use tokio::sync::watch;

pub use counters::Counters;

use crate::model::{Judged, ProgramFacts, RegistryState, Snapshot};
use exposition::{Format, Page, Sample};

/// Version 0.0.4 text or OpenMetrics, with its exact `Content-Type`.
pub type Rendered = (&'static str, Vec<u8>);

/// The page of a running daemon.
#[derive(Debug)]
pub struct Metrics {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    counters: Arc<Counters>,
    process: ProcessCollector,
}

impl Metrics {
    /// Reads the newest snapshot and these counters from now on.
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>, counters: Arc<Counters>) -> Self {
        Self { snapshots, counters, process: ProcessCollector::for_self() }
    }

    /// The page as an `Accept` header wants it. Waits for nothing but the counters' lock, which is
    /// only ever held while numbers are added or read.
    pub fn render(&self, accept: Option<&str>) -> Rendered {
        let snapshot = self.snapshots.borrow().clone();
        let mut page = Page::new(Format::negotiate(accept));
        self.counters.synchronised(&snapshot, |tallies| {
            collector::registries(&mut page, &snapshot, tallies);
            collector::program(&mut page, &snapshot, tallies);
        });
        let build = [
            env!("CARGO_PKG_VERSION"),
            env!("REGISTRY_PROBER_REVISION"),
            env!("REGISTRY_PROBER_RUSTVERSION"),
        ];
        page.family(&names::BUILD_INFO, [Sample::number(build, 1.0)]);
        for family in self.process.collect() {
            page.foreign(&family);
        }
        page.finish()
    }
}

/// What a single probe adds to its page, in the words of `blackbox_exporter`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbeResult {
    /// Whether the round ended in time and found nothing critical.
    pub success: bool,
    /// How long it took.
    pub took: Duration,
}

/// The page of single rounds without a daemon: the same families, counted from nothing, and
/// nothing about the program. For `/probe`, and for `check --output=prometheus`, which has no
/// [`ProbeResult`].
pub fn page_of(
    rounds: &[Arc<Judged>],
    probe: Option<ProbeResult>,
    accept: Option<&str>,
) -> Rendered {
    let counters = Counters::default();
    let mut registries = BTreeMap::new();
    for judged in rounds {
        counters.observe(judged);
        let state = RegistryState {
            url: judged.round.url.clone(),
            interval_seconds: 0.0,
            routes: judged.round.flows.iter().map(|flow| flow.route.clone()).collect(),
            latest: Some(judged.clone()),
        };
        registries.insert(judged.round.registry.clone(), state);
    }
    let program = ProgramFacts {
        reload_successful: true,
        reload_success: chrono::DateTime::UNIX_EPOCH,
        reload_error: None,
    };
    let snapshot = Snapshot { registries, program };
    let mut page = Page::new(Format::negotiate(accept));
    if let Some(probe) = probe {
        page.family(&names::PROBE_SUCCESS, [Sample::flag([], probe.success)]);
        page.family(&names::PROBE_DURATION, [Sample::number([], probe.took.as_secs_f64())]);
    }
    counters.synchronised(&snapshot, |tallies| {
        collector::registries(&mut page, &snapshot, tallies);
    });
    page.finish()
}

#[cfg(test)]
mod tests;
