//! Harbor's database: core cannot look up accounts and projects and says so in its errors, or on
//! its health page.

use super::credential_refused::{Refusals, is_harbor, lines};
use crate::diagnosis::facts::{Facts, ObservationId, backends_of, flow_lines};
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::diagnosis::wording::{list, verb};
use crate::model::{Answer, AuthScheme, BackendName, Check, FindingName, Flow, Step};

const NAME: FindingName = FindingName::DatabaseUnavailable;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let unhealthy = facts.calls_unhealthy("database");
    let mut all: Vec<Hypothesis> =
        [accounts(facts, &unhealthy), projects(facts)].into_iter().flatten().collect();
    let met = |name: &&BackendName| {
        all.iter().any(|h| h.backends.is_empty() || h.backends.contains(name))
    };
    let quiet: Vec<BackendName> = unhealthy.iter().filter(|name| !met(name)).cloned().collect();
    all.extend(only_told(facts, quiet));
    all
}

fn told(names: &[BackendName]) -> String {
    let reports = verb(names.len(), "reports", "report");
    format!("/api/v2.0/health at {} {reports} the database as unhealthy", list(names))
}

/// What the health page of these says.
fn pages(facts: &Facts<'_>, names: &[BackendName]) -> Vec<ObservationId> {
    let here = facts
        .of_check(Check::Health)
        .filter(|(_, seen)| seen.place.backend().is_some_and(|name| names.contains(name)));
    here.map(|(id, _)| id).collect()
}

/// The token endpoint refuses the credential where the database is called unhealthy.
fn accounts(facts: &Facts<'_>, unhealthy: &[BackendName]) -> Option<Hypothesis> {
    let refusals = Refusals::of(facts);
    if unhealthy.is_empty() || refusals.flows.is_empty() {
        return None;
    }
    if refusals.are_everywhere() && is_harbor(facts) {
        let summary = "Core cannot reach the database: accounts cannot be looked up, and every \
                       client is anonymous.";
        let h = Hypothesis::new(NAME, Vec::new(), summary.to_owned());
        let h = h.evidence(lines(&refusals.flows)).evidence([told(unhealthy)]);
        let refused = refusals.flows.iter().map(|(id, _)| *id);
        return Some(h.explains(refused).explains(pages(facts, unhealthy)));
    }
    let here = |(_, flow): &&(ObservationId, &Flow)| {
        flow.route.backend().is_some_and(|name| unhealthy.contains(name))
    };
    let flows: Vec<_> = refusals.flows.iter().filter(here).copied().collect();
    if flows.is_empty() {
        return None;
    }
    let names = backends_of(flows.iter().map(|(_, flow)| *flow));
    let summary = format!(
        "{} cannot reach the database and {} every client as anonymous.",
        list(&names),
        verb(names.len(), "treats", "treat")
    );
    let good = facts.round.flows.iter().filter(|flow| flow.passed(Step::Token) == Some(true));
    let good: Vec<_> = good.map(|flow| &flow.route).collect();
    let accepted =
        (!good.is_empty()).then(|| format!("the same credential is accepted by {}", list(&good)));
    let pages = pages(facts, &names);
    let evidence = lines(&flows).into_iter().chain(accepted).chain([told(&names)]);
    let h = Hypothesis::new(NAME, names, summary).evidence(evidence);
    Some(h.flows(&flows).explains(pages))
}

/// The answer to a token is the database driver's own words.
fn projects(facts: &Facts<'_>) -> Option<Hypothesis> {
    let found = facts.flows_that(|flow, step, _| {
        step >= Step::Access && flow.answer(step).is_some_and(is_database_error)
    });
    if found.is_empty() {
        return None;
    }
    let names = backends_of(found.iter().map(|(_, flow)| *flow));
    let asked =
        |flow: &&Flow| flow.route.backend().is_some() && flow.step(Step::Repository).is_some();
    let everywhere =
        !names.is_empty() && names.len() == facts.round.flows.iter().filter(asked).count();
    let summary = if names.is_empty() {
        "Through the load balancer a node says that its database does not answer.".to_owned()
    } else {
        format!("The database does not answer {}.", list(&names))
    };
    let pages = pages(facts, &names);
    let h = Hypothesis::new(NAME, if everywhere { Vec::new() } else { names }, summary);
    Some(h.evidence(flow_lines(&found)).flows(&found).explains(pages))
}

/// An empty challenge whose message is an error of the database driver, not a missing project.
pub(super) fn is_database_error(answer: &Answer) -> bool {
    let empty = answer.challenge.as_ref().is_some_and(|c| c.scheme == AuthScheme::Empty);
    let message = answer.error_message.as_deref().unwrap_or_default().to_ascii_lowercase();
    empty
        && !message.contains("not found")
        && ["tcp", "sql", "connection", "too many clients", "database", "pq:", "fatal"]
            .iter()
            .any(|word| message.contains(word))
}

/// A health page calls the database unhealthy, and no flow has failed because of it yet.
fn only_told(facts: &Facts<'_>, names: Vec<BackendName>) -> Option<Hypothesis> {
    if names.is_empty() {
        return None;
    }
    let whose = verb(names.len(), "reports its database as", "report their databases as");
    let summary = format!("{} {whose} unhealthy.", list(&names));
    let pages = pages(facts, &names);
    let evidence = [told(&names), "no flow of this check failed because of it".to_owned()];
    // A page may call several parts unhealthy, each of which has its own cause.
    Some(
        Hypothesis::new(NAME, names, summary)
            .suspected(&[])
            .hits(Hits::Later)
            .evidence(evidence)
            .explains(pages)
            .alone(),
    )
}
