//! How fast a clock runs against the prober's: a straight line through an hour of intervals.

use std::collections::VecDeque;

use super::bounds::{Bounds, SECOND};
use crate::model::ClockDrift;

/// How far the line reaches back.
const HOUR: i64 = 3_600 * SECOND;
/// Points that are kept; above this every second one goes.
const MOST: usize = 64;
/// Fewer points, or a shorter time, make no line.
const LEAST_POINTS: usize = 4;
const LEAST_TIME: i64 = 45 * SECOND;
/// A wider interval says nothing about a drift.
const WIDEST: i64 = SECOND / 10;

/// Intervals of one clock over the last hour.
#[derive(Debug, Default)]
pub(super) struct Drift {
    points: VecDeque<(i64, Bounds)>,
}

impl Drift {
    /// Takes in what was true at an instant.
    pub(super) fn add(&mut self, at: i64, bounds: Bounds) {
        if bounds.width() >= WIDEST {
            return;
        }
        self.points.retain(|(before, _)| at.saturating_sub(*before) <= HOUR);
        if self.points.len() >= MOST {
            let mut index = 0_usize;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        self.points.push_back((at, bounds));
    }

    /// After a step nothing before it counts.
    pub(super) fn forget(&mut self) {
        self.points.clear();
    }

    /// The line through the middles, with all slopes that the intervals allow. `None` if there is
    /// too little to draw it, or if no straight line passes through all: a clock that a time
    /// service keeps in place has no drift to go by.
    pub(super) fn line(&self) -> Option<ClockDrift> {
        let (first, _) = self.points.front()?;
        let (last, _) = self.points.back()?;
        if self.points.len() < LEAST_POINTS || last.saturating_sub(*first) < LEAST_TIME {
            return None;
        }
        let (least, most) = self.slopes()?;
        let ppm = self.slope()?.clamp(least, most);
        Some(ClockDrift { ppm, error_ppm: (most - ppm).max(ppm - least) })
    }

    /// The least and the greatest slope that pass through every interval, in ppm.
    fn slopes(&self) -> Option<(f64, f64)> {
        let (mut least, mut most) = (f64::NEG_INFINITY, f64::INFINITY);
        for (index, (from, before)) in self.points.iter().enumerate() {
            for (to, after) in self.points.iter().skip(index + 1) {
                let seconds = ratio(to.saturating_sub(*from), SECOND);
                let change = after.minus(*before);
                least = least.max(ratio(change.lower, 1_000) / seconds);
                most = most.min(ratio(change.upper, 1_000) / seconds);
            }
        }
        (least <= most && least.is_finite() && most.is_finite()).then_some((least, most))
    }

    /// The slope by least squares, in ppm; narrow intervals weigh more.
    fn slope(&self) -> Option<f64> {
        let (origin, start) = self.points.front()?;
        let points: Vec<(f64, f64, f64)> = self
            .points
            .iter()
            .map(|(at, bounds)| {
                let change = bounds.middle().saturating_sub(start.middle());
                let weight = ratio(bounds.width().max(1), 1_000_000).powi(-2);
                (ratio(at.saturating_sub(*origin), SECOND), ratio(change, 1_000), weight)
            })
            .collect();
        let weights: f64 = points.iter().map(|(.., weight)| weight).sum();
        let mean_x = points.iter().map(|(x, _, weight)| x * weight).sum::<f64>() / weights;
        let mean_y = points.iter().map(|(_, y, weight)| y * weight).sum::<f64>() / weights;
        let spread: f64 = points.iter().map(|(x, _, weight)| weight * (x - mean_x).powi(2)).sum();
        let together: f64 =
            points.iter().map(|(x, y, weight)| weight * (x - mean_x) * (y - mean_y)).sum();
        (spread > 0.0).then(|| together / spread)
    }
}

#[expect(clippy::cast_precision_loss, reason = "an hour of nanoseconds fits a double")]
fn ratio(nanoseconds: i64, unit: i64) -> f64 {
    nanoseconds as f64 / unit as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Intervals of 1.5 ms every 15 s around this offset, which lies off their middle by turns.
    fn drift(rounds: i64, offset: impl Fn(i64) -> i64) -> Drift {
        let mut drift = Drift::default();
        for round in 0..rounds {
            let (at, off) = (round * 15 * SECOND, (round * 7 % 11 - 5) * 40_000);
            let middle = offset(at) + off;
            drift.add(at, Bounds { lower: middle - 750_000, upper: middle + 750_000 });
        }
        drift
    }

    #[test]
    fn a_steady_drift_is_found_within_its_error() {
        for ppm in [-100, -30, 0, 49, 180] {
            let drift = drift(100, |at| at / 1_000_000 * ppm);
            let line = drift.line().expect("a line");
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let truth = ppm as f64;
            assert!((line.ppm - truth).abs() <= line.error_ppm, "{line:?} for {ppm}");
            assert!((line.ppm - truth).abs() < 0.5 && line.error_ppm < 2.0, "{line:?} for {ppm}");
            assert!(drift.points.len() <= MOST);
        }
    }

    #[test]
    fn no_line_is_drawn_where_there_is_none() {
        assert_eq!(drift(3, |_| 0).line(), None, "too few");
        let wanders = |at: i64| if (at / (300 * SECOND)) % 2 == 0 { 0 } else { 5_000_000 };
        assert_eq!(drift(100, wanders).line(), None, "a clock that is set again and again");
        let mut wide = Drift::default();
        for round in 0..20 {
            wide.add(round * 15 * SECOND, Bounds { lower: 0, upper: SECOND });
        }
        assert_eq!(wide.line(), None);
    }
}
