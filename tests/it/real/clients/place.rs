//! The lab behind a real balancer, with users before it.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use registry_prober::config::{self, Registry};
use registry_prober::lab::{Cluster, Family, FaultOrder, KeyKind, Options, Scenario};
use registry_prober::model::{Assessment, Round};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::real::pki::Authority;
use crate::real::process::{Process, command, free_address};
use crate::support;

/// What divides the work among the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Balancer {
    /// By connection. `random(1)` draws one server; of two it would take the one that is less busy,
    /// and so lead a client from one to the other.
    Haproxy(&'static str),
    /// By request.
    Nginx(&'static str),
}

impl Balancer {
    /// Whether it is strict round robin.
    pub(super) fn takes_turns(self) -> bool {
        matches!(self, Self::Haproxy("roundrobin") | Self::Nginx(""))
    }
}

/// Where a proxy drops `Authorization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    Nowhere,
    /// At the balancer, for all.
    Everywhere,
    /// In front of the second node.
    AtOne,
}

/// The lab behind a real balancer.
pub(super) struct Place {
    pub(super) host: String,
    pub(super) login: (String, String),
    registry: Arc<Registry>,
    _cluster: Cluster,
    _processes: Vec<Process>,
    _users: Option<AbortOnDropHandle<()>>,
    files: TempDir,
}

impl Place {
    pub(super) async fn start(
        balancer: Balancer,
        family: Family,
        faults: &[FaultOrder],
        dropped: Dropped,
    ) -> Self {
        registry_prober::transport::install_crypto_provider();
        let files = TempDir::new().expect("a folder");
        let address = free_address();
        let scenario = Scenario::named("healthy").expect("it is embedded");
        let options = Options {
            family: Some(family),
            nodes: Some(3),
            faults: faults.to_vec(),
            keys: KeyKind::Fast,
            public_host: Some(address.to_string()),
            ..Options::default()
        };
        let cluster = Cluster::start(&scenario, &options).expect("the lab starts");
        let mut nodes: Vec<SocketAddr> = cluster.nodes().iter().map(|node| node.address).collect();
        let authority = Authority::new(files.path());
        let mut text = cluster.config_yaml(files.path()).expect("a configuration");
        let mut processes = Vec::new();
        let drops = "proxy_set_header Authorization '';";
        if dropped == Dropped::AtOne {
            let front = free_address();
            let folder = files.path().join("front");
            fs::create_dir(&folder).expect("a folder");
            let start = nginx(&folder, front, ("", drops), &nodes[1..2], &authority);
            processes.push(listening(start, &folder, front).await);
            text = text.replace(&nodes[1].to_string(), &front.to_string());
            nodes[1] = front;
        }
        let start = match balancer {
            Balancer::Haproxy(how) => haproxy(files.path(), address, how, &nodes),
            Balancer::Nginx(how) => {
                let header = if dropped == Dropped::Everywhere { drops } else { "" };
                nginx(files.path(), address, (how, header), &nodes, &authority)
            }
        };
        processes.push(listening(start, files.path(), address).await);
        let path = files.path().join("prober.yml");
        fs::write(&path, text).expect("it is written");
        let loaded = config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let mut registry = loaded.config.registries.into_iter().next().expect("one registry");
        let roots = [cluster.ca_pem().into_bytes(), fs::read(authority.root()).expect("a root")];
        registry.tls.extra_roots = Some(roots.concat());
        registry.balancer.address = None;
        let login = (cluster.login().username.clone(), cluster.login().password.clone());
        let url = format!("https://{address}/v2/");
        let users =
            balancer.takes_turns().then(|| AbortOnDropHandle::new(tokio::spawn(users(url))));
        Self {
            host: address.to_string(),
            registry: Arc::new(registry),
            login,
            _cluster: cluster,
            _processes: processes,
            _users: users,
            files,
        }
    }

    /// Tells containerd to speak TLS; to a loopback address it speaks plain HTTP of itself.
    pub(super) fn hosts(&self) -> String {
        let (root, url) = (self.files.path().join("hosts"), format!("https://{}", self.host));
        let folder = root.join(&self.host);
        fs::create_dir_all(&folder).expect("a folder");
        let text = format!("server = '{url}'\n[host.'{url}']\nskip_verify = true\n");
        fs::write(folder.join("hosts.toml"), text).expect("it is written");
        root.display().to_string()
    }

    /// One round of the prober.
    pub(super) async fn round(&self) -> (Round, Assessment) {
        let mut prober = support::prober(&self.registry);
        support::round(&self.registry, &mut prober).await
    }
}

async fn listening(start: Command, folder: &Path, address: SocketAddr) -> Process {
    let mut process = Process::start(start, folder, "balancer");
    let reached = async || TcpStream::connect(address).await.is_ok();
    if let Err(why) = process.until(reached).await {
        panic!("the balancer does not listen ({why:?}):\n{}", process.said());
    }
    process
}

/// What others send all the while: without it, strict round robin leads every client alike.
async fn users(url: String) {
    let mut random = SmallRng::seed_from_u64(5);
    let client = reqwest::Client::builder().danger_accept_invalid_certs(true);
    let client = client.pool_max_idle_per_host(0).build().expect("a client");
    loop {
        let _ = client.get(&url).send().await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..30))).await;
    }
}

fn haproxy(folder: &Path, address: SocketAddr, how: &str, nodes: &[SocketAddr]) -> Command {
    let mut text = format!(
        "global\n  maxconn 512\ndefaults\n  mode tcp\n  timeout connect 2s\n  \
         timeout client 30s\n  timeout server 30s\n\
         listen registry\n  bind {address}\n  balance {how}\n"
    );
    for (number, node) in nodes.iter().enumerate() {
        let _ = writeln!(text, "  server n{number} {node}");
    }
    let file = folder.join("haproxy.cfg");
    fs::write(&file, text).expect("it is written");
    let mut start = command("haproxy");
    start.arg("-db").arg("-f").arg(file);
    start
}

fn nginx(
    folder: &Path,
    address: SocketAddr,
    (how, header): (&str, &str),
    nodes: &[SocketAddr],
    authority: &Authority,
) -> Command {
    let certificate = authority.sign("front", false);
    let mut servers = String::new();
    for node in nodes {
        let _ = writeln!(servers, "server {node} max_fails=0;");
    }
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {kind};\n"))
        .concat();
    let text = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\n\
         events {{ worker_connections 512; }}\n\
         http {{\naccess_log off;\n{temporary}upstream nodes {{\n{how}\n{servers}}}\n\
         server {{\nlisten {address} ssl;\nssl_certificate {};\nssl_certificate_key {};\n\
         proxy_http_version 1.1;\nproxy_set_header Host $http_host;\n\
         proxy_set_header X-Forwarded-Proto https;\n{header}\nclient_max_body_size 0;\n\
         location / {{ proxy_pass https://nodes; proxy_next_upstream off; }}\n}}\n}}\n",
        certificate.certificate.display(),
        certificate.key.display()
    );
    fs::write(folder.join("nginx.conf"), text).expect("it is written");
    let mut start = command("nginx");
    start.arg("-p").arg(folder).args(["-e", "stderr", "-c", "nginx.conf"]);
    start
}
