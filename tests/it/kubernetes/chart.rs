//! The Helm chart: accepted by Helm's linter, by the API server with the monitoring CRDs, and by the
//! prober whose configuration it writes. Its Role is enough for discovery.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use registry_prober::config::{BackendSource, KubernetesSource, PublicUrl, Registry, Scheme};
use registry_prober::discovery::Finder;
use registry_prober::model::RegistryName;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::server::{ADMIN, Server, tools};
use crate::operations::repository;
use crate::support::eventually;
use crate::support::program::run;

/// Helm as Go builds it believes that it has an old cluster before it.
const KUBERNETES: &str = "1.34.4";

fn chart() -> String {
    repository("deploy/helm/registry-prober").display().to_string()
}

fn values() -> Vec<PathBuf> {
    let files = fs::read_dir(repository("deploy/helm/registry-prober/ci")).unwrap();
    let files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3);
    files
}

/// What Helm prints, and whether it succeeds.
fn helm(tools: &Path, home: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(tools.join("helm"))
        .args(arguments)
        .env("HOME", home)
        .env_remove("KUBECONFIG")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let said = if output.status.success() { out } else { out + &err };
    (output.status.success(), said)
}

fn succeed(tools: &Path, home: &Path, arguments: &[&str]) -> String {
    let (success, said) = helm(tools, home, arguments);
    assert!(success, "helm {arguments:?}:\n{said}");
    said
}

/// The objects of a rendered chart.
fn objects(rendered: &str) -> Vec<Value> {
    let documents = rendered.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
    let read = |text: &str| serde_saphyr::from_str::<Option<Value>>(text).unwrap();
    documents.filter_map(read).collect()
}

/// The objects of the chart with the values of a file.
fn rendered(tools: &Path, home: &Path, values: &str) -> Vec<Value> {
    let mut command = vec!["template", "prober"];
    let chart = chart();
    command.extend([&chart, "--kube-version", KUBERNETES]);
    command.extend(["--namespace", "monitoring", "--values", values]);
    objects(&succeed(tools, home, &command))
}

fn of_kind<'o>(objects: &'o [Value], kind: &str) -> Vec<&'o Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
fn every_set_of_values_makes_a_chart_that_lint_accepts_and_a_configuration_that_is_valid() {
    let Some(tools) = tools() else { return };
    let home = TempDir::new().unwrap();
    for values in values() {
        let file = values.display().to_string();
        succeed(&tools, home.path(), &["lint", "--strict", &chart(), "--values", &file]);
        let objects = rendered(&tools, home.path(), &file);
        let maps = of_kind(&objects, "ConfigMap");
        let config = maps.iter().find_map(|map| map["data"]["prober.yml"].as_str()).unwrap();
        let secrets = home.path().display().to_string();
        let folder = home.path().join("harbor-prober");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("password"), "of-a-test").unwrap();
        let path = home.path().join("prober.yml");
        fs::write(&path, config.replace("/run/secrets", &secrets)).unwrap();
        let checked = run(&["config", "check", &format!("--config.file={}", path.display())]);
        assert_eq!(checked.code, Some(0), "{file}: {checked:?}");
    }
}

#[test]
fn probes_and_monitor_ask_by_https_where_the_port_has_tls() {
    let Some(tools) = tools() else { return };
    let home = TempDir::new().unwrap();
    for (values, workload, monitor, endpoints, scheme) in [
        ("harbor", "Deployment", "ServiceMonitor", "endpoints", "http"),
        ("everything", "StatefulSet", "PodMonitor", "podMetricsEndpoints", "https"),
    ] {
        let file = repository(&format!("deploy/helm/registry-prober/ci/{values}-values.yaml"));
        let objects = rendered(&tools, home.path(), &file.display().to_string());
        let container =
            &of_kind(&objects, workload)[0]["spec"]["template"]["spec"]["containers"][0];
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["scheme"], scheme.to_uppercase(), "{values}");
        }
        let argument = container["args"].to_string().contains("--web.config.file=/run/secrets/");
        assert_eq!(argument, scheme == "https", "{values}: {}", container["args"]);
        let monitors = of_kind(&objects, monitor);
        assert_eq!(monitors.len(), 1, "{values}");
        for monitor in monitors {
            assert_eq!(monitor["spec"][endpoints][0]["scheme"], scheme, "{values}");
        }
    }
}

