//! The limits of the prober's own host are no node's fault: with too few file descriptors nothing is
//! called well, nothing is called a node's, and the exit code is that of "unknown".

use std::process::Command;

use registry_prober::lab::{Options, Scenario};
use serde_json::Value;

use crate::support::Bench;

/// What `check` says with a limit of descriptors: exit code and document.
fn check_with(descriptors: u32, bench: &Bench) -> (Option<i32>, Value) {
    let line = format!(
        "ulimit -n {descriptors}; exec '{}' check --config.file='{}' --output=json",
        env!("CARGO_BIN_EXE_registry-prober"),
        bench.path.display()
    );
    let ended =
        Command::new("sh").args(["-c", &line]).env("TOKIO_WORKER_THREADS", "2").output().unwrap();
    let text = String::from_utf8(ended.stdout).unwrap();
    let document = serde_json::from_str(&text).unwrap_or_else(|error| {
        let said = String::from_utf8_lossy(&ended.stderr);
        panic!("ulimit -n {descriptors}: {error}: {text}\n{said}")
    });
    (ended.status.code(), document)
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_descriptors_are_unknown_and_never_a_node_s_fault() {
    let bench = Bench::start(&Scenario::named("healthy").unwrap(), &Options::default());
    for descriptors in [20, 24, 32, 48, 64] {
        let (code, document) = check_with(descriptors, &bench);
        let registry = &document["registries"][0];
        let named: Vec<String> = registry["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| format!("{} at {}", finding["finding"], finding["backends"]))
            .collect();
        println!(
            "ulimit -n {descriptors}: exit {code:?}, {}, {} unmeasured, {named:?}",
            document["status"],
            registry["unmeasured"].as_array().unwrap().len()
        );
        let limited = registry["unmeasured"].to_string().contains("raise the limit");
        // From here on it is a matter of luck whether they suffice; if they do, all is well.
        let enough = descriptors >= 48 && code == Some(0);
        assert!(enough || code == Some(3), "ulimit -n {descriptors}: {document:#}");
        assert!(limited || descriptors > 24, "ulimit -n {descriptors}: the reason is said");
        assert_eq!(named, Vec::<String>::new(), "ulimit -n {descriptors}");
    }
    let (code, document) = check_with(1024, &bench);
    assert_eq!(code, Some(0), "{document:#}");
}
