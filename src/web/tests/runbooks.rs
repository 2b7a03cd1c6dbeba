//! The pages of findings and alerts, as a browser asks for them.

use axum::http::StatusCode;

use super::bench;
use crate::findings::Runbook;
use crate::model::{FindingName, Remedy, Severity, sample};

#[tokio::test]
async fn every_page_is_served_and_its_links_lead_to_pages() {
    let bench = bench();
    let (_, index) = bench.get("/runbooks/").await;
    for runbook in Runbook::all() {
        let name = runbook.name();
        assert!(index.contains(&format!("<a href=\"{name}\">{name}</a>")), "{name}");
        let (status, page) = bench.get(&format!("/runbooks/{name}")).await;
        assert_eq!(status, StatusCode::OK, "{name}");
        for part in [&format!("<h1>{name}</h1>"), "<h2>Meaning</h2>", "<h2>Escalate</h2>"] {
            assert!(page.contains(part), "{name}: {part}");
        }
        for forbidden in ["<script", " style=", " onclick", "src=", "<h1>#", ".md\""] {
            assert!(!page.contains(forbidden), "{name}: {forbidden}");
        }
        for link in page.split("<a href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let own = link.ends_with("./") || ["../history", "../runbooks/"].contains(&link);
            let known = own || Runbook::named(link).is_some();
            assert!(known, "{name} links to {link}");
        }
    }
}

#[tokio::test]
async fn where_the_finding_is_now_its_own_commands_come_first() {
    let mut finding = sample::finding(FindingName::TokenKeyMismatch, Severity::Critical, &["c"]);
    let command = "ssh c sha256sum /data/secret/core/private_key.pem";
    let commands = vec![command.to_owned()];
    finding.remedies = vec![Remedy { text: "Compare the keys.".to_owned(), commands }];
    let judged = sample::judged(sample::round(&["a", "c"]), vec![finding]);
    let bench = super::bench_with(sample::snapshot(&[judged]), |_| ());
    let (_, page) = bench.get("/runbooks/token-key-mismatch").await;
    let now =
        page.find("Now at <a href=\"../#registry-main\">main</a>, measured ").expect("where it is");
    assert!(page[now..].contains(command), "{page}");
    assert!(now < page.find("<h2>Meaning</h2>").unwrap(), "above the general words");
    for elsewhere in ["clock-skew-nbf", "RegistryProberStale"] {
        let (_, page) = bench.get(&format!("/runbooks/{elsewhere}")).await;
        assert!(!page.contains("Now at") && !page.contains(command), "{elsewhere}");
    }
}

#[tokio::test]
async fn what_is_no_markup_is_escaped() {
    let (_, page) = bench().get("/runbooks/certificate-invalid").await;
    assert!(page.contains("&lt;/dev/null") && !page.contains("</dev"), "{page}");
}

#[tokio::test]
async fn an_unknown_name_is_answered_with_the_one_that_was_meant() {
    let bench = bench();
    let (status, body) = bench.get("/runbooks/token-key-missmatch").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body.contains("Did you mean token-key-mismatch?"), "{body}");
    let (status, body) = bench.get("/runbooks/%3Cb%3E%1b%0aforged").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body.contains("no page <b>forged.") && body.lines().count() == 1, "{body:?}");
    let (status, _) = bench.get("/runbooks/../metrics").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_link_that_names_the_file_or_forgets_the_slash_leads_there_too() {
    let bench = bench();
    assert_eq!(bench.get("/runbooks/clock-skew-nbf.md").await.0, StatusCode::OK);
    let moved = bench.ask(super::request(axum::http::Method::GET, "/runbooks")).await;
    assert_eq!(moved.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(moved.headers()["location"], "runbooks/");
}
