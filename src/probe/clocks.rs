//! The clocks of all backends, kept from round to round: what every answer says of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use tokio::time::Instant;

use crate::clock::{Aim, Clock, Sample, Tracker};
use crate::model::{BackendName, ClockReading, ClockSource, Phase, Route};
use crate::registry::{self, Stamp};
use crate::transport::Exchange;

/// The clocks of all backends, kept from round to round on one scale: the prober's wall clock as
/// it was first read, carried on by the monotonic one.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    scale: Option<Clock>,
    /// The last reading of the wall clock.
    last: Option<Clock>,
    trackers: Mutex<BTreeMap<(BackendName, ClockSource), Tracker>>,
}

impl Clocks {
    /// Begins a round, and says by how much the prober's own clock was set since the last one. If
    /// it was, nothing learned before is worth anything.
    pub(super) fn begin(&mut self, clock: Clock, backends: &[BackendName]) -> Option<TimeDelta> {
        let stepped = self.last.and_then(|last| clock.stepped_since(&last));
        if stepped.is_some() {
            self.forget();
        }
        self.scale.get_or_insert(clock);
        self.last = Some(clock);
        self.keep(backends);
        stepped
    }

    /// Forgets all other backends.
    pub(super) fn keep(&mut self, backends: &[BackendName]) {
        let trackers = self.trackers.get_mut().unwrap_or_else(PoisonError::into_inner);
        trackers.retain(|(backend, _), _| backends.contains(backend));
    }

    /// Ends a round: what its samples say, or by how much the prober's own clock was set
    /// meanwhile. Offsets are given against the wall clock at the round's begin.
    pub(super) fn end(&mut self) -> Result<Vec<ClockReading>, TimeDelta> {
        let (Some(scale), Some(begun)) = (self.scale, self.last) else { return Ok(Vec::new()) };
        let now = begun.again();
        if let Some(stepped) = now.stepped_since(&begun) {
            self.forget();
            return Err(stepped);
        }
        self.last = Some(now);
        let (against, at) = (begun.ahead_of(&scale), scale.nanoseconds(Instant::now()));
        let trackers = self.trackers.get_mut().unwrap_or_else(PoisonError::into_inner);
        let end = |((backend, source), tracker): (&(BackendName, ClockSource), &mut Tracker)| {
            tracker.end(backend, *source, at, against)
        };
        Ok(trackers.iter_mut().filter_map(end).collect())
    }

    fn forget(&mut self) {
        *self = Self::default();
    }

    fn with<R>(
        &self,
        backend: &BackendName,
        source: ClockSource,
        work: impl FnOnce(&mut Tracker, Clock) -> R,
    ) -> Option<R> {
        let mut trackers = self.trackers.lock().unwrap_or_else(PoisonError::into_inner);
        let scale = self.scale?;
        Some(work(trackers.entry((backend.clone(), source)).or_default(), scale))
    }

    /// Takes in every time that an answer tells. Only where an upload begins is its time that of
    /// the answer.
    pub(super) fn book_answer(&self, route: &Route, exchange: &Exchange, begins_upload: bool) {
        let Ok(reply) = &exchange.result else { return };
        self.book(route, ClockSource::Date, exchange, date(exchange));
        let csrf = registry::csrf_time(&reply.headers);
        let upload = begins_upload.then(|| registry::upload_time(&reply.headers)).flatten();
        for (source, stamp) in [(ClockSource::Csrf, csrf), (ClockSource::Upload, upload)] {
            if stamp.is_some() {
                self.book(route, source, exchange, stamp);
            }
        }
    }

    /// Takes in a stamp, or that an answer had none that can be used.
    pub(super) fn book(
        &self,
        route: &Route,
        source: ClockSource,
        exchange: &Exchange,
        stamp: Option<Stamp>,
    ) {
        let Some(backend) = route.backend() else { return };
        self.with(backend, source, |tracker, scale| match sample(scale, exchange, stamp) {
            Some(sample) => tracker.observe(sample),
            None => tracker.discard(),
        });
    }

    /// When to ask a backend next, if it is worth it.
    pub(super) fn plan(&self, backend: &BackendName) -> Option<(Aim, Instant)> {
        let aim = self.with(backend, ClockSource::Date, |tracker, scale| {
            let aim = tracker.plan(scale.nanoseconds(Instant::now()))?;
            Some((aim, scale.instant(aim.send)?))
        });
        aim.flatten()
    }

    /// Takes in the answer to a planned request; `false` if it gave no time.
    pub(super) fn book_planned(&self, backend: &BackendName, exchange: &Exchange) -> bool {
        let booked = self.with(backend, ClockSource::Date, |tracker, scale| {
            let sample = sample(scale, exchange, date(exchange));
            if let Some(sample) = sample {
                tracker.observe_planned(sample);
            } else {
                tracker.lost();
                if exchange.result.is_ok() {
                    tracker.discard();
                }
            }
            sample.is_some()
        });
        booked.unwrap_or(false)
    }
}

fn date(exchange: &Exchange) -> Option<Stamp> {
    let reply = exchange.result.as_ref().ok()?;
    Stamp::of_seconds(registry::date_of(&reply.headers)?)
}

fn sample(scale: Clock, exchange: &Exchange, stamp: Option<Stamp>) -> Option<Sample> {
    let Stamp { shown, resolution } = stamp?;
    let kept = exchange.timeline.phase(Phase::Connect).is_none();
    let (sent, answered) = (scale.nanoseconds(exchange.sent), scale.nanoseconds(exchange.answered));
    Some(Sample { sent, answered, shown, resolution, kept })
}