#[test]
fn values_that_cannot_work_are_refused() {
    let Some(tools) = tools() else { return };
    let home = TempDir::new().unwrap();
    let one = "config.registries[0].name=a,config.registries[0].url=https://hub.example.com";
    for (set, said) in [
        ("replicas=1", "registries"),
        (&format!("{one},config.registries[0].credentials.password=word"), "credentials"),
        (
            &format!("{one},config.registries[0].system_credentials.password=w"),
            "system_credentials",
        ),
        (
            &format!("{one},config.registries[0].directory_credentials.password=w"),
            "directory_credentials",
        ),
        (&format!("{one},monitor.kind=Probe"), "kind"),
        (&format!("{one},monitors.kind=none"), "monitors"),
    ] {
        let (success, text) = helm(
            &tools,
            home.path(),
            &["template", "p", &chart(), "--kube-version", KUBERNETES, "--set", set],
        );
        assert!(!success && text.contains(said), "{set}: {text}");
    }
    let (success, text) = helm(
        &tools,
        home.path(),
        &["template", "p", &chart(), "--kube-version", KUBERNETES, "--set", one],
    );
    assert!(success, "{text}");
}

/// A finder that asks as the chart's service account.
async fn as_service_account(server: &Server, namespace: &str) -> Finder {
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                         "spec": {"expirationSeconds": 3600}});
    let path = "/api/v1/namespaces/monitoring/serviceaccounts/prober-registry-prober/token";
    let answer = server.create(path, &request.to_string()).await;
    let source = KubernetesSource {
        namespace: Some(namespace.to_owned()),
        service: "harbor-core".to_owned(),
        port: None,
        scheme: Scheme::Http,
        kubeconfig: Some(server.kubeconfig(answer["status"]["token"].as_str().unwrap())),
    };
    Finder::new(&Registry::new(
        RegistryName::parse("main").unwrap(),
        PublicUrl::parse("https://hub.example.com").unwrap(),
        BackendSource::Kubernetes(source),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_is_installed_upgraded_and_removed_and_its_role_is_enough_for_discovery() {
    let Some(tools) = tools() else { return };
    let server = Server::start(&tools).await;
    for definition in fs::read_dir(tools.join("crds")).unwrap() {
        let text = fs::read_to_string(definition.unwrap().path()).unwrap();
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        server.create(path, &text).await;
    }
    let monitoring = "/apis/monitoring.coreos.com/v1/namespaces/monitoring/servicemonitors";
    eventually("the CRDs serve", async || server.get(monitoring).await.is_some()).await;
    for namespace in ["monitoring", "harbor", "elsewhere"] {
        server.namespace(namespace).await;
    }
    let home = server.folder.path().to_owned();
    let kubeconfig = server.kubeconfig(ADMIN).display().to_string();
    let first = repository("deploy/helm/registry-prober/ci/harbor-values.yaml");
    let second = repository("deploy/helm/registry-prober/ci/everything-values.yaml");
    let act = |verb: &[&str]| {
        let common = ["--namespace", "monitoring", "--kubeconfig", &kubeconfig];
        succeed(&tools, &home, &[verb, &common[..]].concat());
    };
    let (first, second) = (first.display().to_string(), second.display().to_string());
    act(&["install", "prober", &chart(), "--values", &first]);
    let apps = "/apis/apps/v1/namespaces/monitoring";
    let name = "prober-registry-prober";
    assert!(server.get(&format!("{apps}/deployments/{name}")).await.is_some());
    assert!(server.get(&format!("{monitoring}/{name}")).await.is_some());
    let rules = "/apis/monitoring.coreos.com/v1/namespaces/monitoring/prometheusrules";
    let rule = server.get(&format!("{rules}/{name}")).await.unwrap();
    let file = fs::read_to_string(repository("deploy/prometheus/rules.yml")).unwrap();
    let file: Value = serde_saphyr::from_str(&file).unwrap();
    assert_eq!(rule["spec"]["groups"], file["groups"], "the operator gets the one rule file");

    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "core", "labels": {"kubernetes.io/service-name": "harbor-core"}},
        "addressType": "IPv4", "ports": [{"port": 8080}],
        "endpoints": [{"addresses": ["10.1.0.1"], "hostname": "core-0"}]});
    for namespace in ["harbor", "elsewhere"] {
        let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
        server.create(&slices, &slice.to_string()).await;
    }
    let found = as_service_account(&server, "harbor").await.find().await.unwrap();
    assert_eq!(found[0].name.as_str(), "core-0");
    let refused = as_service_account(&server, "elsewhere").await.find().await.unwrap_err();
    assert!(refused.to_string().contains("answers 403"), "{refused}");

    act(&["upgrade", "prober", &chart(), "--values", &second]);
    assert!(server.get(&format!("{apps}/deployments/{name}")).await.is_none());
    let set = server.get(&format!("{apps}/statefulsets/{name}")).await.unwrap();
    assert_eq!(set["spec"]["replicas"], 2);
    act(&["uninstall", "prober"]);
    for path in [
        format!("{apps}/statefulsets/{name}"),
        format!("{rules}/{name}"),
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/harbor/roles/monitoring-{name}"),
        format!("/api/v1/namespaces/monitoring/configmaps/{name}-dashboard"),
    ] {
        assert!(server.get(&path).await.is_none(), "{path} is left");
    }
}
