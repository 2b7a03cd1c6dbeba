//! Backends of a Service as the API server tells them: what comes, changes, goes, and what is said
//! while it cannot be asked.

use registry_prober::config::{
    BackendSource, KubernetesSource, PublicUrl, Registry, Scheme, ServicePort,
};
use registry_prober::discovery::Finder;
use registry_prober::model::RegistryName;
use registry_prober::transport::{Api, ApiError, Tls};
use serde_json::{Value, json};

use super::server::{ADMIN, PROBER, Server, tools};
use crate::support::eventually;

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/harbor/endpointslices";

fn finder(server: &Server, token: &str) -> Finder {
    let source = KubernetesSource {
        namespace: Some("harbor".to_owned()),
        service: "harbor-core".to_owned(),
        port: Some(ServicePort::Name("http-web".to_owned())),
        scheme: Scheme::Http,
        kubeconfig: Some(server.kubeconfig(token)),
    };
    Finder::new(&Registry::new(
        RegistryName::parse("main").unwrap(),
        PublicUrl::parse("https://hub.example.com").unwrap(),
        BackendSource::Kubernetes(source),
    ))
}

fn slice(name: &str, endpoints: &[Value]) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "harbor",
                     "labels": {"kubernetes.io/service-name": "harbor-core"}},
        "addressType": "IPv4",
        "ports": [{"name": "http-web", "port": 8080}, {"name": "metrics", "port": 8001}],
        "endpoints": endpoints,
    })
}

fn pod(n: u32, conditions: &Value) -> Value {
    let address = format!("10.1.{}.{}", n / 250, n % 250 + 1);
    json!({"addresses": [address], "conditions": conditions,
           "targetRef": {"kind": "Pod", "namespace": "harbor", "name": format!("core-{n}")}})
}

fn ready(n: u32) -> Value {
    pod(n, &json!({"ready": true, "serving": true, "terminating": false}))
}

/// The backends in short, or what is said instead.
async fn found(finder: &Finder) -> String {
    match finder.find().await {
        Err(error) => error.to_string(),
        Ok(found) => {
            let name = |b: &registry_prober::config::Backend| {
                format!("{}{}", b.name, if b.ready { "" } else { " not ready" })
            };
            found.iter().map(name).collect::<Vec<_>>().join(", ")
        }
    }
}

async fn becomes(finder: &Finder, expected: &str) {
    let same = async || found(finder).await == expected;
    eventually(expected, same).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_follow_the_slices_of_a_service_through_changes_and_outages() {
    let Some(tools) = tools() else { return };
    let mut server = Server::start(&tools).await;
    server.namespace("harbor").await;
    let finder = finder(&server, ADMIN);
    let said = found(&finder).await;
    assert!(
        said.ends_with(
            "Service harbor/harbor-core: has no EndpointSlice; check namespace and service"
        ),
        "{said}"
    );

    server.create(SLICES, &slice("one", &[ready(1), ready(2)]).to_string()).await;
    becomes(&finder, "core-1, core-2").await;
    let backends = finder.find().await.unwrap();
    assert_eq!(backends[0].address.to_string(), "10.1.0.2:8080");
    server.create(SLICES, &slice("two", &[ready(3)]).to_string()).await;
    becomes(&finder, "core-1, core-2, core-3").await;
    let starts = pod(1, &json!({"ready": false, "serving": false}));
    let ends = pod(2, &json!({"ready": false, "serving": true, "terminating": true}));
    server.replace(&format!("{SLICES}/one"), &slice("one", &[starts, ends])).await;
    becomes(&finder, "core-1 not ready, core-3").await;
    server.delete(&format!("{SLICES}/one")).await;
    becomes(&finder, "core-3").await;

    server.down();
    eventually("the outage is said", async || {
        let said = found(&finder).await;
        said.contains("Service harbor/harbor-core: the API server: ")
    })
    .await;
    server.up().await;
    becomes(&finder, "core-3").await;
    server.create(SLICES, &slice("three", &[ready(4)]).to_string()).await;
    becomes(&finder, "core-3, core-4").await;

    for part in 0..10 {
        let pods = if part == 9 { 98 } else { 100 };
        let pods: Vec<Value> = (0..pods).map(|n| ready(100 + part * 100 + n)).collect();
        server.create(SLICES, &slice(&format!("part-{part}"), &pods).to_string()).await;
    }
    let all = async || finder.find().await.is_ok_and(|found| found.len() == 1000);
    eventually("a thousand backends", all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_slices_is_told_which_role_is_missing() {
    let Some(tools) = tools() else { return };
    let server = Server::start(&tools).await;
    server.namespace("harbor").await;
    server.create(SLICES, &slice("one", &[ready(1)]).to_string()).await;
    let refused = finder(&server, PROBER);
    let said = found(&refused).await;
    assert!(
        said.contains("the API server answers 403: endpointslices.discovery.k8s.io is forbidden"),
        "{said}"
    );
    assert!(said.contains("a Role must allow list and watch of endpointslices"), "{said}");
    assert!(!said.contains(PROBER), "{said}");
    let stranger = found(&finder(&server, "nobody-knows-it")).await;
    assert!(stranger.contains("answers 401"), "{stranger}");
    assert!(!stranger.contains("nobody-knows-it"), "{stranger}");

    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/harbor";
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "prober"},
        "rules": [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"],
                   "verbs": ["get", "list", "watch"]}]});
    server.create(&format!("{rbac}/roles"), &role.to_string()).await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "prober"},
        "subjects": [{"kind": "User", "name": "prober", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "Role", "name": "prober", "apiGroup": "rbac.authorization.k8s.io"}});
    server.create(&format!("{rbac}/rolebindings"), &binding.to_string()).await;
    becomes(&refused, "core-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_too_old_is_answered_with_410() {
    let Some(tools) = tools() else { return };
    let mut server = Server::start(&tools).await;
    server.namespace("harbor").await;
    for n in 1..4 {
        server.create(SLICES, &slice(&format!("s{n}"), &[ready(n)]).to_string()).await;
    }
    let list = server.get(SLICES).await.unwrap();
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    server.down();
    let compact = format!("http://{}/v3/kv/compaction", server.etcd_at);
    let body = format!("{{\"revision\": \"{revision}\", \"physical\": true}}");
    let compacted = reqwest::Client::builder().no_proxy().build().unwrap();
    let compacted = compacted.post(compact).body(body).send().await.unwrap();
    assert_eq!(compacted.status(), 200);
    server.up().await;
    let access = registry_prober::config::cluster_access(Some(&server.kubeconfig(ADMIN))).unwrap();
    let tls = Tls::only(&access.ca.unwrap(), None).unwrap();
    let api = Api::new(&access.server, &tls, access.token.as_ref(), "test").unwrap();
    let within = std::time::Duration::from_secs(20);
    let watch = format!("{SLICES}?watch=true&resourceVersion=2");
    // Either form makes discovery list again.
    match api.lines(&watch, within).await {
        Err(ApiError::Refused { status, .. }) => assert_eq!(status, 410),
        Err(other) => panic!("{other}"),
        Ok(mut lines) => {
            let line = lines.next().await.unwrap().expect("an event");
            let event: Value = serde_json::from_slice(&line).unwrap();
            assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
        }
    }
}
