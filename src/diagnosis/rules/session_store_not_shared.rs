//! Nodes that keep web sessions apart (E3). Where a node does not know its own, its store is down
//! and nothing is learned of whose it is.

use super::super::facts::Facts;
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use super::shared::{Division, Shared};
use crate::model::{Check, FindingName, Outcome, SessionVerdict};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let Some(pairs) = facts.round.checks.session.measured() else { return Vec::new() };
    let known = |verdict: &SessionVerdict| Some(*verdict == SessionVerdict::Known);
    let stores = Division::of(pairs, Shared::EitherWay, known);
    if !stores.is_proved() {
        return Vec::new();
    }
    let names = stores.odd.clone();
    let keeps = verb(names.len(), "keeps", "keep");
    let where_to = match (stores.majority, names.len()) {
        (true, 1) => "a store of its own",
        (true, _) => "stores of their own",
        (false, _) => "different stores",
    };
    let line = stores.refused.first().map(|(issuer, verifier)| {
        format!("{issuer} → {verifier}: a new session in place of the one shown, twice")
    });
    let unknown = Outcome::Measured(SessionVerdict::Unknown);
    let ids = facts.met_between(Check::Session, pairs, |pair| {
        let ends = [&pair.issuer, &pair.verifier];
        pair.value == unknown && !ends.iter().any(|end| stores.own_refused.contains(end))
    });
    let summary = format!("{} {keeps} web sessions in {where_to}.", list(&names));
    let found = Hypothesis::new(FindingName::SessionStoreNotShared, names, summary)
        .hits(Hits::WebPages)
        .evidence(stores.evidence("know each other's sessions"))
        .evidence(line)
        .explains(ids);
    vec![found]
}
