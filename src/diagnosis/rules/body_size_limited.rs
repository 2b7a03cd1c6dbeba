//! A proxy that limits the size of request bodies (C7): small images are pushed, large ones not.

use super::super::facts::{Facts, list, verb};
use super::super::hypothesis::{Hits, Hypothesis};
use crate::model::{BackendName, BodyLimit, Bytes, Check, FindingName, OfRoute, Route};

/// Few images have layers above this; a limit there hurts seldom.
const LARGE: u64 = 1 << 30;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let Some(routes) = facts.round.checks.body_limit.measured() else { return Vec::new() };
    let limited: Vec<(&Route, BodyLimit, u64)> = routes.iter().filter_map(refusal).collect();
    let Some((_, limit, smallest)) = limited.iter().min_by_key(|(.., refused)| *refused).copied()
    else {
        return Vec::new();
    };
    let backends: Vec<BackendName> =
        limited.iter().filter_map(|(route, ..)| route.backend().cloned()).collect();
    let whose = if backends.is_empty() { "The load balancer".to_owned() } else { list(&backends) };
    let refuse = verb(backends.len().max(1), "refuses", "refuse");
    let about = size(limit, smallest);
    let hits = if smallest <= LARGE {
        Hits::Some("Pushes of larger layers")
    } else {
        Hits::Background("Pushes of larger layers fail; few images have any.")
    };
    let summary =
        format!("{whose} {refuse} request bodies {about}: larger layers cannot be pushed.");
    let found = Hypothesis::new(FindingName::BodySizeLimited, backends, summary)
        .hits(hits)
        .evidence(routes.iter().filter_map(line))
        .explains(facts.met_on(Check::BodyLimit, routes, |at| refusal(at).is_some()));
    vec![found]
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

fn line(route: &OfRoute<BodyLimit>) -> Option<String> {
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
