//! What is compared: the findings of a site, by the library and by the program, through each
//! balancer.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use registry_prober::model::{Assessment, BackendName};
use serde_json::Value;

use super::plan::{HAPROXY, NGINX};
use super::site::{Seen, Site};

/// Findings as `name severity confidence [backends]`.
pub(crate) type Found = Vec<String>;

/// Judges a site by the library and by `check --output=json`, which must agree with each other
/// and with what is expected through nginx and through `HAProxy`, and returns both.
pub(crate) async fn expect(site: &Site, nginx: &[&str], haproxy: &[&str]) -> (Vec<Seen>, Value) {
    let (seen, (code, json)) = futures_util::future::join(site.rounds(), site.check()).await;
    let expected: BTreeMap<String, Found> = [(NGINX, nginx), (HAPROXY, haproxy)]
        .map(|(through, lines)| {
            let mut lines: Found = lines.iter().map(ToString::to_string).collect();
            lines.sort();
            (through.to_owned(), lines)
        })
        .into();
    let by_library: BTreeMap<String, Found> =
        seen.iter().map(|seen| (seen.through.clone(), found_by(&seen.assessment))).collect();
    let sketch: String = seen.iter().map(sketch).collect();
    assert_eq!(by_library, expected, "by the library:\n{sketch}");
    assert_eq!(found_in(&json), expected, "by the program: {json:#}");
    let worst =
        |word: &str| expected.values().flatten().any(|line| line.split(' ').nth(1) == Some(word));
    let due = match json["status"].as_str() {
        _ if worst("critical") => 2,
        Some("unknown") => 3,
        _ => i32::from(worst("warning")),
    };
    assert_eq!(code, Some(due), "the exit code");
    (seen, json)
}

fn line<'a>(
    name: &str,
    severity: &str,
    confidence: &str,
    backends: impl Iterator<Item = &'a str>,
) -> String {
    let backends: Vec<&str> = backends.collect();
    format!("{name} {severity} {confidence} [{}]", backends.join(" "))
}

/// Every finding of a verdict.
pub(crate) fn found_by(assessment: &Assessment) -> Found {
    let findings = assessment.findings.iter();
    let mut lines: Found = findings
        .map(|one| {
            let backends = one.backends.iter().map(BackendName::as_str);
            let (severity, confidence) = (one.severity.as_str(), one.confidence.as_str());
            line(one.finding.as_str(), severity, confidence, backends)
        })
        .collect();
    lines.sort();
    lines
}

fn found_in(json: &Value) -> BTreeMap<String, Found> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let registries = list(&json["registries"]).into_iter();
    registries
        .map(|registry| {
            let mut lines: Found = list(&registry["findings"])
                .iter()
                .map(|one| {
                    let backends = list(&one["backends"]);
                    let [name, severity, confidence] =
                        ["finding", "severity", "confidence"].map(|key| text(&one[key]));
                    let backends = backends.iter().filter_map(Value::as_str);
                    line(&name, &severity, &confidence, backends)
                })
                .collect();
            lines.sort();
            (text(&registry["name"]), lines)
        })
        .collect()
}

/// Enough of a round to see why a verdict is what it is.
fn sketch(seen: &Seen) -> String {
    let round = &seen.round;
    let mut text = format!("{}:\n", seen.through);
    for flow in &round.flows {
        let end = flow.failure().map_or("ok".to_owned(), |(s, f)| format!("{} {f}", s.as_str()));
        let _ = writeln!(text, "    {}: {end}", flow.route);
    }
    for cell in round.matrix.cells.iter().filter(|cell| cell.accepted() != Some(true)) {
        let healed = cell.refusal().and_then(|refusal| refusal.healed_after);
        let result = cell.result.as_str();
        let _ = writeln!(text, "    {}>{} {result} {healed:?}", cell.issuer, cell.verifier);
    }
    for clock in &round.clocks {
        let _ = writeln!(text, "    {clock:?}");
    }
    let _ = writeln!(text, "    {:?}", round.balancer);
    for finding in &seen.assessment.findings {
        let _ = writeln!(text, "    {}: {:?}", finding.finding, finding.evidence);
    }
    text
}
