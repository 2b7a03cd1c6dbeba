//! What each kind of client feels: the share of logins that fail, as measured, and of pulls and
//! pushes of ten layers, as matrix and shares predict it.
//!
//! # The formula
//!
//! Backend i gives the part `s(i)` of the answers, and the part `r(i, v)` of its fresh tokens is
//! refused at v. A token of i is accepted at the next request with `q(i) = Σ s(v) (1 - r(i, v))`.
//! An image is one token and n requests with it.
//!
//! - **docker** opens a connection for each request, so each may meet another backend, and the
//!   first refusal ends it: `1 - Σ s(i) q(i)^n` of the images fail.
//! - **podman** keeps its connections. Behind a balancer that divides requests the same holds. Behind
//!   one that divides connections the first one stays at the token's issuer, and only the others,
//!   of which it opens up to five, may meet another backend: `1 - Σ s(i) (1 - r(i, i)) q(i)^(c - 1)`
//!   for c connections.
//! - **containerd** asks again. A refusal that asks for Basic gets the password, which the same
//!   server accepts: nothing fails. One that names an error ends the request for which the token was
//!   fetched; any later request gets one fresh token and one more try. With `x(j)` the part of the
//!   images that hold a token of j and have not failed, that is `x(j) = s(j) q(j)` after the first
//!   request, and `x(j) q(j) + s(j) q(j) Σ x(i) (1 - q(i))` after each later one. One that names no
//!   error gets the same token again, four times at the most.
//!
//! The flows that keep their connection show what the balancer divides: if it divided requests, most
//! of these flows would be refused. As long as both fit, the interval holds both.
//! It also holds the 95 % interval of the shares, by the slope of the formula. No image fails less
//! often than the logins that were measured, for it begins with the same requests.

use super::statistics::{self, wilson};
use crate::model::{
    AuthScheme, BackendName, BalancerRun, CellResult, Challenge, ClientKind, ClientRun, ClientView,
    Estimate, Ratio, Round, Share, Step,
};

/// Requests with a token for a pull of ten layers: the manifest, the configuration, ten blobs.
const PULL: u32 = 12;

/// For a push: each blob is looked for, begun, sent and ended; then the manifest.
const PUSH: u32 = 11 * 4 + 1;

/// How many connections a client opens at once.
const CONNECTIONS: u32 = 6;

/// containerd gives up a request after this number of answers. For the first request one of them
/// comes before it has a token.
const ANSWERS: i32 = 5;

/// What is less likely than this is not taken for chance.
const UNLIKELY: f64 = 0.05;

/// The 97.5 % point of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// What each kind of client feels; empty where no flows ran.
pub(super) fn views(round: &Round, shares: &[Share]) -> Vec<ClientView> {
    let Some(run) = round.balancer.measured() else { return Vec::new() };
    let world = World::of(round, shares);
    let divides = world.as_ref().map_or(Divides::Unknown, |world| world.divides(run));
    let views = run.clients.iter().filter_map(|client| {
        let login = login(client, run)?;
        let image = |requests| {
            let share = world.as_ref()?.image(client.client, divides, requests);
            Some(at_least(share, login, lost(client, requests)))
        };
        Some(ClientView { run: *client, login, pull: image(PULL), push: image(PUSH) })
    });
    views.collect()
}

/// The share of logins that fail. docker connects as the independent pairs do, so their figures
/// count as well, unless the two disagree, as they do behind strict round robin.
fn login(client: &ClientRun, run: &BalancerRun) -> Option<Estimate> {
    let own = estimate(client.logins)?;
    let Some(pairs) = estimate(run.pairs) else { return Some(own) };
    let fits = |one: Estimate, other: Estimate| (one.lower..=one.upper).contains(&other.value);
    let alike = fits(own, pairs) && fits(pairs, own) && client.lost == 0 && run.lost() == 0;
    if client.client == ClientKind::Docker && alike {
        return estimate(Ratio {
            events: client.logins.events + run.pairs.events,
            trials: client.logins.trials + run.pairs.trials,
        });
    }
    Some(own)
}

