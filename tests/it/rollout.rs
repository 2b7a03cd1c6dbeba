//! Backends that come and go while the daemon runs, as pods do in a rollout: nothing is reported that
//! is not so, the others keep their counters, and nothing of those that left remains.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use registry_prober::lab::{Fault, FaultOrder, Options, Scenario};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::Bench;
use crate::support::program::{Running, get};

/// The lab's configuration with its nodes in a file instead.
fn with_file(bench: &Bench) -> String {
    let text = fs::read_to_string(&bench.path).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    let lines = rest.lines().filter(|line| !line.trim_start().starts_with("- {name: "));
    let lines = lines.map(|line| match line.trim() {
        "backends:" => "    discovery: {file: {path: targets.json}}",
        _ => line,
    });
    let kept: Vec<&str> = lines.collect();
    format!("global: {{interval: 2s, timeout: 1s}}\n{}\n", kept.join("\n"))
}

/// Writes the list as Kubernetes or a script would: whole, in one moment.
fn list(bench: &Bench, folder: &Path, names: &[&str]) {
    let group = |name: &&str| {
        let node = bench.cluster.nodes().iter().find(|node| node.name == **name).unwrap();
        json!({"targets": [node.address.to_string()], "labels": {"backend": name}})
    };
    let groups: Vec<Value> = names.iter().map(group).collect();
    let (part, whole) = (folder.join("targets.part"), folder.join("targets.json"));
    fs::write(&part, Value::from(groups).to_string()).unwrap();
    fs::rename(part, whole).unwrap();
}

/// A registry of six nodes, of which a file names the first three.
fn three_of_six() -> (Bench, PathBuf) {
    let options = Options { nodes: Some(6), ..Options::default() };
    let bench = Bench::start(&Scenario::named("healthy").unwrap(), &options);
    let folder = bench.path.parent().unwrap().to_owned();
    fs::write(&bench.path, with_file(&bench)).unwrap();
    list(&bench, &folder, &["a", "b", "c"]);
    (bench, folder)
}

