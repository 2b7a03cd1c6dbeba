//! # The formula
//!
//! Backend i gives the part `s(i)` of the answers, and the part `r(i, v)` of its fresh tokens is
//! refused at v. A token of i is accepted at the next request with `q(i) = Σ s(v) (1 - r(i, v))`.
//! An image is one token and n requests with it; m of these are sent twice if need be.
//!
//! - **docker** opens a connection for each request, so each may meet another backend. A refusal
//!   ends it, but for those m: `1 - Σ s(i) q(i)^(n - m) (1 - (1 - q(i))^2)^m` of the images fail. It
//!   asks for a tag by HEAD, then by GET; and for a layer once to learn its size and, where that
//!   fails, once more to read it.
//! - **podman** keeps its connections. Behind a balancer that divides requests it fails as docker
//!   does, but never asks twice. Behind one that divides connections the first one stays at the
//!   token's issuer, and only the others, of which it opens up to five, may meet another backend:
//!   `1 - Σ s(i) (1 - r(i, i)) q(i)^(c - 1)` for c connections.
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

use super::super::statistics;
use crate::model::{
    AuthScheme, BackendName, BalancerRun, CellResult, Challenge, ClientKind, Estimate, Ratio,
    Round, Share, Step,
};

/// How many connections a client opens at once.
const CONNECTIONS: u32 = 6;

/// containerd gives up a request after this number of answers. For the first request one of them
/// comes before it has a token.
const ANSWERS: i32 = 5;

/// What is less likely than this is not taken for chance.
const UNLIKELY: f64 = 0.05;

/// The 97.5 % point of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Requests with a token for an image of ten layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Image {
    /// Those that are sent once.
    pub(super) once: i32,
    /// Those that are sent once more where they were refused.
    pub(super) twice: i32,
}

impl Image {
    /// All pull the manifest, the configuration and ten layers. docker and containerd look for the
    /// tag before.
    pub(super) fn pull(kind: ClientKind) -> Self {
        match kind {
            ClientKind::Docker => Self { once: 2, twice: 11 },
            ClientKind::Podman => Self { once: 12, twice: 0 },
            ClientKind::Containerd => Self { once: 13, twice: 0 },
        }
    }

    /// A push of layers that the registry has not. docker begins, sends and ends each layer, and
    /// looks for the configuration before; containerd looks for each blob, begins and sends it, and
    /// looks for the manifest. podman looks for each blob, begins, sends and ends it.
    pub(super) fn push(kind: ClientKind) -> Self {
        let once = match kind {
            ClientKind::Docker | ClientKind::Containerd => 35,
            ClientKind::Podman => 45,
        };
        Self { once, twice: 0 }
    }

    pub(super) fn requests(self) -> i32 {
        self.once + self.twice
    }
}

/// What a balancer divides among the backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Divides {
    Connections,
    Requests,
    Unknown,
}

/// What containerd does after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It sends the password.
    Basic,
    /// It fetches one fresh token.
    Error,
    /// It shows the same token again.
    Plain,
}

/// Shares and refusals as numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct World {
    pub(super) shares: Vec<f64>,
    /// The number of answers from which the shares are known.
    pub(super) counted: f64,
    /// By issuer and verifier.
    pub(super) refused: Vec<Vec<f64>>,
    pub(super) refusal: Refusal,
}

impl World {
    pub(super) fn of(round: &Round, shares: &[Share]) -> Option<Self> {
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
        if unknown || replicas || statistics::refuses_with_unknown_share(round, shares) {
            return None;
        }
        let refusals = statistics::Refusals::of(round);
        let row = |issuer: &BackendName| -> Option<Vec<f64>> {
            let at = |verifier: &BackendName| refusals.part(issuer, verifier);
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
    pub(super) fn divides(&self, run: &BalancerRun) -> Divides {
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

    /// The share of such images that fail, with its interval.
    pub(super) fn image(&self, kind: ClientKind, divides: Divides, image: Image) -> Estimate {
        let by_request = || self.with_interval(|world| world.by_request(kind, image));
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
    pub(super) fn by_request(&self, kind: ClientKind, image: Image) -> f64 {
        match (kind, self.refusal) {
            (ClientKind::Containerd, Refusal::Basic) => 0.0,
            (ClientKind::Containerd, Refusal::Error) => {
                1.0 - self.with_fresh_tokens(image.requests())
            }
            (ClientKind::Containerd, Refusal::Plain) => {
                let of_first = |q: f64| 1.0 - (1.0 - q).powi(ANSWERS - 1);
                let of_later = |q: f64| 1.0 - (1.0 - q).powi(ANSWERS);
                1.0 - self.sum(|issuer| {
                    let q = self.accepted(issuer);
                    of_first(q) * of_later(q).powi(image.requests() - 1)
                })
            }
            (ClientKind::Docker | ClientKind::Podman, _) => {
                let of_two = |q: f64| 1.0 - (1.0 - q).powi(2);
                1.0 - self.sum(|issuer| {
                    let q = self.accepted(issuer);
                    q.powi(image.once) * of_two(q).powi(image.twice)
                })
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
    pub(super) fn by_connection(&self, kind: ClientKind, connections: u32) -> f64 {
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
    pub(super) fn with_interval(&self, share: impl Fn(&Self) -> f64) -> Estimate {
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
