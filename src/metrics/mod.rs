//! Prometheus' view of the newest rounds. The only room that knows the metrics library.
//!
//! [`names`] is the table of all metrics. [`Counters`] holds the little that must live on from
//! round to round; everything else is read from the newest [`Snapshot`] at each scrape, so a
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

use crate::model::{Judged, ProgramFacts, RegistryState, Snapshot, Status};
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
        // Held until the counters are read: between the two a round with a new backend could be
        // counted, and its counts dropped as of a backend that this snapshot does not have.
        let snapshot = self.snapshots.borrow();
        let mut page = Page::new(Format::negotiate(accept));
        self.counters.synchronised(&snapshot, |tallies| {
            collector::registries(&mut page, &snapshot, tallies);
            collector::program(&mut page, &snapshot, tallies);
        });
        drop(snapshot);
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

/// The page of finished rounds without a daemon: the same families, counted from nothing, and
/// nothing about the program. For `check --output=prometheus`.
pub fn page_of(rounds: &[Arc<Judged>], accept: Option<&str>) -> Rendered {
    let mut page = Page::new(Format::negotiate(accept));
    alone(&mut page, rounds);
    page.finish()
}

/// The page of one probe on demand: [`page_of`] its round, led by the verdict and the duration in
/// the words of `blackbox_exporter`. No round at all means that it did not end in time. The
/// verdict is 1 unless something critical was found or nothing was measured.
pub fn probe_page(judged: Option<&Arc<Judged>>, took: Duration, accept: Option<&str>) -> Rendered {
    let served =
        |judged: &Arc<Judged>| matches!(judged.assessment.status, Status::Ok | Status::Warning);
    let mut page = Page::new(Format::negotiate(accept));
    page.family(&names::PROBE_SUCCESS, [Sample::flag([], judged.is_some_and(served))]);
    page.family(&names::PROBE_DURATION, [Sample::number([], took.as_secs_f64())]);
    alone(&mut page, judged.map(std::slice::from_ref).unwrap_or_default());
    page.finish()
}

fn alone(page: &mut Page, rounds: &[Arc<Judged>]) {
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
    counters.settle();
    counters.synchronised(&snapshot, |tallies| {
        collector::registries(page, &snapshot, tallies);
    });
}

#[cfg(test)]
mod tests;
