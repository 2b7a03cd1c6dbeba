//! What `run` remembers: incidents and their rounds, over a restart and a kill, and what `check
//! --since` and the pages say of them.

use std::fs;

use registry_prober::lab::{Options, Scenario};
use serde_json::Value;

use crate::support::program::{Running, get, http, run};
use crate::support::{Bench, eventually};

fn quick(scenario: &str) -> Bench {
    let scenario = Scenario::named(scenario).unwrap();
    let bench = Bench::start(&scenario, &Options::default());
    let text = fs::read_to_string(&bench.path).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&bench.path, format!("global: {{interval: 2s, timeout: 1s}}\n{rest}")).unwrap();
    bench
}

const MISMATCH: &str = "token-key-mismatch";

/// The one incident of that finding, as the daemon tells of it.
fn incident(address: &str) -> Value {
    let json: Value = serde_json::from_str(&get(address, "/api/v1/incidents")).unwrap();
    let all = json["incidents"].as_array().unwrap().iter();
    let mut found: Vec<&Value> = all.filter(|incident| incident["finding"] == MISMATCH).collect();
    assert_eq!(found.len(), 1, "{json}");
    found.remove(0).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_and_its_rounds_survive_a_kill_and_a_broken_line() {
    let bench = quick(MISMATCH);
    let journal = bench.path.with_file_name("journal.jsonl");
    let option = format!("--history.file={}", journal.display());
    let (mut first, address) = Running::daemon(&bench.path, &[&option]);
    first.log("a finding appeared");
    // On a busy machine a round may have no time for samples, and so not see that users are hit.
    eventually("users feel it", async || get(&address, "/api/v1/incidents").contains("critical"))
        .await;
    bench.cluster.set_faults(Vec::new()).unwrap();
    first.line(|line| line.contains("a finding cleared") && line.contains(MISMATCH));
    // What is shown is on its way to the disk.
    let written = async || {
        let text = fs::read_to_string(&journal).unwrap();
        !incident(&address)["closed"].is_null() && text.contains("\"closing\":\"")
    };
    eventually("the incident closes", written).await;
    first.signal("KILL");
    first.ended();
    let mut text = fs::read_to_string(&journal).unwrap();
    text.push_str("{\"at\":\"2026-0");
    fs::write(&journal, text).unwrap();

    let (_second, address) = Running::daemon(&bench.path, &[&option]);
    let incident = incident(&address);
    assert_eq!(incident["severity"], "critical");
    assert!(!incident["effect"].as_str().unwrap().is_empty(), "{incident}");
    for kept in ["opening", "worst", "closing"] {
        let id = incident["rounds"][kept].as_str().unwrap();
        let had_it = kept != "closing";
        let page = get(&address, &format!("/rounds/{id}"));
        assert_eq!(page.contains(&format!("<h2>{MISMATCH}</h2>")), had_it, "{kept}");
        let json: Value =
            serde_json::from_str(&get(&address, &format!("/api/v1/rounds/{id}"))).unwrap();
        assert_eq!(json["id"], id);
        let findings = json["registry"]["findings"].as_array().unwrap();
        assert_eq!(findings.iter().any(|it| it["finding"] == MISMATCH), had_it, "{kept}");
        assert!(json["requests"][0]["phases"]["connect"].is_number(), "{json}");
    }
    assert!(get(&address, "/history").contains(MISMATCH));
    assert_eq!(http("GET", &address, "/rounds/nothing").0, 404);
    let config = get(&address, "/config");
    assert!(config.contains("interval: 2s") && config.contains("registries:"), "{config}");
    assert!(!config.contains(&bench.cluster.login().password), "{config}");

    let daemon = format!("--daemon=http://{address}");
    let said = run(&["check", "--since=1h", &daemon]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("CRITICAL  token-key-mismatch at a and b"), "{said:?}");
    let said = run(&["check", "--since=1h", &daemon, "--output=json"]);
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    assert!(json["incidents"].as_array().unwrap().contains(&incident), "{json}");
}

#[test]
fn without_a_daemon_check_since_says_what_keeps_incidents() {
    let said = run(&["check", "--since=1h", "--daemon=http://127.0.0.1:1"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.stderr.contains("no daemon answers at http://127.0.0.1:1"), "{said:?}");
    assert!(said.stderr.contains("`registry-prober run` keeps the incidents"), "{said:?}");
}
