//! Clock offsets as intervals: backend minus prober, in seconds.

use serde::Serialize;

use super::BackendName;

/// Where a reading of a backend's clock came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockSource {
    /// The `Date` header: whoever answered first, often the node's nginx. Whole seconds.
    Date,
    /// `iat` of a token: the issuer. Whole seconds.
    Iat,
}

impl ClockSource {
    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::Iat => "iat",
        }
    }
}

/// An interval that holds the true offset, `lower <= upper`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClockInterval {
    lower: f64,
    upper: f64,
}

impl ClockInterval {
    /// The interval between two bounds in either order.
    pub fn between(a: f64, b: f64) -> Self {
        Self { lower: a.min(b), upper: a.max(b) }
    }

    /// The least possible offset in seconds.
    pub fn lower(self) -> f64 {
        self.lower
    }

    /// The greatest possible offset in seconds.
    pub fn upper(self) -> f64 {
        self.upper
    }

    /// The middle, the best single number.
    pub fn middle(self) -> f64 {
        f64::midpoint(self.lower, self.upper)
    }

    /// Upper minus lower.
    pub fn width(self) -> f64 {
        self.upper - self.lower
    }

    /// Whether a value lies inside.
    pub fn contains(self, value: f64) -> bool {
        self.lower <= value && value <= self.upper
    }

    /// What both intervals allow, if anything.
    pub fn intersect(self, other: Self) -> Option<Self> {
        let (lower, upper) = (self.lower.max(other.lower), self.upper.min(other.upper));
        (lower <= upper).then_some(Self { lower, upper })
    }

    /// The smallest interval that holds both.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        Self { lower: self.lower.min(other.lower), upper: self.upper.max(other.upper) }
    }

    /// All offsets that `self` minus `other` can be.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { lower: self.lower - other.upper, upper: self.upper - other.lower }
    }
}

/// The clock of one backend by one source, as this round's samples allow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClockReading {
    /// Whose clock.
    pub backend: BackendName,
    /// Read where.
    pub source: ClockSource,
    /// What the samples leave.
    pub interval: ClockInterval,
    /// How many samples.
    pub samples: u32,
    /// Whether the samples exclude each other: the clock stepped, or several clocks answer.
    pub contradiction: bool,
}
