//! What real clients feel behind real balancers: dockerd, containerd and skopeo against the lab, and
//! what the prober says of their kinds. They run as root on loopback, and are ended by process id.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use registry_prober::config::{self, Registry};
use registry_prober::lab::{Cluster, Family, Fault, FaultOrder, KeyKind, Options, Scenario};
use registry_prober::model::{ClientKind, ClientView, Estimate, Ratio};
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};

use super::pki::Authority;
use super::process::{Process, command, free_address};
use crate::support;

/// Where Debian has the programs.
const DOCKERD: &str = "/usr/sbin/dockerd";
const PROGRAMS: [&str; 4] = [DOCKERD, "/usr/bin/containerd", "/usr/bin/ctr", "/usr/bin/skopeo"];

/// Whether real clients can run here. Where everything has to be there, a missing program fails.
fn can_run() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root {
        eprintln!("skipped: dockerd and containerd run as root only");
        return false;
    }
    let missing: Vec<&&str> = PROGRAMS.iter().filter(|path| !Path::new(path).exists()).collect();
    if !missing.is_empty() {
        let how = "apt-get install --no-install-recommends docker.io containerd skopeo";
        assert!(std::env::var_os("CI").is_none(), "{missing:?} are missing: {how}");
        eprintln!("skipped: {missing:?} are missing: {how}");
        return false;
    }
    true
}

/// The daemons, and the folder of all that they write.
struct Daemons {
    _dockerd: Process,
    _containerd: Process,
    // Last, so that it outlives those that write into it.
    folder: TempDir,
}