fn estimate(ratio: Ratio) -> Option<Estimate> {
    let (lower, upper) = wilson(ratio)?;
    Some(Estimate { value: ratio.value()?, lower, upper })
}

/// The share of images that are lost otherwise than by a refused token, as logins are: docker opens a
/// connection for each request, of which a login has three.
fn lost(client: &ClientRun, requests: u32) -> f64 {
    let login = Ratio { events: client.lost, trials: client.logins.trials }.value().unwrap_or(0.0);
    let times = match client.client {
        ClientKind::Docker => f64::from(requests + 2) / 3.0,
        ClientKind::Podman | ClientKind::Containerd => 1.0,
    };
    1.0 - (1.0 - login).powf(times)
}

/// What fails by refused tokens, together with what is lost before; never less than the logins.
fn at_least(by_tokens: Estimate, login: Estimate, lost: f64) -> Estimate {
    let both = |share: f64, login: f64| (1.0 - (1.0 - share) * (1.0 - lost)).max(login);
    Estimate {
        value: both(by_tokens.value, login.value),
        lower: both(by_tokens.lower, login.lower),
        upper: both(by_tokens.upper, login.upper),
    }
}

/// What a balancer divides among the backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Divides {
    Connections,
    Requests,
    Unknown,
}

/// What containerd does after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// It sends the password.
    Basic,
    /// It fetches one fresh token.
    Error,
    /// It shows the same token again.
    Plain,
}

/// Shares and refusals as numbers.
#[derive(Debug, Clone, PartialEq)]
struct World {
    shares: Vec<f64>,
    /// The number of answers from which the shares are known.
    counted: f64,
    /// By issuer and verifier.
    refused: Vec<Vec<f64>>,
    refusal: Refusal,
}

impl World {
    fn of(round: &Round, shares: &[Share]) -> Option<Self> {
        let known = |share: &&Share| share.backend.is_some() && share.share > 0.0;
        let known: Vec<(&BackendName, f64)> = shares
            .iter()
            .filter(known)
            .filter_map(|share| Some((share.backend.as_ref()?, share.share)))
            .collect();
        let sum: f64 = known.iter().map(|(_, share)| share).sum();
        if known.is_empty() || sum <= 0.0 {
            return None;
        }
        // Tokens of a key that no node has, and replicas behind one address, are in no cell.
        let unknown = shares.iter().any(|share| share.backend.is_none() && share.share > 0.0);
        let replicas = round.key_census.iter().any(|census| census.keys.len() > 1);
        if unknown || replicas {
            return None;
        }
        let row = |issuer: &BackendName| -> Option<Vec<f64>> {
            let at = |verifier: &BackendName| statistics::refused(round, issuer, verifier);
            known.iter().map(|(verifier, _)| at(verifier)).collect()
        };
        let refused = known.iter().map(|(issuer, _)| row(issuer)).collect::<Option<_>>()?;
        let counted = round.balancer.measured()?.keys.iter().map(|key| key.tokens).sum::<u32>();
        let shares = known.iter().map(|(_, share)| share / sum).collect();
        Some(Self { shares, counted: f64::from(counted.max(1)), refused, refusal: refusal(round) })
    }

    /// The part of the next requests that accept a token of i.
    fn accepted(&self, issuer: usize) -> f64 {
        let at = |(share, refused): (&f64, &f64)| share * (1.0 - refused);
        self.shares.iter().zip(&self.refused[issuer]).map(at).sum()
    }

    /// A sum over all issuers, each by its share.
    fn sum(&self, part: impl Fn(usize) -> f64) -> f64 {
        self.shares.iter().enumerate().map(|(issuer, share)| share * part(issuer)).sum()
    }

