//! What a site is and how the prober is configured for it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use registry_prober::lab::{IssuerSettings, KeyKind, KidForm, Login, SigningKey};

use super::pki::PUBLIC_HOST;

/// The nodes' names.
pub(crate) const NODES: [&str; 3] = ["a", "b", "c"];
/// The name of the registry that is the site through nginx.
pub(crate) const NGINX: &str = "nginx";
/// The name of the registry that is the site through `HAProxy`.
pub(crate) const HAPROXY: &str = "haproxy";
/// The name of the registry that is the nodes a and c alone.
pub(crate) const PAIR: &str = "pair";
/// Seconds that the issuers' tokens live.
pub(crate) const LIFETIME: i64 = 600;
/// What tokens are for.
pub(crate) const SERVICE: &str = "registry.invalid";
/// Who issues them, by their own word.
pub(crate) const ISSUER: &str = "site issuer";

/// Which registry a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Debian's 2.8.2.
    Debian,
    /// 3.1.1, from source.
    Three,
}

/// What a node is.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault that is there or not")]
pub(crate) struct NodePlan {
    pub(crate) version: Version,
    /// The number of the key that it signs with and trusts.
    pub(crate) key: u32,
    /// Where its challenge sends clients.
    pub(crate) realm: String,
    /// How far the clock of its issuer is ahead, in seconds.
    pub(crate) issuer_clock: i64,
    /// Its front's certificate has expired.
    pub(crate) expired: bool,
    /// It signs uploads with a secret of its own.
    pub(crate) own_secret: bool,
    /// It stores what is pushed in a folder of its own.
    pub(crate) own_storage: bool,
    /// It is in read-only maintenance.
    pub(crate) read_only: bool,
    /// What its front does to every request, as directives of nginx.
    pub(crate) front: &'static str,
    /// The store to which it sends clients for blobs.
    pub(crate) store: Option<SocketAddr>,
}

/// Where tokens come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenServer {
    /// Each node has its own issuer, at the realm of its plan.
    AtEachNode,
    /// One for all with an authority of its own, listed in `allowed_realms`.
    Allowed,
    /// The same, not listed.
    Unlisted,
}

/// What a site is.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) nodes: [NodePlan; 3],
    pub(crate) token_server: TokenServer,
    /// How the one token server names its key.
    pub(crate) kid_form: KidForm,
    /// What the prober says its password is.
    pub(crate) password: String,
    /// More lines for each registry of the configuration.
    pub(crate) more: Vec<String>,
    /// Whether this is for `run`: short rounds, and the nodes a and c as one more registry, which
    /// is well whatever b is.
    pub(crate) daemon: bool,
}

/// A registry of the configuration: some of the nodes, and what stands before them.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) balancer: SocketAddr,
    /// Their names and addresses.
    pub(crate) nodes: Vec<(&'static str, SocketAddr)>,
}

impl Plan {
    /// Three nodes that do not differ.
    pub(crate) fn healthy() -> Self {
        let node = NodePlan {
            version: Version::Debian,
            key: 0,
            realm: format!("https://{PUBLIC_HOST}/service/token"),
            issuer_clock: 0,
            expired: false,
            own_secret: false,
            own_storage: false,
            read_only: false,
            front: "",
            store: None,
        };
        Self {
            nodes: [node.clone(), node.clone(), node],
            token_server: TokenServer::AtEachNode,
            kid_form: KidForm::Libtrust,
            password: login().password,
            more: Vec::new(),
            daemon: false,
        }
    }

    /// Three nodes of which the second, b, is changed.
    pub(crate) fn with_b(change: impl FnOnce(&mut NodePlan)) -> Self {
        let mut plan = Self::healthy();
        change(&mut plan.nodes[1]);
        plan
    }

    /// Three nodes of which the second, b, signs with another key and trusts only that.
    pub(crate) fn other_key() -> Self {
        Self::with_b(|node| node.key = 2)
    }

    /// Three nodes that do not differ and take their tokens from elsewhere.
    pub(crate) fn with_token_server(token_server: TokenServer) -> Self {
        Self { token_server, ..Self::healthy() }
    }

    /// The same, with a prober that may push to the repository that it pulls from.
    pub(crate) fn pushing(self) -> Self {
        self.and("checks: {interval: 5s, push: {enabled: true, repository: probe/canary}}")
    }

    /// With another line in each registry's configuration.
    pub(crate) fn and(mut self, line: impl Into<String>) -> Self {
        self.more.push(line.into());
        self
    }

    /// The configuration, for files next to `root`.
    pub(crate) fn config(&self, ways: &[Way], root: &Path) -> String {
        let (interval, samples) = if self.daemon { (5, 12) } else { (15, 60) };
        let mut text = format!(
            "global: {{interval: {interval}s, timeout: 4s, max_requests_per_second: 500}}\n\
             registries:\n"
        );
        for way in ways {
            let _ = write!(
                text,
                "  - name: {}\n    url: https://{PUBLIC_HOST}\n    \
                 credentials: {{username: {}, password_file: password}}\n    \
                 scope: 'repository:probe/canary:pull'\n    tls: {{ca_file: '{}'}}\n    \
                 balancer: {{samples: {samples}, address: '{}'}}\n    backends:\n",
                way.name,
                login().username,
                root.display(),
                way.balancer,
            );
            for (name, address) in &way.nodes {
                let _ = writeln!(text, "      - {{name: {name}, address: '{address}'}}");
            }
            for line in &self.more {
                let _ = writeln!(text, "    {line}");
            }
        }
        text
    }
}

/// The account that the issuers know.
pub(crate) fn login() -> Login {
    Login { username: "prober".to_owned(), password: "correct horse".to_owned() }
}

/// An issuer's settings for a node's key.
pub(crate) fn issuer_settings(key: u32) -> IssuerSettings {
    IssuerSettings {
        key: SigningKey::numbered(KeyKind::Rsa, key).expect("a key"),
        kid_form: KidForm::Libtrust,
        issuer: ISSUER.to_owned(),
        audience: None,
        lifetime: LIFETIME,
        clock_offset: 0,
        login: login(),
    }
}
