//! Nodes that should be alike and are not (J2): settings that their answers show, challenges that
//! lead to no token, token endpoints that depend on the path, and job queues that are not shared.

use super::super::facts::{Facts, backends_of};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::observe::is_current;
use super::super::wording::{list, verb};
use super::drift;
use super::foreign_jobservice::lines_of_pools;
use crate::model::{
    AuthScheme, BackendName, Check, FindingName, Flow, ObservationKind, OfRoute, Place, Reason,
    Step, UrlSaid, WorkerPools,
};

const NAME: FindingName = FindingName::SettingsDiffer;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let mut all: Vec<Hypothesis> = drift::told(facts).into_iter().collect();
    all.extend(paths(facts));
    all.extend(challenges(facts));
    let Some(queues) = queues(facts) else { return all };
    // Two matters under one name: each says its sentence, whatever nodes the other is about.
    match all.first_mut() {
        Some(first) => {
            first.summary = format!("{} {}", first.summary, queues.summary);
            first.evidence.extend(queues.evidence);
        }
        None => all.push(queues),
    }
    all
}

/// A node that asks for no token, or in a way that no client understands.
fn challenges(facts: &Facts<'_>) -> Option<Hypothesis> {
    let bad = facts.flows_that(|_, step, reason| {
        matches!(reason, Reason::BadChallenge | Reason::NoChallenge)
            || (step == Step::Challenge && reason == Reason::Unauthorized)
    });
    if bad.is_empty() {
        return None;
    }
    let backends = backends_of(bad.iter().map(|(_, flow)| *flow));
    let open = |flow: &crate::model::Flow| {
        flow.failure().is_some_and(|(_, failure)| failure.reason == Reason::NoChallenge)
    };
    let everywhere = bad.len() == facts.round.flows.len();
    // A registry that asks for no token fails for no one: the prober asks the wrong registry.
    let nothing_to_test = everywhere && bad.iter().all(|(_, flow)| open(flow));
    let summary = if nothing_to_test {
        "No route asks for a token: the URL leads to no registry with a token service.".to_owned()
    } else if backends.is_empty() {
        format!(
            "The load balancer {}, although the nodes ask for a token. Something in front of the \
             nodes removes, renames or replaces their WWW-Authenticate.",
            asked(1, bad.iter().map(|(_, flow)| *flow))
        )
    } else {
        let of_nodes = bad.iter().map(|(_, flow)| *flow).filter(|it| it.route.backend().is_some());
        let what = asked(backends.len(), of_nodes);
        let others = facts.round.flows.iter().filter(|flow| {
            flow.route.backend().is_some() && flow.passed(Step::Challenge) == Some(true)
        });
        let others = backends_of(others);
        let rest = match others.as_slice() {
            [] => String::new(),
            names => {
                format!(", and {} {} for a token", list(names), verb(names.len(), "asks", "ask"))
            }
        };
        format!("{} {what}{rest}.", list(&backends))
    };
    let lines =
        bad.iter().filter_map(|(_, flow)| Some(format!("{}: {}", flow.route, flow.failure()?.1)));
    let (here, through): (Vec<_>, Vec<_>) =
        bad.iter().partition(|(_, flow)| flow.route.backend().is_some());
    let ids = |flows: Vec<&(super::super::facts::ObservationId, &crate::model::Flow)>| {
        flows.into_iter().map(|(id, _)| *id).collect::<Vec<_>>()
    };
    // In place of the nodes' challenge, a good token gets another one too.
    let refused = |seen: &crate::model::Observation| {
        matches!(seen.kind, ObservationKind::SampleRefused | ObservationKind::ClientRefused)
    };
    let sampled = if backends.is_empty() { facts.through_balancer(refused) } else { Vec::new() };
    let at_fault = if nothing_to_test { Vec::new() } else { backends };
    let found = Hypothesis::new(NAME, at_fault, summary)
        .suspected(&[FindingName::LbMisroutesApiPath])
        .hits(if nothing_to_test { Hits::Prober } else { Hits::Requests })
        .evidence(lines.collect::<Vec<_>>())
        .explains(ids(here))
        .fits(ids(through))
        .fits(sampled);
    Some(found)
}

