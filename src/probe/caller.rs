//! Who asks and how, for the commands that repeat a request.

use std::path::Path;

use crate::config::{self, Backend, BackendSource};
use crate::model::Caller;

/// What whoever repeats a request must know.
pub(super) fn caller(registry: &config::Registry, backends: &[Backend]) -> Caller {
    let (tls, sources) = (&registry.tls, &registry.sources);
    let scheme = registry.url.authority().scheme;
    let other = backends.iter().filter(|backend| backend.scheme != scheme);
    let path = |path: &Path| path.display().to_string();
    let client = sources.cert_file.as_ref().zip(sources.key_file.as_ref());
    Caller {
        username: registry.credentials.as_ref().map(|it| it.username.clone()),
        posts: registry.token_method == config::TokenMethod::Post,
        balancer: registry.balancer.address.as_ref().map(ToString::to_string),
        other_scheme: other.map(|backend| backend.name.clone()).collect(),
        ca_file: sources.ca_file.as_deref().map(path),
        client_certificate: client.map(|(chain, key)| (path(chain), path(key))),
        skips_verification: tls.insecure_skip_verify,
        namespace: match &registry.backends {
            BackendSource::Kubernetes(pods) => {
                Some(pods.namespace.clone().unwrap_or_else(|| "NAMESPACE".to_owned()))
            }
            _ => None,
        },
    }
}
