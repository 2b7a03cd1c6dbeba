//! Pods that speak plain http behind an ingress that ends TLS, as those of Harbor's chart do: the
//! prober asks each of them as the ingress does.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;
use registry_prober::config::{Backend, BackendSource, HostPort, Scheme};
use registry_prober::model::{BackendName, Flow, Route, Status};

use super::pki::PUBLIC_HOST;
use super::plan::{NODES, Plan};
use super::process::Process;
use super::servers::{nginx_ingress, nginx_pod};
use super::site::Site;
use super::verdict::found_by;
use crate::support;

/// What is found with three pods that send whoever did not come by https there, and that know no
/// host but the public one; and the status.
async fn judged(plan: Plan) -> (Vec<String>, Status) {
    let directives = format!(
        "if ($http_x_forwarded_proto != https) {{ return 308 https://$http_host$request_uri; }} \
         if ($host != {PUBLIC_HOST}) {{ return 404; }}"
    );
    let directives = &directives;
    let site = Site::start(plan).await;
    let folder = site.folder();
    let each = site.nodes.iter().zip(NODES).map(|(node, name)| async move {
        let locations = [("/v2/", node.behind), ("= /service/token", node.issuer.address())];
        nginx_pod(folder, &format!("pod-{name}"), directives, &locations).await
    });
    let pods: Vec<(Process, SocketAddr)> = join_all(each).await;
    let addresses: Vec<SocketAddr> = pods.iter().map(|(_, address)| *address).collect();
    let (_ingress, at) = nginx_ingress(folder, "ingress", &addresses, &site.certificate).await;
    let mut registry = site.behind(at);
    registry.allow_plaintext = true;
    let backend = |(name, address): (&str, &SocketAddr)| Backend {
        name: BackendName::parse(name).unwrap(),
        scheme: Scheme::Http,
        address: HostPort::parse(&address.to_string(), 80).unwrap(),
        ready: true,
    };
    registry.backends =
        BackendSource::Static(NODES.into_iter().zip(&addresses).map(backend).collect());
    let registry = Arc::new(registry);
    let mut prober = support::prober(&registry);
    let (round, assessment) = support::round(&registry, &mut prober).await;
    let mut direct = round.flows.iter().filter(|flow| flow.route != Route::Balancer);
    assert!(direct.all(Flow::succeeded), "{:#?}", round.flows);
    (found_by(&assessment), assessment.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_pods_behind_an_ingress_that_ends_tls_are_asked_as_the_ingress_asks_them() {
    let (found, status) = judged(Plan::healthy()).await;
    assert_eq!((found, status), (Vec::new(), Status::Ok));
    let (found, status) = judged(Plan::other_key()).await;
    assert_eq!(found, ["token-key-mismatch critical proved [b]"]);
    assert_eq!(status, Status::Critical);
}
