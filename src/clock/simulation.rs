//! The estimator against simulated clocks and networks: the truth is inside, always; and where
//! the network is good the interval is narrow, steps are found and drifts are reported.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::bounds::{SECOND, Sample};
use super::tracker::Tracker;
use crate::model::{BackendName, ClockReading, ClockSource, ClockStatus};

const MS: f64 = 1e6;
const BEGAN: i64 = 1_800_000_000 * SECOND;

/// A network with its habits, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Net {
    pub(super) trip: f64,
    /// The part of it that is the way there.
    pub(super) forward: f64,
    pub(super) jitter: f64,
    /// The chance of a delay beyond all habit, and its mean.
    pub(super) spike: (f64, f64),
    /// Requests leave at most so late.
    pub(super) late: f64,
    /// Requests of other work in each round, at any phase.
    pub(super) others: u32,
    /// The most nanoseconds between the start of a round's requests and its end.
    pub(super) patience: i64,
}

impl Net {
    pub(super) fn lan() -> Self {
        let trip = MS;
        Self {
            trip,
            forward: 0.5,
            jitter: 0.06 * trip + 0.02 * MS,
            spike: (0.02, 4.0 * MS),
            late: 0.3 * MS,
            others: 0,
            patience: 6 * SECOND,
        }
    }

    fn any(chance: &mut SmallRng) -> Self {
        let trip = (0.2 * MS) * (400.0_f64).powf(chance.random());
        Self {
            trip,
            forward: chance.random_range(0.02..0.98),
            jitter: trip * chance.random_range(0.01..0.5),
            spike: (chance.random_range(0.0..0.2), chance.random_range(1.0..500.0) * MS),
            late: chance.random_range(0.0..5.0) * MS,
            others: chance.random_range(0..12),
            patience: SECOND * chance.random_range(0..8),
        }
    }

    /// One way, with a tail without end: what is left of a chance is inverted.
    fn delay(&self, part: f64, chance: &mut SmallRng) -> i64 {
        let exponential =
            |mean: f64, chance: &mut SmallRng| -mean * (1.0 - chance.random::<f64>()).ln();
        let mut delay = self.trip * part + exponential(self.jitter, chance);
        if chance.random_bool(self.spike.0) {
            delay += self.spike.1 / (1.0 - chance.random::<f64>()).max(1e-3);
        }
        whole(delay)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "delays of seconds")]
fn whole(nanoseconds: f64) -> i64 {
    nanoseconds.round() as i64
}

/// A clock that is asked from round to round.
pub(super) struct World {
    pub(super) now: i64,
    pub(super) offset: i64,
    pub(super) ppb: i64,
    net: Net,
    chance: SmallRng,
    pub(super) tracker: Tracker,
    /// Of the round's asking; other work's requests are not counted.
    pub(super) requests: u32,
    /// When a step comes, and by how much.
    pub(super) step: Option<(i64, i64)>,
    /// When the last round ended.
    pub(super) ended: i64,
}

impl World {
    pub(super) fn new(offset: i64, ppb: i64, net: Net, seed: u64) -> Self {
        let chance = SmallRng::seed_from_u64(seed);
        let tracker = Tracker::default();
        let now = BEGAN + i64::try_from(seed % 997).unwrap() * 1_003_009;
        Self { now, offset, ppb, net, chance, tracker, requests: 0, step: None, ended: now }
    }

    /// How far the clock is ahead at an instant.
    pub(super) fn truth(&self, at: i64) -> i64 {
        let stepped = self.step.filter(|(from, _)| at >= *from).map_or(0, |(_, by)| by);
        let drifted = i128::from(at - BEGAN) * i128::from(self.ppb) / i128::from(SECOND);
        self.offset + stepped + i64::try_from(drifted).unwrap()
    }

    fn ask(&mut self, at: i64, kept: bool) -> Sample {
        let sent = at.max(self.now) + whole(self.net.late * self.chance.random::<f64>());
        let read = sent + self.net.delay(self.net.forward, &mut self.chance);
        let answered = read + self.net.delay(1.0 - self.net.forward, &mut self.chance);
        let shown = (read + self.truth(read)).div_euclid(SECOND);
        Sample::of_seconds(sent, answered, shown, kept).unwrap()
    }

