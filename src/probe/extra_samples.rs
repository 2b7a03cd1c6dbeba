//! How many samples a round takes through the load balancer: more for as long as a request was
//! lost or wrong within the last minutes, so that what fails rarely is found, or is seen to be
//! chance.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{BalancerRun, Outcome, WINDOW_SECONDS, more_samples};

/// The rounds of the last minutes in which a request was lost or wrong.
#[derive(Debug, Default)]
pub(super) struct ExtraSamples(Vec<(Instant, u32)>);

impl ExtraSamples {
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
        let mut extra_samples = ExtraSamples::default();
        assert_eq!(extra_samples.times(at(0)), 1);
        extra_samples.note(at(0), &run(0, 75));
        assert_eq!(extra_samples.times(at(15)), 1);
        extra_samples.note(at(15), &run(1, 75));
        assert_eq!(extra_samples.times(at(30)), 2);
        extra_samples.note(at(30), &run(5, 75));
        assert_eq!(extra_samples.times(at(45)), 6, "never more than that");
        assert_eq!(extra_samples.times(at(316)), 6);
        assert_eq!(extra_samples.times(at(331)), 1, "five minutes are clean");
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_often_needs_no_more_samples() {
        let mut extra_samples = ExtraSamples::default();
        extra_samples.note(Instant::now(), &run(40, 75));
        assert_eq!(extra_samples.times(Instant::now()), 1);
    }
}
