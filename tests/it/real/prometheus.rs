//! A real Prometheus scrapes the running program: every query of the dashboard is answered with
//! data, the rules load, and the alert names the finding and no other.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use serde_json::Value;
use url::form_urlencoded;

use super::plan::{HAPROXY, NGINX, PAIR, Plan};
use super::process::{Process, command};
use super::site::Site;
use crate::dashboard::{dashboard, filled_in, queries};
use crate::operations::repository;
use crate::support::program::{Running, get, http};

/// What a query is answered with.
pub(super) fn samples(address: &str, query: &str) -> Vec<Value> {
    let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let answer: Value =
        serde_json::from_str(&get(address, &format!("/api/v1/query?query={query}"))).unwrap();
    answer["data"]["result"].as_array().cloned().unwrap_or_default()
}

/// Metrics of what only Harbor has.
const HARBORS_ALONE: [&str; 3] =
    ["_csrf_cross_valid", "_session_cross_valid", "_component_healthy"];

/// Whether one of the samples has a number.
fn has_data(samples: &[Value]) -> bool {
    let number = |sample: &Value| sample["value"][1].as_str()?.parse::<f64>().ok();
    samples.iter().filter_map(number).any(f64::is_finite)
}

/// The active alerts of one name: registry, finding and severity of each.
fn alerts(address: &str, name: &str) -> BTreeSet<[String; 3]> {
    let answer: Value = serde_json::from_str(&get(address, "/api/v1/alerts")).unwrap();
    let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let labels = alerts.iter().map(|alert| &alert["labels"]);
    labels
        .filter(|labels| labels["alertname"] == name)
        .map(|labels| {
            ["registry", "finding", "severity"]
                .map(|label| labels[label].as_str().unwrap_or_default().to_owned())
        })
        .collect()
}

/// A Prometheus that scrapes the program every second and knows the rules.
async fn prometheus(site: &Site, prober: &str) -> (Process, String) {
    prometheus_with(site, prober, &repository("deploy/prometheus/rules.yml")).await
}

/// The same with other rules.
pub(super) async fn prometheus_with(site: &Site, prober: &str, rules: &Path) -> (Process, String) {
    let config = site.folder().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{}']\n\
         scrape_configs:\n  - job_name: registry-prober\n    \
         static_configs: [{{targets: ['{prober}']}}]\n",
        rules.display()
    );
    fs::write(&config, text).unwrap();
    let (mut process, address) = Process::listening(site.folder(), "prometheus", |address| {
        let mut command = command("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", site.folder().join("tsdb").display()));
        command.arg(format!("--web.listen-address={address}"));
        command
    })
    .await;
    let address = address.to_string();
    let ready = async || http("GET", &address, "/-/ready").0 == 200;
    process.until(ready).await.expect("it is ready after a while");
    (process, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_answers_the_dashboard_and_alerts_on_the_finding_alone() {
    let site = Site::start(Plan { daemon: true, ..Plan::other_key() }.pushing()).await;
    let (_prober, address) = Running::daemon(&site.config, &[]);
    let (mut prometheus, at) = prometheus(&site, &address).await;

    let board = queries(&dashboard());
    // Plain distribution has no web pages and no components.
    let harbors = |query: &str| HARBORS_ALONE.iter().any(|metric| query.contains(metric));
    let of_panels =
        || board.iter().filter(|(panel, query)| panel != "annotation" && !harbors(query));
    assert!(of_panels().count() >= 10);
    let empty = || -> Vec<&str> {
        let unanswered = |query: &&str| !has_data(&samples(&at, &filled_in(query)));
        of_panels().map(|(_, query)| query.as_str()).filter(unanswered).collect()
    };
    let due: BTreeSet<[String; 3]> = [NGINX, HAPROXY]
        .map(|name| [name, "token-key-mismatch", "critical"].map(str::to_owned))
        .into();
    let complete = async || empty().is_empty() && alerts(&at, "RegistryFinding") == due;
    if let Err(why) = prometheus.until(complete).await {
        let found = alerts(&at, "RegistryFinding");
        panic!("{why:?}; without an answer: {:#?}\nalerts: {found:#?}", empty());
    }

    // A registry that is well has rounds and no finding.
    let rounds = format!("registry_prober_rounds_total{{registry=\"{PAIR}\"}} > 0");
    assert!(has_data(&samples(&at, &rounds)));
    let found = format!("registry_prober_finding_active{{registry=\"{PAIR}\"}}");
    assert_eq!(samples(&at, &found), Vec::<Value>::new());

    let rules: Value = serde_json::from_str(&get(&at, "/api/v1/rules")).unwrap();
    let groups = rules["data"]["groups"].as_array().expect("groups of rules");
    let rules: Vec<&Value> =
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(rules.len() >= 10, "the rules are loaded");
    for rule in rules {
        assert_eq!(rule["lastError"].as_str().unwrap_or_default(), "", "{}", rule["name"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_has_nothing_to_say_about_the_metrics() {
    let site = Site::start(Plan { daemon: true, ..Plan::other_key() }).await;
    let (mut prober, address) = Running::daemon(&site.config, &[]);
    prober.log("a finding appeared");
    let page = site.folder().join("metrics.txt");
    fs::write(&page, get(&address, "/metrics")).unwrap();
    let mut promtool = command("promtool");
    promtool.args(["check", "metrics"]);
    let page = File::open(page).unwrap();
    let said = Process::start_with(promtool, page, site.folder(), "promtool").finished().await;
    assert_eq!(said, "");
}
