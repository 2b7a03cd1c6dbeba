//! What verifiers tolerate of a clock, and what is left of it.

use crate::model::{BackendFacts, ClockInterval, ClockSource, Family, Leeway, Outcome, Round};
use crate::model::{BackendName, Version};

/// The leeway that distribution, Harbor 1 and Harbor from 2.11 on grant, in seconds
/// (captures/*/26-nbf-future-30s.http, captures/harbor-2.15.2/20-forged-tokens.http).
pub(super) const MINUTE: f64 = 60.0;

/// The first Harbor with leeway.
const FIRST_WITH_LEEWAY: Version = Version { major: 2, minor: 11, patch: 0 };

/// What a backend tolerates, by family and version.
pub(super) fn leeway(backend: &BackendFacts) -> Leeway {
    match (backend.family, &backend.version) {
        (Family::Harbor2, Outcome::Measured(Some(version))) if *version < FIRST_WITH_LEEWAY => {
            Leeway::Seconds(0.0)
        }
        // Only 2.13 and later hide their version from the anonymous.
        (Family::Harbor2, Outcome::Measured(_))
        | (Family::Harbor1 | Family::Distribution2 | Family::Distribution3, _) => {
            Leeway::Seconds(MINUTE)
        }
        (Family::Harbor2 | Family::Unknown, _) => Leeway::Unknown,
    }
}

/// The clock by which a backend issues tokens: their `iat`, narrowed by its `Date` where the two
/// agree, for a node's processes share its clock. A contradicting reading says nothing.
pub(super) fn issuing_clock(round: &Round, backend: &BackendName) -> Option<ClockInterval> {
    let date = reading(round, backend, ClockSource::Date);
    let Some(iat) = issued(round, backend) else { return date };
    Some(date.and_then(|date| iat.intersect(date)).unwrap_or(iat))
}

/// The issuer's clock by what it says itself: by its tokens, narrowed by the other times that
/// Harbor's core says where they do not contradict the tokens.
pub(super) fn issued(round: &Round, backend: &BackendName) -> Option<ClockInterval> {
    let iat = reading(round, backend, ClockSource::Iat)?;
    let others = [ClockSource::Csrf, ClockSource::Systeminfo];
    let told = others.into_iter().filter_map(|source| reading(round, backend, source));
    Some(told.fold(iat, |clock, other| clock.intersect(other).unwrap_or(clock)))
}

/// The clock by which a backend checks tokens. Harbor's core does both, so `iat` shows it; with
/// distribution and Harbor 1 the registry checks, whose own `Date` (or that of the proxy on its
/// host) is nearer than the token server's.
pub(super) fn checking_clock(round: &Round, backend: &BackendName) -> Option<ClockInterval> {
    let core_checks = round.backend(backend).is_some_and(|facts| facts.family == Family::Harbor2);
    if core_checks {
        return issuing_clock(round, backend);
    }
    let date = reading(round, backend, ClockSource::Date);
    date.or_else(|| reading(round, backend, ClockSource::Iat))
}

/// What a source says of a backend's clock, where its samples do not exclude each other.
pub(super) fn read(
    round: &Round,
    backend: &BackendName,
    source: ClockSource,
) -> Option<ClockInterval> {
    reading(round, backend, source)
}

fn reading(round: &Round, backend: &BackendName, source: ClockSource) -> Option<ClockInterval> {
    let mut readings = round.clocks.iter();
    let found = readings.find(|r| r.backend == *backend && r.source == source && !r.contradiction);
    found.map(|reading| reading.interval)
}

/// How far the clock of an issuer is ahead of a verifier's.
pub(super) fn ahead(
    round: &Round,
    issuer: &BackendName,
    verifier: &BackendName,
) -> Option<ClockInterval> {
    let (issues, checks) = (issuing_clock(round, issuer)?, checking_clock(round, verifier)?);
    // One process has one clock, however wide its interval is.
    let same = issuer == verifier && issues == checks;
    Some(if same { ClockInterval::between(0.0, 0.0) } else { issues.minus(checks) })
}

/// The leeway that is left, in seconds, for the pair that has the least of it. It is computed with
/// the most favourable ends of the intervals, so it is negative only where a pair is certainly
/// beyond what its verifier tolerates.
pub(super) fn margin(round: &Round) -> Option<f64> {
    let mut least: Option<f64> = None;
    for verifier in &round.backends {
        let Leeway::Seconds(leeway) = leeway(verifier) else { continue };
        for issuer in &round.backends {
            let Some(ahead) = ahead(round, &issuer.name, &verifier.name) else { continue };
            let left = leeway - ahead.lower().max(0.0);
            least = Some(least.map_or(left, |least| least.min(left)));
        }
    }
    least
}
