//! The clocks of the backends: what every answer says of them, and a few requests at well-chosen
//! instants that narrow it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::ask::{Ask, Asker, Auth, Line};
use super::flow::boxed;
use super::matrix;
use crate::clock::{Aim, Clock, Sample, Tracker};
use crate::model::{
    BackendName, ClockReading, ClockSource, Family, Flow, Outcome, Phase, Route, Step,
};
use crate::registry::{self, Stamp};
use crate::transport::Exchange;

/// Harbor's nginx answers this by itself, with 404; any answer tells the time.
const PATH: &str = "/v1/";

/// The first round, for whose end somebody may be waiting, asks for clocks no longer: three or
/// four ticks.
const FIRST: Duration = Duration::from_millis(3_300);

/// A later round may look for a clock that was moved.
const LATER: Duration = Duration::from_secs(6);

/// What is left after the last tick for its answer.
const GRACE: Duration = Duration::from_millis(300);

/// This number of lost requests in a row ends the asking.
const MAX_LOST: u32 = 2;

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
        let trackers = self.trackers.get_mut().unwrap_or_else(PoisonError::into_inner);
        trackers.retain(|(backend, _), _| backends.contains(backend));
        stepped
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

    fn plan(&self, backend: &BackendName) -> Option<(Aim, Instant)> {
        let aim = self.with(backend, ClockSource::Date, |tracker, scale| {
            let aim = tracker.plan(scale.nanoseconds(Instant::now()))?;
            Some((aim, scale.instant(aim.send)?))
        });
        aim.flatten()
    }

    /// Takes in the answer to a planned request; `false` if it told no time.
    fn book_planned(&self, backend: &BackendName, exchange: &Exchange) -> bool {
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

/// Asks every backend that answers for its time.
pub(super) async fn ask(asker: &Asker<'_>, flows: &[Flow], first: bool) {
    let until = (Instant::now() + if first { FIRST } else { LATER }).min(asker.deadline);
    let answer = |flow: &&Flow| match &flow.challenge {
        Outcome::Failed(failure) => !failure.reason.is_network(),
        Outcome::Measured(_) | Outcome::Skipped(_) => true,
    };
    let flows = flows.iter().filter(answer);
    let asks =
        flows.filter_map(|flow| Some(boxed(of_backend(asker, flow, flow.route.backend()?, until))));
    join_all(asks).await;
}

async fn of_backend(asker: &Asker<'_>, flow: &Flow, backend: &BackendName, until: Instant) {
    let route = &flow.route;
    let mut link = asker.link(route);
    let mut lost = 0;
    while let Some((_, at)) = asker.clocks.plan(backend) {
        if at >= until || lost >= MAX_LOST || asker.holds(route) {
            break;
        }
        let exchange = asker.ask_at(link.as_mut(), route, PATH, at, until + GRACE).await;
        lost = if asker.clocks.book_planned(backend, &exchange) { 0 } else { lost + 1 };
    }
    if lost == 0 && !asker.holds(route) && !asker.is_over() {
        system_time(asker, link.as_mut(), flow).await;
    }
}

/// Harbor's core tells robots its time to the millisecond, and its settings. People are not logged in for it: that
/// costs a password hash or a question to a directory.
async fn system_time(asker: &Asker<'_>, link: &mut Line, flow: &Flow) {
    let credentials = asker.registry.credentials.as_ref();
    let robot = credentials.filter(|credentials| credentials.username.starts_with("robot$"));
    let harbor = matrix::family(flow) == Family::Harbor2;
    let (Some(robot), true, Some(true)) = (robot, harbor, flow.passed(Step::Token)) else { return };
    let ask = Ask::get(Step::Check, "/api/v2.0/systeminfo", Auth::Basic(robot));
    let asked = asker.ask(link, &flow.route, ask).await;
    let reply = asked.reply().filter(|reply| reply.status == 200);
    let told = reply.map(|reply| registry::system_settings(&reply.body));
    asker.book_settings(&flow.route, told.unwrap_or_default());
    let stamp = reply.and_then(|reply| registry::systeminfo_time(&reply.body));
    if stamp.is_some() {
        asker.clocks.book(&flow.route, ClockSource::Systeminfo, &asked.exchange, stamp);
    }
}
