//! Where a registry's backends come from: a list, DNS, a file, or a Service of Kubernetes.

use std::path::{Path, PathBuf};

use super::file::{Discovery, DnsDiscovery, FileDiscovery, KubernetesDiscovery};
use super::files::expand;
use super::port::{PortText, ServicePort, is_label};
use super::problem::{Mistake, Place, Problems, quoted};
use super::read::{At, good};
use super::url::{Authority, HostPort, PublicUrl, Scheme};
use crate::model::BackendName;

/// Where backends come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendSource {
    /// Listed in the file or on the command line.
    Static(Vec<Backend>),
    /// Every address behind a name.
    Dns(DnsSource),
    /// A file that another program writes.
    File(FileSource),
    /// The endpoints of a Service.
    Kubernetes(KubernetesSource),
}

impl BackendSource {
    /// The authority of found backends, as far as it is known before they are found. A file says it
    /// when it is read.
    pub(super) fn authority(&self) -> Option<Authority> {
        let (scheme, host, port) = match self {
            Self::Static(_) | Self::File(_) => return None,
            Self::Dns(source) => (source.scheme, source.name.clone(), source.port),
            Self::Kubernetes(source) => {
                (source.scheme, source.service.clone(), source.scheme.default_port())
            }
        };
        Some(Authority { scheme, host_port: HostPort { host, port } })
    }
}

/// One backend: its name and where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its name in every output.
    pub name: BackendName,
    /// `http` or `https`; the registry's unless the address says otherwise.
    pub scheme: Scheme,
    /// Address, or a name to resolve, and port.
    pub address: HostPort,
    /// False only if discovery knows that no user's request is sent there yet.
    pub ready: bool,
}

/// A name whose addresses are backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSource {
    /// The name; one that begins with `_` has SRV records, which hold names and ports.
    pub name: String,
    /// The port of every address.
    pub port: u16,
    /// The scheme of every address.
    pub scheme: Scheme,
}

impl DnsSource {
    /// Every address behind the public name.
    pub fn of_url(url: &PublicUrl) -> Self {
        let authority = url.authority();
        let HostPort { host, port } = authority.host_port.clone();
        Self { name: host, port, scheme: authority.scheme }
    }

    /// Whether the name has SRV records.
    pub fn is_service(&self) -> bool {
        self.name.starts_with('_')
    }
}

/// A file in the format of Prometheus' `file_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// The file, as resolved.
    pub path: PathBuf,
    /// The scheme of targets that name none.
    pub scheme: Scheme,
    /// Credentials are sent that must not cross a network unencrypted.
    pub confidential: bool,
}

/// A Service of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesSource {
    /// Its namespace; that of the prober itself, or of the kubeconfig, without.
    pub namespace: Option<String>,
    /// Its name.
    pub service: String,
    /// Which of its ports; needed where it has several.
    pub port: Option<ServicePort>,
    /// The scheme of every endpoint.
    pub scheme: Scheme,
    /// How to reach the API server from outside of the cluster.
    pub kubeconfig: Option<PathBuf>,
}

/// What `discovery` says, checked. `url` is the registry's, if that is good.
pub(super) fn discovery(
    at: &At<Discovery>,
    url: Option<&PublicUrl>,
    directory: &Path,
    problems: &mut Problems,
) -> Option<BackendSource> {
    let entry = at.value.as_ref()?;
    let ways = [
        ("dns", entry.dns.is_some()),
        ("file", entry.file.is_some()),
        ("kubernetes", entry.kubernetes.is_some()),
    ];
    let mut given = ways.iter().filter(|(_, given)| *given).map(|(key, _)| *key);
    match (given.next(), given.next()) {
        (None, _) => {
            let key = "dns, file or kubernetes";
            problems.add(at.place, Mistake::Missing { thing: "discovery", key });
            return None;
        }
        (Some(one), Some(other)) => problems.add(at.place, Mistake::Both(one, other)),
        (Some(_), None) => {}
    }
    let usual = url.map_or(Scheme::Https, |url| url.authority().scheme);
    if let Some((entry, _)) = good(entry.dns.as_ref()) {
        return dns(entry, url?, problems).map(BackendSource::Dns);
    }
    if let Some((entry, place)) = good(entry.file.as_ref()) {
        return file(entry, place, usual, directory, problems).map(BackendSource::File);
    }
    let (entry, place) = good(entry.kubernetes.as_ref())?;
    kubernetes(entry, place, usual, directory, problems).map(BackendSource::Kubernetes)
}

fn dns(entry: &DnsDiscovery, url: &PublicUrl, problems: &mut Problems) -> Option<DnsSource> {
    let of_url = DnsSource::of_url(url);
    let scheme = scheme(entry.scheme.as_ref(), of_url.scheme, problems);
    // Another scheme means another default port.
    let usual = if scheme == of_url.scheme { of_url.port } else { scheme.default_port() };
    let port = match good(entry.port.as_ref()) {
        None => usual,
        Some((PortText(ServicePort::Number(port)), _)) => *port,
        Some((PortText(ServicePort::Name(name)), place)) => {
            let expected = "a port from 1 to 65535";
            problems.add(place, Mistake::Expected { expected, found: quoted(name) });
            return None;
        }
    };
    let name = match good(entry.name.as_ref()) {
        None => of_url.name,
        Some((name, place)) => {
            let host = HostPort::parse(name, port).map(|host_port| host_port.host);
            let host = problems.note(place, host)?;
            if host != name.to_ascii_lowercase() {
                let expected = "a name without a port";
                problems.add(place, Mistake::Expected { expected, found: quoted(name) });
                return None;
            }
            host
        }
    };
    Some(DnsSource { name, port, scheme })
}

fn file(
    entry: &FileDiscovery,
    place: Place,
    usual: Scheme,
    directory: &Path,
    problems: &mut Problems,
) -> Option<FileSource> {
    if entry.path.is_none() {
        problems.add(place, Mistake::Missing { thing: "file", key: "path" });
    }
    let scheme = scheme(entry.scheme.as_ref(), usual, problems);
    let (path, _) = good(entry.path.as_ref())?;
    Some(FileSource { path: expand(directory, path), scheme, confidential: false })
}

fn kubernetes(
    entry: &KubernetesDiscovery,
    place: Place,
    usual: Scheme,
    directory: &Path,
    problems: &mut Problems,
) -> Option<KubernetesSource> {
    if entry.service.is_none() {
        problems.add(place, Mistake::Missing { thing: "kubernetes", key: "service" });
    }
    let mut object = |at: Option<&At<String>>| {
        let (name, place) = good(at)?;
        if !is_label(name) {
            let expected = "a name of at most 63 lower-case letters, digits and '-'";
            problems.add(place, Mistake::Expected { expected, found: quoted(name) });
            return None;
        }
        Some(name.clone())
    };
    let (namespace, service) = (object(entry.namespace.as_ref()), object(entry.service.as_ref()));
    let scheme = scheme(entry.scheme.as_ref(), usual, problems);
    let port = good(entry.port.as_ref()).map(|(PortText(port), _)| port.clone());
    let kubeconfig = good(entry.kubeconfig.as_ref()).map(|(path, _)| expand(directory, path));
    Some(KubernetesSource { namespace, service: service?, port, scheme, kubeconfig })
}

fn scheme(at: Option<&At<String>>, usual: Scheme, problems: &mut Problems) -> Scheme {
    let Some((text, place)) = good(at) else { return usual };
    Scheme::parse(text).unwrap_or_else(|| {
        let found = quoted(text);
        problems.add(place, Mistake::Expected { expected: "http or https", found });
        usual
    })
}