    /// How the balancer divides, by the flows that keep their connection.
    fn divides(&self, run: &BalancerRun) -> Divides {
        let own = self.sum(|issuer| self.refused[issuer][issuer]);
        let kept = run.clients.iter().find(|client| client.client == ClientKind::Podman);
        let Some(kept) = kept else { return Divides::Unknown };
        let pulls = if run.failures.iter().any(|failed| failed.step == Step::Repository) {
            Ratio::default()
        } else {
            kept.pulls
        };
        let logins = kept.logins.trials.saturating_sub(kept.lost);
        let refused = kept.logins.events.saturating_sub(kept.lost) + pulls.events;
        if refused > 0 {
            return if own > 0.0 { Divides::Unknown } else { Divides::Requests };
        }
        // How often all of these would pass if the balancer divided single requests.
        let login = self.sum(|issuer| self.accepted(issuer));
        let pull = self.sum(|issuer| self.accepted(issuer).powi(3));
        let power = |part: f64, times: u32| part.powi(i32::try_from(times).unwrap_or(i32::MAX));
        let pulls = pulls.trials.min(logins);
        let chance = power(login, logins - pulls) * power(pull, pulls);
        if chance < UNLIKELY { Divides::Connections } else { Divides::Unknown }
    }

    /// The share of images of this number of requests that fail, with its interval.
    fn image(&self, kind: ClientKind, divides: Divides, requests: u32) -> Estimate {
        let by_request = || self.with_interval(|world| world.by_request(kind, requests));
        let by_connection = || {
            let one = self.with_interval(|world| world.by_connection(kind, 1));
            let all = self.with_interval(|world| world.by_connection(kind, CONNECTIONS));
            hull(all, one)
        };
        match (kind, divides) {
            (ClientKind::Docker, _) | (_, Divides::Requests) => by_request(),
            (_, Divides::Connections) => by_connection(),
            (_, Divides::Unknown) => hull(by_request(), by_connection()),
        }
    }

    /// Each request may meet another backend.
    fn by_request(&self, kind: ClientKind, requests: u32) -> f64 {
        let requests = i32::try_from(requests).unwrap_or(i32::MAX);
        match (kind, self.refusal) {
            (ClientKind::Containerd, Refusal::Basic) => 0.0,
            (ClientKind::Containerd, Refusal::Error) => 1.0 - self.with_fresh_tokens(requests),
            (ClientKind::Containerd, Refusal::Plain) => {
                let of_first = |q: f64| 1.0 - (1.0 - q).powi(ANSWERS - 1);
                let of_later = |q: f64| 1.0 - (1.0 - q).powi(ANSWERS);
                1.0 - self.sum(|issuer| {
                    let q = self.accepted(issuer);
                    of_first(q) * of_later(q).powi(requests - 1)
                })
            }
            (ClientKind::Docker | ClientKind::Podman, _) => {
                1.0 - self.sum(|issuer| self.accepted(issuer).powi(requests))
            }
        }
    }

    /// The part that gets through where each later request may fetch one fresh token.
    fn with_fresh_tokens(&self, requests: i32) -> f64 {
        let accepted: Vec<f64> = (0..self.shares.len()).map(|i| self.accepted(i)).collect();
        let fresh: Vec<f64> = self.shares.iter().zip(&accepted).map(|(s, q)| s * q).collect();
        let mut holding = fresh.clone();
        for _ in 1..requests {
            let refused: f64 = holding.iter().zip(&accepted).map(|(x, q)| x * (1.0 - q)).sum();
            for ((x, q), fresh) in holding.iter_mut().zip(&accepted).zip(&fresh) {
                *x = *x * q + fresh * refused;
            }
        }
        holding.iter().sum()
    }

    /// Each of a number of connections meets one backend; the first is the token's issuer.
    fn by_connection(&self, kind: ClientKind, connections: u32) -> f64 {
        if kind == ClientKind::Containerd && self.refusal == Refusal::Basic {
            return 0.0;
        }
        let others = i32::try_from(connections.saturating_sub(1)).unwrap_or(i32::MAX);
        1.0 - self.sum(|issuer| {
            let q = match (kind, self.refusal) {
                (ClientKind::Containerd, Refusal::Error) => self.accepted_or_fresh(issuer),
                _ => self.accepted(issuer),
            };
            (1.0 - self.refused[issuer][issuer]) * q.powi(others)
        })
    }

