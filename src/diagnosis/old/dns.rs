//! The public name leads to addresses that do not answer alike (C3).

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::case::{Case, Draft, Impact};
use crate::model::{
    Confidence, DnsAddress, DnsReport, DnsSeen, FindingName, KeyId, Outcome, Reason,
};

pub(super) fn examine(case: &mut Case<'_>) {
    let Some(report) = case.round.checks.dns.measured() else { return };
    let known = Known::of(case);
    let mut wrong: Vec<(IpAddr, String)> = Vec::new();
    for address in &report.addresses {
        wrong.extend(known.mismatch(address).map(|why| (address.address, why)));
    }
    if wrong.is_empty() {
        disagreement(case, report);
        return;
    }
    let mut evidence: Vec<String> =
        wrong.iter().map(|(address, why)| format!("{address}: {why}")).collect();
    evidence.extend(told(report));
    let addresses: Vec<String> = wrong.iter().map(|(address, _)| address.to_string()).collect();
    let summary = format!(
        "{} of {} addresses of {} do not answer as the backends do: {}.",
        wrong.len(),
        report.addresses.len(),
        report.host,
        addresses.join(", ")
    );
    case.add(draft(Confidence::Proved, Impact::BackendLoss, summary, evidence), &[], &[]);
}

fn draft(confidence: Confidence, impact: Impact, summary: String, evidence: Vec<String>) -> Draft {
    Draft {
        name: FindingName::DnsAddressNotABackend,
        confidence,
        impact,
        backends: Vec::new(),
        summary,
        evidence,
        alternatives: Vec::new(),
    }
}

/// What the configured backends answer.
struct Known<'a> {
    realms: BTreeSet<&'a str>,
    services: BTreeSet<&'a str>,
    keys: BTreeSet<&'a KeyId>,
}

impl<'a> Known<'a> {
    fn of(case: &Case<'a>) -> Self {
        let flows = || case.round.flows.iter().filter(|flow| flow.route.backend().is_some());
        let challenges = || flows().filter_map(|flow| flow.challenge.measured());
        let tokens = flows().filter_map(|flow| flow.token.measured());
        let counted = case.round.census.iter().flat_map(|census| &census.keys);
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
            // The round was over, not the address dead.
            Outcome::Failed(failure) if failure.reason == Reason::DeadlineReached => None,
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
fn disagreement(case: &mut Case<'_>, report: &DnsReport) {
    let sets: BTreeSet<BTreeSet<IpAddr>> = report
        .answers
        .iter()
        .filter_map(|answer| answer.records.measured())
        .map(|records| records.iter().map(|record| record.address.to_canonical()).collect())
        .collect();
    if sets.len() < 2 {
        return;
    }
    let summary = format!(
        "Resolvers lead {} to different addresses; all of them answer as the backends do.",
        report.host
    );
    case.add(draft(Confidence::Proved, Impact::Note, summary, told(report)), &[], &[]);
}

/// What each resolver says.
fn told(report: &DnsReport) -> Vec<String> {
    let line = |answer: &crate::model::DnsAnswer| {
        let records = answer.records.measured()?;
        let record = |record: &crate::model::DnsRecord| match record.ttl_seconds {
            Some(ttl) => format!("{} (for {ttl} s)", record.address),
            None => record.address.to_string(),
        };
        let all: Vec<String> = records.iter().map(record).collect();
        Some(format!("resolver {}: {}", answer.resolver, all.join(", ")))
    };
    report.answers.iter().filter_map(line).collect()
}
