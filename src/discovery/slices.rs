//! `EndpointSlices` as backends: what the API server says of the pods behind a Service.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::cause::DiscoveryCause;
use crate::config::{Backend, HostPort, KubernetesSource, ServicePort};
use crate::model::{BackendName, one_line};

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    pub(super) metadata: Meta,
    #[serde(default)]
    pub(super) items: Vec<Slice>,
}

/// One change.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) object: Slice,
}

/// One slice; a bookmark or a status as well, which have no endpoints.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Slice {
    #[serde(default)]
    pub(super) metadata: Meta,
    #[serde(default)]
    address_type: String,
    #[serde(default)]
    endpoints: Option<Vec<Endpoint>>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
    /// Of a status.
    pub(super) code: Option<u16>,
    /// Of a status.
    pub(super) message: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) next: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
    hostname: Option<String>,
    target_ref: Option<Target>,
}

/// What holds for an endpoint that does not say it: it is ready, and does not terminate.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Debug, Clone, Deserialize)]
struct Target {
    name: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Port {
    name: Option<String>,
    port: Option<u16>,
}

/// The backends of a Service's slices, by name. A pod that terminates is none of them: it gets no
/// new requests, and what it still answers ends with it.
pub(super) fn backends<'s>(
    source: &KubernetesSource,
    slices: impl Iterator<Item = &'s Slice>,
) -> Result<Vec<Backend>, DiscoveryCause> {
    let mut found: BTreeMap<BackendName, Backend> = BTreeMap::new();
    let mut slices: Vec<&Slice> = slices.collect();
    if slices.is_empty() {
        return Err(DiscoveryCause::Cluster(
            "has no EndpointSlice; check namespace and service".to_owned(),
        ));
    }
    // A pod with addresses of both kinds is asked at the first, IPv4.
    slices.sort_by(|a, b| {
        (&a.address_type, &a.metadata.name).cmp(&(&b.address_type, &b.metadata.name))
    });
    for slice in slices {
        let endpoints = slice.endpoints.as_deref().unwrap_or_default();
        if endpoints.is_empty() {
            continue;
        }
        let port = slice.port(source.port.as_ref())?;
        for endpoint in endpoints {
            let Some(backend) = endpoint.backend(source, port) else { continue };
            match found.get_mut(&backend.name) {
                // While slices are rebuilt, an endpoint may be in two of them, and nothing shows
                // which is newer.
                Some(known) if known.address == backend.address => known.ready |= backend.ready,
                Some(_) => {}
                None => {
                    found.insert(backend.name.clone(), backend);
                }
            }
        }
    }
    Ok(found.into_values().collect())
}

impl Slice {
    fn port(&self, wanted: Option<&ServicePort>) -> Result<u16, DiscoveryCause> {
        let ports = self.ports.as_deref().unwrap_or_default();
        let fits = |port: &&Port| match wanted {
            None => true,
            Some(ServicePort::Name(name)) => port.name.as_deref() == Some(name),
            Some(ServicePort::Number(number)) => port.port == Some(*number),
        };
        // Two ports of a Service may lead to the same one of its pods.
        let fitting: BTreeSet<u16> =
            ports.iter().filter(fits).filter_map(|port| port.port).collect();
        match (fitting.len(), fitting.first()) {
            (1, Some(port)) => Ok(*port),
            (0, _) => Err(self.no_port("has no such port; there are")),
            _ => Err(self.no_port("has several ports; set port to one of")),
        }
    }

    fn no_port(&self, what: &str) -> DiscoveryCause {
        let shown = |port: &Port| {
            let number = port.port.map_or_else(|| "any".to_owned(), |port| port.to_string());
            match port.name.as_deref() {
                None | Some("") => number,
                Some(name) => format!("{} ({number})", clean(name)),
            }
        };
        let ports: Vec<String> = self.ports.iter().flatten().take(10).map(shown).collect();
        let ports = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
        DiscoveryCause::Cluster(format!("{what} {ports}"))
    }
}

impl Endpoint {
    fn backend(&self, source: &KubernetesSource, port: u16) -> Option<Backend> {
        if self.conditions.terminating == Some(true) {
            return None;
        }
        let address = HostPort::parse(self.addresses.first()?, port).ok()?;
        let address = HostPort { port, ..address };
        let pod = self.target_ref.as_ref().and_then(|target| target.name.as_deref());
        let name = pod.or(self.hostname.as_deref()).and_then(name).or_else(|| {
            let host = &address.host;
            match host.parse() {
                Ok(ip) => Some(BackendName::of_address(ip)),
                Err(_) => name(host),
            }
        })?;
        let ready = self.conditions.ready.unwrap_or(true);
        Some(Backend { name, scheme: source.scheme, address, ready })
    }
}

