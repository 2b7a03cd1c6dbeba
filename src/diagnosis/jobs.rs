//! The job service: whose workers take whose jobs (G1).

use std::collections::BTreeSet;

use super::case::{Case, Draft, Impact, list};
use crate::model::{BackendName, Confidence, FindingName, Neighbour, WorkerPools};

/// What foreign workers do to users.
const EFFECT: &str = "Replications, scans and garbage collections fail at random with 401, in \
     proportion to the foreign workers; logins, pulls and pushes pass.";

pub(super) fn examine(case: &mut Case<'_>) {
    let Some(pools) = case.round.checks.worker_pools.measured() else { return };
    if !shared_with_neighbours(case, pools) {
        more_than_backends(case, pools);
    }
    split(case, pools);
}

/// The same pool in the lists of registries that are configured apart.
fn shared_with_neighbours(case: &mut Case<'_>, pools: &WorkerPools) -> bool {
    let own = pools.all();
    let here: BTreeSet<&str> =
        case.round.backends.iter().map(|facts| facts.address.as_str()).collect();
    let apart = |neighbour: &&Neighbour| {
        neighbour.registry != case.round.registry
            && neighbour.url != case.round.url
            && !neighbour.addresses.iter().any(|address| here.contains(address.as_str()))
    };
    let mut evidence = Vec::new();
    let mut names = Vec::new();
    for neighbour in case.earlier.neighbours.iter().filter(apart) {
        let common: Vec<&str> =
            own.iter().copied().filter(|id| neighbour.pools.contains(*id)).collect();
        if !common.is_empty() {
            let ids = list(&common.iter().take(3).collect::<Vec<_>>());
            let name = &neighbour.registry;
            evidence.push(format!(
                "{} of {} worker pools are listed by registry {name} ({}) as well: {ids}",
                common.len(),
                own.len(),
                neighbour.url
            ));
            names.push(name.clone());
        }
    }
    if names.is_empty() {
        return false;
    }
    case.add(
        Draft {
            name: FindingName::ForeignJobserviceOnSharedRedis,
            confidence: Confidence::Proved,
            impact: Impact::Beside(EFFECT),
            backends: Vec::new(),
            summary: format!("The job queue is shared with another registry: {}.", list(&names)),
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
    true
}

fn more_than_backends(case: &mut Case<'_>, pools: &WorkerPools) {
    let (all, backends) = (pools.all().len(), case.round.backends.len());
    // Lists that have nothing in common are queues of their own, each with its own workers.
    let longest = pools.at.iter().filter_map(|at| at.ids.measured()).map(Vec::len).max();
    if longest.is_none_or(|longest| longest <= backends) {
        return;
    }
    case.add(
        Draft {
            name: FindingName::ForeignJobserviceOnSharedRedis,
            confidence: Confidence::Suspected,
            impact: Impact::Beside(EFFECT),
            backends: Vec::new(),
            summary: format!(
                "There are {all} worker pools for {backends} backends: some may belong to another \
                 installation, or the job service was scaled out."
            ),
            evidence: lines(pools),
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

/// Backends that have no pool in common do not share a job queue.
fn split(case: &mut Case<'_>, pools: &WorkerPools) {
    let lists: Vec<(&BackendName, &Vec<String>)> = pools
        .at
        .iter()
        .filter_map(|at| Some((&at.backend, at.ids.measured()?)))
        .filter(|(_, ids)| !ids.is_empty())
        .collect();
    let apart = |(_, one): &(&BackendName, &Vec<String>), (_, other): &(_, &Vec<String>)| {
        !one.iter().any(|id| other.contains(id))
    };
    let Some(first) = lists.first() else { return };
    if !lists.iter().any(|other| apart(first, other)) {
        return;
    }
    let mut evidence = lines(pools);
    evidence.insert(0, "job queues differ: a job waits for the workers of one node".to_owned());
    let known = FindingName::SettingDrift;
    if let Some(finding) = case.findings.iter_mut().find(|finding| finding.finding == known) {
        finding.evidence.extend(evidence);
        return;
    }
    case.add(
        Draft {
            name: known,
            confidence: Confidence::Proved,
            impact: Impact::Note,
            backends: Vec::new(),
            summary: "The nodes' job services do not share a queue.".to_owned(),
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

fn lines(pools: &WorkerPools) -> Vec<String> {
    let line = |at: &crate::model::PoolsAt| {
        let ids = at.ids.measured()?;
        Some(format!("{} lists {} worker pools: {}", at.backend, ids.len(), list(ids)))
    };
    pools.at.iter().filter_map(line).take(6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::assess_after;
    use crate::model::{Checked, Earlier, Outcome, PoolsAt, RegistryName, sample};

    type Lists<'a> = [(&'a str, &'a [&'a str])];

    /// Findings of a round in which backends list these pools.
    fn found(lists: &Lists<'_>, neighbours: &[Neighbour]) -> Vec<String> {
        let at = |(backend, ids): &(&str, &[&str])| PoolsAt {
            backend: BackendName::parse(backend).unwrap(),
            ids: Outcome::Measured(ids.iter().map(ToString::to_string).collect()),
        };
        let pools = WorkerPools { at: lists.iter().map(at).collect() };
        let round = sample::bent(&["a", "b"], |round| {
            let found = Outcome::Measured(pools);
            round.checks.worker_pools = Checked { at: None, requests: 2, found };
        });
        let earlier = Earlier { neighbours: neighbours.to_vec(), ..Earlier::default() };
        let findings = assess_after(&round, &earlier).findings;
        let line = |finding: &crate::model::Finding| {
            format!("{} {}", finding.finding, finding.confidence.as_str())
        };
        findings.iter().map(line).collect()
    }

    fn neighbour(url: &str, address: &str, pools: &[&str]) -> Neighbour {
        Neighbour {
            registry: RegistryName::parse("other").unwrap(),
            url: url.to_owned(),
            addresses: [address.to_owned()].into(),
            pools: pools.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_pool_in_two_lists_is_foreign_only_where_the_registries_are_apart() {
        let here = sample::bent(&["a", "b"], |_| {});
        let lists: &Lists<'_> = &[("a", &["1", "2"]), ("b", &["1", "2"])];
        let proved = vec!["foreign-jobservice-on-shared-redis proved".to_owned()];
        let apart = "https://elsewhere.example.com";
        let address = here.backends[0].address.as_str();
        let itself = RegistryName::parse("main").unwrap();
        let itself = Neighbour { registry: itself, ..neighbour(apart, "10.9.9.9:443", &["2"]) };
        for (neighbour, expected) in [
            (neighbour(apart, "10.9.9.9:443", &["2"]), proved.clone()),
            (itself, Vec::new()),
            (neighbour(apart, "10.9.9.9:443", &["3"]), Vec::new()),
            // The same site, listed twice.
            (neighbour(&here.url, "10.9.9.9:443", &["2"]), Vec::new()),
            (neighbour(apart, address, &["2"]), Vec::new()),
        ] {
            assert_eq!(found(lists, std::slice::from_ref(&neighbour)), expected, "{neighbour:?}");
        }
        // Whose they are is known, so that there are too many is no news.
        let many: &Lists<'_> = &[("a", &["1", "2", "3"]), ("b", &["1", "2", "3"])];
        assert_eq!(found(many, &[neighbour(apart, "10.9.9.9:443", &["3"])]), proved);
    }

    #[test]
    fn more_pools_than_backends_are_suspect_and_lists_apart_are_a_split_queue() {
        for (lists, expected) in [
            (&[("a", &["1", "2"] as &[&str]), ("b", &["1", "2"])] as &Lists<'_>, None),
            (&[("a", &["1"]), ("b", &[])], None),
            (
                &[("a", &["1", "2", "3"]), ("b", &["1", "2", "3"])],
                Some("foreign-jobservice-on-shared-redis suspected"),
            ),
            (&[("a", &["1"]), ("b", &["2"])], Some("setting-drift proved")),
        ] {
            assert_eq!(found(lists, &[]), Vec::from_iter(expected), "{lists:?}");
        }
    }
}
