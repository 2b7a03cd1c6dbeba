//! Shares, expected ratios and the Wilson interval.

use std::collections::BTreeMap;

use crate::model::{BackendName, Flow, Issuer, KeyId, Outcome, Ratio, Round, Route, Share};

/// The 95 % Wilson score interval of a ratio: honest for few trials and near 0 and 1. `None`
/// without trials.
pub fn wilson(ratio: Ratio) -> Option<(f64, f64)> {
    const Z: f64 = 1.959_963_984_540_054;
    let p = ratio.value()?;
    let n = f64::from(ratio.trials);
    let z2 = Z * Z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    Some(((centre - half).max(0.0), (centre + half).min(1.0)))
}

/// The share of each backend among the balancer's answers, by what tells backends apart: the
/// signing key of the tokens, else the certificate. What several backends have in common is
/// divided equally among those of them that answer. Empty if the balancer was not sampled.
pub(super) fn shares(round: &Round) -> Vec<Share> {
    let Outcome::Measured(run) = &round.balancer else { return Vec::new() };
    let alive: Vec<&BackendName> = round
        .backends
        .iter()
        .map(|backend| &backend.name)
        .filter(|name| round.backend_flow(name).is_some_and(|f| f.challenge.measured().is_some()))
        .collect();
    let key_of = |name: &BackendName| {
        let facts = round.backend_flow(name)?.token.measured()?;
        facts.kid.as_ref().map(|kid| kid.as_str().to_owned())
    };
    let certificate_of = |name: &BackendName| {
        let route = Route::Backend(name.clone());
        let met = round.certificates.iter().find(|certificate| certificate.route == route)?;
        Some(met.fingerprint.clone())
    };
    let keys: Vec<(String, u32)> =
        run.keys.iter().map(|count| (count.key.as_str().to_owned(), count.tokens)).collect();
    let by_key: Vec<_> = alive.iter().map(|name| (*name, key_of(name))).collect();
    let by_certificate: Vec<_> = alive.iter().map(|name| (*name, certificate_of(name))).collect();
    // A certificate of the balancer itself says nothing about the backend behind it.
    let passes_through = run.certificates.iter().any(|(fingerprint, _)| {
        by_certificate.iter().any(|(_, own)| own.as_deref() == Some(fingerprint))
    });
    if kinds(&by_certificate) > kinds(&by_key) && passes_through {
        divide(&by_certificate, &run.certificates)
    } else {
        divide(&by_key, &keys)
    }
}

fn kinds(backends: &[(&BackendName, Option<String>)]) -> usize {
    let mut kinds: Vec<&String> = backends.iter().filter_map(|(_, kind)| kind.as_ref()).collect();
    kinds.sort();
    kinds.dedup();
    kinds.len()
}

fn divide(backends: &[(&BackendName, Option<String>)], seen: &[(String, u32)]) -> Vec<Share> {
    let total: u32 = seen.iter().map(|(_, count)| count).sum();
    if total == 0 {
        return Vec::new();
    }
    let mut shares = Vec::new();
    let mut unknown = 0;
    for (kind, count) in seen {
        let having: Vec<_> =
            backends.iter().filter(|(_, own)| own.as_ref() == Some(kind)).collect();
        if having.is_empty() {
            unknown += count;
        }
        let among = u32::try_from(having.len()).unwrap_or(u32::MAX);
        shares.extend(having.iter().map(|(name, _)| part(Some(name), (*count, total), among)));
    }
    // Of one that can be distinguished and was not met: a share near zero. Of one that issued no
    // token nothing can be said.
    for (name, _) in backends.iter().filter(|(_, kind)| kind.is_some()) {
        if !shares.iter().any(|share| share.backend.as_ref() == Some(name)) {
            shares.push(part(Some(name), (0, total), 1));
        }
    }
    if unknown > 0 {
        shares.push(part(None, (unknown, total), 1));
    }
    shares.sort_by(|a, b| a.backend.cmp(&b.backend));
    shares
}

