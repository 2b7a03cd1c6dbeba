//! Backends by what they share, as their verdicts on what others gave show it: cookies, sessions,
//! the secret of uploads, the storage.

use std::collections::BTreeMap;

use super::super::facts::odd_ones;
use super::super::partition::Partition;
use super::super::wording::list;
use crate::model::{BackendName, OfPair};

/// What makes two backends share something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shared {
    /// One of them accepts what the other gave.
    EitherWay,
    /// One of them does, and neither refuses.
    NeitherRefuses,
}

/// Backends divided by what they share.
pub(super) struct Division {
    /// Those that share it, under the first of them; groups that nothing refused are left out.
    pub(super) groups: BTreeMap<BackendName, Vec<BackendName>>,
    /// Those that do not even accept their own.
    pub(super) own_refused: Vec<BackendName>,
    /// The pairs across groups that refused.
    pub(super) refused: Vec<(BackendName, BackendName)>,
    /// Those outside of the majority, or all.
    pub(super) odd: Vec<BackendName>,
    /// Whether there is a majority.
    pub(super) majority: bool,
}

impl Division {
    /// Divides backends by verdicts; one that is neither yes nor no is left out.
    pub(super) fn of<T>(
        pairs: &[OfPair<T>],
        shared: Shared,
        accepted: impl Fn(&T) -> Option<bool>,
    ) -> Self {
        let (mut yes, mut no) = (Vec::new(), Vec::new());
        for pair in pairs {
            match pair.value.measured().and_then(&accepted) {
                Some(true) => yes.push((&pair.issuer, &pair.verifier)),
                Some(false) => no.push((&pair.issuer, &pair.verifier)),
                None => {}
            }
        }
        let mut partition = Partition::default();
        for (name, verifier) in &yes {
            if name == verifier {
                partition.add(name);
            }
        }
        for &(issuer, verifier) in &yes {
            let refuses = no.contains(&(issuer, verifier)) || no.contains(&(verifier, issuer));
            let apart = shared == Shared::NeitherRefuses && refuses;
            if partition.knows(issuer) && partition.knows(verifier) && !apart {
                partition.join(issuer, verifier);
            }
        }
        let mut groups = partition.groups();
        no.sort_unstable();
        let (own, others): (Vec<_>, Vec<_>) =
            no.into_iter().partition(|(issuer, verifier)| issuer == verifier);
        let own_refused = own.into_iter().map(|(name, _)| name.clone()).collect();
        let refused: Vec<(BackendName, BackendName)> = others
            .into_iter()
            .filter(|(issuer, verifier)| partition.are_apart(issuer, verifier))
            .map(|(issuer, verifier)| (issuer.clone(), verifier.clone()))
            .collect();
        groups.retain(|_, names| {
            let took_part = |name| names.contains(name);
            refused.iter().any(|(issuer, verifier)| took_part(issuer) || took_part(verifier))
        });
        let total = groups.values().map(Vec::len).sum();
        let (odd, majority) = odd_ones(&groups, total);
        Self { groups, own_refused, refused, odd, majority }
    }

    /// Whether not all share it.
    pub(super) fn is_split(&self) -> bool {
        self.is_proved() || !self.own_refused.is_empty()
    }

    /// Whether backends that each accept their own refuse each other's.
    pub(super) fn is_proved(&self) -> bool {
        self.groups.len() > 1
    }

    /// The odd ones, and those that do not accept their own.
    pub(super) fn at_fault(&self) -> Vec<BackendName> {
        let mut names: Vec<BackendName> =
            self.odd.iter().chain(&self.own_refused).cloned().collect();
        names.sort();
        names.dedup();
        names
    }

