//! Nodes that protect browsers' forms with different keys (E1). The token flow has no part in it.

use super::super::facts::Facts;
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use super::shared::{Division, Shared};
use crate::model::{Check, CsrfVerdict, FindingName, Outcome};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let Some(pairs) = facts.round.checks.csrf.measured() else { return Vec::new() };
    let keys = Division::of(pairs, Shared::EitherWay, |verdict| match verdict {
        CsrfVerdict::Accepted => Some(true),
        CsrfVerdict::UnknownKey => Some(false),
        CsrfVerdict::ForeignOrigin => None,
    });
    if !keys.is_split() {
        return Vec::new();
    }
    let names = keys.at_fault();
    let protects = verb(names.len(), "protects", "protect");
    let summary = if keys.majority || !keys.is_proved() {
        let own = verb(names.len(), "a CSRF key of its own", "CSRF keys of their own");
        format!("{} {protects} web forms with {own}.", list(&names))
    } else {
        format!(
            "{} {protects} web forms with different CSRF keys. Without a majority, any of them may \
             be the wrong one.",
            list(&names)
        )
    };
    let refused = keys.refused.first().map(|(issuer, verifier)| {
        format!(
            "{issuer} → {verifier}: the cookie was replaced by a new one, and a request that \
             writes got 403"
        )
    });
    let lost = &keys.own_refused;
    let own = (!lost.is_empty()).then(|| {
        let own = verb(lost.len(), "its own cookie", "their own cookies");
        format!("{} cannot read even {own}: processes or replicas may have other keys", list(lost))
    });
    let unknown = Outcome::Measured(CsrfVerdict::UnknownKey);
    let found = Hypothesis::new(FindingName::CsrfKeyMismatch, names, summary)
        .proved_if(keys.is_proved(), &[FindingName::CsrfOriginRejected])
        .hits(Hits::WebPages)
        .evidence(keys.evidence("read each other's CSRF cookies"))
        .evidence(refused.into_iter().chain(own))
        .explains(facts.met_between(Check::Csrf, pairs, |pair| pair.value == unknown));
    vec![found]
}
