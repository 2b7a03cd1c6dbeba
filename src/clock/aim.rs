//! When to ask next: so that the request arrives where a second of the other clock may begin.
//!
//! A request that arrives just before the tick proves one bound, one just after it the other.
//! The past says where to look, never what to believe.

use std::collections::VecDeque;

use super::bounds::{APART, Bounds, SECOND};

/// Requests of a round that knows nothing of the clock yet.
const ACQUIRE: u32 = 12;
/// Requests of a round that knows where the tick was in the round before.
const FOLLOW: u32 = 8;
/// And at its end, one on each side of where the tick is by then: a clock that was set in mid-round
/// by more than the interval is wide shows itself there.
const CONFIRM: u32 = 2;
/// The number of ticks that they are spread over, for which there is nearly always the time …
const TICKS: u32 = 3;
/// … and the most that are aimed at one. An answer that shows the second begun saves those
/// after it.
const COMB: u32 = 6;
/// The time between planning a request and sending it.
const LEAD: i64 = 3_000_000;
/// Answers keep at least this distance from each other.
const LEAST_SPACING: i64 = 200_000;
/// An interval that one more request narrows by less is narrow enough: what the clocks drift
/// apart in the second until then on both sides, and a little for its trouble.
const LEAST_GAIN: i64 = 2 * SECOND / APART + 25_000;
/// Round trips that are remembered.
const ROUND_TRIPS: usize = 32;

/// One request to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aim {
    /// When, in nanoseconds since 1970 by the prober's clock.
    pub send: i64,
    /// Which second of the other clock it is aimed at, in nanoseconds since 1970; `None` if the
    /// instant does not matter.
    pub tick: Option<i64>,
}

/// Where a clock is expected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// Its offset.
    pub(super) offset: i64,
    /// How far it was off the expectation lately.
    pub(super) off: i64,
}

/// Aims the requests of one clock.
#[derive(Debug, Default)]
pub(super) struct Aimer {
    round_trips: VecDeque<i64>,
    /// Asked in this round.
    asked: u32,
    /// Ticks aimed at in this round.
    ticks: u32,
    /// The aims at the tick that is next, earliest first.
    comb: VecDeque<Aim>,
    look: Look,
}

/// Where a round looks for the tick.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Nowhere yet.
    #[default]
    Not,
    /// So close around the place where it was expected.
    Close(i64),
    /// Wherever it may be.
    Anywhere,
    /// On both sides of where it was found.
    Confirmed,
}

impl Aimer {
    /// Begins a round.
    pub(super) fn begin(&mut self) {
        self.asked = 0;
        self.ticks = 0;
        self.comb.clear();
        self.look = Look::Not;
    }

    /// The next request, if another one is worth it. `common` is what this round's samples allow
    /// so far.
    pub(super) fn plan(
        &mut self,
        now: i64,
        common: Option<Bounds>,
        expected: Option<Expected>,
    ) -> Option<Aim> {
        if self.asked == 0 && (common.is_none() || expected.is_some()) {
            // Shows the second, or opens the connection before it matters.
            return Some(Aim { send: now, tick: None });
        }
        let common = common.filter(|common| !common.is_empty())?;
        if self.comb.is_empty() {
            let mut offsets = match (self.look, expected) {
                (Look::Not, Some(expected)) => self.around(expected, common),
                (Look::Close(reach), Some(expected)) if !self.found(reach, common) => {
                    self.look = Look::Anywhere;
                    outward(expected.offset, reach, common)
                }
                (Look::Confirmed, _) => return None,
                _ => self.across(common),
            };
            if offsets.is_empty() {
                self.look = Look::Confirmed;
                offsets = self.on_both_sides(common);
            }
            self.comb = self.comb_of(now, &offsets);
            self.ticks += 1;
        }
        self.comb.front().copied().filter(|_| self.asked < ACQUIRE + CONFIRM)
    }

    /// Takes in what came of a request that was planned here.
    pub(super) fn asked(&mut self, shown: i64) {
        self.asked += 1;
        let aim = self.comb.pop_front();
        if let Some(tick) = aim.and_then(|aim| aim.tick)
            && shown >= tick
        {
            // The second has begun; later requests at it would say the same.
            self.comb.clear();
        }
    }

