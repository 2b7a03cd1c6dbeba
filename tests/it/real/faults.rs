//! One real node at fault in other ways than its key: stopped, clock, realm, certificate; and a
//! credential that is wrong.

use super::plan::{LIFETIME, NodePlan, Plan};
use super::site::Site;
use super::verdict::expect;

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_registry_is_a_gateway_that_answers_502() {
    let mut site = Site::start(Plan::healthy()).await;
    site.stop_registry(1);
    let b = "server-errors critical proved [b]";
    expect(&site, &[b], &[b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_whose_clock_is_ahead_is_named() {
    let site = Site::start(Plan::with_b(|node| node.issuer_clock = 90)).await;
    let b = "clock-skew-nbf critical proved [b]";
    expect(&site, &[b], &[b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_whose_clock_is_behind_by_more_than_a_token_lives_is_named() {
    let site = Site::start(Plan::with_b(|node| node.issuer_clock = -(LIFETIME + 120))).await;
    let b = "clock-skew-exp critical proved [b]";
    expect(&site, &[b], &[b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_whose_clock_is_off_by_less_than_the_nodes_forgive_fails_nobody() {
    let site = Site::start(Plan::with_b(|node| node.issuer_clock = 40)).await;
    expect(&site, &[], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_the_credential_and_no_node() {
    let mut plan = Plan::healthy();
    plan.password = "wrong horse".to_owned();
    let site = Site::start(plan).await;
    // The prober's own affair: what users see was not measured.
    let all = "credential-refused warning proved []";
    let (_, json) = expect(&site, &[all], &[all]).await;
    assert_eq!(json["status"], "unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_realm_that_leads_elsewhere_is_named_and_no_credentials_go_there() {
    let elsewhere = |node: &mut NodePlan| {
        node.realm = "https://old.registry.invalid/service/token".to_owned();
    };
    let site = Site::start(Plan::with_b(elsewhere)).await;
    let b = "realm-wrong-endpoint critical proved [b]";
    expect(&site, &[b], &[b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_hurts_only_where_the_balancer_passes_it_on() {
    let site = Site::start(Plan::with_b(|node| node.expired = true)).await;
    expect(
        &site,
        &["certificate-invalid warning proved [b]"],
        &["certificate-invalid critical proved [b]"],
    )
    .await;
}
