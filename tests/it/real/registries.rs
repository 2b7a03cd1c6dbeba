//! Three real registries that agree, and three of which one has another key: verdict, matrix and
//! the 401 ratio through strict round robin.

use registry_prober::model::{Cell, ClientKind, Issuer};
use serde_json::Value;

use super::plan::{HAPROXY, NGINX, NODES, Plan};
use super::site::Site;
use super::verdict::expect;

const KEY_OF_B: &str = "token-key-mismatch critical proved [b]";

/// The rows of a matrix without the balancer: `a: accepted refused accepted`.
fn rows<'a>(result: impl Fn(&str, &str) -> Option<&'a str>) -> Vec<String> {
    let row = |issuer: &str| {
        let cells = NODES.map(|verifier| result(issuer, verifier).unwrap_or("none"));
        format!("{issuer}: {}", cells.join(" "))
    };
    NODES.into_iter().map(row).collect()
}

fn rows_of_cells(cells: &[Cell]) -> Vec<String> {
    rows(|issuer, verifier| {
        let backend = |cell: &Cell| match &cell.issuer {
            Issuer::Route(route) => route.backend().is_some_and(|name| name.as_str() == issuer),
            Issuer::Server(_) => false,
        };
        let mut fitting = cells.iter().filter(|cell| cell.verifier.as_str() == verifier);
        fitting.find(|cell| backend(cell)).map(|cell| cell.result.as_str())
    })
}

fn rows_of_json(registry: &Value) -> Vec<String> {
    let cells = registry["matrix"].as_array().expect("a matrix");
    rows(|issuer, verifier| {
        let fits = |cell: &&Value| cell["issuer"] == issuer && cell["verifier"] == verifier;
        cells.iter().find(fits)?["result"].as_str()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_site_has_no_finding_at_all() {
    let site = Site::start(Plan::healthy()).await;
    let (seen, json) = expect(&site, &[], &[]).await;
    assert_eq!(json["status"], "ok");
    for seen in seen {
        let all = NODES.map(|name| format!("{name}: accepted accepted accepted"));
        assert_eq!(rows_of_cells(&seen.round.matrix.cells), all);
        let run = seen.round.balancer.measured().expect("the balancer was sampled");
        let text = format!("{}: {:?}", seen.through, run.pairs);
        assert!(run.pairs.trials > 0 && run.pairs.events == 0 && run.lost() == 0, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_at_one_node_is_proved_and_every_cell_is_right() {
    let site = Site::start(Plan::other_key()).await;
    let (seen, json) = expect(&site, &[KEY_OF_B], &[KEY_OF_B]).await;
    let right = [
        "a: accepted refused accepted",
        "b: refused accepted refused",
        "c: accepted refused accepted",
    ];
    for seen in seen {
        assert_eq!(rows_of_cells(&seen.round.matrix.cells), right, "through {}", seen.through);
    }
    for registry in json["registries"].as_array().expect("registries") {
        assert_eq!(rows_of_json(registry), right, "{registry:#}");
    }
}

/// Seen alone, so that round robin is strict. One interval of twenty misses by its nature, so a
/// miss is measured again; a wrong prediction would miss again and again.
#[tokio::test(flavor = "multi_thread")]
async fn the_ratio_that_the_matrix_predicts_lies_in_the_interval_measured_by_round_robin() {
    let site = Site::start(Plan::other_key()).await;
    let mut open = vec![NGINX, HAPROXY];
    let mut missed = Vec::new();
    for _ in 0..3 {
        for seen in site.rounds().await {
            let run = seen.round.balancer.measured().expect("the balancer was sampled");
            let expected = seen.assessment.expected_unauthorized.expect("a prediction");
            let (low, high) = seen.assessment.unauthorized_interval.expect("an interval");
            let text = format!("{}: {expected} in {low} to {high}, {run:?}", seen.through);
            assert_eq!(run.lost(), 0, "{text}");
            // Four of nine pairs refuse; the shares that were measured may differ a little.
            assert!((expected - 4.0 / 9.0).abs() < 0.15, "{text}");
            // nginx deals out requests: of three nodes in a row, b issues or verifies in two cases
            // of three. HAProxy deals out connections: a client that keeps its own stays at one
            // node, unless it had to open another.
            let kept = run.clients.iter().find(|run| run.client == ClientKind::Podman);
            let kept = kept.expect("flows that keep their connection").logins;
            if seen.through == NGINX {
                assert!(kept.events > 0, "{text}");
            } else {
                assert!(kept.events * 3 <= kept.trials, "{text}");
            }
            if low <= expected && expected <= high {
                open.retain(|name| *name != seen.through);
            } else {
                missed.push(text);
            }
        }
        if open.is_empty() {
            return;
        }
    }
    panic!("three times in a row: {missed:#?}");
}