/// An equal part of what several indistinguishable backends answered together.
fn part(backend: Option<&BackendName>, (count, total): (u32, u32), among: u32) -> Share {
    let among = f64::from(among.max(1));
    let interval = wilson(Ratio { events: count, trials: total });
    Share {
        backend: backend.cloned(),
        share: f64::from(count) / f64::from(total) / among,
        interval: interval.map(|(low, high)| (low / among, high / among)),
        distinct: among <= 1.0,
    }
}

/// The 401 ratio of independent pairs that the matrix, the clocks and the shares predict: the sum
/// over all pairs of the issuer's share times the verifier's times the part of the tokens that is
/// refused. Pairs of which nothing is known are left out of both sums. `None` if nothing is known, or
/// if the share is not known of a backend that refuses tokens.
pub(super) fn expected(round: &Round, shares: &[Share]) -> Option<f64> {
    if refuses_with_unknown_share(round, shares) {
        return None;
    }
    if round.key_census.iter().any(|census| census.keys.len() > 1) {
        return by_keys(round);
    }
    let (mut sum, mut weight) = (0.0, 0.0);
    for (part, refused) in weighted(round, shares) {
        weight += part;
        sum += part * refused;
    }
    (weight > 0.0).then_some(sum / weight)
}

/// Whether a backend refuses tokens and its share of the requests is not known: one that issues no
/// token cannot be distinguished in the balancer's answers.
pub(super) fn refuses_with_unknown_share(round: &Round, shares: &[Share]) -> bool {
    let answers = |name| round.backend_flow(name).is_some_and(|f| f.challenge.measured().is_some());
    let refuses = |name: &BackendName| {
        let mut cells = round.matrix.cells.iter();
        cells.any(|cell| cell.verifier.backend() == Some(name) && cell.accepted() == Some(false))
    };
    let names = round.backends.iter().map(|backend| &backend.name);
    !shares.is_empty()
        && names
            .filter(|name| share_of(shares, name).is_none())
            .any(|name| answers(name) && refuses(name))
}

/// The 95 % interval of that prediction, from how exactly the shares are known.
pub(super) fn expected_interval(round: &Round, shares: &[Share]) -> Option<(f64, f64)> {
    const Z: f64 = 1.959_963_984_540_054;
    let expected = expected(round, shares)?;
    let counted = round.balancer.measured()?.keys.iter().map(|count| count.tokens).sum::<u32>();
    let known: Vec<(&BackendName, f64)> = known(shares).collect();
    let refusals = Refusals::of(round);
    // How much the prediction changes with each share.
    let slope = |name: &BackendName| -> f64 {
        let refused = |a, b| refusals.part(a, b).unwrap_or(0.0);
        known
            .iter()
            .map(|(other, share)| share * (refused(name, other) + refused(other, name)))
            .sum()
    };
    let (mut mean, mut square) = (0.0, 0.0);
    for (name, share) in &known {
        let slope = slope(name);
        mean += share * slope;
        square += share * slope * slope;
    }
    let half = Z * ((square - mean * mean).max(0.0) / f64::from(counted.max(1))).sqrt();
    Some(((expected - half).max(0.0), (expected + half).min(1.0)))
}

/// The weight of every pair of which something is known, and the part of its tokens refused.
fn weighted(round: &Round, shares: &[Share]) -> Vec<(f64, f64)> {
    let servers = round.matrix.cells.iter().filter_map(|cell| {
        let Issuer::Server(_) = &cell.issuer else { return None };
        let verifier = share_of(shares, cell.verifier.backend()?)?;
        Some((verifier, if cell.accepted()? { 0.0 } else { 1.0 }))
    });
    let mut all: Vec<(f64, f64)> = servers.collect();
    let refusals = Refusals::of(round);
    for (issuer, issues) in known(shares) {
        all.extend(known(shares).filter_map(|(verifier, checks)| {
            Some((issues * checks, refusals.part(issuer, verifier)?))
        }));
    }
    all
}

fn known(shares: &[Share]) -> impl Iterator<Item = (&BackendName, f64)> {
    shares.iter().filter_map(|share| Some((share.backend.as_ref()?, share.share)))
}

fn share_of(shares: &[Share], name: &BackendName) -> Option<f64> {
    known(shares).find(|(known, _)| *known == name).map(|(_, share)| share)
}

