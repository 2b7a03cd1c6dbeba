//! What real proxies before real registries do to requests: limits on their size, a header that
//! does not arrive, a scheme or a host that is lost.

use std::net::SocketAddr;
use std::sync::Arc;

use registry_prober::config::{PublicUrl, Registry};
use registry_prober::model::{
    Assessment, BodyLimit, Confidence, FindingName, Outcome, Round, Route, Severity,
};

use super::pki::PUBLIC_HOST;
use super::plan::Plan;
use super::servers::{haproxy_over_http, nginx_balancer_with, nginx_front_with};
use super::site::Site;
use super::verdict::{expect, found_by};
use crate::support;

const MIB: u64 = 1 << 20;

async fn judged(registry: Registry) -> (Round, Assessment) {
    let registry = Arc::new(registry);
    let mut prober = support::prober(&registry);
    support::round(&registry, &mut prober).await
}

fn limit(round: &Round, route: &Route) -> Option<BodyLimit> {
    let routes = round.checks.body_limit.measured()?;
    let found = routes.iter().find(|of| of.route == *route)?;
    match &found.value {
        Outcome::Measured(limit) => Some(*limit),
        other => panic!("{route}: {other:?}"),
    }
}

#[tokio::test]
async fn the_body_limits_of_nginx_and_haproxy_are_found_and_named() {
    let site = Site::start(Plan::healthy()).await;
    let nodes: Vec<SocketAddr> = site.nodes.iter().map(|node| node.address).collect();
    let (folder, certificate) = (site.folder(), &site.certificate);
    let default = "client_max_body_size 1m;";
    let (_nginx, at_nginx) =
        nginx_balancer_with(folder, "nginx-1m", default, &nodes, certificate).await;
    let rule = "http-request deny deny_status 413 if \
                { req.hdr(content-length) -m int gt 104857600 }";
    let (_haproxy, at_haproxy) =
        haproxy_over_http(folder, "haproxy-100m", &[rule], &nodes, certificate).await;
    let (_open, at_open) =
        haproxy_over_http(folder, "haproxy-open", &[], &nodes, certificate).await;

    for (balancer, passes, refused) in [
        (at_nginx, MIB, Some(MIB + 1)),
        (at_haproxy, 100 * MIB, Some(128 * MIB)),
        (at_open, 20 << 30, None),
    ] {
        let (round, assessment) = judged(site.behind(balancer)).await;
        assert_eq!(limit(&round, &Route::Balancer), Some(BodyLimit { passes, refused }));
        for flow in round.flows.iter().filter(|flow| flow.route != Route::Balancer) {
            let unlimited = BodyLimit { passes: 20 << 30, refused: None };
            assert_eq!(limit(&round, &flow.route), Some(unlimited), "{}", flow.route);
        }
        let expected = refused.map(|_| (FindingName::BodySizeLimited, Severity::Critical));
        let found: Vec<_> = assessment.findings.iter().map(|f| (f.finding, f.severity)).collect();
        assert_eq!(found, Vec::from_iter(expected), "{:#?}", assessment.findings);
        assert!(assessment.findings.iter().all(|finding| {
            finding.confidence == Confidence::Proved && finding.backends.is_empty()
        }));
    }
}

/// nginx forgets what an outer level sets once a location sets any header.
const KEEP: &str = "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https;";
const DROP: &str = "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https; \
                    proxy_set_header Authorization '';";
