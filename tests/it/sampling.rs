//! Above twelve backends a round does not try every pair, and still names the odd one out.

use registry_prober::lab::{KeyKind, Options, Scenario};
use registry_prober::model::{CellResult, FindingName, Matrix, Skipped};

use crate::support::{self, Bench};

const NODES: usize = 14;

fn tried(matrix: &Matrix) -> usize {
    let skipped =
        |result: &CellResult| matches!(result, CellResult::Skipped { reason: Skipped::NotSampled });
    matrix.cells.iter().filter(|cell| !skipped(&cell.result)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampled_round_asks_each_verifier_a_few_times_and_names_the_odd_key() {
    let scenario = Scenario::named("token-key-mismatch-odd-one").expect("it is there");
    let nodes = u32::try_from(NODES).expect("a small number");
    let options = Options { nodes: Some(nodes), keys: KeyKind::Fast, ..Options::default() };
    let bench = Bench::start(&scenario, &options);
    let mut prober = bench.prober();
    let routes = NODES + 1;

    let (full, first) = support::round(&bench.registry, &mut prober).await;
    assert_eq!(full.matrix.cells.len(), routes * routes);
    assert_eq!(tried(&full.matrix), routes * routes, "the first round tries every pair");

    let (sampled, second) = support::round(&bench.registry, &mut prober).await;
    // Two keys, two more, the own token and the one through the balancer.
    let most = routes * 6;
    assert!(tried(&sampled.matrix) <= most, "{} of at most {most}", tried(&sampled.matrix));
    for verifier in sampled.matrix.verifiers() {
        let asked = sampled.matrix.cells.iter().filter(|cell| cell.verifier == *verifier);
        assert!(asked.clone().any(|cell| cell.accepted() == Some(true)), "{verifier}");
    }
    for assessment in [first, second] {
        let names: Vec<_> = assessment.findings.iter().map(|f| (f.finding, &f.backends)).collect();
        let at_fault: Vec<String> = scenario.expect[0].backends.clone();
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(names[0].0, FindingName::TokenKeyMismatch);
        assert_eq!(names[0].1.iter().map(ToString::to_string).collect::<Vec<_>>(), at_fault);
    }
}
