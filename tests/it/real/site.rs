//! A site of three real registries with two load balancers before them, and the prober's view.
//!
//! A node is Debian's `docker-registry`, or a distribution 3 built from source, with token
//! authentication, a token issuer of its own and an nginx that joins the two behind TLS: from
//! outside, what one node of a Harbor is. All nodes share one storage. Both balancers stand before
//! the same nodes; the configuration lists the site twice, once through each, so that every fault
//! is judged through both.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use registry_prober::config::{self, Registry};
use registry_prober::lab::{Issuer, IssuerSettings, KidForm};
use registry_prober::model::{Assessment, Round};
use registry_prober::probe::Prober;
use registry_prober::transport::install_crypto_provider;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;

use super::pki::{Authority, CertificateFiles};
use super::plan::{HAPROXY, NGINX, NODES, NodePlan, PAIR, Plan, TokenServer, Way, issuer_settings};
use super::process::{Process, command};
use super::servers::{haproxy_balancer, nginx_balancer, nginx_front, nginx_front_with, registry};
use crate::support::{self, program};

/// One node.
pub(crate) struct Node {
    pub(crate) issuer: Issuer,
    /// None once it was stopped.
    registry: Option<Process>,
    _front: Process,
    pub(crate) address: SocketAddr,
    /// Its registry, without TLS, behind its front.
    pub(crate) behind: SocketAddr,
}

/// A token server behind a TLS front of its own.
pub(crate) struct Server {
    pub(crate) issuer: Issuer,
    pub(crate) address: SocketAddr,
    _front: Process,
}

/// The whole site. Dropping it ends all of it.
pub(crate) struct Site {
    pub(crate) nodes: Vec<Node>,
    /// One for all nodes, if the plan has it.
    pub(crate) token_server: Option<Server>,
    /// A certificate for the public name.
    pub(crate) certificate: CertificateFiles,
    /// The configuration's file.
    pub(crate) config: PathBuf,
    /// The site through nginx and through `HAProxy`, in this order.
    registries: Vec<Arc<Registry>>,
    _balancers: [Process; 2],
    /// Last: the others keep their files in it.
    folder: TempDir,
}

/// One round with its verdict.
pub(crate) struct Seen {
    /// The name of the registry, which is that of the balancer.
    pub(crate) through: String,
    pub(crate) round: Round,
    pub(crate) assessment: Assessment,
}

impl Site {
    pub(crate) async fn start(mut plan: Plan) -> Self {
        install_crypto_provider();
        let folder = TempDir::new().expect("a folder");
        let path = folder.path();
        let canary = "docker/registry/v2/repositories/probe/canary/_manifests/tags";
        let own = NODES.iter().zip(&plan.nodes).filter(|(_, node)| node.own_storage);
        let own = own.map(|(name, _)| format!("storage-{name}"));
        for storage in std::iter::once("storage".to_owned()).chain(own) {
            fs::create_dir_all(path.join(storage).join(canary)).unwrap();
        }
        let authority = Authority::new(path);
        let valid = authority.sign("valid", false);
        let token_server = match plan.token_server {
            TokenServer::AtEachNode => None,
            kind => {
                let server = Server::start(path, plan.kid_form, &valid).await;
                let authority = format!("https://{}", server.address);
                for node in &mut plan.nodes {
                    node.realm = format!("{authority}/token");
                }
                if kind == TokenServer::Allowed {
                    plan = plan.and(format!("allowed_realms: ['{authority}']"));
                }
                Some(server)
            }
        };
        let mut nodes = Vec::new();
        for (name, node) in NODES.into_iter().zip(&plan.nodes) {
            let certificate =
                if node.expired { authority.sign("expired", true) } else { valid.clone() };
            nodes.push(Node::start(path, name, node, &certificate).await);
        }
        let fronts: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
        let (nginx, at_nginx) = nginx_balancer(path, &fronts, &valid).await;
        let (haproxy, at_haproxy) = haproxy_balancer(path, &fronts).await;
        let config = path.join("prober.yml");
        let all: Vec<_> = NODES.into_iter().zip(fronts).collect();
        let pair = vec![all[0], all[2]];
        let mut ways = vec![
            Way { name: NGINX, balancer: at_nginx, nodes: all.clone() },
            Way { name: HAPROXY, balancer: at_haproxy, nodes: all },
        ];
        if plan.daemon {
            ways.push(Way { name: PAIR, balancer: pair[0].1, nodes: pair });
        }
        fs::write(path.join("password"), &plan.password).unwrap();
        fs::write(&config, plan.config(&ways, &authority.root())).unwrap();
        let loaded = config::load(&config).unwrap_or_else(|errors| panic!("{errors}"));
        Self {
            nodes,
            token_server,
            certificate: valid,
            config,
            registries: loaded.config.registries.into_iter().map(Arc::new).collect(),
            _balancers: [nginx, haproxy],
            folder,
        }
    }

