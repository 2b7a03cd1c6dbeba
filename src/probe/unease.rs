//! How many samples a round takes through the load balancer: more for as long as a request was
//! lost or wrong within the last minutes, so that what fails rarely is found, or is seen to be
//! chance.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{BalancerRun, Outcome, WINDOW_SECONDS, more_samples};

/// The rounds of the last minutes in which a request was lost or wrong.
#[derive(Debug, Default)]
pub(super) struct Unease(Vec<(Instant, u32)>);

impl Unease {
    /// How many times as many samples a round takes that begins now.
    pub(super) fn times(&mut self, now: Instant) -> u32 {
        let window = Duration::from_secs(WINDOW_SECONDS.unsigned_abs());
        self.0.retain(|(at, _)| now.saturating_duration_since(*at) <= window);
        more_samples(self.0.iter().fold(0, |all, (_, events)| all.saturating_add(*events)))
    }

    /// Takes in what a round met.
    pub(super) fn note(&mut self, at: Instant, balancer: &Outcome<BalancerRun>) {
        let events = balancer.measured().map_or(0, BalancerRun::rare_events);
        if events > 0 {
            self.0.push((at, events));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Ratio, Reason, SampledFlow, Step, sample};

    fn run(lost: u32, requests: u32) -> Outcome<BalancerRun> {
        let mut run =
            BalancerRun { pairs: Ratio { events: 0, trials: requests }, ..BalancerRun::default() };
        run.try_step(SampledFlow::Pair, Step::Access, requests);
        sample::lose(&mut run, lost, Reason::ConnectionReset);
        Outcome::Measured(run)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_request_makes_the_next_rounds_look_closer_until_five_minutes_are_clean() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut unease = Unease::default();
        assert_eq!(unease.times(at(0)), 1);
        unease.note(at(0), &run(0, 75));
        assert_eq!(unease.times(at(15)), 1);
        unease.note(at(15), &run(1, 75));
        assert_eq!(unease.times(at(30)), 2);
        unease.note(at(30), &run(5, 75));
        assert_eq!(unease.times(at(45)), 6, "never more than that");
        assert_eq!(unease.times(at(316)), 6);
        assert_eq!(unease.times(at(331)), 1, "five minutes are clean");
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_often_needs_no_more_samples() {
        let mut unease = Unease::default();
        unease.note(Instant::now(), &run(40, 75));
        assert_eq!(unease.times(Instant::now()), 1);
    }
}
