//! Which backends a registry has right now: those of the file, every address behind a name, what
//! another program wrote into a file, or the pods behind a Service of Kubernetes.
//!
//! A [`Finder`] is asked at the beginning of each round, and again at the end of one in which
//! something is wrong, so that a node which left meanwhile is not taken for one that failed. Lists,
//! names and files are read when it is asked; the endpoints of a Service are watched all the time.

mod cause;
mod cluster;
mod dns;
mod slices;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

pub use self::cause::DiscoveryCause;
use self::cause::MAX_BACKENDS;
use self::cluster::Watch;
use crate::config::{self, Backend, BackendSource, ClusterError, KubernetesSource, Registry};
use crate::model::RegistryName;
use crate::transport::ApiError;

/// Why the backends of a registry could not be found.
#[derive(Debug, Error)]
#[error("registry {registry}: {place}: {cause}")]
pub struct DiscoveryError {
    /// The registry.
    pub registry: RegistryName,
    /// Where they were looked for: a name, a file or a Service.
    pub place: String,
    /// What went wrong.
    pub cause: DiscoveryCause,
}

/// Finds the backends of one registry, again and again.
#[derive(Debug)]
pub struct Finder {
    registry: RegistryName,
    timeout: Duration,
    source: Mutex<BackendSource>,
    /// Begins with the first question.
    watch: Mutex<Option<(KubernetesSource, Watch)>>,
    /// What was found last.
    last: Mutex<Vec<Backend>>,
}

impl Finder {
    /// A finder for a registry.
    pub fn new(registry: &Registry) -> Self {
        Self {
            registry: registry.name.clone(),
            timeout: registry.timeout,
            source: Mutex::new(registry.backends.clone()),
            watch: Mutex::default(),
            last: Mutex::default(),
        }
    }

    /// Where it looks.
    pub fn source(&self) -> BackendSource {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks elsewhere from now on.
    pub fn look_at(&self, source: BackendSource) {
        if !matches!(source, BackendSource::Kubernetes(_)) {
            *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = source;
    }

    /// The backends now, in the order of a list or else by name or address.
    ///
    /// # Errors
    /// [`DiscoveryError`]; asking again later may help.
    pub async fn find(&self) -> Result<Vec<Backend>, DiscoveryError> {
        let source = self.source();
        let place = place(&source);
        let found = match source {
            BackendSource::Static(backends) => return Ok(backends),
            BackendSource::Dns(source) => dns::backends(&source, self.timeout).await,
            BackendSource::File(source) => {
                let read = tokio::task::spawn_blocking(move || config::targets(&source)).await;
                read.map_err(|_| DiscoveryCause::Internal).and_then(|found| Ok(found?))
            }
            BackendSource::Kubernetes(source) => self.watched(source).await,
        };
        let few = |found: Vec<Backend>| match found.len() {
            count if count > MAX_BACKENDS => Err(DiscoveryCause::TooMany(count)),
            _ => Ok(found),
        };
        let registry = self.registry.clone();
        let found =
            found.and_then(few).map_err(|cause| DiscoveryError { registry, place, cause })?;
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&found);
        Ok(found)
    }

    /// The backends that were found last, if any ever were; a list of the configuration is not
    /// found.
    pub fn last_found(&self) -> Vec<Backend> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// That the backends could not be found in time.
    pub fn too_late(&self) -> DiscoveryError {
        let (registry, place) = (self.registry.clone(), place(&self.source()));
        DiscoveryError { registry, place, cause: DiscoveryCause::Timeout }
    }

    async fn watched(&self, source: KubernetesSource) -> Result<Vec<Backend>, DiscoveryCause> {
        let state = {
            let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
            match &*watch {
                Some((watched, running)) if *watched == source => running.state(),
                _ => {
                    let begun = Watch::begin(source.clone());
                    let state = begun.state();
                    *watch = Some((source, begun));
                    state
                }
            }
        };
        timeout(self.timeout, cluster::backends(state))
            .await
            .map_err(|_| DiscoveryCause::Timeout)?
    }
}

fn place(source: &BackendSource) -> String {
    match source {
        BackendSource::Static(_) => "the list".to_owned(),
        BackendSource::Dns(source) => source.name.clone(),
        BackendSource::File(source) => source.path.display().to_string(),
        BackendSource::Kubernetes(source) => match &source.namespace {
            Some(namespace) => format!("Service {namespace}/{}", source.service),
            None => format!("Service {}", source.service),
        },
    }
}

impl From<ClusterError> for DiscoveryCause {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error.to_string())
    }
}

