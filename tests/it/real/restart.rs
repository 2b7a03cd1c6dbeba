//! A rolling restart of real registries, watched by the program and by a Prometheus with the alerts
//! that the project ships: no alert fires, and the history says what it was.
//!
//! Times are a seventh of what they are in use: rounds, the restart, and every time of the rules.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::plan::{HAPROXY, NGINX, NODES, Plan};
use super::prometheus::{prometheus_with, samples};
use super::site::Site;
use crate::operations::repository;
use crate::support::eventually;
use crate::support::program::{Running, get};

/// By how much everything is faster.
const FASTER: f64 = 7.5;
/// How long each node is away: 45 s in use.
const AWAY: Duration = Duration::from_secs(6);

/// The rules with every time divided. A number before `s`, `m` or `h` is a time there.
fn faster(rules: &str) -> String {
    let mut text = String::new();
    for line in rules.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let is_time = ["for:", "keep_firing_for:", "interval:", "[", "offset"];
        let words = !line.contains("{{") && is_time.iter().any(|word| line.contains(word));
        text.push_str(&if words { divided(line) } else { line.replace("* 3600 *", "* 480 *") });
        text.push('\n');
    }
    text
}

fn divided(line: &str) -> String {
    let (mut text, mut digits) = (String::new(), String::new());
    let mut before = ' ';
    for letter in line.chars() {
        if letter.is_ascii_digit() && (before == ' ' || before == '[' || !digits.is_empty()) {
            digits.push(letter);
        } else {
            let unit = match letter {
                's' => Some(1.0),
                'm' => Some(60.0),
                'h' => Some(3600.0),
                _ => None,
            };
            match (digits.parse::<f64>(), unit) {
                (Ok(number), Some(unit)) => {
                    let _ = write!(text, "{}ms", (number * unit * 1000.0 / FASTER).round());
                }
                _ => {
                    let _ = write!(text, "{digits}{letter}");
                }
            }
            digits.clear();
        }
        before = letter;
    }
    text + &digits
}

/// The site with short rounds, through nginx and through `HAProxy`.
fn quick(site: &Site) -> PathBuf {
    let text = fs::read_to_string(&site.config).unwrap();
    let (head, rest) = text.split_once('\n').unwrap();
    assert!(head.starts_with("global:"), "{head}");
    let path = site.config.with_file_name("quick.yml");
    let head = "global: {interval: 2s, timeout: 1s, max_requests_per_second: 500}";
    fs::write(&path, format!("{head}\n{rest}")).unwrap();
    path
}

fn incidents(address: &str, registry: &str) -> Vec<Value> {
    let json: Value = serde_json::from_str(&get(address, "/api/v1/incidents")).unwrap();
    let all = json["incidents"].as_array().unwrap().iter();
    all.filter(|incident| incident["registry"] == registry).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_real_registries_fires_no_alert_and_leaves_a_restart() {
    let mut site = Site::start(Plan::healthy()).await;
    let (mut daemon, address) = Running::daemon(&quick(&site), &[]);
    let rules = site.folder().join("rules.yml");
    let shipped = fs::read_to_string(repository("deploy/prometheus/rules.yml")).unwrap();
    fs::write(&rules, faster(&shipped)).unwrap();
    let (_prometheus, at) = prometheus_with(&site, &address, &rules).await;
    for _ in [NGINX, HAPROXY] {
        daemon.log("the registry is healthy");
    }
    for (index, node) in NODES.into_iter().enumerate() {
        // HAProxy is asked to go around the node; nginx is not and fails its share of the users.
        site.haproxy(&format!("set server registry/{node} state maint"));
        site.stop_registry(index);
        sleep(AWAY).await;
        site.start_registry(index).await;
        site.haproxy(&format!("set server registry/{node} state ready"));
    }
    let over = async || {
        [NGINX, HAPROXY].iter().all(|registry| {
            let all = incidents(&address, registry);
            !all.is_empty() && all.iter().all(|incident| incident["closed"].is_string())
        })
    };
    eventually("every incident is over", over).await;

    for registry in [NGINX, HAPROXY] {
        let all = incidents(&address, registry);
        let notes = all.iter().filter_map(|incident| incident["note"].as_str());
        let rolling = "Like a rolling restart: a, b, c did not answer, each for at most";
        assert!(notes.clone().any(|note| note.starts_with(rolling)), "{registry}: {all:#?}");
    }
    let ever = |state: &str| {
        samples(&at, &format!("count_over_time(ALERTS{{alertstate=\"{state}\"}}[10m])"))
    };
    assert!(!ever("pending").is_empty(), "the rules see the restart");
    assert_eq!(ever("firing"), Vec::<Value>::new());
}
