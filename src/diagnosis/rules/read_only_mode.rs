//! A registry that accepts no writes (F5).

use std::collections::BTreeSet;

use super::super::facts::{Facts, ObservationId};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use crate::model::{BackendName, Begun, Check, FindingName, Outcome, Place, Reason, Route};

/// What a route said of writing.
struct Said<'a> {
    check: Check,
    route: &'a Route,
    refuses: bool,
}

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let said = said(facts);
    let refusing: Vec<&Said<'_>> = said.iter().filter(|said| said.refuses).collect();
    if refusing.is_empty() {
        return Vec::new();
    }
    let backends = |refuses: bool| -> BTreeSet<BackendName> {
        let of = said.iter().filter(|said| said.refuses == refuses);
        of.filter_map(|said| said.route.backend().cloned()).collect()
    };
    let names: Vec<BackendName> = backends(true).into_iter().collect();
    let everywhere = backends(false).is_empty();
    let routes: BTreeSet<&Route> = refusing.iter().map(|said| said.route).collect();
    let routes: Vec<&Route> = routes.into_iter().collect();
    let summary = if names.is_empty() {
        "Through the load balancer the registry accepts no writes, and a node that was asked \
         directly takes them."
            .to_owned()
    } else if everywhere {
        "The registry accepts no writes.".to_owned()
    } else {
        format!("{} {} no writes.", list(&names), verb(names.len(), "takes", "take"))
    };
    let proved = !names.is_empty();
    let ids = refusing.iter().flat_map(|said| facts.met(said.check, &Place::route(said.route)));
    let others = uploads_of_others(facts, &names);
    let backends = if everywhere { Vec::new() } else { names };
    let found = Hypothesis::new(FindingName::ReadOnlyMode, backends, summary)
        .proved_if(proved, &[FindingName::UnknownBackend])
        .hits(Hits::Some("Pushes"))
        .evidence([format!("writes are refused as read-only at {}", list(&routes))])
        .explains(ids.collect::<Vec<_>>())
        .explains(others)
        .fits(lost_pushes(facts));
    vec![found]
}

/// Pushes through the balancer that were refused on the way: it led to such a node in the middle.
fn lost_pushes(facts: &Facts<'_>) -> Vec<ObservationId> {
    let refused = facts.observed(|seen| {
        matches!(seen.check, Some(Check::Push | Check::Upload))
            && seen.place.involves_balancer()
            && matches!(seen.reason(), Reason::UnexpectedStatus | Reason::Forbidden)
    });
    refused.map(|(id, _)| id).collect()
}

/// Uploads that were begun elsewhere and cannot go on where nothing may be written.
fn uploads_of_others(facts: &Facts<'_>, names: &[BackendName]) -> Vec<ObservationId> {
    let uploads = facts.round.checks.upload.measured();
    let pairs = uploads.map_or(&[][..], |uploads| uploads.pairs.as_slice());
    facts.met_between(Check::Upload, pairs, |pair| {
        names.contains(&pair.verifier) && matches!(pair.value, Outcome::Failed(_))
    })
}

fn said<'a>(facts: &Facts<'a>) -> Vec<Said<'a>> {
    let checks = &facts.round.checks;
    let begun = checks.upload.measured().into_iter().flat_map(|uploads| &uploads.begun);
    let begun = begun.filter_map(|begun| match &begun.value {
        Outcome::Measured(value) => Some(Said {
            check: Check::Upload,
            route: &begun.route,
            refuses: *value == Begun::ReadOnly,
        }),
        _ => None,
    });
    let pushed = checks.push.measured().into_iter().flat_map(|pushed| &pushed.by);
    let pushed = pushed.filter_map(|by| {
        let failed = by.value.measured()?.failed.as_ref();
        let refuses = failed.is_some_and(|failed| failed.read_only);
        Some(Said { check: Check::Push, route: &by.route, refuses })
    });
    begun.chain(pushed).collect()
}
