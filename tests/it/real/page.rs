//! The status page in a real browser: Chromium renders what the running program serves.

use std::fs;
use std::path::Path;

use super::plan::{NGINX, PAIR, Plan};
use super::process::{Process, command};
use super::site::Site;
use crate::support::program::{Running, http};

/// Runs Chromium without a screen on one address, and returns what it writes.
async fn chromium(folder: &Path, what: &str, address: &str) -> String {
    let mut chromium = command("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    chromium.args(["--no-first-run", "--disable-background-networking", "--disable-extensions"]);
    chromium.arg(format!("--user-data-dir={}", folder.join("browser").display()));
    // What desktop programs write belongs to this test as well.
    chromium.env("HOME", folder).env("XDG_CONFIG_HOME", folder).env("XDG_CACHE_HOME", folder);
    chromium.args(["--window-size=1280,2000", what]).arg(format!("http://{address}/"));
    Process::start(chromium, folder, "chromium").finished().await
}

/// The part of a document that is about one registry.
fn section<'d>(document: &'d str, registry: &str) -> &'d str {
    let marked = |part: &&str| part.starts_with(&format!("id=\"registry-{registry}\""));
    document.split("<section class=\"registry\" ").find(marked).expect("its section")
}

/// The matrix of a section without the balancer: `a: ok critical ok`.
fn matrix(section: &str) -> Vec<String> {
    let (_, table) = section.split_once("<table class=\"matrix\">").expect("a matrix");
    let (table, _) = table.split_once("</table>").expect("its end");
    let rows = table.split("<th scope=\"row\">").skip(1);
    rows.map(|row| {
        let (issuer, cells) = row.split_once('<').expect("cells");
        let cells = cells.split("<td class=\"").skip(1);
        let marks: Vec<&str> = cells.filter_map(|cell| cell.split('"').next()).collect();
        format!("{issuer}: {}", marks[..marks.len() - 1].join(" "))
    })
    .filter(|row| !row.starts_with("lb: "))
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_finding_and_the_matrix() {
    let site = Site::start(Plan { daemon: true, ..Plan::other_key() }).await;
    let (mut prober, address) = Running::daemon(&site.config, &[]);
    prober.log("a finding appeared");
    while http("GET", &address, "/-/ready").0 != 200 {
        std::thread::yield_now();
    }
    let document = chromium(site.folder(), "--dump-dom", &address).await;
    let (broken, well) = (section(&document, NGINX), section(&document, PAIR));
    assert!(broken.contains("<h2>token-key-mismatch</h2>"), "{broken}");
    assert_eq!(
        matrix(broken),
        ["a: ok critical ok", "b: critical ok critical", "c: ok critical ok"]
    );
    assert!(!well.contains("token-key-mismatch"), "{well}");
    assert_eq!(matrix(well), ["a: ok ok", "c: ok ok"]);

    let picture = site.folder().join("page.png");
    let what = format!("--screenshot={}", picture.display());
    chromium(site.folder(), &what, &address).await;
    let picture = fs::read(picture).expect("a picture");
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "{} bytes", picture.len());
}
