//! What the pages of the past say.

use chrono::TimeDelta;

use super::{bench_with, healthy};
use crate::model::{
    FindingName, Incident, KeptRounds, RoundLine, Severity, ShownRound, Status, UserShare, sample,
};
use crate::web::round_page;

/// A past of a test.
#[derive(Default, Clone)]
pub(super) struct Remembered {
    pub(super) incidents: Vec<Incident>,
    pub(super) rounds: Vec<RoundLine>,
    pub(super) kept: Vec<(String, Result<ShownRound, String>)>,
}

fn incident() -> Incident {
    let opened = sample::started() - TimeDelta::minutes(40);
    Incident {
        registry: "main".to_owned(),
        finding: FindingName::TokenKeyMismatch.as_str().to_owned(),
        backends: vec!["c".to_owned()],
        severity: Severity::Critical,
        summary: "c signs with another key than a and b <b>".to_owned(),
        effect: "Fresh tokens are refused.".to_owned(),
        users: vec![UserShare { kind: "independent flows".to_owned(), failed: 9, of: 20 }],
        opened,
        closed: Some(opened + TimeDelta::minutes(25)),
        returned: 2,
        lasting: Vec::new(),
        backends_at_worst: 1,
        longest_seconds: 900,
        note: Some("Like a restart: c was away for at most 30 s.".to_owned()),
        rounds: KeptRounds {
            opening: "main-1".to_owned(),
            worst: "main-2".to_owned(),
            closing: Some("main-3".to_owned()),
        },
    }
}

fn remembered() -> Remembered {
    let found = sample::finding(FindingName::TokenKeyMismatch, Severity::Critical, &["b"]);
    let judged = sample::judged(sample::round(&["a", "b"]), vec![found]);
    let shown = ShownRound {
        page: round_page(&judged, 15.0),
        document: serde_json::json!({ "name": "main" }),
    };
    let line = RoundLine {
        id: "main-4".to_owned(),
        registry: "main".to_owned(),
        started: sample::started(),
        status: Status::Critical,
        findings: vec!["token-key-mismatch".to_owned()],
    };
    Remembered {
        incidents: vec![incident()],
        rounds: vec![line],
        kept: vec![
            ("main-2".to_owned(), Ok(shown)),
            ("main-3".to_owned(), Err("main-3.json.gz: unexpected end of file".to_owned())),
        ],
    }
}

fn bench(past: Remembered) -> super::Bench {
    bench_with(sample::snapshot(&[healthy()]), |program| program.past = past)
}

#[tokio::test]
async fn the_history_says_what_was_wrong_how_long_and_for_how_many_and_leads_to_its_rounds() {
    let (status, page) = bench(remembered()).get("/history").await;
    assert_eq!(status, 200);
    let page = page.replace('\u{a0}', " ");
    for text in [
        "critical",
        "<a href=\"runbooks/token-key-mismatch\">",
        "at c",
        "c signs with another key than a and b &#60;b&#62;",
        "Like a restart: c was away for at most 30 s.",
        "25 min",
        "came back 2&nbsp;×",
        "45 % of independent flows (9 of 20)",
        "<a href=\"rounds/main-1\">beginning</a>",
        "<a href=\"rounds/main-2\">worst</a>",
        "<a href=\"rounds/main-3\">end</a>",
        "<a href=\"rounds/main-4\">",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let (_, empty) = bench(Remembered::default()).get("/history").await;
    assert!(empty.contains("No incident is known."), "{empty}");
}

#[tokio::test]
async fn a_kept_round_is_the_status_page_of_then_and_its_links_lead_on() {
    let bench = bench(remembered());
    let (status, page) = bench.get("/rounds/main-2").await;
    assert_eq!(status, 200);
    for text in [
        "as it was in an earlier round",
        "Who accepts whose tokens",
        "href=\"../runbooks/token-key-mismatch\"",
        "Time of each request",
        "href=\"../style.css\"",
        "href=\"../api/v1/rounds/main-2\"",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("http-equiv"), "what was does not change");
    let (_, json) = bench.get("/api/v1/rounds/main-2").await;
    assert_eq!(json, r#"{"name":"main"}"#);
    let (status, text) = bench.get("/rounds/main-3").await;
    assert_eq!(status, 500);
    assert!(text.contains("main-3.json.gz: unexpected end of file"), "{text}");
    let (status, text) = bench.get("/rounds/..%2F..%2Fetc%2Fpasswd").await;
    assert_eq!(status, 404);
    assert!(text.contains("/history lists the rounds that are"), "{text}");
}

#[tokio::test]
async fn a_registry_that_is_well_again_says_what_was_wrong_last() {
    let (_, page) = bench(remembered()).get("/").await;
    let page = page.replace('\u{a0}', " ");
    let line = "Last incident: <a href=\"history\">token-key-mismatch at c, ";
    assert!(page.contains(line) && page.contains("(25 min)</a>"), "{page}");
    let mut long_ago = remembered();
    long_ago.incidents[0].closed = Some(sample::started() - TimeDelta::days(2));
    let (_, page) = bench(long_ago).get("/").await;
    assert!(!page.contains("Last incident"), "{page}");
}

#[tokio::test]
async fn the_api_gives_incidents_and_rounds_as_they_are() {
    let bench = bench(remembered());
    let (_, text) = bench.get("/api/v1/incidents").await;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["incidents"][0], serde_json::to_value(incident()).unwrap());
    let (_, text) = bench.get("/api/v1/rounds").await;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["rounds"][0]["id"], "main-4");
}
