//! The public name leads to addresses that do not answer alike.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::diagnosis::facts::Facts;
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::diagnosis::wording::verb;
use crate::model::{
    Check, DnsAddress, DnsAnswer, DnsRecord, DnsReport, DnsSeen, FindingName, KeyId, Outcome,
    Phase, Reason, Round,
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
    let addresses = addresses.join(", ");
    let summary = dead_family(report).map_or_else(
        || {
            let does = verb(wrong.len(), "does", "do");
            let (some, all, host) = (wrong.len(), report.addresses.len(), &report.host);
            format!(
                "{some} of {all} addresses of {host} {does} not answer as the backends do: \
                 {addresses}."
            )
        },
        |words| format!("{words}: {addresses}."),
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

/// Whether no address of one family can be reached while the others answer, in words.
fn dead_family(report: &DnsReport) -> Option<String> {
    let failure = |address: &&DnsAddress| match &address.seen {
        Outcome::Failed(failure) if failure.phase == Some(Phase::Connect) => Some(failure.reason),
        _ => None,
    };
    let is_v6 = |address: &&DnsAddress| address.address.to_canonical().is_ipv6();
    let (six, four): (Vec<&DnsAddress>, Vec<&DnsAddress>) =
        report.addresses.iter().partition(is_v6);
    let is_dead = |of: &[&DnsAddress]| of.iter().all(|address| failure(address).is_some());
    let answers = |of: &[&DnsAddress]| of.iter().all(|address| failure(address).is_none());
    let (dead, other, which) = match (six.is_empty(), four.is_empty()) {
        (false, false) if is_dead(&six) && answers(&four) => ("IPv6", "IPv4", six),
        (false, false) if is_dead(&four) && answers(&six) => ("IPv4", "IPv6", four),
        _ => return None,
    };
    let host = &report.host;
    let no_way = which.iter().filter_map(failure).all(|reason| reason == Reason::Unreachable);
    let no_way =
        if no_way { format!(" (or this host has no way to {dead})") } else { String::new() };
    Some(format!("No {dead} address of {host} answers{no_way}, and {other} does"))
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
        let counted = round.key_census.iter().flat_map(|census| &census.keys);
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

#[cfg(test)]
mod tests {
    use crate::diagnosis::verdict::judge;
    use crate::model::{
        Assessment, Checked, DnsAddress, DnsAnswer, DnsRecord, DnsReport, DnsSeen, Earlier,
        Failure, FindingName, KeyCensus, KeyCount, KeyId, Outcome, Phase, Reason, Round, Severity,
        Skipped, Step, sample,
    };

    fn seen(key: &str) -> Outcome<DnsSeen> {
        Outcome::Measured(DnsSeen {
            realm: Some("https://hub.example.com/service/token".into()),
            service: Some("harbor-registry".into()),
            key: Some(KeyId::from_wire(key)),
        })
    }

    /// Judges a healthy round with these addresses behind the name, by these resolvers.
    fn judged(addresses: &[(&str, Outcome<DnsSeen>)], resolvers: &[&[&str]]) -> Assessment {
        judged_after(addresses, resolvers, |_| {})
    }

    /// The same where something else is special too.
    fn judged_after(
        addresses: &[(&str, Outcome<DnsSeen>)],
        resolvers: &[&[&str]],
        bend: impl FnOnce(&mut Round),
    ) -> Assessment {
        let answers = resolvers.iter().map(|records| DnsAnswer {
            resolver: "10.0.0.53:53".into(),
            records: Outcome::Measured(
                records
                    .iter()
                    .map(|text| DnsRecord {
                        address: text.parse().unwrap(),
                        ttl_seconds: Some(300),
                    })
                    .collect(),
            ),
        });
        let addresses = addresses.iter().map(|(text, seen)| DnsAddress {
            address: text.parse().unwrap(),
            backend: None,
            seen: seen.clone(),
        });
        let report = DnsReport {
            host: "hub.example.com".into(),
            answers: answers.collect(),
            addresses: addresses.collect(),
        };
        let round = sample::changed(&["a", "b"], |round| {
            round.checks.dns = Checked {
                at: Some(sample::started()),
                requests: 3,
                found: Outcome::Measured(report),
            };
            bend(round);
        });
        judge(&round, &Earlier::default())
    }

    #[test]
    fn addresses_that_answer_alike_are_healthy() {
        let (a, b) = ("10.0.0.8", "10.0.0.9");
        let healthy = [(a, seen(sample::KEY)), (b, seen(sample::KEY))];
        assert_eq!(judged(&healthy, &[&[a, b], &[b, a]]).findings, []);
        let alone = [(a, Outcome::Skipped(Skipped::NotNeeded))];
        assert_eq!(judged(&alone, &[&[a]]).findings, []);
    }

    #[test]
    fn a_dead_and_a_foreign_address_are_named_with_who_gives_them() {
        let (good, bad) = ("10.0.0.8", "10.0.0.9");
        let dead = Outcome::Failed(Failure {
            phase: Some(Phase::Connect),
            reason: Reason::ConnectionRefused,
            detail: "refused".into(),
        });
        let mut other = seen(sample::KEY);
        if let Outcome::Measured(seen) = &mut other {
            seen.realm = Some("https://old.example.com/service/token".into());
        }
        for (case, word) in [
            (dead, "refused"),
            (seen(sample::OTHER_KEY), "no backend has"),
            (other, "realm https://old.example.com/service/token"),
        ] {
            let judged = judged(&[(good, seen(sample::KEY)), (bad, case)], &[&[good, bad]]);
            let [finding] = judged.findings.as_slice() else { panic!("{judged:?}") };
            assert_eq!(finding.finding, FindingName::DnsAddressNotABackend);
            assert_eq!(finding.severity, Severity::Warning);
            assert!(finding.summary.ends_with("does not answer as the backends do: 10.0.0.9."));
            assert!(finding.evidence[0].contains(word), "{:?}", finding.evidence);
            assert!(finding.evidence[1].contains("10.0.0.9 (for 300 s)"), "{:?}", finding.evidence);
        }
    }

    #[test]
    fn resolvers_that_disagree_over_good_addresses_are_a_note() {
        let (a, b) = ("10.0.0.8", "10.0.0.9");
        let judged = judged(&[(a, seen(sample::KEY)), (b, seen(sample::KEY))], &[&[a], &[b]]);
        let [finding] = judged.findings.as_slice() else { panic!("{judged:?}") };
        assert_eq!(
            (finding.finding, finding.severity),
            (FindingName::DnsAddressNotABackend, Severity::Info)
        );
    }

    fn splits(judged: &Assessment) -> bool {
        judged.findings.iter().any(|f| f.finding == FindingName::DnsAddressNotABackend)
    }

    #[test]
    fn an_address_is_foreign_only_by_what_some_backend_shows() {
        let at = "10.0.0.8";
        let late = Failure::of_answer(Reason::DeadlineReached, "the round was over");
        assert!(!splits(&judged(&[(at, Outcome::Failed(late))], &[&[at]])));

        // No backend answers, so there is nothing to compare with.
        let gone = |round: &mut Round| {
            for name in ["a", "b"] {
                sample::fail(round, name, Step::Challenge, Reason::ConnectionRefused);
            }
            let failure = Failure::of_answer(Reason::ConnectionRefused, "gone");
            for flow in round.flows.iter_mut().filter(|flow| flow.route.backend().is_some()) {
                flow.challenge = Outcome::Failed(failure.clone());
            }
        };
        assert!(!splits(&judged_after(&[(at, seen(sample::KEY))], &[&[at]], gone)));

        // None gave a token.
        let tokenless = |round: &mut Round| {
            for name in ["a", "b"] {
                sample::fail(round, name, Step::Token, Reason::BadTokenResponse);
            }
        };
        assert!(!splits(&judged_after(&[(at, seen(sample::KEY))], &[&[at]], tokenless)));

        // A key that was met behind a backend's address.
        let counted = |round: &mut Round| {
            let key = KeyId::from_wire(sample::OTHER_KEY);
            let (backend, keys) = (sample::backend("b"), vec![KeyCount { key, tokens: 2 }]);
            round.key_census.push(KeyCensus { backend, keys });
        };
        assert!(!splits(&judged_after(&[(at, seen(sample::OTHER_KEY))], &[&[at]], counted)));

        // What only the balancer shows is no backend's.
        let mut other = seen(sample::KEY);
        let Outcome::Measured(shown) = &mut other else { unreachable!() };
        shown.service = Some("another".to_owned());
        let by_balancer = |round: &mut Round| {
            let lb = round.flows.iter_mut().find(|flow| flow.route.backend().is_none());
            if let Outcome::Measured(challenge) = &mut lb.unwrap().challenge {
                challenge.service = Some("another".to_owned());
            }
        };
        let judged = judged_after(&[(at, other)], &[&[at]], by_balancer);
        assert!(splits(&judged), "{judged:#?}");
    }

    #[test]
    fn an_address_in_the_other_familys_words_is_the_same() {
        let a = [("10.0.0.8", seen(sample::KEY))];
        assert_eq!(judged(&a, &[&["10.0.0.8"], &["::ffff:10.0.0.8"]]).findings, []);
    }
}
