//! Real registries that send clients for blobs to a real store, one that refuses, or nowhere.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::time::Duration;

use registry_prober::model::{BlobWay, Route};
use tempfile::TempDir;

use super::plan::Plan;
use super::process::free_address;
use super::servers::nginx_store;
use super::site::{Seen, Site};
use super::verdict::found_by;

const REDIRECT: &str = "blob-redirect-unreachable critical";

/// The second round of a site that sends clients for blobs to these stores: what the first one
/// pushed is the blob.
async fn seen(folder: &TempDir, stores: [Option<SocketAddr>; 3]) -> Seen {
    let mut plan = Plan::healthy().pushing();
    for (node, store) in plan.nodes.iter_mut().zip(stores) {
        node.store = store;
    }
    let site = Site::start(plan).await;
    // The stores have the files of this site's registries.
    let root = folder.path().join("docker");
    let _ = std::fs::remove_file(&root);
    symlink(site.folder().join("storage/docker"), root).unwrap();
    let mut prober = site.prober();
    site.round(&mut prober).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.round(&mut prober).await
}

/// Where blobs of each backend come from, and what a store answered.
fn ways(seen: &Seen) -> Vec<String> {
    let redirects = seen.round.checks.blob_redirect.measured().expect("a blob was asked for");
    let of = |route: &Route, way: &BlobWay| match way {
        BlobWay::Served => format!("{route}: served"),
        BlobWay::Redirected { fetched, .. } => match fetched.measured() {
            Some(fetched) => format!("{route}: {}", fetched.status),
            None => format!("{route}: no answer"),
        },
    };
    let at = redirects.at.iter();
    at.map(|at| at.value.measured().map_or_else(|| format!("{at:?}"), |way| of(&at.route, way)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_give_what_the_registry_promises_is_named() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    let (_store, store) = nginx_store(root, "store", "", root).await;
    let (_refusing, refusing) = nginx_store(root, "refusing", "deny all;", root).await;
    let (store, refusing, nowhere) = (Some(store), Some(refusing), Some(free_address()));
    for (stores, expected_ways, expected) in [
        ([store, store, None], ["a: 206", "b: 206", "c: served"], vec![]),
        (
            [store, refusing, store],
            ["a: 206", "b: 403", "c: 206"],
            vec![format!("{REDIRECT} proved [b]")],
        ),
        (
            [store, nowhere, None],
            ["a: 206", "b: no answer", "c: served"],
            vec![format!("{REDIRECT} suspected [b]")],
        ),
        (
            [refusing, refusing, refusing],
            ["a: 403", "b: 403", "c: 403"],
            vec![format!("{REDIRECT} proved []")],
        ),
    ] {
        let seen = seen(&folder, stores).await;
        assert_eq!(ways(&seen), expected_ways);
        let findings = &seen.assessment.findings;
        assert_eq!(found_by(&seen.assessment), expected, "{findings:#?}");
    }
}