    /// The part of new connections that accept a token of i, or the fresh one after a refusal.
    fn accepted_or_fresh(&self, issuer: usize) -> f64 {
        let fresh = |verifier: usize| self.sum(|other| 1.0 - self.refused[other][verifier]);
        let at = |(verifier, share): (usize, &f64)| {
            let refused = self.refused[issuer][verifier];
            share * (1.0 - refused + refused * fresh(verifier))
        };
        self.shares.iter().enumerate().map(at).sum()
    }

    /// A share with the interval that follows from how exactly the backends' shares are known.
    fn with_interval(&self, share: impl Fn(&Self) -> f64) -> Estimate {
        const STEP: f64 = 1e-4;
        let value = share(self);
        let (mut mean, mut square) = (0.0, 0.0);
        for (backend, part) in self.shares.iter().enumerate() {
            let mut moved = self.clone();
            moved.shares[backend] += STEP;
            let sum: f64 = moved.shares.iter().sum();
            moved.shares.iter_mut().for_each(|share| *share /= sum);
            let slope = (share(&moved) - value) / STEP;
            mean += part * slope;
            square += part * slope * slope;
        }
        let half = Z * ((square - mean * mean).max(0.0) / self.counted).sqrt();
        Estimate { value, lower: (value - half).max(0.0), upper: (value + half).min(1.0) }
    }
}

/// An interval that holds both intervals; the value is that of the first.
fn hull(first: Estimate, second: Estimate) -> Estimate {
    let (lower, upper) = (first.lower.min(second.lower), first.upper.max(second.upper));
    Estimate { value: first.value, lower, upper }
}