impl From<ApiError> for DiscoveryCause {
    fn from(error: ApiError) -> Self {
        Self::Cluster(cluster::said(&error))
    }
}

/// The backends of a registry, asked for once.
///
/// # Errors
/// As [`Finder::find`].
pub async fn backends(registry: &Registry) -> Result<Vec<Backend>, DiscoveryError> {
    Finder::new(registry).find().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DnsSource, FileSource, HostPort, PublicUrl, Scheme};
    use crate::model::BackendName;

    fn registry(source: BackendSource) -> Registry {
        let url = PublicUrl::parse("https://hub.example.com").unwrap();
        Registry::new(RegistryName::parse("main").unwrap(), url, source)
    }

    fn by_dns(url: &str) -> Registry {
        registry(BackendSource::Dns(DnsSource::of_url(&PublicUrl::parse(url).unwrap())))
    }

    #[tokio::test]
    async fn a_host_that_is_an_address_is_its_own_backend() {
        for (text, name) in [("https://10.0.0.1", "10.0.0.1"), ("http://[::1]:5000", "[::1]")] {
            let found = backends(&by_dns(text)).await.unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].name.as_str(), name);
        }
    }

    #[tokio::test]
    async fn listed_backends_are_taken_as_they_are_until_there_is_another_list() {
        let listed = |name: &str| {
            vec![Backend {
                name: BackendName::parse(name).unwrap(),
                scheme: Scheme::Http,
                address: HostPort { host: format!("node-{name}"), port: 5000 },
                ready: true,
            }]
        };
        let finder = Finder::new(&registry(BackendSource::Static(listed("a"))));
        assert_eq!(finder.find().await.unwrap(), listed("a"));
        finder.look_at(BackendSource::Static(listed("b")));
        assert_eq!(finder.find().await.unwrap(), listed("b"));
    }

    #[tokio::test]
    async fn a_file_is_read_each_time_and_a_bad_one_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        let source = FileSource { path: path.clone(), scheme: Scheme::Https, confidential: false };
        let finder = Finder::new(&registry(BackendSource::File(source)));
        std::fs::write(&path, r#"[{"targets": ["a", "b"]}]"#).unwrap();
        assert_eq!(finder.find().await.unwrap().len(), 2);
        std::fs::write(&path, r#"[{"targets": ["a"]}]"#).unwrap();
        let found = finder.find().await.unwrap();
        assert_eq!(found.len(), 1);
        let many: Vec<String> = (0..=MAX_BACKENDS).map(|n| format!("\"node-{n}\"")).collect();
        std::fs::write(&path, format!("[{{\"targets\": [{}]}}]", many.join(","))).unwrap();
        let error = finder.find().await.unwrap_err().to_string();
        let expected = format!(
            "registry main: {}: 1001 backends are too many for one registry; at most 1000 are allowed",
            path.display()
        );
        assert_eq!(error, expected);
        std::fs::write(&path, "nothing").unwrap();
        let error = finder.find().await.unwrap_err().to_string();
        assert!(error.contains("expected a list of groups"), "{error}");
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_names_registry_and_host() {
        let error = backends(&by_dns("https://no.such.host.invalid")).await.unwrap_err();
        assert!(error.to_string().starts_with("registry main: no.such.host.invalid: "), "{error}");
    }
}