/// What routes ask for in place of a token, if they agree.
fn asked<'a>(number: usize, flows: impl Iterator<Item = &'a Flow>) -> String {
    let one = |flow: &Flow| {
        let challenge = flow.answer(Step::Challenge).and_then(|answer| answer.challenge.as_ref());
        let open = flow.failure().is_some_and(|(_, it)| it.reason == Reason::NoChallenge);
        match challenge.map(|challenge| challenge.scheme) {
            _ if open => (verb(number, "asks", "ask"), "for nothing"),
            Some(AuthScheme::Basic) => (verb(number, "asks", "ask"), "for Basic authentication"),
            Some(AuthScheme::Bearer) => {
                (verb(number, "sends", "send"), "a Bearer challenge without a realm")
            }
            Some(AuthScheme::Other | AuthScheme::Empty) => {
                (verb(number, "sends", "send"), "a WWW-Authenticate that leads clients to no token")
            }
            None => (verb(number, "refuses", "refuse"), "requests without saying how to log in"),
        }
    };
    let mut said = flows.map(one);
    let first = said.next();
    match first.filter(|first| said.all(|other| other == *first)) {
        Some((verb, what)) => format!("{verb} {what}"),
        None => format!("{} not lead clients to a token", verb(number, "does", "do")),
    }
}

/// Some nodes name another token endpoint for repositories than for `/v2/`, and clients may go to
/// both: a token for the one may be good for the other too, or not.
fn paths(facts: &Facts<'_>) -> Option<Hypothesis> {
    let said = facts.round.checks.public_url.measured().map_or(&[][..], Vec::as_slice);
    let asked = said.iter().filter(|at| {
        at.route.backend().is_some()
            && at.value.measured().is_some_and(|said| said.repository.measured().is_some())
    });
    let odd: Vec<&OfRoute<UrlSaid>> = said.iter().filter(|at| names_another(facts, at)).collect();
    let names: Vec<BackendName> = odd.iter().filter_map(|at| at.route.backend().cloned()).collect();
    if names.is_empty() || names.len() >= asked.count() || facts.round.flows.iter().any(is_astray) {
        return None;
    }
    let line = |at: &&OfRoute<UrlSaid>| {
        let said = at.value.measured()?;
        let (base, to) = (drift::words(&said.base), drift::words(said.other()?));
        Some(format!(
            "{}: /v2/ names {base}, and the challenge of a repository names {to}",
            at.route
        ))
    };
    let summary = format!(
        "{} {} a different token endpoint for repositories than for /v2/.",
        list(&names),
        verb(names.len(), "names", "name")
    );
    let places: Vec<_> = odd.iter().map(|at| Place::route(&at.route)).collect();
    let found = Hypothesis::new(NAME, names, summary)
        .hits(Hits::Later)
        .evidence(odd.iter().filter_map(line).collect::<Vec<_>>())
        .evidence([format!("expected {}, or an authority in allowed_realms", facts.round.url)])
        .explains(places.iter().flat_map(|place| facts.met(Check::PublicUrl, place)))
        .alone();
    Some(found)
}

fn names_another(facts: &Facts<'_>, at: &OfRoute<UrlSaid>) -> bool {
    at.route.backend().is_some()
        && at.value.measured().is_some_and(|said| {
            said.base.allowed
                && said.other().is_some_and(|named| named.allowed)
                && is_current(facts.round, &at.route, said)
        })
}

fn is_astray(flow: &crate::model::Flow) -> bool {
    flow.failure().is_some_and(|(_, failure)| failure.reason == Reason::RealmNotAllowed)
}

/// Backends that have no worker pool in common do not share a job queue.
fn queues(facts: &Facts<'_>) -> Option<Hypothesis> {
    let pools: &WorkerPools = facts.round.checks.worker_pools.measured()?;
    let lists: Vec<(&BackendName, &Vec<String>)> = pools
        .at
        .iter()
        .filter_map(|at| Some((&at.backend, at.ids.measured()?)))
        .filter(|(_, ids)| !ids.is_empty())
        .collect();
    let (first, others) = lists.split_first()?;
    let apart =
        |other: &&(&BackendName, &Vec<String>)| !first.1.iter().any(|id| other.1.contains(id));
    if !others.iter().any(|other| apart(&other)) {
        return None;
    }
    let summary = "The job services of the nodes do not share a queue.".to_owned();
    let found = Hypothesis::new(NAME, Vec::new(), summary)
        .hits(Hits::Nothing)
        .evidence(["job queues differ: a job waits for the workers of one node".to_owned()])
        .evidence(lines_of_pools(pools))
        .alone();
    Some(found)
}