    /// Takes in that a planned request brought no stamp.
    pub(super) fn lost(&mut self) {
        self.asked += 1;
        self.comb.pop_front();
    }

    /// Takes in the round trip of a request over a kept connection.
    pub(super) fn took(&mut self, round_trip: i64) {
        if self.round_trips.len() >= ROUND_TRIPS {
            self.round_trips.pop_front();
        }
        self.round_trips.push_back(round_trip);
    }

    /// The least round trip lately.
    pub(super) fn least(&self) -> Option<i64> {
        self.round_trips.iter().copied().min()
    }

    /// The usual round trip, 0 if none is known.
    fn usual(&self) -> i64 {
        let mut sorted: Vec<i64> = self.round_trips.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(0)
    }

    /// Offsets to compare with around the expected one: probably below, at, and above it.
    fn around(&mut self, expected: Expected, common: Bounds) -> Vec<i64> {
        let reach = (self.usual() * 5 / 4).max(expected.off.saturating_mul(2)).max(LEAST_SPACING);
        let offsets = [reach, 0, -reach].map(|off| expected.offset.saturating_add(off));
        if offsets.iter().any(|offset| common.contains(*offset)) {
            self.look = Look::Close(reach);
            return offsets.to_vec();
        }
        self.look = Look::Anywhere;
        self.across(common)
    }

    /// Whether the clock was where it was expected.
    fn found(&self, reach: i64, common: Bounds) -> bool {
        common.width() <= reach.saturating_mul(3).saturating_add(2 * self.usual())
    }

    /// Offsets to compare with so that each answer leaves an equal part of what is possible.
    fn across(&self, common: Bounds) -> Vec<i64> {
        let (trip, width) = (self.usual(), common.width());
        let unknown = width.saturating_sub(trip);
        if unknown / 2 <= LEAST_GAIN {
            return Vec::new();
        }
        let budget = if matches!(self.look, Look::Close(_)) { FOLLOW } else { ACQUIRE };
        let left = budget.saturating_sub(self.asked);
        // Answers come one after another: more aims than fit in between would only be late.
        let fit = unknown / (trip + LEAST_SPACING) - 1;
        let each = left.div_ceil(TICKS.saturating_sub(self.ticks).max(1));
        let count = i64::from(each.clamp(1, COMB)).min(fit.max(1));
        if left == 0 {
            return Vec::new();
        }
        let part = unknown / (count + 1);
        let first = common.upper.saturating_sub(part).saturating_sub(trip / 2);
        (0..count).map(|index| first.saturating_sub(index * part)).collect()
    }

    /// Offsets that are certainly too high and too low, but not by much more than the answers may
    /// be late.
    fn on_both_sides(&self, common: Bounds) -> Vec<i64> {
        let off = self.usual().max(LEAST_SPACING);
        vec![common.upper.saturating_add(off), common.lower.saturating_sub(off)]
    }

    /// When to send so that requests arrive when a clock with each of these offsets ticks.
    fn comb_of(&self, now: i64, offsets: &[i64]) -> VecDeque<Aim> {
        let Some(first) = offsets.first() else { return VecDeque::new() };
        let ahead = first.saturating_add(self.usual() / 2);
        let earliest = now.saturating_add(LEAD).saturating_add(ahead);
        let mut second = earliest.div_euclid(SECOND) + 1;
        // Hosts are busy at full minutes, when their timers fire.
        if second % 60 == 0 {
            second += 1;
        }
        let tick = second.saturating_mul(SECOND);
        let aim = |offset: &i64| Aim {
            send: tick.saturating_sub(*offset).saturating_sub(self.usual() / 2),
            tick: Some(tick),
        };
        offsets.iter().map(aim).collect()
    }
}

/// Offsets to compare with away from where the clock was expected, ever further: mostly it was
/// moved by little.
fn outward(expected: i64, reach: i64, common: Bounds) -> Vec<i64> {
    let steps = [128, 32, 8, 2].map(|times: i64| reach.saturating_mul(times));
    let forward = common.lower.abs_diff(expected) < common.upper.abs_diff(expected);
    let mut offsets: Vec<i64> = if forward {
        steps.iter().map(|step| common.lower.saturating_add(*step)).collect()
    } else {
        steps.iter().rev().map(|step| common.upper.saturating_sub(*step)).collect()
    };
    offsets.retain(|offset| common.contains(*offset));
    offsets
}
