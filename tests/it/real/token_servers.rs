//! Ways to a token: OAuth2 POST, and a token server with an authority of its own, allowed and not.

use super::plan::{Plan, TokenServer};
use super::site::Site;
use super::verdict::expect;

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_had_by_oauth2_post() {
    let site = Site::start(Plan::healthy().and("token_method: post")).await;
    expect(&site, &[], &[]).await;
    for node in &site.nodes {
        assert!(node.issuer.requests_with_credentials() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_server_of_its_own_is_used_if_it_is_allowed() {
    let site = Site::start(Plan::with_token_server(TokenServer::Allowed)).await;
    let (seen, _) = expect(&site, &[], &[]).await;
    let server = site.token_server.as_ref().expect("the server");
    assert!(server.issuer.requests_with_credentials() > 0);
    for seen in seen {
        let issuers: Vec<&str> =
            seen.round.matrix.issuers().iter().map(|issuer| issuer.as_str()).collect();
        assert_eq!(issuers, [server.address.to_string()], "the one issuer of the matrix");
    }
    for node in &site.nodes {
        assert_eq!(node.issuer.requests(), 0, "the nodes' own issuers are not asked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_server_that_is_not_listed_gets_no_credentials() {
    let site = Site::start(Plan::with_token_server(TokenServer::Unlisted)).await;
    // Every route agrees, so it may well be the right one: the prober is not allowed to ask it.
    let all = "realm-wrong-endpoint warning proved []";
    expect(&site, &[all], &[all]).await;
    let server = site.token_server.as_ref().expect("the server");
    assert_eq!(server.issuer.requests(), 0);
}
