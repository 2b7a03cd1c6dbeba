//! The drill of the lab: nodes that restart in turn.

use std::net::TcpStream;

use serde_json::Value;

use crate::support::program::{Running, get, program};

#[test]
fn a_rolling_restart_takes_each_node_away_in_turn_and_brings_all_back() {
    let arguments = ["lab", "healthy", "--nodes=3", "--rolling-restart=1s", "--not-drained"];
    let mut lab = Running::of(program(&arguments));
    let control = lab.line(|line| line.starts_with("Control "));
    let control = control.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let away = || -> Value {
        let state: Value = serde_json::from_str(&get(&control, "/")).unwrap();
        state["faults"].clone()
    };
    for node in ["a", "b", "c"] {
        lab.line(|line| line == format!("Drill     {node} is away"));
        let faults = away();
        assert_eq!(faults.as_array().unwrap().len(), 1, "{faults}");
        assert!(faults.to_string().contains("core-down"), "{faults}");
        assert!(faults.to_string().contains(&format!("[\"{node}\"]")), "{faults}");
    }
    lab.line(|line| line == "Drill     every node is back");
    assert_eq!(away(), Value::Array(Vec::new()));
    assert!(TcpStream::connect(&control).is_ok());
}
