//! From a round to findings. Pure: no clock, no I/O, no async, and no measuring.
//!
//! Three steps, each a room of its own:
//!
//! 1. `observe`: everything that a sound registry does not show becomes an observation, whether
//!    or not a cause for it is known.
//! 2. `rules`: each rule looks at the `facts` and names causes that would explain observations.
//!    No rule sees another's result.
//! 3. `resolve`: the tables of `precedence` and `consequence` decide which explanation
//!    stands. Every observation ends in exactly one finding, or as unexplained.
//!
//! Severity and the sentence about users follow from the observations that a finding explains
//! (`effect`); what was not measured is listed (`coverage`) and keeps the status from `ok`.
//!
//! To add a cause: its page in `deploy/runbooks`, a file in `rules` and a line in its table, and its
//! place in `precedence::ORDER`.

mod clients;
mod clocks;
mod consequence;
mod coverage;
mod drain;
mod effect;
mod facts;
mod fill;
mod hypothesis;
mod keys;
mod leeway;
mod observe;
mod partition;
mod precedence;
mod reproduce;
mod resolve;
mod rules;
mod signers;
mod statistics;
#[cfg(test)]
mod tests;
mod unexplained;
mod verdict;
mod wording;

pub use statistics::wilson;

use crate::model::{Assessment, Earlier, Round};

/// Judges a round by itself.
pub fn assess(round: &Round) -> Assessment {
    assess_after(round, &Earlier::default())
}

/// Judges a round with what earlier rounds left behind.
pub fn assess_after(round: &Round, earlier: &Earlier) -> Assessment {
    verdict::judge(round, earlier)
}
