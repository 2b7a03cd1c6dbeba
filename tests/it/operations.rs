//! Rules, runbooks and deployment files say the same as the program: every finding has its page,
//! every link leads somewhere, every metric exists, and the tools that will read them accept them.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use registry_prober::findings::Runbook;
use registry_prober::model::{Confidence, FindingName, Severity};
use serde_json::Value;

use crate::promql;

/// Alerts with a page of their own; `RegistryFinding` leads to the page of its finding.
const ALERT_PAGES: [&str; 6] = [
    "RegistryErrorBudgetBurn",
    "RegistryUnauthorizedRatioHigh",
    "RegistryProberAbsent",
    "RegistryProberDiscoveryFailed",
    "RegistryProberStale",
    "RegistryProberConfigReloadFailed",
];

/// The sections of every page, in order: what on-call needs first stands first.
const SECTIONS: [&str; 8] = [
    "Meaning",
    "Impact",
    "Is it real? (1 minute)",
    "Diagnosis",
    "Mitigation now",
    "Fix",
    "Verify",
    "Escalate",
];

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a tool that must succeed. Where it is not installed the check is left out, except in CI.
pub(crate) fn tool(program: &str, arguments: &[&str]) {
    match Command::new(program).args(arguments).output() {
        Ok(output) => assert!(
            output.status.success(),
            "{program} {arguments:?}:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        ),
        Err(error) if error.kind() == ErrorKind::NotFound && env::var_os("CI").is_none() => {
            eprintln!("{program} is not installed, left out: {arguments:?}");
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A page without the facts on top of it.
fn page(name: &str) -> String {
    let text = read(&format!("deploy/runbooks/{name}.md"));
    let body = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n\n"));
    body.map_or(text.clone(), |(_, body)| body.to_owned())
}

fn all_pages() -> impl Iterator<Item = &'static str> {
    FindingName::ALL.iter().map(|finding| finding.as_str()).chain(ALERT_PAGES)
}

fn rules() -> Vec<Value> {
    rules_of("rules.yml")
}

fn rules_of(file: &str) -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&read(&format!("deploy/prometheus/{file}"))).unwrap();
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn every_finding_and_alert_has_its_page_and_every_page_is_one_of_them() {
    let written: BTreeSet<String> = fs::read_dir(repository("deploy/runbooks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    let due: BTreeSet<String> = all_pages().map(|name| format!("{name}.md")).collect();
    assert_eq!(written, due);
}

#[test]
fn every_page_has_the_sections_in_order_and_fits_a_screen() {
    for name in all_pages() {
        let page = page(name);
        assert_eq!(page.lines().next(), Some(format!("# {name}").as_str()));
        let sections: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(sections, SECTIONS, "{name}");
        assert!(page.lines().count() <= 90, "{name} is longer than a screen");
        for (section, next) in page.split("\n## ").skip(1).zip(SECTIONS) {
            let body = section.strip_prefix(next).unwrap_or(section).trim();
            assert!(body.len() > 10, "{name}: nothing under {next}");
        }
    }
}

#[test]
fn every_finding_page_shows_what_check_prints_when_it_is_real() {
    let severities = Severity::ALL.map(Severity::as_str);
    let confidences = [Confidence::Suspected, Confidence::Proved].map(Confidence::as_str);
    for name in FindingName::ALL.iter().map(|finding| finding.as_str()) {
        let page = page(name);
        assert!(page.contains("registry-prober check --config.file="), "{name}");
        let shown = page.lines().any(|line| {
            let words: Vec<_> = line.split(' ').collect();
            words.len() >= 3
                && severities.contains(&words[0])
                && confidences.contains(&words[1])
                && words[2] == name
        });
        assert!(shown, "{name}: no line as severity, confidence, finding, backends");
    }
}

#[test]
fn links_between_pages_lead_to_pages() {
    for name in all_pages().chain(["README"]) {
        for target in page(name).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = format!("deploy/runbooks/{target}");
            assert!(repository(&file).is_file(), "{name} links to {target}");
        }
    }
}

#[test]
fn pages_name_only_metrics_that_exist() {
    for name in all_pages().chain(["README"]) {
        let page = page(name);
        for (at, _) in page.match_indices("registry_prober_") {
            let word: String =
                page[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            // A grep for the prefix alone is no metric.
            let prefix = word == "registry_prober_";
            assert!(prefix || promql::known(&word).is_some(), "{name}: {word}");
        }
    }
}

#[test]
fn every_alert_says_what_it_means_and_links_to_a_page_and_the_dashboard() {
    for rule in rules().iter().filter(|rule| rule.get("alert").is_some()) {
        let alert = text(rule, "alert");
        let annotations = &rule["annotations"];
        let summary = text(annotations, "summary");
        // A finding's own line ends the sentence.
        let ended = summary.ends_with('.') || summary.ends_with("{{ end }}");
        assert!(ended && !summary.contains("$value"), "{alert}: {summary}");
        let shown = text(annotations, "status_url");
        let known = alert.starts_with("RegistryProber") || !shown.is_empty();
        assert!(known, "{alert} links to no status page");
        assert!(!text(annotations, "description").is_empty(), "{alert}");
        assert!(text(annotations, "dashboard_url").contains("/d/registry-prober"), "{alert}");
        let url = text(annotations, "runbook_url");
        let page = url.rsplit('/').next().unwrap();
        // The prober itself serves its pages, but for that of its absence.
        let (host, page) = match page.strip_suffix(".md") {
            Some(page) if alert == "RegistryProberAbsent" => {
                ("https://runbooks.example.com/", page)
            }
            _ => ("https://registry-prober.example.com/runbooks/", page),
        };
        assert!(url.starts_with(host), "{alert}: {url}");
        if page != "{{ $labels.finding }}" {
            assert_eq!(page, alert);
            assert!(Runbook::named(page).is_some(), "{alert}: {page}");
        }
    }
}

#[test]
fn every_alert_has_a_severity_and_a_time_to_settle() {
    for rule in rules().iter().filter(|rule| rule.get("alert").is_some()) {
        let alert = text(rule, "alert");
        assert!(!text(rule, "for").is_empty(), "{alert}");
        let severity = text(&rule["labels"], "severity");
        let inherited = text(rule, "expr").contains("severity=~\"critical|warning\"");
        assert!(inherited || ["critical", "warning"].contains(&severity), "{alert}");
        for (label, value) in rule["labels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap();
            assert!(!value.contains("{{"), "{alert}: a value in label {label} makes new alerts");
        }
    }
}

#[test]
fn rules_name_known_metrics_and_leave_the_probers_instance_out() {
    let rules = rules();
    let recorded: Vec<String> =
        rules.iter().filter_map(|rule| Some(rule["record"].as_str()?.to_owned())).collect();
    for rule in &rules {
        let expression = text(rule, "expr");
        let name = format!("{}{}", text(rule, "alert"), text(rule, "record"));
        assert_eq!(promql::faults(expression, &recorded), Vec::<String>::new(), "{name}");
        let from_recorded = promql::uses(expression).iter().all(|u| recorded.contains(&u.metric));
        assert!(
            expression.contains("without (instance, pod")
                || expression.starts_with("absent(")
                || from_recorded,
            "{name} keeps the instance: {expression}"
        );
    }
}

#[test]
fn rules_over_several_sites_name_known_metrics_and_keep_only_site_and_registry() {
    let rules = rules_of("sites.yml");
    let recorded: Vec<String> =
        rules.iter().filter_map(|rule| Some(rule["record"].as_str()?.to_owned())).collect();
    for rule in &rules {
        let expression = text(rule, "expr");
        assert_eq!(promql::faults(expression, &recorded), Vec::<String>::new(), "{expression}");
        let from_recorded = promql::uses(expression).iter().all(|u| recorded.contains(&u.metric));
        assert!(from_recorded || expression.contains("by (site, registry)"), "{expression}");
    }
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    let folder = repository("deploy/prometheus");
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    for (rules, tests) in [("rules.yml", "rules_test.yml"), ("sites.yml", "sites_test.yml")] {
        tool("promtool", &["check", "rules", "--lint=all", "--lint-fatal", &file(rules)]);
        tool("promtool", &["test", "rules", &file(tests)]);
    }
    for config in ["prometheus.yml", "hashmod.yml"] {
        tool("promtool", &["check", "config", &file(config)]);
    }
}

#[test]
fn every_alert_is_tested_firing_and_not_firing() {
    for (rules, tests) in [("rules.yml", "rules_test.yml"), ("sites.yml", "sites_test.yml")] {
        is_tested(&rules_of(rules), tests);
    }
}

fn is_tested(rules: &[Value], file: &str) {
    let file: Value = serde_saphyr::from_str(&read(&format!("deploy/prometheus/{file}"))).unwrap();
    let tests: Vec<Value> = file["tests"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().cloned().unwrap_or_default())
        .collect();
    for rule in rules.iter().filter(|rule| rule.get("alert").is_some()) {
        let alert = text(rule, "alert");
        let fires = |test: &&Value| test["exp_alerts"].as_array().is_some_and(|a| !a.is_empty());
        let (firing, silent): (Vec<_>, Vec<_>) =
            tests.iter().filter(|test| text(test, "alertname") == alert).partition(fires);
        assert!(!silent.is_empty(), "{alert} is never shown not to fire");
        let severity = text(&rule["labels"], "severity");
        let covered = firing.iter().any(|test| {
            test["exp_alerts"].as_array().unwrap().iter().any(|expected| {
                severity.is_empty() || text(&expected["exp_labels"], "severity") == severity
            })
        });
        assert!(covered, "{alert} {severity} is never shown to fire");
    }
}

#[test]
fn alertmanager_accepts_its_example_and_pages_only_for_what_is_critical() {
    let path = repository("deploy/alertmanager/alertmanager.yml");
    let path = path.to_str().unwrap();
    tool("amtool", &["check-config", path]);
    let file = format!("--config.file={path}");
    for (severity, receiver) in [("critical", "pager"), ("warning", "tickets")] {
        let receiver = format!("--verify.receivers={receiver}");
        let severity = format!("severity={severity}");
        tool("amtool", &["config", "routes", "test", &file, &receiver, &severity]);
    }
}

#[test]
fn the_systemd_unit_stays_hardened() {
    let unit = repository("deploy/systemd/registry-prober.service");
    let unit = unit.to_str().unwrap();
    tool("systemd-analyze", &["security", "--offline=true", "--threshold=15", unit]);
}
