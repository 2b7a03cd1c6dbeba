//! What one rule concludes: a cause, whose fault it is, and which observations it would explain.

use std::collections::BTreeSet;

use super::facts::{Facts, ObservationId};
use crate::model::{BackendName, Confidence, Evidence, FindingName, Flow};

/// A rule: looks at the facts of a round and names what would explain them. It sees no other
/// rule's result.
pub(super) type Rule = fn(&Facts<'_>) -> Vec<Hypothesis>;

/// What a request meets because of a cause, from which severity and the sentence about users
/// follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hits {
    /// Fresh tokens, where a request meets another node than the one that issued them.
    Tokens,
    /// Every request that meets these backends, or the way through the load balancer.
    Requests,
    /// This kind of request, such as `Pulls`, where it meets these backends.
    Some(&'static str),
    /// Browsers: web logins and changes on web pages. Clients of the registry do not feel it.
    WebPages,
    /// What users do not see at once, as this sentence says.
    Background(&'static str),
    /// Nothing yet: it will after a failover, or soon.
    Later,
    /// Nothing, but it is worth knowing.
    Nothing,
    /// Nothing any more: it is over, and what is left of it is this.
    Over(&'static str),
    /// Only the prober, which cannot measure what it has to. Users may be well.
    Prober,
}

/// How a hypothesis claims an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// It fits, where neither a direct cause nor the consequence of one explains it.
    Fits,
    /// It shows the cause itself.
    Direct,
}

/// A cause that would explain observations.
#[derive(Debug, Clone)]
pub(super) struct Hypothesis {
    /// The cause.
    pub(super) name: FindingName,
    /// The backends at fault; empty if the cause lies elsewhere or cannot be placed.
    pub(super) backends: Vec<BackendName>,
    /// How sure the rule is, seen by itself.
    pub(super) confidence: Confidence,
    /// What a request meets because of it.
    pub(super) hits: Hits,
    /// Whether it lies at the load balancer, where every node is sound.
    pub(super) at_balancer: bool,
    /// One sentence: what is wrong, and where.
    pub(super) summary: String,
    /// What was measured, one fact an entry.
    pub(super) evidence: Vec<Evidence>,
    /// Other causes that fit the same evidence.
    pub(super) alternatives: Vec<FindingName>,
    /// The observations that it explains.
    pub(super) claims: Vec<(ObservationId, Claim)>,
    /// Whether it is reported even where it explains no observation, or none that another cause
    /// does not explain as well.
    pub(super) stands_alone: bool,
    /// The evidence that is missing. With an entry here only the trace shows it.
    pub(super) lacks: Vec<String>,
}

impl Hypothesis {
    /// A proved cause at these backends that hits every request there. Adjust by the methods below.
    pub(super) fn new(name: FindingName, backends: Vec<BackendName>, summary: String) -> Self {
        Self {
            name,
            backends,
            confidence: Confidence::Proved,
            hits: Hits::Requests,
            at_balancer: false,
            summary,
            evidence: Vec::new(),
            alternatives: Vec::new(),
            claims: Vec::new(),
            stands_alone: false,
            lacks: Vec::new(),
        }
    }

    /// Says what a request meets because of it.
    pub(super) fn hits(mut self, hits: Hits) -> Self {
        self.hits = hits;
        self
    }

    /// Says whether it lies at the load balancer.
    pub(super) fn at_balancer(mut self, at_balancer: bool) -> Self {
        self.at_balancer = at_balancer;
        self
    }

    /// Adds evidence.
    pub(super) fn evidence<E: Into<Evidence>>(
        mut self,
        lines: impl IntoIterator<Item = E>,
    ) -> Self {
        self.evidence.extend(lines.into_iter().map(Into::into));
        self
    }

    /// Makes it a suspicion; these causes fit as well.
    pub(super) fn suspected(mut self, alternatives: &[FindingName]) -> Self {
        self.confidence = Confidence::Suspected;
        self.alternatives.extend_from_slice(alternatives);
        self
    }

    /// Makes it a suspicion unless the decisive evidence is there.
    pub(super) fn proved_if(self, decisive: bool, alternatives: &[FindingName]) -> Self {
        if decisive { self } else { self.suspected(alternatives) }
    }

    /// Claims observations that show the cause itself.
    pub(super) fn explains(mut self, ids: impl IntoIterator<Item = ObservationId>) -> Self {
        self.claims.extend(ids.into_iter().map(|id| (id, Claim::Direct)));
        self
    }

    /// Claims observations that fit, if nothing more direct explains them.
    pub(super) fn fits(mut self, ids: impl IntoIterator<Item = ObservationId>) -> Self {
        self.claims.extend(ids.into_iter().map(|id| (id, Claim::Fits)));
        self
    }

    /// Claims failed flows: those of backends show the cause itself, that through the load balancer
    /// fits it.
    pub(super) fn flows(self, flows: &[(ObservationId, &Flow)]) -> Self {
        let (at_backends, through): (Vec<_>, Vec<_>) =
            flows.iter().partition(|(_, flow)| flow.route.backend().is_some());
        let at_backends: Vec<_> = at_backends.into_iter().map(|(id, _)| id).collect();
        let through: Vec<_> = through.into_iter().map(|(id, _)| id).collect();
        self.explains(at_backends).fits(through)
    }

    /// Makes it worth saying whatever else explains its observations.
    pub(super) fn alone(mut self) -> Self {
        self.stands_alone = true;
        self
    }

    /// Notes that this evidence is missing: only the trace shows it.
    pub(super) fn lacking(mut self, what: &str) -> Self {
        self.lacks.push(what.to_owned());
        self
    }

    /// Takes in a hypothesis that is the same cause: its subjects, evidence and claims. The surer
    /// of the two, then the one that explains more, keeps its words.
    pub(super) fn merge(&mut self, mut other: Self) {
        let weight = |h: &Self| (h.confidence, h.claims.len());
        if weight(&other) > weight(self) {
            std::mem::swap(self, &mut other);
        }
        let known: BTreeSet<&BackendName> = self.backends.iter().collect();
        let adds_subjects = other.backends.iter().any(|name| !known.contains(name));
        if adds_subjects && other.summary != self.summary {
            self.summary = format!("{} {}", self.summary, other.summary);
        }
        // What is proved of one node is not proved of another.
        if adds_subjects {
            self.confidence = self.confidence.min(other.confidence);
        }
        // No backend means everywhere, or somewhere in front: it stays so.
        if !self.backends.is_empty() {
            self.backends.extend(other.backends);
            self.backends.sort();
            self.backends.dedup();
        }
        let new = other.evidence.into_iter().filter(|line| !self.evidence.contains(line));
        let new: Vec<Evidence> = new.collect();
        self.evidence.extend(new);
        if self.confidence == Confidence::Suspected {
            let new = other.alternatives.into_iter();
            let new: Vec<_> = new.filter(|name| !self.alternatives.contains(name)).collect();
            self.alternatives.extend(new);
        }
        self.claims.extend(other.claims);
        self.stands_alone |= other.stands_alone;
        self.hits = worse(self.hits, other.hits);
    }
}

/// The one of two that more users feel.
fn worse(one: Hits, other: Hits) -> Hits {
    let rank = |hits: Hits| match hits {
        Hits::Tokens => 7,
        Hits::Requests => 6,
        Hits::Some(_) => 5,
        Hits::WebPages => 4,
        Hits::Background(_) => 3,
        Hits::Later => 2,
        Hits::Prober => 1,
        Hits::Nothing | Hits::Over(_) => 0,
    };
    if rank(other) > rank(one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::backend;

    #[test]
    fn what_is_proved_of_one_node_is_not_proved_of_another() {
        let name = FindingName::TokenKeyMismatch;
        let at = |node: &str| Hypothesis::new(name, vec![backend(node)], node.to_owned());
        let unsure = |node: &str| at(node).suspected(&[FindingName::UnknownBackend]);
        for (one, other, expected, alternatives) in [
            (at("a"), unsure("b"), Confidence::Suspected, 1),
            (unsure("b"), at("a"), Confidence::Suspected, 1),
            (at("a"), unsure("a"), Confidence::Proved, 0),
            (at("a"), at("b"), Confidence::Proved, 0),
        ] {
            let mut merged = one.clone();
            merged.merge(other.clone());
            assert_eq!(merged.confidence, expected, "{one:?} {other:?}");
            assert_eq!(merged.alternatives.len(), alternatives, "{one:?} {other:?}");
        }
    }
}
