//! What browsers carry from node to node: the CSRF cookie and its key (E1, E2), and the session
//! (E3). The token flow has no part in it.

use std::collections::BTreeMap;

use super::case::{Case, Draft, Impact, list};
use super::keys::odd_ones;
use crate::model::{BackendName, Confidence, CsrfVerdict, FindingName, OfPair, SessionVerdict};

pub(super) fn examine(case: &mut Case<'_>) {
    csrf(case);
    session(case);
}

fn csrf(case: &mut Case<'_>) {
    let Some(pairs) = case.round.checks.csrf.measured() else { return };
    foreign_origin(case, pairs);
    let split = Split::of(pairs, |verdict| match verdict {
        CsrfVerdict::Accepted => Some(true),
        CsrfVerdict::UnknownKey => Some(false),
        CsrfVerdict::ForeignOrigin => None,
    });
    if !split.is_split() {
        return;
    }
    let mut evidence = split.evidence("read each other's CSRF cookies");
    evidence.extend(split.refused.first().map(|(issuer, verifier)| {
        format!(
            "{issuer} → {verifier}: a new cookie in place of the one shown, and 403 to a request \
             that writes"
        )
    }));
    let lost = &split.own_refused;
    evidence.extend((!lost.is_empty()).then(|| {
        format!("{} cannot even read its own: a key for each process, or replicas", list(lost))
    }));
    let guilty = split.guilty();
    let proved = split.groups.len() > 1;
    let summary = if split.majority || !proved {
        format!("{} protects web forms with a CSRF key of its own.", list(&guilty))
    } else {
        format!(
            "{} protect web forms with different CSRF keys; without a majority either may be the \
             wrong one.",
            list(&guilty)
        )
    };
    case.add(
        Draft {
            name: FindingName::CsrfKeyMismatch,
            confidence: if proved { Confidence::Proved } else { Confidence::Suspected },
            impact: Impact::WebPages,
            backends: guilty,
            summary,
            evidence,
            alternatives: if proved { Vec::new() } else { vec![FindingName::CsrfOriginRejected] },
        },
        &[],
        &[],
    );
}

/// A node that refuses its own cookie because of where the page came from.
fn foreign_origin(case: &mut Case<'_>, pairs: &[OfPair<CsrfVerdict>]) {
    let foreign = |pair: &&OfPair<CsrfVerdict>| {
        pair.issuer == pair.verifier && pair.value.measured() == Some(&CsrfVerdict::ForeignOrigin)
    };
    let names: Vec<BackendName> =
        pairs.iter().filter(foreign).map(|pair| pair.verifier.clone()).collect();
    if names.is_empty() {
        return;
    }
    let evidence = vec![format!(
        "{}: 403 about the origin to a request with its own cookie that came from {}",
        list(&names),
        case.round.url
    )];
    case.add(
        Draft {
            name: FindingName::CsrfOriginRejected,
            confidence: Confidence::Proved,
            impact: Impact::WebPages,
            summary: format!("{} takes its own public URL for a foreign site.", list(&names)),
            backends: names,
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

/// Nodes that keep sessions apart. Where a node does not know its own, its store is down and
/// nothing is learned of whose it is.
fn session(case: &mut Case<'_>) {
    let Some(pairs) = case.round.checks.session.measured() else { return };
    let split = Split::of(pairs, |verdict| Some(*verdict == SessionVerdict::Known));
    if split.groups.len() < 2 {
        return;
    }
    let mut evidence = split.evidence("know each other's sessions");
    evidence.extend(split.refused.first().map(|(issuer, verifier)| {
        format!("{issuer} → {verifier}: a new session in place of the one shown, twice")
    }));
    let odd = split.odd.clone();
    let summary = if split.majority {
        format!("{} keeps web sessions in a store of its own.", list(&odd))
    } else {
        format!("{} keep web sessions in different stores.", list(&odd))
    };
    case.add(
        Draft {
            name: FindingName::SessionStoreNotShared,
            confidence: Confidence::Proved,
            impact: Impact::WebPages,
            backends: odd,
            summary,
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

/// Backends by what they share, as their verdicts on each other show it.
struct Split {
    /// Those that accept each other, under the first of them.
    groups: BTreeMap<BackendName, Vec<BackendName>>,
    /// Those that do not even accept their own.
    own_refused: Vec<BackendName>,
    /// The pairs across groups that refused.
    refused: Vec<(BackendName, BackendName)>,
    odd: Vec<BackendName>,
    majority: bool,
}

impl Split {
    fn of<T>(pairs: &[OfPair<T>], accepted: impl Fn(&T) -> Option<bool>) -> Self {
        let known = |pair: &OfPair<T>| pair.value.measured().and_then(&accepted);
        let own = |wanted: bool| {
            let own = |pair: &&OfPair<T>| pair.issuer == pair.verifier;
            let fits = move |pair: &&OfPair<T>| own(pair) && known(pair) == Some(wanted);
            pairs.iter().filter(fits).map(|pair| pair.verifier.clone()).collect::<Vec<_>>()
        };
        let (sound, own_refused) = (own(true), own(false));
        // Each under its own name at first; whoever accepts joins the issuer's group.
        let mut label: BTreeMap<&BackendName, &BackendName> =
            sound.iter().map(|name| (name, name)).collect();
        for pair in pairs.iter().filter(|pair| known(pair) == Some(true)) {
            if let (Some(to), Some(from)) =
                (label.get(&pair.issuer).copied(), label.get(&pair.verifier).copied())
            {
                let (to, from) = (to.min(from), to.max(from));
                label.values_mut().filter(|name| **name == from).for_each(|name| *name = to);
            }
        }
        let across = |pair: &&OfPair<T>| {
            let ends = (label.get(&pair.issuer), label.get(&pair.verifier));
            known(pair) == Some(false)
                && matches!(ends, (Some(issuer), Some(verifier)) if issuer != verifier)
        };
        let refused: Vec<(BackendName, BackendName)> = pairs
            .iter()
            .filter(across)
            .map(|pair| (pair.issuer.clone(), pair.verifier.clone()))
            .collect();
        // Of a group that refused nobody and was not refused nothing is known.
        let judged = |group: &BackendName| {
            let in_it = |name: &BackendName| label.get(name).is_some_and(|of| *of == group);
            refused.iter().any(|(issuer, verifier)| in_it(issuer) || in_it(verifier))
        };
        let mut groups: BTreeMap<BackendName, Vec<BackendName>> = BTreeMap::new();
        for (name, group) in label.iter().filter(|(_, group)| judged(group)) {
            groups.entry((*group).clone()).or_default().push((*name).clone());
        }
        let total = groups.values().map(Vec::len).sum();
        let (odd, majority) = odd_ones(&groups, total);
        Self { groups, own_refused, refused, odd, majority }
    }

    fn is_split(&self) -> bool {
        self.groups.len() > 1 || !self.own_refused.is_empty()
    }

    fn guilty(&self) -> Vec<BackendName> {
        let mut guilty: Vec<BackendName> =
            self.odd.iter().chain(&self.own_refused).cloned().collect();
        guilty.sort();
        guilty.dedup();
        guilty
    }

    fn evidence(&self, what: &str) -> Vec<String> {
        let line = |names: &Vec<BackendName>| match names.as_slice() {
            [one] => format!("{one} is alone"),
            _ => format!("{} {what}", list(names)),
        };
        let mut evidence: Vec<String> = self.groups.values().map(line).collect();
        evidence.extend((!self.refused.is_empty()).then(|| {
            format!(
                "{} pairs across these groups refuse, while each accepts its own",
                self.refused.len()
            )
        }));
        evidence
    }
}
