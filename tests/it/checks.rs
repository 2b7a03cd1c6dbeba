//! Every failure inside a check is an observation: a fault that only a check meets is never passed
//! over, names no sound node, and where nothing is wrong nothing is observed.

use registry_prober::lab::{Family, Fault, FaultOrder, Options, Scenario};
use registry_prober::model::{Assessment, BackendName, FindingName, Status};

use crate::support::simulated::{Conditions, Simulation, everywhere, paused};

/// Plays one round of a sound registry that may be pushed to, with these faults.
fn judged(family: Family, faults: Vec<FaultOrder>, seed: u64) -> Assessment {
    let scenario = Scenario::named("healthy-push").expect("a scenario");
    let options =
        Options { family: Some(family), nodes: Some(3), faults, seed, ..Options::default() };
    paused(async {
        let mut lab = Simulation::new(&scenario, &options, Conditions::fair(), |_| {});
        lab.round().await.1
    })
}

struct Play {
    family: Family,
    at: &'static str,
    fault: Fault,
}

impl Play {
    fn all() -> Vec<Self> {
        let status =
            |code: u16, path: &str| Fault::Status { code, probability: 1.0, path: path.to_owned() };
        let mut faults = vec![Fault::StorageDown];
        for code in [500, 401, 403, 404] {
            faults.push(status(code, "/v2/probe/canary/manifests"));
            faults.push(status(code, "/v2/probe/canary/blobs"));
        }
        for code in [500, 502, 503, 404, 403, 401, 413, 307] {
            faults.push(status(code, "/v2/probe/scratch/blobs/uploads"));
            faults.push(status(code, "/v2/probe/scratch/manifests"));
        }
        let mut all = Vec::new();
        for family in [Family::Harbor210, Family::Harbor215, Family::Distribution2] {
            for fault in &faults {
                for at in ["b", "*", "lb"] {
                    // A balancer has no storage.
                    if at != "lb" || *fault != Fault::StorageDown {
                        all.push(Self { family, at, fault: fault.clone() });
                    }
                }
            }
        }
        all.push(Self { family: Family::Harbor215, at: "*", fault: Fault::DatabaseReadOnly });
        all
    }

    /// What is wrong with the judgement, if anything is.
    fn complaint(&self) -> Option<String> {
        let orders = vec![FaultOrder::at(self.at, self.fault.clone())];
        let assessment = judged(self.family, orders, 7);
        let what = format!("{} at {}: {:?}", self.family, self.at, self.fault);
        let named: Vec<&BackendName> =
            assessment.findings.iter().flat_map(|finding| &finding.backends).collect();
        let found: Vec<String> = assessment
            .findings
            .iter()
            .map(|f| format!("{} {} {:?}", f.finding, f.severity.as_str(), f.evidence))
            .collect();
        if assessment.status == Status::Ok || assessment.observations.is_empty() {
            return Some(format!("{what}: passed over: {found:?}"));
        }
        let sound = |name: &&&BackendName| match self.at {
            "b" => name.as_str() != "b",
            "lb" => true,
            _ => false,
        };
        if let Some(name) = named.iter().find(sound) {
            return Some(format!("{what}: {name} is named: {found:#?}"));
        }
        // What a node answers itself is no fault in front of the nodes.
        let in_front = assessment.findings.iter().find(|found| {
            let name = found.finding;
            self.at != "lb"
                && (matches!(name, FindingName::UnknownBackend | FindingName::LbMisroutesApiPath)
                    || name == FindingName::ServerErrors && found.backends.is_empty())
        });
        if let Some(found) = in_front {
            return Some(format!("{what}: {} is named: {:?}", found.finding, found.evidence));
        }
        let critical = assessment.status == Status::Critical;
        (self.at != "b" && !critical).then(|| format!("{what}: users meet it: {found:#?}"))
    }
}

#[test]
fn a_fault_that_only_a_check_meets_is_never_passed_over() {
    let plays = Play::all();
    let wrong: Vec<String> = everywhere(&plays, Play::complaint).into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), plays.len(), wrong.join("\n"));
}

#[test]
fn nothing_is_observed_where_nothing_is_wrong() {
    let plays: Vec<(Family, u64)> =
        Family::ALL.iter().flat_map(|family| (1..=3).map(|seed| (*family, seed))).collect();
    let seen = everywhere(&plays, |(family, seed)| {
        let assessment = judged(*family, Vec::new(), *seed);
        (!assessment.observations.is_empty())
            .then(|| format!("{family} {seed}: {:#?}", assessment.observations))
    });
    let seen: Vec<String> = seen.into_iter().flatten().collect();
    assert!(seen.is_empty(), "{}", seen.join("\n"));
}