/// What a refused token is answered with.
fn refusal(round: &Round) -> Refusal {
    let of_cells = round.matrix.cells.iter().filter_map(|cell| match &cell.result {
        CellResult::Refused(refusal) => refusal.answer.challenge.as_ref(),
        _ => None,
    });
    let sampled =
        round.balancer.measured().and_then(|run| run.first_refusal.as_ref()?.challenge.as_ref());
    let kind = |challenge: &Challenge| match (challenge.scheme, &challenge.error) {
        (AuthScheme::Basic, _) if round.caller.username.is_some() => Refusal::Basic,
        (_, Some(_)) => Refusal::Error,
        (_, None) => Refusal::Plain,
    };
    of_cells.chain(sampled).map(kind).next().unwrap_or(Refusal::Error)
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    /// Three nodes with shares of their own, the second with another key.
    fn world(refusal: Refusal) -> World {
        let refused = |a: usize, b: usize| if (a == 1) == (b == 1) { 0.0 } else { 1.0 };
        World {
            shares: vec![0.5, 0.2, 0.3],
            counted: 100.0,
            refused: (0..3).map(|a| (0..3).map(|b| refused(a, b)).collect()).collect(),
            refusal,
        }
    }

    /// A client that does one thing after the other against backends drawn by chance.
    struct Client<'w> {
        world: &'w World,
        random: SmallRng,
        kind: ClientKind,
        /// Where its only connection leads, if it keeps one.
        at: Option<usize>,
        token: usize,
    }

    impl Client<'_> {
        fn backend(&mut self) -> usize {
            if let Some(at) = self.at {
                return at;
            }
            let mut left: f64 = self.random.random();
            for (backend, share) in self.world.shares.iter().enumerate() {
                left -= share;
                if left < 0.0 {
                    return backend;
                }
            }
            0
        }

        fn refused(&mut self) -> bool {
            let at = self.backend();
            self.random.random::<f64>() < self.world.refused[self.token][at]
        }

        /// Whether one request gets through; the first is the one for which the token was fetched.
        fn request(&mut self, first: bool) -> bool {
            if !self.refused() {
                return true;
            }
            if self.kind != ClientKind::Containerd {
                return false;
            }
            match (self.world.refusal, first) {
                (Refusal::Basic, _) => true,
                (Refusal::Error, true) => false,
                (Refusal::Error, false) => {
                    self.token = self.backend();
                    !self.refused()
                }
                (Refusal::Plain, first) => {
                    let answers = if first { 2 } else { 1 };
                    (answers..ANSWERS).any(|_| !self.refused())
                }
            }
        }

        fn image(&mut self, requests: u32, keeps: bool) -> bool {
            self.at = None;
            self.token = self.backend();
            self.at = keeps.then_some(self.token);
            (0..requests).all(|number| self.request(number == 0))
        }
    }

    fn simulated(world: &World, kind: ClientKind, requests: u32, keeps: bool) -> f64 {
        const IMAGES: u32 = 20_000;
        let random = SmallRng::seed_from_u64(7);
        let mut client = Client { world, random, kind, at: None, token: 0 };
        let failed = (0..IMAGES).filter(|_| !client.image(requests, keeps)).count();
        f64::from(u32::try_from(failed).unwrap()) / f64::from(IMAGES)
    }

    #[test]
    fn the_formula_is_what_a_simulation_of_clients_shows() {
        for refusal in [Refusal::Basic, Refusal::Error, Refusal::Plain] {
            for kind in ClientKind::ALL {
                for requests in [1, 3, PULL, PUSH] {
                    let world = world(refusal);
                    let formula = world.by_request(kind, requests);
                    let shown = simulated(&world, kind, requests, false);
                    let text = format!("{kind:?} {refusal:?} {requests}: {formula} {shown}");
                    assert!((formula - shown).abs() < 0.015, "{text}");
                }
                let world = world(refusal);
                let formula = world.by_connection(kind, 1);
                assert!((formula - simulated(&world, kind, PULL, true)).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn connections_that_meet_other_backends_let_kept_clients_fail_too() {
        let world = world(Refusal::Error);
        let one = world.by_connection(ClientKind::Podman, 1);
        let two = world.by_connection(ClientKind::Podman, 2);
        // Two independent draws, as a token and its use: 0.8² + 0.2² pass.
        assert!(one.abs() < 1e-9 && (two - 0.32).abs() < 1e-9, "{one} {two}");
        let asks_again = world.by_connection(ClientKind::Containerd, 2);
        assert!(asks_again < two, "{asks_again}");
    }

    #[test]
    fn the_interval_holds_the_truth_in_most_draws_of_the_shares() {
        const DRAWS: u32 = 400;
        let truth = world(Refusal::Error);
        let mut random = SmallRng::seed_from_u64(3);
        for kind in ClientKind::ALL {
            let expected = truth.by_request(kind, 3);
            let mut held = 0;
            for _ in 0..DRAWS {
                let mut counts = [0u32; 3];
                for _ in 0..60 {
                    let draw: f64 = random.random();
                    let at = if draw < 0.5 {
                        0
                    } else if draw < 0.7 {
                        1
                    } else {
                        2
                    };
                    counts[at] += 1;
                }
                let shares = counts.map(|count| f64::from(count) / 60.0).to_vec();
                let seen = World { shares, counted: 60.0, ..truth.clone() };
                let estimate = seen.with_interval(|world| world.by_request(kind, 3));
                held += u32::from((estimate.lower..=estimate.upper).contains(&expected));
            }
            assert!(held * 10 >= DRAWS * 9, "{kind:?}: {held} of {DRAWS}");
        }
    }

    #[test]
    fn how_a_balancer_divides_is_told_by_flows_that_keep_their_connection() {
        let world = world(Refusal::Error);
        let run = |failed: u32, pulls: u32| BalancerRun {
            clients: vec![ClientRun {
                logins: Ratio { events: failed, trials: 5 },
                pulls: Ratio { events: 0, trials: pulls },
                ..ClientRun::of(ClientKind::Podman)
            }],
            ..BalancerRun::default()
        };
        assert_eq!(world.divides(&run(2, 0)), Divides::Requests);
        assert_eq!(world.divides(&run(0, 3)), Divides::Connections);
        assert_eq!(world.divides(&BalancerRun::default()), Divides::Unknown);
        let healthy = World { refused: vec![vec![0.0; 3]; 3], ..world };
        assert_eq!(healthy.divides(&run(0, 3)), Divides::Unknown, "there is nothing to tell it by");
        for kind in ClientKind::ALL {
            let estimate = healthy.image(kind, Divides::Unknown, PULL);
            assert!(estimate.value.abs() < 1e-9 && estimate.upper < 1e-9, "{kind:?} {estimate:?}");
        }
    }
}