/// Which part of an issuer's fresh tokens a verifier refuses.
///
/// A pair that was not tried is judged by a pair whose token has the same key. Where the clocks
/// predict that only a part of the tokens is refused, that part counts, for one token of the matrix
/// says little.
pub(super) struct Refusals<'r> {
    by_clock: BTreeMap<(&'r BackendName, &'r BackendName), f64>,
    /// Whether tokens of an issuer passed at a verifier.
    by_issuer: BTreeMap<(&'r BackendName, &'r BackendName), bool>,
    /// Whether tokens of a key passed there.
    by_key: BTreeMap<(&'r KeyId, &'r BackendName), bool>,
    keys: BTreeMap<&'r BackendName, &'r KeyId>,
}

impl<'r> Refusals<'r> {
    pub(super) fn of(round: &'r Round) -> Self {
        let (mut by_issuer, mut by_key) = (BTreeMap::new(), BTreeMap::new());
        for cell in &round.matrix.cells {
            let Some((verifier, passed)) = cell.verifier.backend().zip(cell.accepted()) else {
                continue;
            };
            if let Some(issuer) = cell.issuer.backend() {
                by_issuer.entry((issuer, verifier)).or_insert(passed);
            }
            if let Some(key) = &cell.key {
                by_key.entry((key, verifier)).or_insert(passed);
            }
        }
        let key =
            |flow: &'r Flow| Some((flow.route.backend()?, flow.token.measured()?.kid.as_ref()?));
        let keys = round.flows.iter().filter_map(key).collect();
        Self { by_clock: super::clocks::refused_parts(round), by_issuer, by_key, keys }
    }

    /// Of this pair; `None` if nothing is known.
    pub(super) fn part(&self, issuer: &BackendName, verifier: &BackendName) -> Option<f64> {
        let own = self.by_issuer.get(&(issuer, verifier));
        let alike = || self.by_key.get(&(*self.keys.get(issuer)?, verifier));
        let accepted = *own.or_else(alike)?;
        match self.by_clock.get(&(issuer, verifier)) {
            Some(part) if *part > 0.0 && *part < 1.0 => Some(*part),
            _ => Some(if accepted { 0.0 } else { 1.0 }),
        }
    }
}

/// Where one address hides replicas, its cells are a matter of luck; then the keys decide: a token
/// passes where its own key verifies, and each key's share of the tokens is its share of the
/// verifiers.
fn by_keys(round: &Round) -> Option<f64> {
    let run = round.balancer.measured()?;
    let total: u32 = run.keys.iter().map(|count| count.tokens).sum();
    let share = |tokens: u32| f64::from(tokens) / f64::from(total);
    let same: f64 = run.keys.iter().map(|count| share(count.tokens).powi(2)).sum();
    (total > 0).then_some(1.0 - same)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Reason, Step, sample};

    #[test]
    fn wilson_is_what_the_textbook_says() {
        let (low, high) = wilson(Ratio { events: 1, trials: 10 }).unwrap();
        assert!((low - 0.0179).abs() < 1e-4 && (high - 0.4042).abs() < 1e-4, "{low} {high}");
        assert_eq!(wilson(Ratio::default()), None);
    }

    #[test]
    fn nothing_is_expected_where_a_node_refuses_that_issues_no_token() {
        let round = |refuses: bool| {
            sample::changed(&["a", "b"], |round| {
                sample::fail(round, "b", Step::Token, Reason::ServerError);
                if refuses {
                    sample::refuse(round, "a", "b");
                }
            })
        };
        let of = |round: &Round| expected(round, &shares(round));
        assert_eq!(of(&round(true)), None);
        assert_eq!(of(&round(false)), Some(0.0));
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_ratio_and_stays_within_0_and_1(trials in 1u32..1000, part in 0.0f64..=1.0) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 999")]
            let events = (f64::from(trials) * part) as u32;
            let (low, high) = wilson(Ratio { events, trials }).unwrap();
            let p = f64::from(events) / f64::from(trials);
            prop_assert!(0.0 <= low && low <= p + 1e-9 && p <= high + 1e-9 && high <= 1.0);
        }
    }
}
