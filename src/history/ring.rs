//! The last rounds of every registry, in memory. Rounds in which something failed outlive those in
//! which all was well.

use std::sync::Arc;

use crate::model::{Judged, RoundLine, round_id};

/// The most rounds of all registries together.
const MOST: usize = 96;
/// The least and the most of one registry: the newest and the worst, however many registries there
/// are.
const OF_ONE: (usize, usize) = (2, 16);
/// The newest rounds of a registry that stay, whether anything failed in them or not.
const NEWEST: usize = 1;

/// The last rounds, oldest first.
#[derive(Debug, Default)]
pub struct Ring {
    rounds: Vec<(Arc<Judged>, f64)>,
}

impl Ring {
    /// Keeps a round, with the seconds between two of its registry's.
    pub fn push(&mut self, judged: &Arc<Judged>, interval: f64) {
        let name = &judged.round.registry;
        self.rounds.push((Arc::clone(judged), interval));
        let registries: std::collections::BTreeSet<_> =
            self.rounds.iter().map(|(judged, _)| &judged.round.registry).collect();
        let most = (MOST / registries.len().max(1)).clamp(OF_ONE.0, OF_ONE.1);
        loop {
            let own: Vec<usize> = (0..self.rounds.len())
                .filter(|index| self.rounds[*index].0.round.registry == *name)
                .collect();
            if own.len() <= most {
                break;
            }
            // The share of one is smaller where registries were added.
            let old = &own[..own.len() - NEWEST.min(own.len())];
            // A standing warning does not push out an outage. The first of
            // equals is the oldest.
            let badness = |index: &&usize| self.rounds[**index].0.assessment.status;
            let gone = old.iter().min_by_key(badness).or(own.first()).copied();
            gone.map(|index| self.rounds.remove(index));
        }
        // Of registries that came and went.
        while self.rounds.len() > MOST.max(registries_limit(&self.rounds)) {
            self.rounds.remove(0);
        }
    }

    /// A round by its id, with the seconds between two of its registry's.
    pub fn get(&self, id: &str) -> Option<(Arc<Judged>, f64)> {
        let found = self.rounds.iter().find(|(judged, _)| round_id(&judged.round) == id);
        found.map(|(judged, interval)| (Arc::clone(judged), *interval))
    }

    /// Every round, newest first.
    pub fn lines(&self) -> Vec<RoundLine> {
        let line = |(judged, _): &(Arc<Judged>, f64)| RoundLine {
            id: round_id(&judged.round),
            registry: judged.round.registry.to_string(),
            started: judged.round.started,
            status: judged.assessment.status,
            findings: (judged.assessment.findings.iter())
                .map(|finding| finding.finding.to_string())
                .collect(),
        };
        let mut lines: Vec<_> = self.rounds.iter().map(line).collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.started));
        lines
    }
}

/// What the registries that are there may fill.
fn registries_limit(rounds: &[(Arc<Judged>, f64)]) -> usize {
    let names: std::collections::BTreeSet<_> =
        rounds.iter().map(|(judged, _)| &judged.round.registry).collect();
    names.len() * OF_ONE.0
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::model::{FindingName, RegistryName, Severity, Status, sample};

    fn round(seconds: i64, well: bool) -> Arc<Judged> {
        let mut round = sample::round(&["a"]);
        round.started += TimeDelta::seconds(seconds);
        let finding = sample::finding(FindingName::BackendUnreachable, Severity::Critical, &["a"]);
        sample::judged(round, if well { Vec::new() } else { vec![finding] })
    }

    #[test]
    fn failures_outlive_successes_and_the_newest_stay() {
        let mut ring = Ring::default();
        for second in 0..100 {
            ring.push(&round(second, second != 7 && second != 8), 15.0);
        }
        let lines = ring.lines();
        assert_eq!(lines.len(), OF_ONE.1);
        let failed: Vec<_> = lines.iter().filter(|line| line.status != Status::Ok).collect();
        assert_eq!(failed.len(), 2, "{lines:?}");
        assert_eq!(lines[0].started, sample::started() + TimeDelta::seconds(99));
        for second in 100..200 {
            ring.push(&round(second, false), 15.0);
        }
        assert_eq!(ring.lines().len(), OF_ONE.1);
        ring.push(&round(200, true), 15.0);
        assert_eq!(ring.lines()[0].status, Status::Ok, "the newest is kept");
        let (kept, interval) = ring.get(&ring.lines()[0].id).unwrap();
        assert_eq!((kept, interval), (round(200, true), 15.0));
        assert!(ring.get("main-x").is_none());
    }

    #[test]
    fn an_outage_outlives_the_warnings_beside_it() {
        let mut ring = Ring::default();
        let warned = |second| {
            let mut judged = (*round(second, true)).clone();
            judged.assessment.status = Status::Warning;
            Arc::new(judged)
        };
        ring.push(&round(0, false), 15.0);
        for second in 1..100 {
            ring.push(&warned(second), 15.0);
        }
        let kept = ring.lines();
        assert!(kept.iter().any(|line| line.status == Status::Critical), "{kept:?}");
    }

    #[test]
    fn the_share_of_a_registry_shrinks_at_once_where_others_come() {
        let mut ring = Ring::default();
        let of = |registry: &str, second| {
            let mut round = sample::round(&["a"]);
            round.registry = RegistryName::parse(registry).unwrap();
            round.started += TimeDelta::seconds(second);
            sample::judged(round, Vec::new())
        };
        for second in 0..20 {
            ring.push(&of("first", second), 15.0);
        }
        for number in 0..11 {
            ring.push(&of(&format!("other-{number}"), 20), 15.0);
        }
        ring.push(&of("first", 21), 15.0);
        let own = ring.lines().into_iter().filter(|line| line.registry == "first").count();
        assert_eq!(own, MOST / 12);
    }
}
