//! What shows only across registries: `check` judges every registry beside the others.

use registry_prober::lab::{Options, Scenario};
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::support::{Bench, program};

/// Findings of every registry, as `registry: finding confidence`.
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
        for finding in list(&registry["findings"]) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (name, finding, sure) =
                (&registry["name"], &finding["finding"], &finding["confidence"]);
            lines.push(format!("{}: {} {}", text(name), text(finding), text(sure)));
        }
    }
    (ended.code, lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_two_registries_share_is_proved_at_both_and_one_of_its_own_at_none() {
    let shared = check("foreign-jobservice-of-a-neighbour").await;
    let proved = |name: &str| format!("{name}: foreign-jobservice-on-shared-redis proved");
    assert_eq!(shared, (Some(1), vec![proved("beside"), proved("lab")]));
    assert_eq!(check("neighbour-with-its-own-redis").await, (Some(0), Vec::new()));
}