impl Daemons {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let mut start = command("containerd");
        start.arg("--address").arg(at("c.sock")).arg("--root").arg(at("c-root"));
        start.arg("--state").arg(at("c-state")).args(["--log-level", "error"]);
        let own = format!(
            "version = 2\n[plugins.'io.containerd.internal.v1.opt']\npath = '{}'\n",
            at("c-opt").display()
        );
        std::fs::write(at("c.toml"), own).expect("a file");
        start.arg("--config").arg(at("c.toml"));
        let containerd = Self::listening(start, folder.path(), "c").await;
        let mut start = command("dockerd");
        start.args(["--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
        start.arg("--bridge=none");
        std::fs::write(at("d.json"), "{}").expect("a file");
        start.arg("--config-file").arg(at("d.json"));
        start.args(["--storage-driver=vfs", "--log-level=error"]);
        for (option, name) in [("--data-root", "d-root"), ("--exec-root", "d-exec")] {
            start.arg(option).arg(at(name));
        }
        start.arg("--pidfile").arg(at("d.pid")).arg("--containerd").arg(at("c.sock"));
        start.arg("-H").arg(format!("unix://{}", at("d.sock").display()));
        let dockerd = Self::listening(start, folder.path(), "d").await;
        Self { _dockerd: dockerd, _containerd: containerd, folder }
    }

    async fn listening(start: Command, folder: &Path, name: &str) -> Process {
        let mut process = Process::start(start, folder, name);
        let socket = folder.join(format!("{name}.sock"));
        let reached = async || UnixStream::connect(&socket).await.is_ok();
        if let Err(why) = process.until(reached).await {
            panic!("{name} does not listen ({why:?}):\n{}", process.said());
        }
        process
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// What divides the work among the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Balancer {
    /// By connection. `random(1)` draws one server; of two it would take the one that is less busy,
    /// and so lead a client from one to the other.
    Haproxy(&'static str),
    /// By request.
    Nginx(&'static str),
    /// By request, without a header.
    NginxWithout(&'static str),
}

/// The lab behind a real balancer.
struct Place {
    host: String,
    registry: Arc<Registry>,
    login: (String, String),
    _cluster: Cluster,
    _balancer: Process,
    files: TempDir,
}

impl Place {
    async fn start(balancer: Balancer, family: Family, faults: &[FaultOrder]) -> Self {
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
        let nodes: Vec<SocketAddr> = cluster.nodes().iter().map(|node| node.address).collect();
        let authority = Authority::new(files.path());
        let start = match balancer {
            Balancer::Haproxy(how) => haproxy(files.path(), address, how, &nodes),
            Balancer::Nginx(how) => nginx(files.path(), address, (how, ""), &nodes, &authority),
            Balancer::NginxWithout(header) => {
                let without = format!("proxy_set_header {header} '';");
                nginx(files.path(), address, ("random;", &without), &nodes, &authority)
            }
        };
        let mut process = Process::start(start, files.path(), "balancer");
        let reached = async || TcpStream::connect(address).await.is_ok();
        if let Err(why) = process.until(reached).await {
            panic!("the balancer does not listen ({why:?}):\n{}", process.said());
        }
        let text = cluster.config_yaml(files.path()).expect("a configuration");
        let path = files.path().join("prober.yml");
        fs::write(&path, text).expect("it is written");
        let loaded = config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let mut registry = loaded.config.registries.into_iter().next().expect("one registry");
        let roots = [cluster.ca_pem().into_bytes(), fs::read(authority.root()).expect("a root")];
        registry.tls.extra_roots = Some(roots.concat());
        registry.balancer.address = None;
        registry.balancer.samples = 40;
        let login = (cluster.login().username.clone(), cluster.login().password.clone());
        Self {
            host: address.to_string(),
            registry: Arc::new(registry),
            login,
            _cluster: cluster,
            _balancer: process,
            files,
        }
    }

    /// Tells containerd to speak TLS; to a loopback address it speaks plain HTTP of itself.
    fn hosts(&self) -> String {
        let (root, url) = (self.files.path().join("hosts"), format!("https://{}", self.host));
        let folder = root.join(&self.host);
        fs::create_dir_all(&folder).expect("a folder");
        let text = format!("server = '{url}'\n[host.'{url}']\nskip_verify = true\n");
        fs::write(folder.join("hosts.toml"), text).expect("it is written");
        root.display().to_string()
    }

    /// What the prober says of each kind, from one round.
    async fn views(&self) -> Vec<ClientView> {
        let mut prober = support::prober(&self.registry);
        support::round(&self.registry, &mut prober).await.1.clients
    }

    /// What others send meanwhile: without it, strict round robin leads every client alike.
    fn others(&self, random: &mut SmallRng) {
        for _ in 0..random.random_range(0..3) {
            let url = format!("https://{}/v2/", self.host);
            run(Command::new("curl").args(["-ks", "-m", "5", "-o", "/dev/null", &url]));
        }
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

/// Whether a command ends well.
fn run(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().expect("it runs").success()
}

/// A real client, and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Real {
    DockerLogin,
    SkopeoLogin,
    /// containerd has no login; it fetches the canary.
    ContainerdFetch,
}

impl Real {
    /// Its kind: podman, skopeo and docker changed theirs.
    fn kind(self) -> ClientKind {
        match self {
            Self::DockerLogin if version(DOCKERD) < (29, 0) => ClientKind::Docker,
            Self::SkopeoLogin if version("skopeo") < (1, 11) => ClientKind::Docker,
            Self::DockerLogin | Self::SkopeoLogin => ClientKind::Podman,
            Self::ContainerdFetch => ClientKind::Containerd,
        }
    }

    /// Does it once; whether it went well.
    fn once(self, daemons: &Daemons, place: &Place) -> bool {
        let (host, (username, password)) = (&place.host, &place.login);
        match self {
            Self::SkopeoLogin => run(Command::new("skopeo")
                .args(["login", "--tls-verify=false", "--authfile", &daemons.path("auth.json")])
                .args(["-u", username, "-p", password, host])),
            // What `docker login` asks its engine.
            Self::DockerLogin => {
                let login = serde_json::json!({
                    "username": username, "password": password, "serveraddress": host,
                });
                run(Command::new("curl")
                    .args(["-sf", "-m", "20", "--unix-socket", &daemons.path("d.sock")])
                    .args(["-H", "Content-Type: application/json", "-d", &login.to_string()])
                    .arg("http://docker/auth"))
            }
            Self::ContainerdFetch => {
                let ctr = || {
                    let mut ctr = Command::new("ctr");
                    ctr.args(["-a", &daemons.path("c.sock"), "-n", "test"]);
                    ctr
                };
                let image = format!("{host}/probe/canary:v1");
                let (user, hosts) = (format!("{username}:{password}"), place.hosts());
                let fetch = ["content", "fetch", "--hosts-dir", &hosts, "--user", &user, &image];
                let fetched = run(ctr().args(fetch));
                // What it has it would not fetch again.
                run(ctr().args(["images", "rm", "--sync", &image]));
                let kept = ctr().args(["content", "ls", "-q"]).output().expect("a list").stdout;
                for digest in String::from_utf8_lossy(&kept).lines() {
                    run(ctr().args(["content", "rm", digest]));
                }
                fetched
            }
        }
    }
}

/// The first two numbers of what a program says of its version.
fn version(program: &str) -> (u32, u32) {
    let output = Command::new(program).arg("--version").output().expect("its version").stdout;
    let text = String::from_utf8_lossy(&output).into_owned();
    let number = |text: &str| text.parse().unwrap_or_default();
    let word = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let mut parts = word.unwrap_or_default().split('.');
    (parts.next().map_or(0, number), parts.next().map_or(0, number))
}

/// The 95 % interval of a number of runs.
fn wilson(failed: u32, runs: u32) -> (f64, f64) {
    registry_prober::diagnosis::wilson(Ratio { events: failed, trials: runs }).expect("runs")
}

/// What the prober says of what this client does.
fn estimate(view: &ClientView, real: Real) -> Estimate {
    match (real, view.run.pulls.trials) {
        // The canary has one layer: it takes more requests than a login, and fewer than ten layers.
        (Real::ContainerdFetch, 1..) => {
            let pull = view.pull.expect("matrix and shares are known");
            Estimate { lower: view.login.lower, ..pull }
        }
        _ => view.login,
    }
}

fn other_key() -> FaultOrder {
    FaultOrder::at("b", Fault::OtherKey)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_real_clients_feel_lies_in_the_interval_of_their_kind() {
    if !can_run() {
        return;
    }
    let daemons = Arc::new(Daemons::start().await);
    let mut random = SmallRng::seed_from_u64(5);
    let skewed = FaultOrder::at(
        "b",
        Fault::Clock {
            offset_seconds: 90.0,
            drift_ppm: 0.0,
            step_seconds: 0.0,
            step_after_seconds: 0.0,
        },
    );
    let mut table = String::new();
    let mut wrong = Vec::new();
    let (haproxy, nginx) = (Balancer::Haproxy, Balancer::Nginx);
    let (harbor, plain) = (Family::Harbor215, Family::Distribution2);
    for (name, balancer, family, faults, runs) in [
        ("other key", haproxy("random(1)"), harbor, vec![other_key()], 40),
        ("other key", nginx("random;"), harbor, vec![other_key()], 40),
        ("other key", haproxy("roundrobin"), plain, vec![other_key()], 12),
        ("other key", nginx(""), plain, vec![other_key()], 12),
        ("90 s ahead", haproxy("random(1)"), harbor, vec![skewed.clone()], 12),
        ("90 s ahead", nginx("random;"), plain, vec![skewed], 12),
        ("dropped header", Balancer::NginxWithout("Authorization"), harbor, vec![], 4),
        ("healthy", haproxy("random(1)"), harbor, vec![], 4),
    ] {
        let place = Arc::new(Place::start(balancer, family, &faults).await);
        let views = place.views().await;
        for real in [Real::DockerLogin, Real::SkopeoLogin, Real::ContainerdFetch] {
            // A fetch is three programs and more.
            let runs = if real == Real::ContainerdFetch { runs / 2 } else { runs };
            let mut failed = 0;
            for _ in 0..runs {
                let (daemons, place, mut chance) = (
                    Arc::clone(&daemons),
                    Arc::clone(&place),
                    SmallRng::seed_from_u64(random.random()),
                );
                let once = move || {
                    place.others(&mut chance);
                    real.once(&daemons, &place)
                };
                let well = tokio::task::spawn_blocking(once).await.expect("it runs");
                failed += u32::from(!well);
            }
            let kind = real.kind();
            let view = views.iter().find(|view| view.run.client == kind).expect("its flows");
            let said = estimate(view, real);
            let (low, high) = wilson(failed, runs);
            let line = format!(
                "{name}, {family} behind {balancer:?}: {real:?} {failed} of {runs} failed; {} said \
                 {:.3} [{:.3} to {:.3}], flows {:?}",
                kind.as_str(),
                said.value,
                said.lower,
                said.upper,
                view.run
            );
            println!("{line}");
            let _ = writeln!(table, "{line}");
            if low > said.upper || high < said.lower {
                wrong.push(line);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\nof\n{table}");
}

#[test]
fn the_versions_of_programs_are_read() {
    if can_run() {
        for program in [DOCKERD, "skopeo"] {
            assert!(version(program) > (0, 0), "{program}");
        }
    }
}
