//! The dashboard keeps the rules of Grafana's dashboard linter and of this project: it can be
//! provisioned from a file, every query follows its variables, every panel says what to do.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::operations::{repository, tool};
use crate::promql;

pub(crate) fn dashboard() -> Value {
    let text = fs::read_to_string(repository("dashboards/registry-prober.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Every panel that shows something, those inside collapsed rows too.
fn panels(dashboard: &Value) -> Vec<Value> {
    list(&dashboard["panels"])
        .into_iter()
        .flat_map(|panel| if panel["type"] == "row" { list(&panel["panels"]) } else { vec![panel] })
        .collect()
}

fn title(panel: &Value) -> &str {
    panel["title"].as_str().unwrap_or("(no title)")
}

/// Every query of the dashboard with the title of its panel, and those of the annotations.
pub(crate) fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let of_panel = |panel: Value| {
        let title = title(&panel).to_owned();
        list(&panel["targets"]).into_iter().map(move |target| (title.clone(), target))
    };
    let annotations = list(&dashboard["annotations"]["list"]);
    panels(dashboard)
        .into_iter()
        .flat_map(of_panel)
        .chain(annotations.into_iter().map(|one| ("annotation".to_owned(), one)))
        .filter_map(|(title, holder)| Some((title, holder["expr"].as_str()?.to_owned())))
        .collect()
}

/// The query as Grafana would send it.
pub(crate) fn filled_in(query: &str) -> String {
    ["$__rate_interval", "$__interval", "$__range"]
        .iter()
        .fold(query.to_owned(), |text, range| text.replace(range, "5m"))
        .replace("$job", ".+")
        .replace("$instance", ".+")
        .replace("$registry", ".+")
}

#[test]
fn it_can_be_provisioned_from_a_file() {
    let board = dashboard();
    assert_eq!(board["uid"], "registry-prober", "alerts link to this uid");
    assert!((39..=42).contains(&board["schemaVersion"].as_i64().unwrap()));
    assert_eq!(board["editable"], false);
    assert_eq!(board["graphTooltip"], 1);
    assert!(board["__inputs"].is_null(), "only the import dialog resolves inputs");
    assert!(board["id"].is_null());
}

#[test]
fn its_variables_are_those_that_the_linter_wants() {
    let board = dashboard();
    let variables = list(&board["templating"]["list"]);
    let names: Vec<_> = variables.iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "job", "instance", "registry", "prober"]);
    assert_eq!(
        (&variables[0]["type"], &variables[0]["query"]),
        (&"datasource".into(), &"prometheus".into())
    );
    assert_eq!(variables[0]["label"], "Data source");
    assert_eq!(
        variables[4]["type"], "textbox",
        "where browsers reach the prober is for people to say"
    );
    for variable in &variables[1..4] {
        let name = variable["name"].as_str().unwrap();
        assert_eq!(variable["type"], "query", "{name}");
        assert_eq!(variable["datasource"]["uid"], "${datasource}", "{name}");
        assert_eq!(
            (&variable["multi"], &variable["includeAll"]),
            (&true.into(), &true.into()),
            "{name}"
        );
        assert_eq!(variable["allValue"], ".+", "{name}");
        assert_eq!(variable["refresh"], 2, "{name} follows the time range");
        let label = variable["label"].as_str().unwrap();
        assert!(label.starts_with(char::is_uppercase) && label.eq_ignore_ascii_case(name));
        let query = variable["query"].as_str().expect("a text suits every version");
        let inner = query.strip_prefix("label_values(").and_then(|q| q.strip_suffix(')')).unwrap();
        let (series, wanted) = inner.rsplit_once(", ").unwrap();
        assert_eq!(wanted, name);
        assert_eq!(promql::faults(series, &[]), Vec::<String>::new());
    }
}

