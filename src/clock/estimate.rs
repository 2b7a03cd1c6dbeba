//! From timestamps in answers to an interval that holds the true offset.

use chrono::{DateTime, Utc};

use crate::model::ClockInterval;

/// One timestamp of a backend with the instants between which it was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When the request was sent, by the prober's clock; the stamp was written after that.
    pub sent: DateTime<Utc>,
    /// When the answer was there, by the prober's clock; the stamp was written before that.
    pub answered: DateTime<Utc>,
    /// What the backend's clock showed, in seconds since 1970, cut to the resolution.
    pub shown: f64,
    /// The resolution in seconds: the true value lies in `[shown, shown + resolution)`.
    pub resolution: f64,
}

impl Sample {
    /// All offsets (backend minus prober) that this sample allows: with the stamp taken at some
    /// instant t in `[sent, answered]`, the offset is in `[shown - answered, shown + resolution -
    /// sent]`.
    pub fn interval(&self) -> ClockInterval {
        ClockInterval::between(
            self.shown - seconds(self.answered),
            self.shown + self.resolution - seconds(self.sent),
        )
    }
}

/// What all samples together allow, and whether they exclude each other. Contradicting samples
/// (the clock stepped, or several clocks answer) give the hull of all, so that the true offset is
/// never outside. `None` without samples.
pub fn estimate(samples: &[Sample]) -> Option<(ClockInterval, bool)> {
    let mut intervals = samples.iter().map(Sample::interval);
    let first = intervals.next()?;
    if let Some(common) = intervals.try_fold(first, ClockInterval::intersect) {
        return Some((common, false));
    }
    let hull = samples.iter().map(Sample::interval).reduce(ClockInterval::hull)?;
    Some((hull, true))
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of this century fit a double")]
fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_micros() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn sample(offset: f64, at: f64, forward: f64, back: f64) -> Sample {
        let base = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "small test values")]
        let time = |t: f64| base + TimeDelta::microseconds((t * 1e6) as i64);
        let shown = (1_795_000_000.0 + at + forward + offset).floor();
        Sample { sent: time(at), answered: time(at + forward + back), shown, resolution: 1.0 }
    }

    proptest! {
        #[test]
        fn the_true_offset_lies_inside_whatever_the_delays(
            offset in -3600.0f64..3600.0,
            requests in proptest::collection::vec((0.0f64..15.0, 0.0f64..3.0, 0.0f64..3.0), 1..12),
        ) {
            let samples: Vec<Sample> =
                requests.iter().map(|(at, forward, back)| sample(offset, *at, *forward, *back)).collect();
            let (interval, contradiction) = estimate(&samples).unwrap();
            prop_assert!(!contradiction);
            prop_assert!(interval.lower() - 1e-4 <= offset && offset <= interval.upper() + 1e-4);
        }
    }

    #[test]
    fn a_step_between_samples_is_said_and_both_offsets_stay_inside() {
        let samples = [sample(0.0, 0.0, 0.001, 0.001), sample(5.0, 1.0, 0.001, 0.001)];
        let (interval, contradiction) = estimate(&samples).unwrap();
        assert!(contradiction && interval.contains(0.0) && interval.contains(5.0));
        let steady = [sample(5.0, 0.0, 0.001, 0.001), sample(5.0, 1.0, 0.001, 0.001)];
        assert!(!estimate(&steady).unwrap().1);
        assert_eq!(estimate(&[]), None);
    }
}