    /// The site as the prober is configured, behind another balancer.
    pub(crate) fn behind(&self, balancer: SocketAddr) -> Registry {
        let mut registry = Registry::clone(&self.registries[0]);
        registry.balancer.address = config::HostPort::parse(&balancer.to_string(), 443).ok();
        registry
    }

    /// Where the files of this site are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends the registry of a node; its front and its issuer go on.
    pub(crate) fn stop_registry(&mut self, node: usize) {
        self.nodes[node].registry = None;
    }

    /// Starts it again where it was.
    pub(crate) async fn start_registry(&mut self, node: usize) {
        let (name, behind) = (NODES[node], self.nodes[node].behind);
        let mut command = command("docker-registry");
        command.arg("serve").arg(self.folder().join(format!("registry-{name}.yml")));
        let mut process = Process::start(command, self.folder(), &format!("registry-{name}-again"));
        let listens = async || TcpStream::connect(behind).await.is_ok();
        process.until(listens).await.expect("it listens again");
        self.nodes[node].registry = Some(process);
    }

    /// What the admin socket of `HAProxy` answers to a command.
    pub(crate) fn haproxy(&self, order: &str) -> String {
        let socket = self.folder().join("balancer-haproxy.sock");
        let mut stream = UnixStream::connect(socket).expect("HAProxy's socket");
        writeln!(stream, "{order}").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    }

    /// One round through nginx, judged.
    pub(crate) async fn round(&self, prober: &mut Prober) -> Seen {
        let registry = &self.registries[0];
        let (round, assessment) = support::round(registry, prober).await;
        Seen { through: registry.name.to_string(), round, assessment }
    }

    /// A prober through nginx, with every check in every round.
    pub(crate) fn prober(&self) -> Prober {
        let mut registry = (*self.registries[0]).clone();
        registry.checks.interval = Duration::from_secs(1);
        support::prober(&Arc::new(registry))
    }

    /// One round through each balancer, judged.
    pub(crate) async fn rounds(&self) -> Vec<Seen> {
        let rounds = self.registries.iter().map(async |registry| {
            let mut prober = support::prober(registry);
            let (round, assessment) = support::round(registry, &mut prober).await;
            Seen { through: registry.name.to_string(), round, assessment }
        });
        join_all(rounds).await
    }

    /// What `check --output=json` says of the whole site, with its exit code.
    pub(crate) async fn check(&self) -> (Option<i32>, Value) {
        let file = format!("--config.file={}", self.config.display());
        let ended = spawn_blocking(move || program::run(&["check", "--output=json", &file]));
        let ended = ended.await.expect("the program was run");
        let json = serde_json::from_str(&ended.stdout);
        (ended.code, json.unwrap_or_else(|error| panic!("{error}: {ended:?}")))
    }
}

impl Server {
    async fn start(folder: &Path, kid_form: KidForm, certificate: &CertificateFiles) -> Self {
        let settings = IssuerSettings { kid_form, ..issuer_settings(0) };
        let issuer = Issuer::start(settings).await.expect("an issuer");
        let locations = [("= /token", issuer.address())];
        let (front, address) =
            nginx_front(folder, "front-token-server", &locations, certificate).await;
        Self { issuer, address, _front: front }
    }
}

impl Node {
    async fn start(
        folder: &Path,
        name: &str,
        plan: &NodePlan,
        certificate: &CertificateFiles,
    ) -> Self {
        let settings =
            IssuerSettings { clock_offset: plan.issuer_clock, ..issuer_settings(plan.key) };
        let trusted = folder.join(format!("{name}-token.pem"));
        fs::write(&trusted, settings.key.certificate_pem()).unwrap();
        let issuer = Issuer::start(settings).await.expect("an issuer");
        let (registry, behind) = registry(folder, name, plan, &trusted).await;
        let locations = [("/v2/", behind), ("= /service/token", issuer.address())];
        let front = format!("front-{name}");
        let (front, address) =
            nginx_front_with(folder, &front, plan.front, &locations, certificate).await;
        Self { issuer, registry: Some(registry), _front: front, address, behind }
    }
}