    /// The groups in words, and how many pairs refuse.
    pub(super) fn evidence(&self, what: &str) -> Vec<String> {
        let line = |names: &Vec<BackendName>| match names.as_slice() {
            [one] => format!("{one} shares with no other node"),
            _ => format!("{} {what}", list(names)),
        };
        let mut evidence: Vec<String> = self.groups.values().map(line).collect();
        evidence.extend((!self.refused.is_empty()).then(|| {
            format!(
                "{} pairs of nodes from different groups refuse; each group accepts its own",
                self.refused.len()
            )
        }));
        evidence
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{
        BackendName, Checked, Confidence, CsrfVerdict, Failure, Finding, FindingName, OfPair,
        Outcome, Reason, Round, SessionVerdict, Severity, Skipped, sample,
    };

    fn assess(round: &Round) -> crate::model::Assessment {
        crate::diagnosis::verdict::judge(round, &crate::model::Earlier::default())
    }

    type Verdicts<'a> = &'a [(&'a str, &'a str, Outcome<CsrfVerdict>)];

    /// What is found where these pairs are not accepted: name, confidence, backends.
    fn found(names: &[&str], other: Verdicts<'_>) -> Vec<(FindingName, Confidence, String)> {
        let pair = |issuer: &str, verifier: &str| {
            let special = other.iter().find(|(i, v, _)| (*i, *v) == (issuer, verifier));
            let value = special.map(|(.., value)| value.clone());
            OfPair {
                issuer: sample::backend(issuer),
                verifier: sample::backend(verifier),
                value: value.unwrap_or(Outcome::Measured(CsrfVerdict::Accepted)),
            }
        };
        let pairs = names.iter().flat_map(|i| names.iter().map(move |v| pair(i, v))).collect();
        let judged = assess(&sample::changed(names, |round| {
            round.checks.csrf = Checked {
                at: Some(sample::started()),
                requests: 9,
                found: Outcome::Measured(pairs),
            };
        }));
        judged
            .findings
            .iter()
            .map(|finding| {
                assert_eq!(finding.severity, Severity::Warning);
                let names: Vec<&str> = finding.backends.iter().map(BackendName::as_str).collect();
                (finding.finding, finding.confidence, names.join(" "))
            })
            .collect()
    }

    const UNKNOWN: Outcome<CsrfVerdict> = Outcome::Measured(CsrfVerdict::UnknownKey);
    const FOREIGN: Outcome<CsrfVerdict> = Outcome::Measured(CsrfVerdict::ForeignOrigin);
    const KEY: FindingName = FindingName::CsrfKeyMismatch;

    #[test]
    fn the_odd_key_is_named_and_without_a_majority_both_are() {
        assert_eq!(found(&["a", "b", "c"], &[]), []);
        let odd = [("a", "b", UNKNOWN), ("b", "a", UNKNOWN), ("b", "c", UNKNOWN)];
        let odd: Vec<_> = odd.into_iter().chain([("c", "b", UNKNOWN)]).collect();
        assert_eq!(found(&["a", "b", "c"], &odd), [(KEY, Confidence::Proved, "b".into())]);
        assert_eq!(found(&["a", "b"], &odd), [(KEY, Confidence::Proved, "a b".into())]);
    }

    #[test]
    fn a_node_that_cannot_read_its_own_cookie_is_suspected_alone() {
        let own = [("b", "b", UNKNOWN), ("b", "a", UNKNOWN), ("a", "b", UNKNOWN)];
        assert_eq!(found(&["a", "b"], &own), [(KEY, Confidence::Suspected, "b".into())]);
    }

    #[test]
    fn a_foreign_origin_is_not_a_key() {
        let own = [("a", "a", FOREIGN), ("b", "b", FOREIGN)];
        let name = FindingName::CsrfOriginRejected;
        assert_eq!(found(&["a", "b"], &own), [(name, Confidence::Proved, "a b".into())]);
    }

    #[test]
    fn a_store_of_its_own_is_named_and_one_that_is_down_is_not() {
        use SessionVerdict::{Known, Unknown};
        let judged = |known: fn(&str, &str) -> bool| {
            let names = ["a", "b", "c"];
            let pair = |(issuer, verifier): (&str, &str)| OfPair {
                issuer: sample::backend(issuer),
                verifier: sample::backend(verifier),
                value: Outcome::Measured(if known(issuer, verifier) { Known } else { Unknown }),
            };
            let pairs = names.into_iter().flat_map(|i| names.map(|v| pair((i, v)))).collect();
            let round = sample::changed(&names, |round| {
                let found = Outcome::Measured(pairs);
                round.checks.session = Checked { at: Some(sample::started()), requests: 9, found };
            });
            let named = |finding: &Finding| (finding.finding, finding.backends.clone());
            assess(&round).findings.iter().map(named).collect::<Vec<_>>()
        };
        let name = FindingName::SessionStoreNotShared;
        assert_eq!(judged(|_, _| true), []);
        let alone = judged(|issuer, verifier| (issuer == "b") == (verifier == "b"));
        assert_eq!(alone, [(name, vec![sample::backend("b")])]);
        // It is no store of its own.
        let redis = FindingName::RedisUnavailable;
        let down = judged(|_, verifier| verifier != "b");
        assert_eq!(down, [(redis, vec![sample::backend("b")])], "the store of b is down");
        assert_eq!(judged(|_, _| false), [(redis, Vec::new())], "all are");
    }

    #[test]
    fn what_was_not_learned_is_evidence_of_nothing() {
        let lost = Outcome::Failed(Failure::of_answer(Reason::Timeout, "lost"));
        let skipped = Outcome::Skipped(Skipped::BackingOff);
        let pairs = [("a", "b", lost.clone()), ("b", "a", skipped), ("c", "c", lost)];
        assert_eq!(found(&["a", "b", "c"], &pairs), []);
    }
}
