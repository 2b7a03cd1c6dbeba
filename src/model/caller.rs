//! Who asks and how, as far as a command that repeats a request of the prober must know it. No
//! secret is here: what must stay one is typed by whoever runs the command.

use std::collections::BTreeSet;

use serde::Serialize;

use super::BackendName;

/// What a round's requests have in common beyond the registry's URL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Caller {
    /// The account; none if anonymous.
    pub username: Option<String>,
    /// Whether tokens are asked for by `POST` (`OAuth2`).
    pub posts: bool,
    /// Where the load balancer is, if that is configured; else DNS says.
    pub balancer: Option<String>,
    /// Backends that are asked by the other scheme than the public URL's.
    pub other_scheme: BTreeSet<BackendName>,
    /// Certificates that are trusted in addition to the system's.
    pub ca_file: Option<String>,
    /// Client certificate and key.
    pub client_certificate: Option<(String, String)>,
    /// Whether every certificate is accepted.
    pub skips_verification: bool,
    /// The namespace of the backends, if Kubernetes says that they are pods; `NAMESPACE` where it is
    /// the prober's own.
    pub namespace: Option<String>,
}