const DROPPED: &str = "authorization-header-dropped critical proved";

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_that_drops_the_authorization_header_is_named() {
    let site = Site::start(Plan::healthy()).await;
    let nodes: Vec<SocketAddr> = site.nodes.iter().map(|node| node.address).collect();
    let (folder, certificate) = (site.folder(), &site.certificate);
    let rule = "http-request del-header Authorization";
    let balancers = [
        nginx_balancer_with(folder, "nginx-drops", DROP, &nodes, certificate).await,
        haproxy_over_http(folder, "haproxy-drops", &[rule], &nodes, certificate).await,
        nginx_balancer_with(folder, "nginx-keeps", KEEP, &nodes, certificate).await,
        haproxy_over_http(folder, "haproxy-keeps", &[], &nodes, certificate).await,
    ];
    for ((_, balancer), expected) in balancers.iter().zip([true, true, false, false]) {
        let (_, assessment) = judged(site.behind(*balancer)).await;
        let expected = Vec::from_iter(expected.then(|| format!("{DROPPED} []")));
        assert_eq!(found_by(&assessment), expected, "{:#?}", assessment.findings);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_proxy_drops_the_authorization_header_is_named() {
    let site = Site::start(Plan::with_b(|node| node.front = DROP)).await;
    let b = format!("{DROPPED} [b]");
    expect(&site, &[&b], &[&b]).await;
    let site = Site::start(Plan::with_b(|node| node.front = KEEP)).await;
    expect(&site, &[], &[]).await;
}

const LOCATION: &str = "upload-location-wrong critical proved";

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_that_ends_tls_and_does_not_say_so_is_named() {
    let site = Site::start(Plan::healthy().pushing()).await;
    let (folder, certificate) = (site.folder(), &site.certificate);
    let [a, ..] = site.nodes.as_slice() else { panic!("no node") };
    let behind = [("/v2/", a.behind), ("= /service/token", a.issuer.address())];
    for (name, directives, is_wrong) in [
        ("told", KEEP, false),
        ("not-told", "proxy_set_header Host $http_host;", true),
        (
            "told-wrong",
            "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto http;",
            true,
        ),
        // What nginx sets of itself: the name of where it passes the request.
        ("no-host", "proxy_set_header X-Forwarded-Proto https;", true),
    ] {
        let (_front, balancer) =
            nginx_front_with(folder, name, directives, &behind, certificate).await;
        let (_, assessment) = judged(site.behind(balancer)).await;
        let expected = Vec::from_iter(is_wrong.then(|| format!("{LOCATION} []")));
        assert_eq!(found_by(&assessment), expected, "{name}: {:#?}", assessment.findings);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_proxy_loses_the_scheme_or_the_host_is_named() {
    for (front, is_wrong) in [
        (KEEP, false),
        ("proxy_set_header Host $http_host;", true),
        ("proxy_set_header X-Forwarded-Proto https;", true),
    ] {
        let site = Site::start(Plan::with_b(|node| node.front = front).pushing()).await;
        let assessment = site.round(&mut site.prober()).await.assessment;
        let expected = Vec::from_iter(is_wrong.then(|| format!("{LOCATION} [b]")));
        assert_eq!(found_by(&assessment), expected, "{front}: {:#?}", assessment.findings);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_lost_on_the_way_is_named() {
    let public = format!("https://{PUBLIC_HOST}:8443");
    let lost = "proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto https;";
    let plan = |b: &'static str| {
        let mut plan = Plan::with_b(|node| node.front = b).pushing();
        for node in &mut plan.nodes {
            node.realm = format!("{public}/service/token");
        }
        plan
    };
    for (at_b, at_balancer, expected) in [
        (KEEP, KEEP, vec![]),
        (lost, KEEP, vec![format!("{LOCATION} [b]")]),
        (KEEP, lost, vec![format!("{LOCATION} []")]),
    ] {
        let site = Site::start(plan(at_b)).await;
        let nodes: Vec<SocketAddr> = site.nodes.iter().map(|node| node.address).collect();
        let (_nginx, balancer) =
            nginx_balancer_with(site.folder(), "balancer", at_balancer, &nodes, &site.certificate)
                .await;
        let mut registry = site.behind(balancer);
        registry.url = PublicUrl::parse(&public).unwrap();
        let (_, assessment) = judged(registry).await;
        assert_eq!(found_by(&assessment), expected, "{:#?}", assessment.findings);
    }
}
