//! distribution 3.1.1 next to 2.8.2 with one token server: each looks keys up by an id of its own
//! kind, so that either kind fails some node; a token that carries its certificate suits both.

use std::env;

use registry_prober::lab::KidForm;
use registry_prober::model::Family;

use super::plan::{Plan, TokenServer, Version};
use super::servers::distribution_3;
use super::site::Site;
use super::verdict::expect;

/// The upgrade that stopped half-way is reported either way.
const VERSIONS: &str = "mixed-versions warning proved [c]";

/// Three nodes of which the third runs distribution 3; none if it could not be
/// built, which tests/run says.
async fn site(kid_form: KidForm) -> Option<Site> {
    let program = distribution_3();
    if !program.is_file() {
        let text = format!("{} is missing: tests/run builds it", program.display());
        let accepted = env::var_os("WITHOUT_DISTRIBUTION_3").is_some();
        assert!(accepted || env::var_os("CI").is_none(), "{text}");
        eprintln!("{text}; left out");
        return None;
    }
    let mut plan = Plan::with_token_server(TokenServer::Allowed);
    plan.nodes[2].version = Version::Three;
    plan.kid_form = kid_form;
    Some(Site::start(plan).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_id_of_libtrust_fails_the_node_that_wants_thumbprints() {
    let Some(site) = site(KidForm::Libtrust).await else { return };
    let c = "key-id-format-mismatch critical proved [c]";
    expect(&site, &[c], &[c]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thumbprint_fails_the_nodes_that_want_key_ids_of_libtrust() {
    let Some(site) = site(KidForm::Thumbprint).await else { return };
    let a_and_b = "key-id-format-mismatch critical proved [a b]";
    expect(&site, &[a_and_b], &[a_and_b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_carries_its_certificate_suits_both() {
    let Some(site) = site(KidForm::WithCertificate).await else { return };
    let (seen, _) = expect(&site, &[VERSIONS], &[VERSIONS]).await;
    for seen in seen {
        let families: Vec<Family> = seen.round.backends.iter().map(|facts| facts.family).collect();
        let two = Family::Distribution2;
        assert_eq!(families, [two, two, Family::Distribution3], "through {}", seen.through);
        assert_eq!(seen.round.matrix.refused().count(), 0, "through {}", seen.through);
    }
}
