//! What real proxies before real registries do to requests: limits on their size.

use std::net::SocketAddr;
use std::sync::Arc;

use registry_prober::config::Registry;
use registry_prober::model::{
    Assessment, BodyLimit, Confidence, FindingName, Outcome, Round, Route, Severity,
};

use super::plan::Plan;
use super::servers::{haproxy_over_http, nginx_balancer_with};
use super::site::Site;
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
        let expected = refused.map(|_| (FindingName::BodySize413, Severity::Critical));
        let found: Vec<_> = assessment.findings.iter().map(|f| (f.finding, f.severity)).collect();
        assert_eq!(found, Vec::from_iter(expected), "{:#?}", assessment.findings);
        assert!(assessment.findings.iter().all(|finding| {
            finding.confidence == Confidence::Proved && finding.backends.is_empty()
        }));
    }
}