/// The backend name of a pod. If it is too long its end is kept, because the end distinguishes it
/// from its siblings.
fn name(pod: &str) -> Option<BackendName> {
    let start = pod.char_indices().rev().nth(62).map_or(0, |(start, _)| start);
    BackendName::parse(pod.get(start..)?.trim_start_matches(['-', '.'])).ok()
}

/// A text of the API server on one line.
pub(super) fn clean(text: &str) -> String {
    one_line(text, 300)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Scheme;

    fn source(port: Option<ServicePort>) -> KubernetesSource {
        KubernetesSource {
            namespace: None,
            service: "harbor-core".to_owned(),
            port,
            scheme: Scheme::Http,
            kubeconfig: None,
        }
    }

    fn read(port: Option<ServicePort>, slices: Value) -> Result<Vec<String>, String> {
        let slices: Vec<Slice> = serde_json::from_value(slices).unwrap();
        let line = |b: &Backend| {
            let ready = if b.ready { "" } else { " not ready" };
            format!("{} {}://{}{ready}", b.name, b.scheme, b.address)
        };
        backends(&source(port), slices.iter())
            .map(|found| found.iter().map(line).collect())
            .map_err(|error| error.to_string())
    }

    fn pod(name: &str, address: &str, conditions: &Value) -> Value {
        json!({"addresses": [address], "conditions": conditions,
               "targetRef": {"kind": "Pod", "name": name}})
    }

    #[test]
    fn conditions_mean_what_kubernetes_means_by_them() {
        let slice = json!([{"addressType": "IPv4", "ports": [{"name": "http-web", "port": 8080}],
        "endpoints": [
            pod("core-a", "10.0.0.1", &json!({"ready": true, "serving": true})),
            pod("core-b", "10.0.0.2", &json!({"ready": false, "serving": false})),
            pod("core-c", "10.0.0.3",
                &json!({"ready": false, "serving": true, "terminating": true})),
            pod("core-d", "10.0.0.4", &json!({})),
            {"addresses": ["10.0.0.5"], "hostname": "core-e"},
            {"addresses": ["10.0.0.6"]},
        ]}]);
        assert_eq!(
            read(None, slice).unwrap(),
            [
                "10.0.0.6 http://10.0.0.6:8080",
                "core-a http://10.0.0.1:8080",
                "core-b http://10.0.0.2:8080 not ready",
                "core-d http://10.0.0.4:8080",
                "core-e http://10.0.0.5:8080",
            ]
        );
    }

    #[test]
    fn a_pod_in_several_slices_is_one_backend() {
        let slice = |kind: &str, address: &str, ready: bool| {
            json!({"addressType": kind, "ports": [{"name": "", "port": 80}],
                   "endpoints": [pod("core", address, &json!({"ready": ready}))]})
        };
        let both = json!([slice("IPv6", "fd00::1", true), slice("IPv4", "10.0.0.1", true)]);
        assert_eq!(read(None, both).unwrap(), ["core http://10.0.0.1:80"]);
        let moved = json!([slice("IPv4", "10.0.0.1", false), slice("IPv4", "10.0.0.1", true)]);
        assert_eq!(read(None, moved).unwrap(), ["core http://10.0.0.1:80"]);
    }

    #[test]
    fn a_port_is_chosen_by_name_or_number_and_a_wrong_choice_is_said() {
        let ports = json!([{"name": "http-web", "port": 8080}, {"name": "metrics", "port": 8001}]);
        let slice = json!([{"addressType": "IPv4", "ports": ports,
                            "endpoints": [pod("core", "10.0.0.1", &json!({}))]}]);
        let by = |port| read(port, slice.clone());
        let name = |name: &str| Some(ServicePort::Name(name.to_owned()));
        assert_eq!(by(name("http-web")).unwrap(), ["core http://10.0.0.1:8080"]);
        assert_eq!(by(Some(ServicePort::Number(8001))).unwrap(), ["core http://10.0.0.1:8001"]);
        let several = "has several ports; set port to one of http-web (8080), metrics (8001)";
        assert_eq!(by(None).unwrap_err(), several);
        let none = "has no such port; there are http-web (8080), metrics (8001)";
        assert_eq!(by(name("https-web")).unwrap_err(), none);
    }

    #[test]
    fn a_service_without_pods_has_no_backends_and_one_without_slices_is_a_mistake() {
        let empty = json!([{"addressType": "IPv4", "endpoints": null, "ports": null}]);
        assert_eq!(read(None, empty).unwrap(), [""; 0]);
        assert!(read(None, json!([])).unwrap_err().contains("no EndpointSlice"));
    }

    #[test]
    fn the_end_of_a_long_name_is_kept() {
        let long = format!("{}-harbor-core-5d8f9c7b6d-x2x4z", "r".repeat(80));
        let name = name(&long).unwrap();
        assert_eq!(name.as_str().len(), 63);
        assert!(name.as_str().ends_with("-5d8f9c7b6d-x2x4z"));
    }
}
