//! From a round to findings. Pure: no clock, no I/O, no async.

use crate::model::{Assessment, Round, Status};

mod leeway;
mod statistics;

pub use statistics::wilson;

/// Judges a round.
pub fn assess(round: &Round) -> Assessment {
    let shares = statistics::shares(round);
    Assessment {
        status: Status::Ok,
        findings: Vec::new(),
        expected_unauthorized: statistics::expected(round, &shares),
        shares,
        unauthorized_interval: None,
        leeways: round.backends.iter().map(|b| (b.name.clone(), leeway::leeway(b))).collect(),
        clock_margin: leeway::margin(round),
    }
}
