//! The public name leads to addresses that do not answer alike.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::diagnosis::facts::{Facts, verb};
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::model::{
    Check, DnsAddress, DnsAnswer, DnsRecord, DnsReport, DnsSeen, FindingName, KeyId, Outcome, Round,
};

const NAME: FindingName = FindingName::DnsAddressNotABackend;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let Some(report) = facts.round.checks.dns.measured() else { return Vec::new() };
    let known = Known::of(facts.round);
    let wrong: Vec<(IpAddr, String)> = report
        .addresses
        .iter()
        .filter_map(|address| Some((address.address, known.mismatch(address)?)))
        .collect();
    if wrong.is_empty() {
        return disagreement(report).into_iter().collect();
    }
    let addresses: Vec<String> = wrong.iter().map(|(address, _)| address.to_string()).collect();
    let summary = format!(
        "{} of {} addresses of {} {} not answer as the backends do: {}.",
        wrong.len(),
        report.addresses.len(),
        report.host,
        verb(wrong.len(), "does", "do"),
        addresses.join(", ")
    );
    let effect = "Users whose resolver gives them that address first fail there, or wait until \
                  their client tries the next one.";
    let met = facts.of_check(Check::Dns).map(|(id, _)| id);
    vec![
        Hypothesis::new(NAME, Vec::new(), summary)
            .hits(Hits::Background(effect))
            .evidence(wrong.iter().map(|(address, why)| format!("{address}: {why}")))
            .evidence(told(report))
            .explains(met)
            // What answers otherwise is known only by comparison and is no observation.
            .alone(),
    ]
}

/// What the configured backends answer.
struct Known<'a> {
    realms: BTreeSet<&'a str>,
    services: BTreeSet<&'a str>,
    keys: BTreeSet<&'a KeyId>,
}

impl<'a> Known<'a> {
    fn of(round: &'a Round) -> Self {
        let flows = || round.flows.iter().filter(|flow| flow.route.backend().is_some());
        let challenges = || flows().filter_map(|flow| flow.challenge.measured());
        let tokens = flows().filter_map(|flow| flow.token.measured());
        let counted = round.census.iter().flat_map(|census| &census.keys);
        Self {
            realms: challenges().filter_map(|c| c.realm.as_deref()).collect(),
            services: challenges().filter_map(|c| c.service.as_deref()).collect(),
            keys: tokens
                .filter_map(|token| token.kid.as_ref())
                .chain(counted.map(|count| &count.key))
                .collect(),
        }
    }

    /// How an address differs from the backends, if it does.
    fn mismatch(&self, address: &DnsAddress) -> Option<String> {
        match &address.seen {
            Outcome::Skipped(_) => None,
            // The prober could not ask; the address may be well.
            Outcome::Failed(failure) if failure.reason.is_own() => None,
            Outcome::Failed(failure) => Some(failure.to_string()),
            // Without a backend that answers there is nothing to compare with.
            Outcome::Measured(_) if self.services.is_empty() => None,
            Outcome::Measured(seen) => self.foreign(seen),
        }
    }

    fn foreign(&self, seen: &DnsSeen) -> Option<String> {
        if let Some(key) = &seen.key
            && !self.keys.is_empty()
            && !self.keys.contains(key)
        {
            return Some(format!("signs with key {}…, which no backend has", key.short()));
        }
        let strange = |value: &Option<String>, known: &BTreeSet<&str>| {
            value.as_deref().filter(|value| !known.contains(value)).map(str::to_owned)
        };
        let realm = strange(&seen.realm, &self.realms).map(|realm| format!("realm {realm}"));
        let service =
            strange(&seen.service, &self.services).map(|service| format!("service {service:?}"));
        let what: Vec<String> = realm.into_iter().chain(service).collect();
        (!what.is_empty()).then(|| format!("answers with {}, as no backend does", what.join(", ")))
    }
}

/// Resolvers that know different addresses, all of which answer well.
fn disagreement(report: &DnsReport) -> Option<Hypothesis> {
    let sets: BTreeSet<BTreeSet<IpAddr>> = report
        .answers
        .iter()
        .filter_map(|answer| answer.records.measured())
        .map(|records| records.iter().map(|record| record.address.to_canonical()).collect())
        .collect();
    let summary = format!(
        "Resolvers lead {} to different addresses; all of them answer as the backends do.",
        report.host
    );
    let h = Hypothesis::new(NAME, Vec::new(), summary).hits(Hits::Nothing);
    (sets.len() > 1).then(|| h.evidence(told(report)).alone())
}

/// What each resolver says.
fn told(report: &DnsReport) -> Vec<String> {
    let record = |record: &DnsRecord| match record.ttl_seconds {
        Some(ttl) => format!("{} (for {ttl} s)", record.address),
        None => record.address.to_string(),
    };
    let line = |answer: &DnsAnswer| {
        let records = answer.records.measured()?;
        let all: Vec<String> = records.iter().map(record).collect();
        Some(format!("resolver {}: {}", answer.resolver, all.join(", ")))
    };
    report.answers.iter().filter_map(line).collect()
}
