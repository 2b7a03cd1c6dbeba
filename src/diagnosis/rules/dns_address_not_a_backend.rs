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
    let dns = &facts.round.checks.dns;
    let Some(report) = dns.measured() else { return Vec::new() };
    // An earlier round's report says nothing of keys and realms that changed since: it keeps a
    // finding, and begins none.
    let is_fresh = dns.at.is_some_and(|at| at >= facts.round.started);
    if !is_fresh && facts.earlier.open_with(NAME, &[]).is_none() {
        return disagreement(report).into_iter().collect();
    }
    let known = BackendAnswers::of(facts.round);
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
    let effect = "If the resolver returns such an address first, the client fails there, or waits \
                  until it tries the next address.";
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
struct BackendAnswers<'a> {
    realms: BTreeSet<&'a str>,
    services: BTreeSet<&'a str>,
    /// None if a backend that answers issued no token: then its key may be any.
    keys: Option<BTreeSet<&'a KeyId>>,
}

impl<'a> BackendAnswers<'a> {
    fn of(round: &'a Round) -> Self {
        let flows = || round.flows.iter().filter(|flow| flow.route.backend().is_some());
        let challenges = || flows().filter_map(|flow| flow.challenge.measured());
        let tokens = flows().filter_map(|flow| flow.token.measured());
        let all_issue = flows()
            .filter(|flow| flow.challenge.measured().is_some())
            .all(|flow| flow.token.measured().is_some());
        let counted = round.key_census.iter().flat_map(|census| &census.keys);
        Self {
            realms: challenges().filter_map(|c| c.realm.as_deref()).collect(),
            services: challenges().filter_map(|c| c.service.as_deref()).collect(),
            keys: all_issue.then(|| {
                let keys = tokens.filter_map(|token| token.kid.as_ref());
                keys.chain(counted.map(|count| &count.key)).collect()
            }),
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
        if let (Some(key), Some(known)) = (&seen.key, &self.keys)
            && !known.is_empty()
            && !known.contains(key)
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
    use chrono::TimeDelta;

    use crate::diagnosis::verdict::judge;
    use crate::model::{
        Assessment, Checked, Confidence, DnsAddress, DnsAnswer, DnsRecord, DnsReport, DnsSeen,
        Earlier, Failure, FindingName, KeyCensus, KeyCount, KeyId, OpenFinding, Outcome, Phase,
        Reason, Round, Severity, Skipped, Step, Subject, sample,
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
        judged_then(addresses, resolvers, bend, &Earlier::default())
    }

    /// The same with what earlier rounds left.
    fn judged_then(
        addresses: &[(&str, Outcome<DnsSeen>)],
        resolvers: &[&[&str]],
        bend: impl FnOnce(&mut Round),
        earlier: &Earlier,
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
        judge(&round, earlier)
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

        // One gave no token: the key may be its.
        let silent = |round: &mut Round| {
            sample::fail(round, "b", Step::Token, Reason::BadTokenResponse);
        };
        assert!(!splits(&judged_after(&[(at, seen(sample::OTHER_KEY))], &[&[at]], silent)));

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
    fn a_report_from_before_the_keys_changed_keeps_a_finding_and_begins_none() {
        let (at, finding) = ("10.0.0.8", FindingName::DnsAddressNotABackend);
        let stale = |round: &mut Round| {
            round.checks.dns.at = Some(sample::started() - TimeDelta::minutes(2));
        };
        let open = OpenFinding {
            since: sample::started(),
            confidence: Confidence::Proved,
            severity: Severity::Warning,
        };
        let before = Earlier {
            open: [(Subject { finding, backend: None }, open)].into(),
            ..Earlier::default()
        };
        let addresses = [(at, seen(sample::OTHER_KEY))];
        assert!(!splits(&judged_after(&addresses, &[&[at]], stale)));
        assert!(splits(&judged_then(&addresses, &[&[at]], stale, &before)));
    }

    #[test]
    fn an_address_in_the_other_familys_words_is_the_same() {
        let a = [("10.0.0.8", seen(sample::KEY))];
        assert_eq!(judged(&a, &[&["10.0.0.8"], &["::ffff:10.0.0.8"]]).findings, []);
    }
}
