//! `prober-clock-suspect`: every backend's clock is off by the same amount, so the prober's own is.

use super::super::facts::Facts;
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::leeway::{issuing_clock, read};
use crate::model::{ClockInterval, ClockSource, Family, FindingName};

/// All backends off by more than this, and alike: the prober's clock is the suspect.
const PROBER_OFF_SECONDS: f64 = 5.0;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let backends = &facts.round.backends;
    let clocks: Vec<ClockInterval> =
        backends.iter().filter_map(|facts_of| issuing_clock(facts.round, &facts_of.name)).collect();
    if clocks.len() < 2 || clocks.len() < backends.len() {
        return Vec::new();
    }
    let mut clocks = clocks.into_iter();
    let first = clocks.next();
    let common = first.and_then(|first| clocks.try_fold(first, ClockInterval::intersect));
    let Some(common) = common else { return Vec::new() };
    let off = if common.lower() > 0.0 { common.lower() } else { -common.upper() };
    if off < PROBER_OFF_SECONDS {
        return Vec::new();
    }
    // Where a server writes into its tokens what is not its time, its answers still say it.
    let contradicted = |clock: ClockInterval| common.intersect(clock).is_none();
    let dates = backends.iter().filter_map(|it| read(facts.round, &it.name, ClockSource::Date));
    let mut dates = dates.peekable();
    let only_tokens = dates.peek().is_none() && facts.common_family() == Family::Unknown;
    if only_tokens || dates.any(contradicted) {
        return Vec::new();
    }
    let direction = if common.lower() > 0.0 { "behind" } else { "ahead of" };
    let summary =
        format!("The prober's own clock is about {off:.0} s {direction} every backend's clock.");
    let evidence = format!(
        "all backends agree with each other; their clocks are {:+.1} s to {:+.1} s off the \
         prober's clock",
        common.lower(),
        common.upper()
    );
    let hypothesis = Hypothesis::new(FindingName::ProberClockSuspect, Vec::new(), summary)
        .suspected(&[])
        .hits(Hits::Background(
            "No user request is affected: only what the prober measures is off.",
        ))
        .evidence([evidence])
        .alone();
    vec![hypothesis]
}
