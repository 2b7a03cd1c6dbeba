//! What verifiers forgive of a clock, and what is left of it.

use crate::model::{BackendFacts, ClockInterval, ClockSource, Family, Leeway, Outcome, Round};
use crate::model::{BackendName, Version};

/// The leeway that distribution, Harbor 1 and Harbor from 2.11 on grant, in seconds
/// (captures/*/26-nbf-future-30s.http, captures/harbor-2.15.2/20-forged-tokens.http).
const MINUTE: f64 = 60.0;

/// The first Harbor with leeway.
const FIRST_WITH_LEEWAY: Version = Version { major: 2, minor: 11, patch: 0 };

/// What a backend forgives, by family and version.
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

/// The clock by which a backend issues and checks tokens: its `iat` where a token was issued,
/// else its `Date`. A contradicting reading says nothing.
pub(super) fn token_clock(round: &Round, backend: &BackendName) -> Option<ClockInterval> {
    let reading = |source| {
        round
            .clocks
            .iter()
            .find(|r| r.backend == *backend && r.source == source && !r.contradiction)
            .map(|r| r.interval)
    };
    reading(ClockSource::Iat).or_else(|| reading(ClockSource::Date))
}

/// How far the first backend's clock is ahead of the second's.
pub(super) fn ahead(
    round: &Round,
    first: &BackendName,
    second: &BackendName,
) -> Option<ClockInterval> {
    Some(token_clock(round, first)?.minus(token_clock(round, second)?))
}

/// The smallest leeway left over all pairs, in seconds, at the best that the intervals allow: it
/// is negative only where some pair is certainly beyond what its verifier forgives.
pub(super) fn margin(round: &Round) -> Option<f64> {
    let mut least: Option<f64> = None;
    for verifier in &round.backends {
        let Leeway::Seconds(leeway) = leeway(verifier) else { continue };
        for issuer in &round.backends {
            if issuer.name == verifier.name {
                continue;
            }
            let Some(ahead) = ahead(round, &issuer.name, &verifier.name) else { continue };
            let left = leeway - ahead.lower().max(0.0);
            least = Some(least.map_or(left, |least| least.min(left)));
        }
    }
    least
}
