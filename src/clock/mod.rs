//! Clocks of other machines as intervals, and the one place that asks what time it is.
//!
//! [`Clock`] reads the prober's own wall clock together with the monotonic one; every later
//! instant is placed on the wall by the monotonic clock, so that a step of the prober's clock in
//! mid-round cannot bend a sample. The rest is pure. A [`Sample`] is one timestamp with the
//! instants between which it was written, and proves an interval; a [`Tracker`] keeps one clock of
//! one backend from round to round: it says when the next request should be sent so that it
//! arrives near the other clock's tick, and at the end of a round what its samples allow together.
//!
//! All arithmetic is in whole nanoseconds. A bound widens by 200 ppm with its age, and no rule
//! here narrows an interval beyond what the samples of its own round prove: where they exclude
//! each other the interval becomes all that any of them allows, and that is said.

mod aim;
mod bounds;
mod cycle;
mod drift;
mod now;
#[cfg(test)]
mod simulation;
mod tracker;

pub use aim::Aim;
pub use bounds::{Bounds, SECOND, Sample};
pub use now::Clock;
pub use tracker::Tracker;
