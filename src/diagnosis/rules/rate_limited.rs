//! A limiter that answers 429.

use std::collections::BTreeMap;

use crate::diagnosis::facts::{Facts, ObservationId, backends_of};
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::diagnosis::rules::server_errors::lines;
use crate::diagnosis::wording::{subject, verb};
use crate::model::{BackendName, FindingName, Reason, Route};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let limited = facts.flows_that(|_, _, reason| reason == Reason::RateLimited);
    let mut counted: BTreeMap<&Route, u64> = BTreeMap::new();
    for response in facts.round.responses.iter().filter(|response| response.code == 429) {
        *counted.entry(&response.route).or_default() += response.count;
    }
    let (through, direct): (Vec<_>, Vec<_>) = facts
        .observed(|seen| seen.reason() == Reason::RateLimited)
        .partition(|(_, seen)| seen.place.involves_balancer());
    if limited.is_empty() && counted.is_empty() && through.is_empty() && direct.is_empty() {
        return Vec::new();
    }
    let mut backends: Vec<BackendName> = backends_of(limited.iter().map(|(_, flow)| *flow));
    backends.extend(counted.keys().filter_map(|route| route.backend().cloned()));
    backends.sort();
    backends.dedup();
    // A limit that only the sampling runs into counts the prober; users may stay below it.
    let hits = if limited.is_empty() {
        Hits::Background("The prober's own requests reached the limit; users may stay below it.")
    } else {
        Hits::Requests
    };
    let summary = format!(
        "{} {} 429: a rate limit applies to the prober, or to every client.",
        subject(&backends),
        verb(backends.len(), "answers", "answer")
    );
    let ids = |of: Vec<(ObservationId, _)>| of.into_iter().map(|(id, _)| id);
    let mut h = Hypothesis::new(FindingName::RateLimited, backends, summary)
        .hits(hits)
        .evidence(lines(&limited))
        .evidence(counted.iter().map(|(route, count)| format!("{route}: {count} answers 429")))
        .explains(ids(direct))
        .fits(ids(through));
    if limited.is_empty() {
        h = h.alone();
    }
    vec![h]
}
