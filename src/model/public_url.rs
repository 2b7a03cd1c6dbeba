//! What a route says of the public URL under the paths that clients meet first.

use serde::Serialize;

use super::Outcome;

/// Where the answers of one route send clients.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UrlSaid {
    /// The challenge of `/v2/`, as it was when the others were asked for.
    pub base: Named,
    /// The challenge of a repository: what a client that begins with a pull meets.
    pub repository: Outcome<Named>,
    /// Where `/v2` without its slash leads. A proxy that ends TLS before the node may lose the
    /// scheme there, which no client minds.
    pub slash: Outcome<RedirectTarget>,
}

impl UrlSaid {
    /// What the repository's challenge names, where that is not what `/v2/` does. Some registries
    /// name the service for one of both only, which contradicts nothing.
    pub fn other(&self) -> Option<&Named> {
        self.repository.measured().filter(|named| {
            let (here, there) = (&self.base.service, &named.service);
            let services = here.is_some() && there.is_some() && here != there;
            named.realm != self.base.realm || services
        })
    }
}

/// Where a challenge sends clients for a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The token endpoint.
    pub realm: String,
    /// The service that the token is for; none if the challenge does not say.
    pub service: Option<String>,
    /// Whether the endpoint is at the public authority or at one that is configured as allowed.
    pub allowed: bool,
}

/// Where a redirect leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RedirectTarget {
    /// Scheme and authority, or `/` where it names none.
    pub to: String,
    /// Whether that is the public URL's, or none.
    pub public: bool,
}
