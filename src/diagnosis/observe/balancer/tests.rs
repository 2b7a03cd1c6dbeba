//! What is found of failures through the load balancer, how soon, and how often by mistake: played
//! round by round as `run` takes its samples.

use chrono::TimeDelta;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::model::sample::{judged, round};
use crate::model::{Outcome, more_samples};

/// Seconds between rounds.
const INTERVAL: i64 = 15;
/// Rounds in five minutes.
const FIVE_MINUTES: usize = 20;
/// Pairs of a round, and logins.
const PAIRS: u32 = 20;
const LOGINS: u32 = 5;

/// What goes wrong with a request, or with a flow.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A flow is refused: its fresh token gets a 401.
    Refused(f64),
    /// A flow gets another answer.
    Status(Step, f64),
    /// A flow loses a request.
    FlowLost(f64),
    /// Any request is lost.
    RequestLost(f64),
}

/// A daemon of which only the sampling is played.
struct Played {
    random: SmallRng,
    earlier: Earlier,
    at: i64,
}

impl Played {
    fn new(seed: u64) -> Self {
        Self { random: SmallRng::seed_from_u64(seed), earlier: Earlier::default(), at: 0 }
    }

    fn flow(&mut self, run: &mut BalancerRun, flow: SampledFlow, fault: Fault) {
        let chance = |random: &mut SmallRng, share: f64| random.random_bool(share);
        let challenges = match flow {
            // Dummies of a cluster of three.
            SampledFlow::Pair => self.random.random_range(0..3),
            SampledFlow::Client => 1,
        };
        run.try_step(flow, Step::Challenge, challenges);
        for (step, times) in [(Step::Token, 1), (Step::Access, 1)] {
            run.try_step(flow, step, times);
        }
        let reset = || Failure::of_answer(Reason::ConnectionReset, "reset");
        let mut refused = false;
        match fault {
            Fault::Refused(share) => refused = chance(&mut self.random, share),
            Fault::Status(step, share) if chance(&mut self.random, share) => {
                run.fail(flow, step, Failure::of_answer(Reason::ServerError, "500"), None);
                return;
            }
            Fault::FlowLost(share) if chance(&mut self.random, share) => {
                run.fail(flow, Step::Access, reset(), None);
                return;
            }
            Fault::RequestLost(share) => {
                for _ in 0..challenges + 2 {
                    if chance(&mut self.random, share) {
                        run.fail(flow, Step::Token, reset(), None);
                        return;
                    }
                }
            }
            Fault::Status(..) | Fault::FlowLost(_) => {}
        }
        let ratio = match flow {
            SampledFlow::Pair => &mut run.pairs,
            SampledFlow::Client => &mut run.client_flows,
        };
        ratio.trials += 1;
        ratio.events += u32::from(refused);
    }

    /// A round; whether something through the load balancer is seen.
    fn round(&mut self, fault: Fault) -> bool {
        let events: u32 = self.earlier.window.iter().map(|past| past.run.rare_events()).sum();
        let mut run = BalancerRun::default();
        let take = |played: &mut Self, run: &mut BalancerRun, times: u32| {
            for flow in [(SampledFlow::Pair, PAIRS), (SampledFlow::Client, LOGINS)] {
                for _ in 0..flow.1 * times {
                    played.flow(run, flow.0, fault);
                }
            }
        };
        take(self, &mut run, more_samples(events));
        if run.lost_on_the_way() >= 2 {
            take(self, &mut run, 1);
        }
        let mut measured = round(&["a", "b", "c"]);
        measured.started += TimeDelta::seconds(self.at);
        measured.balancer = Outcome::Measured(run);
        self.at += INTERVAL;
        let seen = !observe(&measured, &self.earlier).is_empty();
        self.earlier.sampled(&judged(measured, Vec::new()));
        seen
    }
}

#[test]
fn a_failure_of_one_percent_of_flows_of_any_kind_is_seen_within_five_minutes() {
    const RUNS: u64 = 1000;
    for fault in [
        Fault::Refused(0.01),
        Fault::Status(Step::Token, 0.01),
        Fault::Status(Step::Access, 0.01),
        Fault::FlowLost(0.01),
    ] {
        let seen = (0..RUNS).filter(|seed| {
            let mut played = Played::new(*seed);
            (0..FIVE_MINUTES).any(|_| played.round(fault))
        });
        let seen = seen.count();
        println!("{fault:?}: seen within five minutes in {seen} of {RUNS} runs");
        assert!(seen >= 930, "{fault:?}: {seen} of {RUNS}");
    }
}

#[test]
fn single_lost_requests_among_thousands_raise_nothing_but_for_one_round_in_a_thousand() {
    const ROUNDS: u32 = 10_000;
    for (one_in, allowed) in [(2_000.0, 20), (5_000.0, 2)] {
        let mut played = Played::new(11);
        let fault = Fault::RequestLost(1.0 / one_in);
        let raised: u32 = (0..ROUNDS).map(|_| u32::from(played.round(fault))).sum();
        println!("one lost request in {one_in}: {raised} of {ROUNDS} rounds raise something");
        assert!(raised <= allowed, "one in {one_in}: {raised} of {ROUNDS}");
    }
}

#[test]
fn a_big_failure_that_is_fixed_is_gone_within_two_rounds() {
    for fault in [Fault::Refused(0.3), Fault::Status(Step::Access, 0.3), Fault::FlowLost(0.3)] {
        for seed in 0..100 {
            let mut played = Played::new(seed);
            for _ in 0..10 {
                played.round(Fault::Refused(0.0));
            }
            assert!((0..3).all(|_| played.round(fault)), "{fault:?} is seen at once");
            played.round(Fault::Refused(0.0));
            assert!(!played.round(Fault::Refused(0.0)), "{fault:?} is over, run {seed}");
        }
    }
}

#[test]
fn what_happens_now_and_then_stays_until_it_is_gone() {
    let mut played = Played::new(3);
    let share = Fault::Status(Step::Access, 0.03);
    let seen: Vec<bool> = (0..2 * FIVE_MINUTES).map(|_| played.round(share)).collect();
    let first = seen.iter().position(|seen| *seen).unwrap();
    let gaps = seen[first..].iter().filter(|seen| !**seen).count();
    assert!(gaps <= 4, "{seen:?}");
    let after = (0..=FIVE_MINUTES).map(|_| played.round(Fault::Refused(0.0)));
    let last = after.filter(|seen| *seen).count();
    assert!(last < FIVE_MINUTES, "it is gone with its window at the latest");
    assert!(played.earlier.window.len() <= FIVE_MINUTES + 1);
}
