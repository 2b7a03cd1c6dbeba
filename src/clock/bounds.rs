//! Intervals of nanoseconds, and what one timestamp proves.

/// Two clocks move apart by at most one part in this number: 200 ppm, for two bad crystals, or an
/// undisciplined one against one that is being pulled.
pub(super) const APART: i64 = 5_000;

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;

/// All values from `lower` to `upper`, in nanoseconds; none where the bounds have crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The least value.
    pub lower: i64,
    /// The greatest value.
    pub upper: i64,
}

impl Bounds {
    /// What is left of a bound some nanoseconds before or after it was obtained.
    #[must_use]
    pub fn aged(self, by: i64) -> Self {
        self.wider(by.saturating_abs() / APART + 1)
    }

    /// The same, wider by this on both sides.
    #[must_use]
    pub fn wider(self, by: i64) -> Self {
        Self { lower: self.lower.saturating_sub(by), upper: self.upper.saturating_add(by) }
    }

    /// What both allow; empty if they exclude each other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { lower: self.lower.max(other.lower), upper: self.upper.min(other.upper) }
    }

    /// The smallest bounds that hold both.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        Self { lower: self.lower.min(other.lower), upper: self.upper.max(other.upper) }
    }

    /// All values that one of these minus one of the others can have.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            lower: self.lower.saturating_sub(other.upper),
            upper: self.upper.saturating_sub(other.lower),
        }
    }

    /// The same on a scale whose zero lies higher by this.
    #[must_use]
    pub fn shifted(self, zero: i64) -> Self {
        self.minus(Self { lower: zero, upper: zero })
    }

    /// Whether nothing is left.
    pub fn is_empty(self) -> bool {
        self.lower > self.upper
    }

    /// Upper minus lower.
    pub fn width(self) -> i64 {
        self.upper.saturating_sub(self.lower)
    }

    /// The middle.
    pub fn middle(self) -> i64 {
        self.lower.saturating_add(self.width() / 2)
    }

    /// Whether a value lies inside.
    pub fn contains(self, value: i64) -> bool {
        self.lower <= value && value <= self.upper
    }
}

/// One timestamp of a backend with the instants between which it was written, all in nanoseconds
/// since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When the request was sent, by the prober's clock; the stamp was read after that. On a
    /// fresh connection this is when it began to be opened: a server may take the time of its
    /// last wake-up for that of a request which came with the end of the handshake.
    pub sent: i64,
    /// When the answer was there, by the prober's clock; the stamp was read before that.
    pub answered: i64,
    /// What the backend's clock showed, cut to the resolution.
    pub shown: i64,
    /// The true value lies in `[shown, shown + resolution)`.
    pub resolution: i64,
    /// Whether the connection was open already, so that the time between is a round trip.
    pub kept: bool,
}

impl Sample {
    /// A stamp in whole seconds.
    #[cfg(test)]
    pub(super) fn of_seconds(sent: i64, answered: i64, seconds: i64, kept: bool) -> Option<Self> {
        let shown = seconds.checked_mul(SECOND)?;
        Some(Self { sent, answered, shown, resolution: SECOND, kept })
    }

    /// All offsets (backend minus prober) that this sample allows: with the stamp read at some
    /// instant t in `[sent, answered]`, the offset is in `[shown - answered, shown + resolution -
    /// sent]`, and the clocks may have moved apart meanwhile.
    pub fn bounds(&self) -> Bounds {
        let in_flight = self.round_trip() / APART + 1;
        let upper = self.shown.saturating_add(self.resolution).saturating_sub(self.sent);
        Bounds {
            lower: self.shown.saturating_sub(self.answered).saturating_sub(in_flight),
            upper: upper.saturating_add(in_flight),
        }
    }

    /// The same at another instant.
    pub(super) fn bounds_at(&self, now: i64) -> Bounds {
        self.bounds().aged(now.saturating_sub(self.middle()))
    }

    /// The time between sending and answer.
    pub(super) fn round_trip(&self) -> i64 {
        self.answered.saturating_sub(self.sent).max(0)
    }

    fn middle(&self) -> i64 {
        self.sent.saturating_add(self.round_trip() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_proves_no_more_than_its_resolution_and_its_way_allow() {
        let sample = Sample::of_seconds(500_000_000, 700_000_000, 2, true).unwrap();
        // Read at 0.5 s it may have been 2.999 s, read at 0.7 s exactly 2 s.
        let bounds = sample.bounds();
        assert!(bounds.contains(2 * SECOND - 700_000_000));
        assert!(bounds.contains(3 * SECOND - 500_000_000));
        assert!(bounds.width() < SECOND + 200_000_000 + 100_000);
        assert_eq!(Sample::of_seconds(0, 0, i64::MAX / 2, true), None, "no clock shows that");
    }

    #[test]
    fn bounds_widen_to_both_sides_of_the_instant_they_were_obtained_at() {
        let bounds = Bounds { lower: -10, upper: 10 };
        for by in [5 * SECOND, -5 * SECOND] {
            let aged = bounds.aged(by);
            assert_eq!((aged.lower, aged.upper), (-10 - 1_000_001, 10 + 1_000_001));
        }
        assert!(bounds.and(Bounds { lower: 11, upper: 20 }).is_empty());
        assert_eq!(bounds.minus(Bounds { lower: 1, upper: 2 }), Bounds { lower: -12, upper: 9 });
    }
}