    /// One round of 15 seconds.
    pub(super) fn round(&mut self) -> ClockReading {
        let (began, mut latest) = (self.now, self.now);
        for _ in 0..self.net.others {
            let at = began + self.chance.random_range(0..2 * SECOND);
            let (now, sample) = (self.now, self.ask(at, false));
            (self.now, latest) = (now, latest.max(sample.answered));
            self.tracker.observe(sample);
        }
        self.requests = 0;
        while let Some(aim) = self.tracker.plan(self.now) {
            if aim.send > began + self.net.patience {
                break;
            }
            self.requests += 1;
            let sample = self.ask(aim.send, self.requests > 1);
            self.now = sample.answered;
            self.tracker.observe_planned(sample);
        }
        self.ended = latest.max(self.now);
        let name = BackendName::parse("a").unwrap();
        let reading =
            self.tracker.end(&name, ClockSource::Date, self.ended, (0, 0)).expect("samples");
        self.now = self.ended.max(began + 15 * SECOND);
        reading
    }

    /// The truth at the end of the last round.
    #[expect(clippy::cast_precision_loss, reason = "an offset")]
    pub(super) fn seconds(&self) -> f64 {
        self.truth(self.ended) as f64 / 1e9
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// As many rounds as `ROUNDS` in the environment says, or a hundred thousand.
fn rounds() -> u64 {
    std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

#[test]
fn the_true_offset_lies_inside_in_every_round_of_any_clock_over_any_network() {
    let (mut errors, mut widths, mut outside) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..rounds().div_ceil(20) {
        let mut chance = SmallRng::seed_from_u64(seed);
        let offset = chance.random_range(-3_600 * SECOND..=3_600 * SECOND);
        let ppb = chance.random_range(-200_000..=200_000);
        let mut world = World::new(offset, ppb, Net::any(&mut chance), seed);
        for round in 0..20 {
            let reading = world.round();
            let (truth, interval) = (world.seconds(), reading.interval);
            if !interval.contains(truth) {
                outside.push(format!("seed {seed} round {round}: {truth} {reading:?}"));
            }
            errors.push((interval.middle() - truth).abs());
            widths.push(interval.width());
        }
    }
    println!(
        "{} rounds, {} outside; any network: median error {:.3} ms, median width {:.3} ms",
        errors.len(),
        outside.len(),
        median(&mut errors) * 1e3,
        median(&mut widths) * 1e3
    );
    assert!(outside.is_empty(), "{}", outside.join("\n"));
}

/// The errors and widths of a number of rounds in milliseconds, and the requests.
struct Figures {
    errors: Vec<f64>,
    widths: Vec<f64>,
    requests: Vec<f64>,
}

impl Figures {
    fn of(runs: u64, rounds: u32, keep: std::ops::Range<u32>, net: Net) -> Self {
        let mut figures = Self { errors: Vec::new(), widths: Vec::new(), requests: Vec::new() };
        for seed in 0..runs {
            let mut chance = SmallRng::seed_from_u64(seed);
            let offset = chance.random_range(-3 * SECOND / 2..3 * SECOND / 2);
            let mut world = World::new(offset, chance.random_range(-50_000..50_000), net, seed);
            for round in 0..rounds {
                let reading = world.round();
                let truth = world.seconds();
                assert!(reading.interval.contains(truth), "seed {seed}, round {round}");
                assert_ne!(reading.status, ClockStatus::Step, "seed {seed}, round {round}");
                if keep.contains(&round) {
                    figures.errors.push((reading.interval.middle() - truth).abs() * 1e3);
                    figures.widths.push(reading.interval.width() * 1e3);
                    figures.requests.push(f64::from(world.requests));
                }
            }
        }
        figures
    }

    fn print(&mut self, title: &str) -> (f64, f64, f64) {
        let part = |values: &mut Vec<f64>, percent: usize| {
            values.sort_by(f64::total_cmp);
            values.get(values.len().saturating_sub(1) * percent / 100).copied().unwrap_or(f64::NAN)
        };
        let (error, worst) = (part(&mut self.errors, 50), part(&mut self.errors, 95));
        let (width, wide) = (part(&mut self.widths, 50), part(&mut self.widths, 95));
        #[expect(clippy::cast_precision_loss, reason = "thousands of rounds")]
        let requests = self.requests.iter().sum::<f64>() / self.requests.len() as f64;
        println!(
            "{title}: error {error:.3} ms (95 %: {worst:.3}), width {width:.2} ms (95 %: \
             {wide:.2}), {requests:.1} requests"
        );
        (error, wide, requests)
    }
}

#[test]
fn twelve_requests_leave_twice_the_round_trip_and_ten_milliseconds_and_later_rounds_less() {
    let wan = Net { trip: 40.0 * MS, jitter: MS, late: MS, ..Net::lan() };
    for (name, net, trip, error_after) in
        [("1 ms", Net::lan(), 1.0, 0.3), ("40 ms", wan, 40.0, 2.0)]
    {
        let (_, wide, _) = Figures::of(500, 1, 0..1, net).print(&format!("{name}, first round"));
        assert!(wide <= 2.0 * trip + 10.0, "{name}: {wide} ms after the first round");
        let mut later = Figures::of(40, 60, 1..60, net);
        let (error, wide, requests) = later.print(&format!("{name}, later rounds"));
        assert!(error <= error_after && wide <= 1.5 * trip + 3.0, "{name}: {error}, {wide} ms");
        assert!(requests <= if trip > 1.0 { 10.0 } else { 8.0 }, "{name}: {requests}");
    }
}

#[test]
fn a_step_between_rounds_is_found_in_the_next_with_its_size() {
    for by in [5, -5, -10, 50, 300, -1_000, 3_000, 3_600_000].map(|ms| ms * SECOND / 1_000) {
        let (mut found, runs) = (0, 100);
        for seed in 0..runs {
            let mut world = World::new(123_456_789, 20_000, Net::lan(), seed);
            for _ in 0..4 {
                world.round();
            }
            world.step = Some((world.now, by));
            let reading = world.round();
            assert!(reading.interval.contains(world.seconds()), "{by}: {reading:?}");
            #[expect(clippy::cast_precision_loss, reason = "an offset")]
            let size = by as f64 / 1e9;
            found += u64::from(reading.status == ClockStatus::Step);
            assert!(reading.step.is_none_or(|step| step.contains(size)), "{by}: {reading:?}");
            let after = world.round();
            assert!(after.interval.contains(world.seconds()), "{by}: {after:?}");
            assert_ne!(after.status, ClockStatus::Step, "{by}: {after:?}");
        }
        let least = if by.abs() < SECOND / 100 { 90 } else { 100 };
        assert!(found >= least, "a step of {by} ns was seen {found} times of {runs}");
    }
}

#[test]
fn a_step_in_mid_round_never_leaves_an_interval_far_from_both_truths() {
    // Answers from before and after a step can agree by chance about a place between the two, or
    // one of them just next to the old one; no more than this is then wrong, and for one round.
    const BESIDE: f64 = 0.003;
    let mut outside = 0;
    for seed in 0..3_000 {
        let mut chance = SmallRng::seed_from_u64(seed);
        let mut world = World::new(chance.random_range(-SECOND..SECOND), 0, Net::lan(), seed);
        for _ in 0..2 {
            world.round();
        }
        let by = [1, -1, 3].map(|s| s * SECOND)[usize::try_from(seed % 3).unwrap()];
        let by = if seed % 2 == 0 { by } else { by / chance.random_range(1..1_000) };
        world.step = Some((world.now + chance.random_range(0..4 * SECOND), by));
        let reading = world.round();
        let new = world.seconds();
        world.step = None;
        let off = |truth: f64| {
            let interval = reading.interval;
            (interval.lower() - truth).max(truth - interval.upper()).max(0.0)
        };
        let off = off(world.seconds()).min(off(new));
        outside += u32::from(off > 0.0);
        assert!(off < BESIDE, "seed {seed}: {by} {new} {reading:?}");
    }
    println!("{outside} of 3000 steps in mid-round left an interval outside of both truths");
}

#[test]
fn a_drift_is_told_and_is_no_step() {
    for ppb in [50_000, -100_000, 0, 180_000] {
        let mut world = World::new(-1_234_500_000, ppb, Net::lan(), 7);
        let mut last = None;
        for _ in 0..20 {
            let reading = world.round();
            assert!(reading.interval.contains(world.seconds()));
            assert!(matches!(reading.status, ClockStatus::New | ClockStatus::Ok), "{reading:?}");
            last = reading.drift;
        }
        let drift = last.expect("five minutes are enough");
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let truth = ppb as f64 / 1e3;
        assert!((drift.ppm - truth).abs() <= drift.error_ppm, "{drift:?} for {truth}");
        assert!((drift.ppm - truth).abs() < 3.0, "{drift:?} for {truth}");
    }
}

#[test]
fn clocks_that_answer_by_turns_are_told_apart() {
    for apart in [12_300_000, 370_000_000] {
        let mut world = World::new(0, 0, Net::lan(), 3);
        let mut statuses = Vec::new();
        for round in 0..8 {
            world.offset = (round % 2) * apart;
            let reading = world.round();
            assert!(reading.interval.contains(world.seconds()));
            statuses.push((reading.status, reading.spread_seconds));
        }
        assert_eq!(statuses[1].0, ClockStatus::Step, "{statuses:?}");
        assert!(statuses[5..].iter().all(|(it, _)| *it == ClockStatus::Multiple), "{statuses:?}");
        let spread = whole(statuses[7].1 * 1e9);
        assert!(spread <= apart && spread > apart * 6 / 10, "{spread}");
    }
    let mut world = World::new(0, 0, Net::lan(), 3);
    assert!((0..8).all(|_| world.round().spread_seconds == 0.0), "one clock");
}
