//! The real clients: dockerd, containerd and skopeo. They run as root on loopback, and are ended by
//! process id.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use registry_prober::model::ClientKind;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use super::place::Place;
use crate::real::process::{Process, command};

/// Where Debian has the programs.
const DOCKERD: &str = "/usr/sbin/dockerd";
const PROGRAMS: [&str; 4] = [DOCKERD, "/usr/bin/containerd", "/usr/bin/ctr", "/usr/bin/skopeo"];

/// The image of ten layers.
const LAYERS: &str = "probe/layers";

/// Whether real clients can run here. Where everything has to be there, a missing program fails.
pub(super) fn can_run() -> bool {
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

/// The skopeo that is looked at: Debian's, or one of another time.
fn skopeo() -> String {
    std::env::var("SKOPEO").unwrap_or_else(|_| "skopeo".to_owned())
}

/// The daemons, and the folder of all that they write.
pub(super) struct Daemons {
    _dockerd: Process,
    _containerd: Process,
    /// One pull at a time: dockerd asks once for what several want.
    pulling: Mutex<()>,
    /// How many namespaces of containerd there are: one for each pull.
    spaces: AtomicU32,
    // Last, so that it outlives those that write into it.
    folder: TempDir,
}

impl Daemons {
    pub(super) async fn start() -> Self {
        // In memory: both write each small file through to the disk.
        let memory = Path::new("/dev/shm");
        let memory = memory.is_dir().then(|| TempDir::new_in(memory).ok()).flatten();
        let folder = memory.unwrap_or_else(|| TempDir::new().expect("a folder"));
        let at = |name: &str| folder.path().join(name);
        let mut start = command("containerd");
        start.arg("--address").arg(at("c.sock")).arg("--root").arg(at("c-root"));
        start.arg("--state").arg(at("c-state")).args(["--log-level", "error"]);
        // No namespace sees what another one fetched.
        let own = format!(
            "version = 2\n[plugins.'io.containerd.internal.v1.opt']\npath = '{}'\n\
             [plugins.'io.containerd.metadata.v1.bolt']\ncontent_sharing_policy = 'isolated'\n",
            at("c-opt").display()
        );
        fs::write(at("c.toml"), own).expect("a file");
        start.arg("--config").arg(at("c.toml"));
        let containerd = Self::listening(start, folder.path(), "c").await;
        let mut start = command("dockerd");
        start.args(["--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
        start.arg("--bridge=none");
        fs::write(at("d.json"), "{}").expect("a file");
        start.arg("--config-file").arg(at("d.json"));
        start.args(["--storage-driver=vfs", "--log-level=error"]);
        for (option, name) in [("--data-root", "d-root"), ("--exec-root", "d-exec")] {
            start.arg(option).arg(at(name));
        }
        start.arg("--pidfile").arg(at("d.pid")).arg("--containerd").arg(at("c.sock"));
        start.arg("-H").arg(format!("unix://{}", at("d.sock").display()));
        let dockerd = Self::listening(start, folder.path(), "d").await;
        Self {
            _dockerd: dockerd,
            _containerd: containerd,
            pulling: Mutex::new(()),
            spaces: AtomicU32::new(0),
            folder,
        }
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

    /// What dockerd answers to its own client: status and body.
    async fn ask(&self, method: &str, path: &str, account: &str, body: &str) -> (u16, String) {
        let mut socket = UnixStream::connect(self.path("d.sock")).await.expect("dockerd listens");
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\n\
             X-Registry-Auth: {account}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.expect("it answers");
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.expect("a status"), body.to_owned())
    }
}

impl Drop for Daemons {
    /// dockerd mounts its folder onto itself; what is mounted cannot be removed.
    fn drop(&mut self) {
        let _ = command("umount").args(["--lazy", &self.path("d-root")]).output();
    }
}

/// Whether a command ends well.
async fn run(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = quiet.spawn().expect("it runs");
    let ended = tokio::task::spawn_blocking(move || child.wait()).await.expect("it is waited for");
    ended.expect("its status").success()
}

/// A real client, and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Real {
    DockerLogin,
    SkopeoLogin,
    /// A pull of ten layers.
    DockerPull,
    /// containerd has no login; it fetches the image of ten layers.
    ContainerdPull,
}

impl Real {
    /// All of them.
    pub(super) const ALL: [Self; 4] =
        [Self::DockerLogin, Self::SkopeoLogin, Self::DockerPull, Self::ContainerdPull];

    /// Its kind: podman, skopeo and docker changed theirs.
    pub(super) fn kind(self) -> ClientKind {
        match self {
            Self::DockerLogin | Self::DockerPull if version(DOCKERD) < (29, 0) => {
                ClientKind::Docker
            }
            Self::SkopeoLogin if version(&skopeo()) < (1, 11) => ClientKind::Docker,
            Self::DockerLogin | Self::DockerPull | Self::SkopeoLogin => ClientKind::Podman,
            Self::ContainerdPull => ClientKind::Containerd,
        }
    }

    /// Whether it pulls ten layers.
    pub(super) fn pulls(self) -> bool {
        matches!(self, Self::DockerPull | Self::ContainerdPull)
    }

    /// Does it once; whether it went well.
    pub(super) async fn once(self, daemons: &Daemons, place: &Place) -> bool {
        let (host, (username, password)) = (&place.host, &place.login);
        let account = serde_json::json!({
            "username": username, "password": password, "serveraddress": host,
        });
        match self {
            Self::SkopeoLogin => {
                let file = daemons.path("auth.json");
                run(Command::new(skopeo())
                    .args(["login", "--tls-verify=false", "--authfile", &file])
                    .args(["-u", username, "-p", password, host]))
                .await
            }
            Self::DockerLogin => {
                daemons.ask("POST", "/auth", "", &account.to_string()).await.0 == 200
            }
            Self::DockerPull => {
                let _alone = daemons.pulling.lock().await;
                let account = URL_SAFE.encode(account.to_string());
                let pull = format!("/images/create?fromImage={host}/{LAYERS}&tag=v1");
                let (status, said) = daemons.ask("POST", &pull, &account, "").await;
                let image = format!("/images/{host}/{LAYERS}:v1?force=1");
                let (removed, _) = daemons.ask("DELETE", &image, "", "").await;
                let pulled = status == 200 && !said.contains("errorDetail");
                assert_eq!(removed == 200, pulled, "{said}");
                pulled
            }
            Self::ContainerdPull => {
                let (user, hosts) = (format!("{username}:{password}"), place.hosts());
                let (socket, image) = (daemons.path("c.sock"), format!("{host}/{LAYERS}:v1"));
                let space = format!("of-{}", daemons.spaces.fetch_add(1, Ordering::Relaxed));
                run(Command::new("ctr")
                    .args(["-a", &socket, "-n", &space, "content", "fetch"])
                    .args(["--hosts-dir", &hosts, "--user", &user, &image]))
                .await
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

#[test]
fn the_versions_of_programs_are_read() {
    if can_run() {
        for program in [DOCKERD, "skopeo"] {
            assert!(version(program) > (0, 0), "{program}");
        }
    }
}
