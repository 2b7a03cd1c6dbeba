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
use crate::operations::{repository, tool};
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
    rendered_with(tools, home, values, "")
}

/// The same with values that are set in addition.
fn rendered_with(tools: &Path, home: &Path, values: &str, set: &str) -> Vec<Value> {
    let mut command = vec!["template", "prober"];
    let chart = chart();
    command.extend([&chart, "--kube-version", KUBERNETES]);
    command.extend(["--namespace", "monitoring", "--values", values, "--set", set]);
    objects(&succeed(tools, home, &command))
}

/// A file of values that the chart brings.
fn of_ci(name: &str) -> String {
    repository(&format!("deploy/helm/registry-prober/ci/{name}-values.yaml")).display().to_string()
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

/// Helm does not follow a link out of the chart, so the chart has copies.
#[test]
fn copies_of_rules_and_dashboard_are_written_into_the_chart() {
    for (original, copy) in [
        ("deploy/prometheus/rules.yml", "rules.yml"),
        ("dashboards/registry-prober.json", "dashboard.json"),
    ] {
        let copy = repository(&format!("deploy/helm/registry-prober/files/{copy}"));
        let original = repository(original);
        assert!(!copy.is_symlink(), "{} is a link", copy.display());
        if std::env::var_os("UPDATE").is_some() {
            fs::copy(&original, &copy).unwrap();
        }
        let same = fs::read(&original).unwrap() == fs::read(&copy).unwrap();
        assert!(same, "{} is out of date; UPDATE=1 writes it", copy.display());
    }
}

#[test]
fn alerts_and_dashboard_lead_to_this_prober() {
    let Some(tools) = tools() else { return };
    let home = TempDir::new().unwrap();
    for (values, workload, url, missing) in [
        ("harbor", "deployment", "http://127.0.0.1:9912", None),
        ("everything", "statefulset", "https://prober.example.com", Some("< 2")),
        ("sharded", "statefulset", "http://127.0.0.1:9912", Some("< 3")),
    ] {
        let objects = rendered(&tools, home.path(), &of_ci(values));
        let rules = &of_kind(&objects, "PrometheusRule")[0]["spec"];
        let file = home.path().join("rules.json");
        fs::write(&file, rules.to_string()).unwrap();
        tool("promtool", &["check", "rules", &file.display().to_string()]);
        let groups = rules["groups"].as_array().unwrap();
        let all: Vec<&Value> =
            groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
        let described = all.iter().filter_map(|rule| rule["annotations"]["description"].as_str());
        let command = format!("kubectl -n monitoring exec {workload}/prober-registry-prober -- /");
        let (mut commands, program) = (0, "registry-prober check ");
        for text in described {
            assert!(!text.contains("prober's host") && !text.contains("sudo"), "{values}: {text}");
            let shown = text.matches(program).count();
            assert_eq!(text.matches(&format!("{command}{program}")).count(), shown, "{text}");
            commands += shown;
        }
        assert!(commands >= 4, "{values}: {commands} commands");
        let lost = all.iter().find(|rule| rule["alert"] == "RegistryProberMissing");
        let expression = lost.map(|rule| rule["expr"].as_str().unwrap());
        assert_eq!(expression.is_some(), missing.is_some(), "{values}");
        assert!(expression.unwrap_or_default().ends_with(missing.unwrap_or_default()));
        let maps = of_kind(&objects, "ConfigMap");
        let board = maps.iter().find_map(|map| map["data"]["registry-prober.json"].as_str());
        let board: Value = serde_json::from_str(board.unwrap()).unwrap();
        let variables = board["templating"]["list"].as_array().unwrap();
        let prober = variables.iter().find(|variable| variable["name"] == "prober").unwrap();
        assert_eq!(prober["query"], url, "{values}");
        assert_eq!(prober["current"]["value"], url, "{values}");
    }
}

#[test]
fn what_is_set_in_addition_arrives_and_selectors_stay() {
    let Some(tools) = tools() else { return };
    let home = TempDir::new().unwrap();
    let objects = rendered_with(&tools, home.path(), &of_ci("everything"), "fullnameOverride=own");
    for object in objects.iter().filter(|object| object["metadata"]["namespace"] == "monitoring") {
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(name.starts_with("own") || name.starts_with("monitoring-own"), "{name}");
    }
    let workload = &of_kind(&objects, "StatefulSet")[0]["spec"];
    let labels = &workload["template"]["metadata"]["labels"];
    assert_eq!(labels["team"], "platform");
    assert_eq!(labels["app.kubernetes.io/version"], "mine");
    for (label, value) in workload["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&labels[label], value, "{label}");
    }
    let pod = &workload["template"]["spec"];
    let user = pod["securityContext"].as_object().unwrap();
    assert!(!user.contains_key("runAsUser") && user["runAsNonRoot"] == true, "{user:?}");
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["privileged"], false);
    assert_eq!(container["env"][0]["name"], "PROBER_PASSWORD");
    let names = |list: &Value| list.as_array().unwrap().iter().any(|it| it["name"] == "ca");
    assert!(names(&pod["volumes"]) && names(&container["volumeMounts"]));
    let policy = &of_kind(&objects, "NetworkPolicy")[0]["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(policy["egress"][0]["ports"][0]["port"], 443);
    let monitor = &of_kind(&objects, "PodMonitor")[0]["spec"]["podMetricsEndpoints"][0];
    assert_eq!((&monitor["interval"], &monitor["port"]), (&json!("20s"), &json!("http")));
}

#[test]
fn probes_show_a_client_certificate_where_the_port_asks_for_one() {
    let Some(tools) = tools() else { return };
    let home = TempDir::new().unwrap();
    let objects = rendered(&tools, home.path(), &of_ci("everything"));
    let spec = &of_kind(&objects, "StatefulSet")[0]["spec"]["template"]["spec"];
    let container = &spec["containers"][0];
    for probe in ["startupProbe", "livenessProbe"] {
        assert_eq!(container[probe]["tcpSocket"]["port"], "http", "{probe}");
    }
    let command = container["readinessProbe"]["exec"]["command"].as_array().unwrap();
    let command: Vec<&str> = command.iter().map(|word| word.as_str().unwrap()).collect();
    let (program, arguments) = command.split_first().unwrap();
    assert_eq!(*program, "/registry-prober");
    let ended = run(arguments);
    assert!(ended.stderr.contains("/run/secrets/prober-web/client.crt"), "{ended:?}");
}

#[test]
fn probes_and_monitor_ask_by_https_where_the_port_has_tls() {
    let Some(tools) = tools() else { return };
    let home = TempDir::new().unwrap();
    for (values, workload, monitor, endpoints, scheme) in [
        ("harbor", "Deployment", "ServiceMonitor", "endpoints", "http"),
        ("everything", "StatefulSet", "PodMonitor", "podMetricsEndpoints", "https"),
    ] {
        let without = "web.clientCert=,web.clientKey=";
        let objects = rendered_with(&tools, home.path(), &of_ci(values), without);
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
        (&format!("{one},web.tls=true,web.clientCert=/a"), "clientKey"),
        (&format!("{one},web.clientCert=/a,web.clientKey=/b"), "tls"),
        (&format!(r"{one},podLabels.app\.kubernetes\.io/name=a"), "app.kubernetes.io/name"),
        (&format!("{one},extraVolumes[0].configMap.name=a"), "extraVolumes"),
        (&format!("{one},fullnameOverride=Own"), "fullnameOverride"),
        (&format!("{one},networkPolicy.egress.ports=443"), "egress"),
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

/// The chart writes other commands into them.
fn without_descriptions(groups: &mut Value) {
    for group in groups["groups"].as_array_mut().unwrap() {
        for rule in group["rules"].as_array_mut().unwrap() {
            if let Some(texts) = rule["annotations"].as_object_mut() {
                texts.remove("description");
            }
        }
    }
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
    let act = |verb: &[&str]| {
        let common = ["--namespace", "monitoring", "--kubeconfig", &kubeconfig];
        succeed(&tools, &home, &[verb, &common[..]].concat());
    };
    let (first, second) = (of_ci("harbor"), of_ci("everything"));
    act(&["install", "prober", &chart(), "--values", &first]);
    let apps = "/apis/apps/v1/namespaces/monitoring";
    let name = "prober-registry-prober";
    assert!(server.get(&format!("{apps}/deployments/{name}")).await.is_some());
    assert!(server.get(&format!("{monitoring}/{name}")).await.is_some());
    let rules = "/apis/monitoring.coreos.com/v1/namespaces/monitoring/prometheusrules";
    let rule = server.get(&format!("{rules}/{name}")).await.unwrap();
    let file = fs::read_to_string(repository("deploy/prometheus/rules.yml")).unwrap();
    let mut file: Value = serde_saphyr::from_str(&file).unwrap();
    let mut rule = rule["spec"].clone();
    for groups in [&mut rule, &mut file] {
        without_descriptions(groups);
    }
    assert_eq!(rule["groups"], file["groups"], "the operator gets the one rule file");

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

    // The history is switched on, grows, and is switched off and on again.
    let claim = format!("/api/v1/namespaces/monitoring/persistentvolumeclaims/{name}-history");
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "fast"}, "provisioner": "test", "allowVolumeExpansion": true});
    server.create("/apis/storage.k8s.io/v1/storageclasses", &class.to_string()).await;
    for (enabled, size, strategy) in [
        (true, "1Gi", "Recreate"),
        (true, "2Gi", "Recreate"),
        (false, "2Gi", "RollingUpdate"),
        (true, "2Gi", "Recreate"),
    ] {
        let set =
            format!("history.enabled={enabled},history.size={size},history.storageClass=fast");
        act(&["upgrade", "prober", &chart(), "--values", &first, "--set", &set]);
        let workload = server.get(&format!("{apps}/deployments/{name}")).await.unwrap();
        assert_eq!(workload["spec"]["strategy"]["type"], strategy, "{set}");
        let mut volume = server.get(&claim).await.expect("the claim stays");
        if size == "1Gi" {
            // No controller runs that would bind it to a volume which can grow.
            volume["status"] = json!({"phase": "Bound"});
            server.replace(&format!("{claim}/status"), &volume).await;
        } else {
            assert_eq!(volume["spec"]["resources"]["requests"]["storage"], "2Gi");
        }
    }

    act(&["upgrade", "prober", &chart(), "--values", &second]);
    assert!(server.get(&format!("{apps}/deployments/{name}")).await.is_none());
    let set = server.get(&format!("{apps}/statefulsets/{name}")).await.unwrap();
    assert_eq!(set["spec"]["replicas"], 2);
    // What values.yaml says to do before the claims of a StatefulSet change.
    server.delete(&format!("{apps}/statefulsets/{name}")).await;
    act(&["upgrade", "prober", &chart(), "--values", &second, "--set", "history.size=2Gi"]);
    let set = server.get(&format!("{apps}/statefulsets/{name}")).await.unwrap();
    let claims = &set["spec"]["volumeClaimTemplates"];
    assert_eq!(claims[0]["spec"]["resources"]["requests"]["storage"], "2Gi");
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
