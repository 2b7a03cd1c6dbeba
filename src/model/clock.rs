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
    /// The time in a new CSRF cookie: Harbor's core. Whole seconds.
    Csrf,
    /// `current_time` of Harbor's system information: core, to the millisecond.
    Systeminfo,
    /// The begin of an upload: the registry, to the nanosecond.
    Upload,
}

impl ClockSource {
    /// Every source.
    pub const ALL: [Self; 5] = [Self::Date, Self::Iat, Self::Csrf, Self::Systeminfo, Self::Upload];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::Iat => "iat",
            Self::Csrf => "csrf",
            Self::Systeminfo => "systeminfo",
            Self::Upload => "upload",
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

/// What became of a clock since the round before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockStatus {
    /// There is no round to compare with.
    New,
    /// It is where it can have come by drifting.
    Ok,
    /// It was set: forward or back, in this round or since the one before.
    Step,
    /// It moves the same way again and again, faster than clocks drift.
    Slewing,
    /// It jumps to and fro: several clocks answer.
    Multiple,
    /// The samples of the round exclude each other and fit no single step.
    Inconsistent,
}

impl ClockStatus {
    /// The word of the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Ok => "ok",
            Self::Step => "step",
            Self::Slewing => "slewing",
            Self::Multiple => "multiple",
            Self::Inconsistent => "inconsistent",
        }
    }
}

/// How fast a clock runs against the prober's, over the last hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClockDrift {
    /// Parts per million; positive gains.
    pub ppm: f64,
    /// The true value lies at most so far off, as long as the drift is steady.
    pub error_ppm: f64,
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
    /// Stamps that were not used: from a cache, missing or unreadable.
    pub discarded: u32,
    /// Whether the samples exclude each other: the clock stepped, or several clocks answer. The
    /// interval is then all that any of them allows.
    pub contradiction: bool,
    /// What became of the clock since the round before.
    pub status: ClockStatus,
    /// By how much it was set, where it was.
    pub step: Option<ClockInterval>,
    /// How far the clocks behind this source were apart at least over the last rounds, in
    /// seconds; 0 where one clock explains all.
    pub spread_seconds: f64,
    /// The least round trip lately, in seconds: no interval can be much narrower.
    pub round_trip_seconds: Option<f64>,
    /// How fast it runs, where that could be measured.
    pub drift: Option<ClockDrift>,
}

impl ClockReading {
    /// A reading of which nothing but the interval is known.
    pub fn new(backend: BackendName, source: ClockSource, interval: ClockInterval) -> Self {
        Self {
            backend,
            source,
            interval,
            samples: 1,
            discarded: 0,
            contradiction: false,
            status: ClockStatus::New,
            step: None,
            spread_seconds: 0.0,
            round_trip_seconds: None,
            drift: None,
        }
    }
}
