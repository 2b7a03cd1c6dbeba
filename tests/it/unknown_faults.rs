//! Faults that no rule knows: a status, a reset or a delay in place of an answer, at any path of the
//! flow or of a check, at one node, at all, or at the load balancer. None of them is ever `ok`, and
//! no sound node is ever named.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use registry_prober::lab::{Fault, FaultOrder, Options, Scenario};
use registry_prober::model::{Assessment, Status};

use crate::support::simulated::{Arrived, Simulation, Weather, everywhere, paused};

/// Paths of the flow and of the checks, each by how it begins.
const PATHS: [&str; 7] = [
    "/v2/",
    "/service/token",
    "/v2/probe/canary/tags",
    "/v2/probe/canary/manifests",
    "/v2/probe/canary/blobs",
    "/v2/probe/scratch/blobs/uploads",
    "/v2/probe/scratch/manifests",
];

const CODES: [u16; 8] = [307, 401, 403, 404, 413, 500, 502, 503];

const PLACES: [&str; 3] = ["c", "*", "lb"];

/// One fault in a registry that is sound otherwise.
#[derive(Debug, Clone)]
struct Case {
    place: &'static str,
    fault: Fault,
    seed: u64,
}

impl Case {
    fn title(&self) -> String {
        format!("{:?} at {} (seed {})", self.fault, self.place, self.seed)
    }

    /// The judgement of a round, and whether any answer in it was the fault's.
    fn run(&self) -> (Assessment, bool) {
        let mut scenario = Scenario::named("healthy-push").expect("the lab has it");
        scenario.faults = vec![FaultOrder::at(self.place, self.fault.clone())];
        let options = Options { seed: self.seed, ..Options::default() };
        paused(async {
            let mut lab = Simulation::new(&scenario, &options, Weather::fair(), |_| {});
            let (_, judged) = lab.round().await;
            let met = lab.take_requests().iter().any(|request| self.is_met_by(request));
            (judged, met)
        })
    }

    /// Whether a request met the fault. What came late was still being waited for.
    fn is_met_by(&self, request: &Arrived) -> bool {
        match &self.fault {
            Fault::Status { code, path, .. } => {
                request.path.starts_with(path) && request.status == Some(*code)
            }
            Fault::Slow { path, .. } => request.path.starts_with(path),
            _ => request.status.is_none(),
        }
    }

    /// What is wrong with the judgement; nothing if it is honest.
    fn complaint(&self) -> Option<String> {
        let (judged, met) = self.run();
        let findings: Vec<String> = judged
            .findings
            .iter()
            .map(|f| {
                let names: Vec<String> = f.backends.iter().map(ToString::to_string).collect();
                format!("{} {:?} {:?}", f.finding, f.severity, names)
            })
            .collect();
        let title = self.title();
        if judged.status == Status::Ok {
            return met.then(|| format!("{title}: ok"));
        }
        let sound = |name: &str| match self.place {
            "*" => false,
            place => name != place,
        };
        let named = judged.findings.iter().flat_map(|finding| &finding.backends);
        let wrong: Vec<String> =
            named.map(ToString::to_string).filter(|name| sound(name)).collect();
        (!wrong.is_empty()).then(|| format!("{title}: names {wrong:?}: {findings:?}"))
    }
}

fn status_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for place in PLACES {
        for path in PATHS {
            for code in CODES {
                for probability in [1.0, 0.3] {
                    let fault = Fault::Status { code, probability, path: path.to_owned() };
                    cases.push(Case { place, fault, seed: cases.len() as u64 });
                }
            }
        }
        for probability in [1.0, 0.3] {
            let fault = Fault::Reset { probability };
            cases.push(Case { place, fault, seed: cases.len() as u64 });
        }
        for path in PATHS {
            let fault = Fault::Slow { min_ms: 6_000, max_ms: 9_000, path: path.to_owned() };
            cases.push(Case { place, fault, seed: cases.len() as u64 });
        }
    }
    cases
}

#[test]
#[ignore = "a measurement of some minutes: cargo test --test it unknown_faults -- --ignored"]
fn a_wrong_answer_anywhere_is_never_ok_and_names_no_sound_node() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut cases = status_cases();
    cases.retain(|case| case.title().contains(&only));
    let complaints: Vec<String> =
        everywhere(&cases, Case::complaint).into_iter().flatten().collect();
    let (bad, all) = (complaints.len(), cases.len());
    assert!(complaints.is_empty(), "{}\n{bad} of {all}", complaints.join("\n"));
}

/// Random faults at one route, each with a tenth of its requests or more.
fn random_cases(many: u64) -> Vec<Case> {
    let mut chance = SmallRng::seed_from_u64(20);
    let mut case = |seed| {
        let place = PLACES[chance.random_range(0..PLACES.len())];
        let probability = chance.random_range(0.1..1.0);
        let fault = match chance.random_range(0..3) {
            0 => Fault::Reset { probability },
            1 => {
                let code = CODES[chance.random_range(0..CODES.len())];
                Fault::Status { code, probability, path: String::new() }
            }
            _ => {
                let code = CODES[chance.random_range(0..CODES.len())];
                let path = PATHS[chance.random_range(0..2)].to_owned();
                Fault::Status { code, probability, path }
            }
        };
        Case { place, fault, seed }
    };
    (0..many).map(&mut case).collect()
}

/// `ROUNDS=1000 cargo test --test it unknown_faults::random -- --ignored --nocapture` is the whole
/// measurement; a part of it is played by default.
#[test]
#[ignore = "a measurement of some minutes: cargo test --test it unknown_faults -- --ignored"]
fn random_faults_of_a_tenth_of_the_requests_are_never_ok() {
    let many = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(150);
    let cases = random_cases(many);
    let judged = everywhere(&cases, |case| (case.clone(), case.run().0.status));
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, status) in &judged {
        *counts.entry(status.as_str()).or_default() += 1;
    }
    println!("{many} rounds: {counts:?}");
    let ok: Vec<String> = judged
        .iter()
        .filter(|(_, status)| *status == Status::Ok)
        .map(|(case, _)| case.title())
        .collect();
    assert!(ok.is_empty(), "{}\n{} of {many} ok", ok.join("\n"), ok.len());
}
