//! The status page in a real browser: Chromium renders what the running program serves.

use std::fs;
use std::path::Path;

use registry_prober::lab::{Options, Scenario};
use registry_prober::model::Judged;
use registry_prober::web::round_page;
use tempfile::TempDir;

use super::plan::{NGINX, PAIR, Plan};
use super::process::{Process, command};
use super::site::Site;
use crate::operations::repository;
use crate::support::program::{Running, http};
use crate::support::simulated::{Conditions, Simulation, paused};

/// Runs Chromium without a screen on one address, and returns what it writes.
async fn chromium(folder: &Path, what: &str, address: &str) -> String {
    browse(folder, what, &format!("http://{address}/")).await
}

/// The same on any URL.
async fn browse(folder: &Path, what: &str, url: &str) -> String {
    let mut chromium = command("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    chromium.args(["--no-first-run", "--disable-background-networking", "--disable-extensions"]);
    chromium.arg(format!("--user-data-dir={}", folder.join("browser").display()));
    // What desktop programs write belongs to this test as well.
    chromium.env("HOME", folder).env("XDG_CONFIG_HOME", folder).env("XDG_CACHE_HOME", folder);
    chromium.args(["--window-size=1280,2000", what]).arg(url);
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

/// The registry's part of the status page after a simulated round of that many nodes.
fn simulated(scenario: &str, nodes: u32) -> String {
    let scenario = Scenario::named(scenario).unwrap();
    let options = Options { nodes: Some(nodes), ..Options::default() };
    paused(async move {
        let mut world = Simulation::new(&scenario, &options, Conditions::fair(), |_| ());
        let (round, assessment) = world.round().await;
        round_page(&Judged { round, assessment }, 15.0)
    })
}

/// The width of a phone.
const PHONE: u32 = 390;

#[tokio::test(flavor = "multi_thread")]
async fn no_page_is_wider_than_a_phone_however_many_nodes_there_are() {
    let folder = TempDir::new().unwrap();
    let style = fs::read_to_string(repository("src/web/templates/style.css")).unwrap();
    let odd = "token-key-mismatch-odd-one";
    let cases = [("healthy", 3), (odd, 5), (odd, 26), (odd, 40)];
    // Each on a thread of its own, at the same time.
    let parts = cases.map(|(name, nodes)| std::thread::spawn(move || simulated(name, nodes)));
    let cases = parts.map(|part| {
        let part = part.join().unwrap();
        // A frame stands for the window, which is never so narrow.
        let page = format!(
            "<!doctype html><meta name='viewport' content='width=device-width'>\
             <style>{style}</style><main>{part}</main>"
        );
        let page = page.replace('&', "&amp;").replace('"', "&quot;");
        format!("<iframe width='{PHONE}' height='900' srcdoc=\"{page}\"></iframe>")
    });
    let script = "<script>onload = () => { document.title = [...document.querySelectorAll('iframe')]\
                  .map(it => it.contentDocument.documentElement.scrollWidth + ' of ' \
                  + it.contentDocument.querySelectorAll('tr').length).join(', '); }</script>";
    let file = folder.path().join("frames.html");
    fs::write(&file, format!("<!doctype html><title></title>{}{script}", cases.concat())).unwrap();
    let url = format!("file://{}", file.display());
    let document = browse(folder.path(), "--dump-dom", &url).await;
    let title = document.split("<title>").nth(1).and_then(|it| it.split("</title>").next());
    let widths: Vec<(u32, u32)> = title
        .unwrap()
        .split(", ")
        .map(|it| it.split_once(" of ").unwrap())
        .map(|(width, rows)| (width.parse().unwrap(), rows.parse().unwrap()))
        .collect();
    assert_eq!(widths.len(), cases.len(), "{title:?}");
    assert!(widths.iter().all(|(width, rows)| *width <= PHONE && *rows > 5), "{title:?}");
}
