//! The OpenMetrics page read by a checker that shares nothing with what wrote it.

use std::collections::BTreeMap;

use super::{Bench, OPENMETRICS, rich};
use crate::model::sample;

#[test]
fn openmetrics_obeys_its_own_grammar() {
    let bench = Bench::new(sample::fresh_snapshot(&["a", "b"]));
    bench.finish(&[rich()]);
    let (content_type, body) = bench.metrics.render(Some(OPENMETRICS));
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let page = String::from_utf8(body).unwrap();
    let kinds = check_openmetrics(&page).unwrap();
    assert_eq!(kinds["registry_prober_flows"], "counter");
    assert_eq!(kinds["registry_prober_step_duration_seconds"], "histogram");
    assert!(page.contains(",le=\"1.0\"}") && page.contains(",le=\"0.005\"}"));
    assert!(!page.contains("le=\"1\"") && page.contains("le=\"+Inf\""));
    assert!(bench.text().contains("le=\"1\""));

    for (break_it, into) in [
        ("# EOF\n", ""),
        ("# TYPE registry_prober_flows counter", "# TYPE registry_prober_flows_total counter"),
        ("registry_prober_flows_total{", "registry_prober_flows{"),
        ("le=\"1.0\"", "le=\"1\""),
        ("# TYPE registry_prober_flow_success gauge\n", ""),
    ] {
        assert!(page.contains(break_it), "{break_it}");
        assert!(check_openmetrics(&page.replace(break_it, into)).is_err(), "{break_it}");
    }
}

/// Reads a page by the rules of OpenMetrics 1.0.0 that matter here; the types by family.
fn check_openmetrics(page: &str) -> Result<BTreeMap<String, String>, String> {
    let body = page.strip_suffix("# EOF\n").ok_or("no EOF")?;
    let mut kinds: BTreeMap<String, String> = BTreeMap::new();
    let (mut family, mut kind) = (String::new(), String::new());
    for line in body.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", name, help] => {
                (family, kind) = ((*name).to_owned(), String::new());
                if help.is_empty() || help.contains('"') || family.ends_with("_total") {
                    return Err(format!("help: {line}"));
                }
            }
            ["#", "TYPE", name, of] => {
                kind = (*of).to_owned();
                if family != *name || kinds.insert(family.clone(), kind.clone()).is_some() {
                    return Err(format!("type: {line}"));
                }
            }
            _ => {
                let suffix = line
                    .strip_prefix(family.as_str())
                    .and_then(|rest| rest.split(['{', ' ']).next())
                    .ok_or_else(|| format!("not of {family}: {line}"))?;
                let allowed: &[&str] = match kind.as_str() {
                    "counter" => &["_total"],
                    "gauge" => &[""],
                    "histogram" => &["_bucket", "_sum", "_count"],
                    _ => &[],
                };
                let value = line.rsplit_once(' ').and_then(|(_, text)| text.parse::<f64>().ok());
                let bound = line.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
                let canonical = bound.is_none_or(|bound| bound == "+Inf" || bound.contains('.'));
                if !allowed.contains(&suffix) || value.is_none() || !canonical {
                    return Err(format!("sample: {line}"));
                }
            }
        }
    }
    Ok(kinds)
}
