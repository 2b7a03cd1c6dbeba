//! Faults that no rule knows: a status, a reset or a delay in place of an answer, at any path of
//! the flow or of a check, at one node, at all, or at the load balancer. None of them is ever `ok`,
//! and no sound node is ever named.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use registry_prober::lab::{Fault, FaultOrder, Options, Scenario};
use registry_prober::model::{Assessment, Status};

use crate::support::simulated::{Arrived, Conditions, Simulation, everywhere, paused};
use crate::support::written::is_written;

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

    /// The verdict, and the answers of the fault that are no mere moment.
    fn run(&self) -> (Assessment, Vec<Arrived>) {
        let mut scenario = Scenario::named("healthy-push").expect("the lab has it");
        scenario.faults = vec![FaultOrder::at(self.place, self.fault.clone())];
        let options = Options { seed: self.seed, ..Options::default() };
        paused(async {
            let mut lab = Simulation::new(&scenario, &options, Conditions::fair(), |_| {});
            let (_, judged) = lab.round().await;
            let mut met = lab.take_requests();
            met.retain(|it| self.is_met_by(it));
            if met.len() == 1 && self.may_be_a_moment() {
                met.clear();
            }
            (judged, met)
        })
    }

    /// Whether one such answer alone is taken for a gateway that once had no live server.
    fn may_be_a_moment(&self) -> bool {
        matches!(self.fault, Fault::Status { code: 500.., .. })
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

    fn play(&self) -> Played {
        let (judged, met) = self.run();
        let sound = |name: &str| self.place != "*" && name != self.place;
        let named = judged.findings.iter().flat_map(|finding| &finding.backends);
        let innocent = named.map(ToString::to_string).filter(|name| sound(name)).collect();
        Played { status: judged.status, met, innocent }
    }
}

/// What came of a case.
struct Played {
    status: Status,
    /// The answers of the round that were the fault's.
    met: Vec<Arrived>,
    /// Sound nodes that a finding names.
    innocent: Vec<String>,
}

impl Played {
    /// A fault that no request met is not there to be found.
    fn is_honest(&self) -> bool {
        (self.status != Status::Ok || self.met.is_empty()) && self.innocent.is_empty()
    }
}

/// Plays all; the complaints, and the counts by place.
fn play(cases: &[Case]) -> (Vec<String>, String) {
    let played = everywhere(cases, Case::play);
    let complaint = |(case, of): (&Case, &Played)| {
        let met: Vec<String> =
            of.met.iter().map(|it| format!("{:?} {} {}", it.entry, it.method, it.path)).collect();
        let status = of.status.as_str();
        let said = format!("{}: {status} names {:?}, met by {met:?}", case.title(), of.innocent);
        (!of.is_honest()).then_some(said)
    };
    let complaints = cases.iter().zip(&played).filter_map(complaint).collect();
    let mut table = "| at | rounds | not met | critical | warning | unknown | ok although met | \
                     sound node named |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    for (place, words) in [("c", "one node of three"), ("*", "every node"), ("lb", "the balancer")]
    {
        let here = || cases.iter().zip(&played).filter(|(case, _)| case.place == place);
        let count = |fits: &dyn Fn(&Played) -> bool| here().filter(|(_, of)| fits(of)).count();
        let of = |status: Status| count(&|it| !it.met.is_empty() && it.status == status);
        let (critical, warning) = (of(Status::Critical), of(Status::Warning));
        let (all, unmet, unknown) =
            (here().count(), count(&|it| it.met.is_empty()), of(Status::Unknown));
        let (ok, innocent) = (of(Status::Ok), count(&|it| !it.innocent.is_empty()));
        let _ = writeln!(
            table,
            "| {words} | {all} | {unmet} | {critical} | {warning} | {unknown} | {ok} | {innocent} |"
        );
    }
    (complaints, table)
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

/// Plays all, or those with the words of ONLY in their title, and holds the table to what is
/// written.
fn hold(mut cases: Vec<Case>, written: &str) {
    let only = std::env::var("ONLY").ok();
    cases.retain(|case| only.as_ref().is_none_or(|words| case.title().contains(words)));
    let (complaints, table) = play(&cases);
    if only.is_none() {
        is_written("deploy/verdicts.md", written, &table);
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_wrong_answer_anywhere_is_never_ok_and_names_no_sound_node() {
    hold(status_cases(), "faults at each path");
}

#[test]
fn every_answer_has_the_id_under_which_the_server_logs_the_request() {
    let mut scenario = Scenario::named("healthy").expect("the lab has it");
    // The page of a proxy has no id of its own, and an answer of core has that of the request.
    let fault = Fault::Status { code: 403, probability: 1.0, path: "/service/token".to_owned() };
    scenario.faults = vec![FaultOrder::at("b", fault)];
    let round = paused(async {
        let mut lab = Simulation::new(&scenario, &Options::default(), Conditions::fair(), |_| {});
        lab.round().await.0
    });
    let mut ids = BTreeSet::new();
    for step in round.flows.iter().flat_map(|flow| &flow.steps) {
        let answer = step.answer.as_ref().expect("every node answers");
        let id = answer.log_id.as_deref().expect("it is logged");
        let number = id.strip_prefix(&round.request_ids).expect("an id of this round");
        assert!(number.parse::<u32>().is_ok() && ids.insert(id), "{id} is whole and its own");
    }
    assert!(ids.len() >= 8, "{ids:?}");
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

#[test]
#[ignore = "a measurement of some minutes: cargo test --test it unknown_faults -- --ignored"]
fn a_thousand_random_faults_of_a_tenth_of_the_requests_are_never_ok() {
    hold(random_cases(1_000), "random faults");
}