#[test]
fn every_panel_has_a_title_a_unit_queries_and_the_datasource_variable() {
    let units = ["percentunit", "none", "short", "s", "d", "cps", "reqps", "bool"];
    let board = dashboard();
    assert!(panels(&board).len() >= 10);
    let mut ids = BTreeSet::new();
    for panel in panels(&board) {
        let name = title(&panel);
        assert!(!name.is_empty() && name != "(no title)");
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{name}: id twice");
        let defaults = &panel["fieldConfig"]["defaults"];
        assert!(units.contains(&defaults["unit"].as_str().unwrap_or_default()), "{name}: unit");
        let first_step = &defaults["thresholds"]["steps"][0];
        assert!(first_step.get("value").is_some_and(Value::is_null), "{name}: first threshold");
        let targets = list(&panel["targets"]);
        assert!(!targets.is_empty(), "{name}: no query");
        for holder in targets.iter().chain([&panel]) {
            assert_eq!(holder["datasource"]["uid"], "${datasource}", "{name}");
        }
        let references: BTreeSet<_> =
            targets.iter().map(|t| t["refId"].as_str().unwrap()).collect();
        assert_eq!(references.len(), targets.len(), "{name}: refId twice");
    }
}

#[test]
fn panels_stay_inside_the_grid_and_do_not_overlap() {
    let mut taken = BTreeSet::new();
    for panel in list(&dashboard()["panels"]) {
        let side = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24, "{}", title(&panel));
        for cell in (side("x")..side("x") + side("w"))
            .flat_map(|x| (side("y")..side("y") + side("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert(cell), "{} overlaps at {cell:?}", title(&panel));
        }
    }
}

#[test]
fn what_is_open_fits_three_screens_and_leads_to_the_prober_s_own_pages() {
    let board = dashboard();
    let end = |panel: &Value| {
        let side = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        side("y") + side("h")
    };
    let open = list(&board["panels"]).iter().map(end).max();
    assert!(open <= Some(40), "{open:?} rows of the grid are open");
    let text = board.to_string();
    for link in ["${prober}/runbooks/${__value.text}", "${prober}/#registry-${__value.text}"] {
        assert!(text.contains(link), "{link}");
    }
    let links: Vec<_> = list(&board["links"]).iter().map(|it| it["url"].clone()).collect();
    assert_eq!(links, ["${prober}/", "${prober}/history", "${prober}/runbooks/"]);
    let marks: Vec<_> =
        list(&board["annotations"]["list"]).iter().map(|it| it["name"].clone()).collect();
    assert!(marks.contains(&"Finding opened".into()) && marks.contains(&"Finding closed".into()));
}

/// Where the prober serves its runbooks.
const PAGES: &str = "](${prober}/runbooks/";

#[test]
fn every_description_ends_with_what_to_do_and_a_runbook_that_exists() {
    for panel in panels(&dashboard()) {
        let text = panel["description"].as_str().unwrap_or_default();
        let pages: Vec<_> = text
            .match_indices(PAGES)
            .filter_map(|(at, _)| text[at + PAGES.len()..].split_once(')'))
            .map(|(page, _)| if page.is_empty() { "README" } else { page })
            .collect();
        assert!(!pages.is_empty() && text.ends_with(")."), "{}: {text}", title(&panel));
        for page in pages {
            let file = repository(&format!("deploy/runbooks/{page}.md"));
            assert!(file.is_file(), "{}: {page}", title(&panel));
        }
    }
}

#[test]
fn every_query_follows_the_job_and_instance_chosen() {
    for (panel, query) in queries(&dashboard()) {
        let found = promql::uses(&query);
        assert!(!found.is_empty(), "{panel}: {query}");
        for one in found {
            for matcher in [r#"job=~"$job""#, r#"instance=~"$instance""#] {
                assert!(one.matchers.contains(matcher), "{panel}: {} lacks {matcher}", one.metric);
            }
        }
    }
}

#[test]
fn queries_name_known_metrics_and_rate_counters_over_the_rate_interval() {
    for (panel, query) in queries(&dashboard()) {
        assert_eq!(promql::faults(&query, &[]), Vec::<String>::new(), "{panel}");
        for one in promql::uses(&query) {
            if matches!(one.inside.as_str(), "rate" | "irate") {
                assert_eq!(one.range.as_deref(), Some("$__rate_interval"), "{panel}");
            }
        }
    }
}

#[test]
fn prometheus_can_parse_every_query() {
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (number, (_, query)) in queries(&dashboard()).iter().enumerate() {
        let query = serde_json::to_string(&filled_in(query)).unwrap();
        writeln!(rules, "  - {{record: query_{number}, expr: {query}}}").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queries.yml");
    fs::write(&file, rules).unwrap();
    tool("promtool", &["check", "rules", file.to_str().unwrap()]);
}
