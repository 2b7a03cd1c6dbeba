//! A proxy that limits the size of request bodies (C7): small images are pushed, large ones not.

use super::case::{Case, Draft, Impact, list};
use crate::model::{BackendName, BodyLimit, Bytes, Confidence, FindingName, OfRoute, Route};

/// Few images have layers above this; a limit there hurts seldom.
const LARGE: u64 = 1 << 30;

pub(super) fn examine(case: &mut Case<'_>) {
    let Some(routes) = case.round.checks.body_limit.measured() else { return };
    let limited: Vec<(&Route, BodyLimit, u64)> = routes.iter().filter_map(refusal).collect();
    let Some(smallest) = limited.iter().map(|(.., refused)| *refused).min() else { return };
    let backends: Vec<BackendName> =
        limited.iter().filter_map(|(route, ..)| route.backend().cloned()).collect();
    let lb = limited.iter().any(|(route, ..)| **route == Route::Balancer);
    let impact = if smallest <= LARGE && (lb || case.leads_users_to(&backends)) {
        Impact::Balancer
    } else {
        Impact::Latent
    };
    let whose = if backends.is_empty() { "The load balancer".to_owned() } else { list(&backends) };
    let verb = if backends.len() > 1 { "refuse" } else { "refuses" };
    let largest = limited.iter().find(|(.., refused)| *refused == smallest);
    let about = largest.map_or_else(String::new, |(_, limit, refused)| size(*limit, *refused));
    case.add(
        Draft {
            name: FindingName::BodySizeLimited,
            confidence: Confidence::Proved,
            impact,
            summary: format!(
                "{whose} {verb} request bodies {about}: larger layers cannot be pushed."
            ),
            backends,
            evidence: routes.iter().filter_map(told).collect(),
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

fn refusal(route: &OfRoute<BodyLimit>) -> Option<(&Route, BodyLimit, u64)> {
    let limit = route.value.measured()?;
    Some((&route.route, *limit, limit.refused?))
}

fn size(limit: BodyLimit, refused: u64) -> String {
    if refused == limit.passes + 1 {
        return format!("above {}", Bytes(limit.passes));
    }
    format!("of {} and more", Bytes(refused))
}

fn told(route: &OfRoute<BodyLimit>) -> Option<String> {
    let limit = route.value.measured()?;
    Some(match limit.refused {
        Some(refused) if limit.passes > 0 => format!(
            "{}: 413 to a declared length of {}, none to {}",
            route.route,
            Bytes(refused),
            Bytes(limit.passes)
        ),
        Some(refused) => format!("{}: 413 to a declared length of {}", route.route, Bytes(refused)),
        None => format!("{}: no 413 up to {}", route.route, Bytes(limit.passes)),
    })
}
