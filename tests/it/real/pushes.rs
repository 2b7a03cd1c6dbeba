//! Pushing to three real registries: another secret, another storage, read-only; and that many
//! rounds leave nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use registry_prober::model::{BackendName, Confidence, Outcome, Severity};

use super::plan::Plan;
use super::site::{Seen, Site};

/// Rounds after which what is in the storage is counted again: as many as `ROUNDS` in the
/// environment says, or ten.
fn rounds() -> usize {
    std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// Findings of a round as `name severity confidence [backends]`.
fn found(seen: &Seen) -> Vec<String> {
    let above = seen.assessment.findings.iter().filter(|f| f.severity > Severity::Info);
    let line = |finding: &registry_prober::model::Finding| {
        let names: Vec<&str> = finding.backends.iter().map(BackendName::as_str).collect();
        let (severity, confidence) = (finding.severity.as_str(), finding.confidence.as_str());
        format!("{} {severity} {confidence} [{}]", finding.finding, names.join(" "))
    };
    above.map(line).collect()
}

fn evidence(seen: &Seen) -> String {
    let lines = seen.assessment.findings.iter().flat_map(|finding| &finding.evidence);
    let lines: Vec<&str> = lines.map(|fact| fact.text.as_str()).collect();
    format!("{}\n{:#?}\n{:#?}", lines.join("\n"), seen.round.checks.upload, seen.round.checks.push)
}

/// Which pairs let an upload go on: `ab` is an upload of a at b.
fn accepted(seen: &Seen) -> Vec<String> {
    let uploads = seen.round.checks.upload.measured().expect("uploads were made");
    let good = |pair: &&registry_prober::model::OfPair<registry_prober::model::UploadVerdict>| {
        pair.value.measured().is_some_and(|verdict| verdict.accepted())
    };
    let pairs = uploads.pairs.iter().filter(good);
    let mut pairs: Vec<String> =
        pairs.map(|pair| format!("{}{}", pair.issuer, pair.verifier)).collect();
    pairs.sort();
    pairs
}

async fn expect(plan: Plan, expected: &[&str], pairs: &[&str]) -> Seen {
    let site = Site::start(plan.pushing()).await;
    let seen = site.round(&mut site.prober()).await;
    assert_eq!(found(&seen), expected, "{}", evidence(&seen));
    assert_eq!(accepted(&seen), pairs, "{}", evidence(&seen));
    seen
}

const ALL: [&str; 9] = ["aa", "ab", "ac", "ba", "bb", "bc", "ca", "cb", "cc"];
const WITHOUT_B: [&str; 5] = ["aa", "ac", "bb", "ca", "cc"];

#[tokio::test(flavor = "multi_thread")]
async fn another_upload_secret_at_one_node_is_proved_and_every_pair_is_right() {
    let plan = Plan::with_b(|node| node.own_secret = true);
    let b = "http-secret-mismatch critical proved [b]";
    expect(plan, &[b], &WITHOUT_B).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_storage_at_one_node_is_proved_by_uploads_and_by_what_was_pushed() {
    let plan = Plan::with_b(|node| node.own_storage = true);
    let b = "storage-not-shared critical proved [b]";
    let site = Site::start(plan.pushing()).await;
    let mut prober = site.prober();
    let seen = site.round(&mut prober).await;
    assert_eq!(found(&seen), [b], "{}", evidence(&seen));
    assert_eq!(accepted(&seen), WITHOUT_B, "{}", evidence(&seen));
    // By now something was pushed, so that what every node has of it can be compared.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = site.round(&mut prober).await;
    assert_eq!(found(&seen), [b], "{}", evidence(&seen));
    let content = seen.round.checks.content.measured().expect("content was compared");
    let whole = |at: &&registry_prober::model::ContentAt| {
        at.found.measured().is_some_and(|found| content.is_whole(found))
    };
    let whole: Vec<&str> = content.at.iter().filter(whole).map(|at| at.backend.as_str()).collect();
    assert_eq!(whole, ["a", "c"], "{content:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_node_is_named() {
    let plan = Plan::with_b(|node| node.read_only = true);
    let site = Site::start(plan.pushing()).await;
    let seen = site.round(&mut site.prober()).await;
    let b = "read-only-mode critical proved [b]";
    assert_eq!(found(&seen), [b], "{}", evidence(&seen));
    assert_eq!(seen.assessment.findings[0].confidence, Confidence::Proved);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rounds_leave_no_upload_and_no_more_than_the_first_behind() {
    let site = Site::start(Plan::healthy().pushing()).await;
    let mut prober = site.prober();
    let first = site.round(&mut prober).await;
    assert_eq!(found(&first), Vec::<String>::new(), "{}", evidence(&first));
    assert_eq!(accepted(&first), ALL, "{}", evidence(&first));
    let before = count(&site.folder().join("storage"));
    let rounds = rounds();
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let seen = site.round(&mut prober).await;
        assert_eq!(found(&seen), Vec::<String>::new(), "{}", evidence(&seen));
        let pushed = &seen.round.checks.push;
        assert!(pushed.at > first.round.checks.push.at, "it was made anew");
        let complete = |by: &registry_prober::model::OfRoute<registry_prober::model::PushRun>| matches!(&by.value, Outcome::Measured(run) if run.failed.is_none());
        assert!(pushed.measured().unwrap().by.iter().all(complete), "{pushed:#?}");
    }
    let after = count(&site.folder().join("storage"));
    println!("before {before:?}\nafter {rounds} rounds {after:?}");
    assert_eq!(before, after);
    assert_eq!(before.get("uploads").copied().unwrap_or_default(), 0, "uploads are ended");
}

/// How many uploads, blobs, manifests and tags a storage holds.
fn count(storage: &Path) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    let mut folders = vec![storage.to_owned()];
    while let Some(folder) = folders.pop() {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let entries: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let kind = match name.as_str() {
            "_uploads" => Some("uploads"),
            "tags" => Some("tags"),
            "revisions" => Some("revisions"),
            _ => None,
        };
        if let Some(kind) = kind {
            let inside = |path: &Path| match kind {
                "revisions" => fs::read_dir(path).map_or(0, Iterator::count),
                _ => 1,
            };
            *counts.entry(kind).or_default() += entries.iter().map(|p| inside(p)).sum::<usize>();
        }
        let data = entries.iter().filter(|path| path.ends_with("data") && path.is_file()).count();
        *counts.entry("blobs").or_default() += data;
        folders.extend(entries.into_iter().filter(|path| path.is_dir()));
    }
    counts
}
