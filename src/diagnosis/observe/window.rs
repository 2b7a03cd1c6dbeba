//! What was met through the load balancer over the last minutes: rare failures that one round is
//! too short to see, and whether they still happen.

use crate::diagnosis::statistics::wilson;
use crate::model::{BalancerRun, Ratio};

/// A sound network loses fewer requests than this, as a share of all.
const SOUND_LOSS: f64 = 0.0005;

/// Losses of one round are chance unless a sound network would show as many in fewer than this
/// share of rounds. It is judged after every round, so it has to be rare.
pub(super) const OF_A_ROUND: f64 = 1e-4;

/// The same for what the last minutes met: each window shares most of its rounds with the next.
///
/// Measured by simulation, with 20 pairs and 5 logins every 15 s (see the tests of the balancer's
/// observations): where one request in 2,000 is lost, 2 of 10,000 rounds say so; where one in
/// 5,000 is, none does.
pub(super) const OF_MINUTES: f64 = 1e-3;

/// One lost request is never more than chance.
const FEW: u32 = 2;

/// A failure is over when, if it went on, it would have shown again by now in all but this share of
/// cases.
const GONE: f64 = 0.05;

/// Events of one kind in rounds, oldest first: each with how often it happened and could have.
pub(super) struct Series(Vec<(u32, u32)>);

impl Series {
    /// Reads a figure of every round.
    pub(super) fn of<'r>(
        runs: impl IntoIterator<Item = &'r BalancerRun>,
        read: impl Fn(&BalancerRun) -> (u32, u32),
    ) -> Self {
        Self(runs.into_iter().map(read).collect())
    }

    /// Events and trials of all rounds.
    pub(super) fn total(&self) -> (u32, u32) {
        self.0.iter().fold((0, 0), |(events, trials), (e, t)| (events + e, trials + t))
    }

    /// In how many rounds it happened.
    pub(super) fn rounds(&self) -> usize {
        self.0.iter().filter(|(events, _)| *events > 0).count()
    }

    /// Whether it may still happen: too little time followed the last event to say that it is over.
    /// How often it happens is counted from its first event on; a few events count only for the
    /// rate that they prove.
    pub(super) fn goes_on(&self) -> bool {
        let happened = |(events, _): &(u32, u32)| *events > 0;
        let first = self.0.iter().position(happened);
        let Some((first, last)) = first.zip(self.0.iter().rposition(happened)) else {
            return false;
        };
        let sum = |part: &[(u32, u32)]| Self(part.to_vec()).total();
        let (events, trials) = sum(&self.0[first..=last]);
        let (_, quiet) = sum(&self.0[last + 1..]);
        let ratio = Ratio { events, trials: trials.max(events) };
        let rate = wilson(ratio).map_or(0.0, |(low, _)| low);
        (1.0 - rate).powf(f64::from(quiet)) >= GONE
    }
}

/// Whether a sound network loses this number of requests, of the number sent, only with this
/// chance.
pub(super) fn is_more_than_chance(lost: u32, requests: u32, chance: f64) -> bool {
    lost >= FEW && poisson_tail(lost, f64::from(requests) * SOUND_LOSS) < chance
}

/// The chance of at least `events` where `mean` are expected.
fn poisson_tail(events: u32, mean: f64) -> f64 {
    let mut term = (-mean).exp();
    let mut below = 0.0;
    for k in 0..events {
        below += term;
        term *= mean / f64::from(k + 1);
    }
    (1.0 - below).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lost_requests_among_thousands_are_chance_and_a_tenth_is_not() {
        for (lost, requests, more) in [
            (0, 100, false),
            (1, 100, false),
            (2, 100, false),
            (3, 100, true),
            (3, 200, false),
            (4, 200, true),
            (3, 600, false),
            (1, 1, false),
            (5, 4000, false),
            (10, 2000, true),
            (3, 3, true),
        ] {
            assert_eq!(
                is_more_than_chance(lost, requests, OF_A_ROUND),
                more,
                "{lost} of {requests}"
            );
        }
    }

    #[test]
    fn what_stopped_is_gone_the_sooner_the_more_often_it_happened() {
        for (rounds, goes_on) in [
            (vec![(10, 20), (0, 20)], false),
            (vec![(0, 400), (10, 20), (12, 20), (0, 20)], false),
            (vec![(5, 25), (0, 20)], true),
            (vec![(5, 25), (0, 20), (0, 20)], false),
            (vec![(1, 20), (0, 20), (0, 20)], true),
            (vec![(1, 100), (0, 100), (2, 100), (0, 100)], true),
            (vec![(1, 100), (0, 100), (2, 100), (0, 900)], false),
            (vec![(0, 100)], false),
            (vec![(0, 20), (3, 20)], true),
        ] {
            assert_eq!(Series(rounds.clone()).goes_on(), goes_on, "{rounds:?}");
        }
    }
}