fn number(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.starts_with(&format!("registry_prober_{series} ")))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until this number of further rounds has counted.
async fn rounds(address: &str, more: f64) {
    let count =
        || number(&get(address, "/metrics"), "rounds_total{registry=\"lab\"}").unwrap_or(0.0);
    let begun = count();
    for _ in 0..600 {
        if count() >= begun + more {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("no {more} rounds within a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_of_three_pods_alerts_no_one_and_leaves_nothing_behind() {
    let (bench, folder) = three_of_six();
    let mut names = vec!["a", "b", "c"];
    let (mut daemon, address) = Running::daemon(&bench.path, &[]);
    daemon.log("the registry is healthy");
    rounds(&address, 1.0).await;
    let flows = |route: &str| {
        let series = format!("flows_total{{registry=\"lab\",route=\"{route}\"}}");
        number(&get(&address, "/metrics"), &series)
    };
    let mut gone = Vec::new();
    for (old, new) in [("a", "d"), ("b", "e"), ("c", "f")] {
        names.push(new);
        list(&bench, &folder, &names);
        // One may have begun before.
        rounds(&address, 2.0).await;
        let before = flows(new).expect("the new one is asked");
        names.retain(|name| *name != old);
        list(&bench, &folder, &names);
        // In the middle of a round, most likely.
        sleep(Duration::from_millis(300)).await;
        gone.push(FaultOrder::at(old, Fault::Unreachable));
        bench.cluster.set_faults(gone.clone()).unwrap();
        rounds(&address, 2.0).await;
        assert!(flows(new).unwrap() >= before + 2.0, "{new} keeps its counters");
        assert_eq!(flows(old), None, "{old} leaves no series");
    }
    let page = get(&address, "/metrics");
    for old in ["\"a\"", "\"b\"", "\"c\""] {
        assert!(!page.contains(old), "{old} is left: {page}");
    }
    daemon.signal("TERM");
    assert_eq!(daemon.ended().0.code(), Some(0));
    let alarming: Vec<&String> = daemon
        .seen
        .iter()
        .filter(|line| line.contains("a finding appeared") || line.contains("a token flow fails"))
        .filter(|line| !line.contains("\"severity\":\"info\""))
        .collect();
    assert!(alarming.is_empty(), "{alarming:#?}");
}

/// The findings above info that hold now.
fn findings(address: &str) -> Vec<String> {
    let page = get(address, "/metrics");
    let active = page.lines().filter(|line| {
        line.starts_with("registry_prober_finding_active{") && !line.contains("severity=\"info\"")
    });
    let name = |line: &str| line.split("finding=\"").nth(1)?.split('"').next().map(str::to_owned);
    active.filter_map(name).collect()
}

/// Waits for findings of which this holds.
async fn until(address: &str, holds: impl Fn(&[String]) -> bool) {
    for _ in 0..30 {
        rounds(address, 1.0).await;
        if holds(&findings(address)) {
            return;
        }
    }
    panic!("not within 30 rounds: {:?}", findings(address));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_brings_a_new_token_key_is_named_while_it_lasts_and_ends_with_it() {
    let (bench, folder) = three_of_six();
    let mut names = vec!["a", "b", "c"];
    let away = |names: &[&'static str]| {
        let away = names.iter().map(|name| FaultOrder::at(name, Fault::Unreachable));
        let new =
            ["d", "e", "f"].map(|it| FaultOrder::at(it, Fault::KeyRotated { after_seconds: 0.0 }));
        bench.cluster.set_faults(away.chain(new).collect()).unwrap();
    };
    away(&["d", "e", "f"]);
    let history = format!("--history.file={}", folder.join("journal.jsonl").display());
    let (mut daemon, address) = Running::daemon(&bench.path, &[&history]);
    daemon.log("the registry is healthy");
    rounds(&address, 2.0).await;
    assert_eq!(findings(&address), [""; 0]);
    let absent = ["a", "b", "c", "d", "e", "f"];
    for (step, new) in ["d", "e", "f"].into_iter().enumerate() {
        names.push(new);
        away(&[&absent[..step], &absent[4 + step..]].concat());
        list(&bench, &folder, &names);
        until(&address, |found| found.contains(&"token-key-mismatch".to_owned())).await;
        names.remove(0);
        away(&[&absent[..=step], &absent[4 + step..]].concat());
        list(&bench, &folder, &names);
    }
    // It ends with the rollout.
    until(&address, <[String]>::is_empty).await;
    let incidents: Value = serde_json::from_str(&get(&address, "/api/v1/incidents")).unwrap();
    let all = incidents["incidents"].as_array().unwrap();
    assert!(all.iter().any(|one| one["finding"] == "token-key-mismatch"), "{incidents:#}");
    assert!(all.iter().all(|one| one["closed"].is_string()), "{incidents:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_backends_in_the_configuration_keep_what_is_known_of_those_that_stay() {
    let options = Options { nodes: Some(3), ..Options::default() };
    let bench = Bench::start(&Scenario::named("healthy").unwrap(), &options);
    let text = fs::read_to_string(&bench.path).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    let whole = format!("global: {{interval: 2s, timeout: 1s}}\n{rest}");
    let c = whole.lines().find(|line| line.contains("{name: c,")).unwrap().to_owned() + "\n";
    fs::write(&bench.path, whole.replace(&c, "")).unwrap();
    let (mut daemon, address) = Running::daemon(&bench.path, &["--config.auto-reload-interval=0s"]);
    daemon.log("the registry is healthy");
    rounds(&address, 1.0).await;
    let flows = "flows_total{registry=\"lab\",route=\"a\"}";
    let before = number(&get(&address, "/metrics"), flows).unwrap();
    fs::write(&bench.path, &whole).unwrap();
    daemon.signal("HUP");
    let loaded = daemon.log("the configuration is loaded");
    assert_eq!((&loaded["started"], &loaded["stopped"]), (&0.into(), &0.into()));
    let page = get(&address, "/metrics");
    assert!(number(&page, "flow_success{registry=\"lab\",route=\"a\"}").is_some(), "no gap");
    assert!(number(&page, flows).unwrap() >= before);
    rounds(&address, 2.0).await;
    let page = get(&address, "/metrics");
    assert!(number(&page, "flow_success{registry=\"lab\",route=\"c\"}").is_some());
    assert!(number(&page, flows).unwrap() >= before + 2.0);
}
