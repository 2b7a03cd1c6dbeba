//! What shows only across registries: `check` judges every registry together with the others.

use registry_prober::lab::{Options, Scenario};
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::support::{Bench, program};

/// Findings of every registry, as `registry: finding confidence`, and what is said of logs.
#[expect(clippy::expect_used, reason = "a helper of tests")]
async fn check(scenario: &str) -> (Option<i32>, Vec<String>) {
    let scenario = Scenario::named(scenario).expect("it is embedded");
    let bench = Bench::start(&scenario, &Options::default());
    let file = format!("--config.file={}", bench.path.display());
    let ended = spawn_blocking(move || program::run(&["check", "--output=json", &file]));
    let ended = ended.await.expect("the program was run");
    let json: Value = serde_json::from_str(&ended.stdout).expect("it is JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for registry in list(&json["registries"]) {
        for finding_of in list(&registry["findings"]) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (name, finding, sure) =
                (&registry["name"], &finding_of["finding"], &finding_of["confidence"]);
            lines.push(format!("{}: {} {}", text(name), text(finding), text(sure)));
            let evidence = list(&finding_of["evidence"]);
            let logs = evidence
                .iter()
                .map(|fact| text(&fact["text"]))
                .find(|line| line.contains("the logs of"));
            lines.extend(logs);
        }
    }
    (ended.code, lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_two_registries_share_is_proved_at_both_and_one_of_its_own_at_none() {
    let shared = check("foreign-jobservice-of-a-neighbour").await;
    let proved = |name: &str| format!("{name}: foreign-jobservice-on-shared-redis proved");
    let lost = |found: &str| format!("the logs of {found}");
    assert_eq!(
        shared,
        (
            Some(1),
            vec![
                proved("lab"),
                lost("2 of 2 failed tasks are at no backend (404): executions 7 and 3"),
                proved("second"),
                lost("3 of 3 failed tasks are at no backend (404): executions 8, 6 and 5"),
            ]
        )
    );
    assert_eq!(check("neighbour-with-its-own-redis").await, (Some(0), Vec::new()));
}
