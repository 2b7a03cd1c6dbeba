//! An API server on loopback, and the objects that a test creates there.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::real::process::{Process, command, free_address};

/// Who may do all, and who may do what a Role allows.
pub(super) const ADMIN: &str = "token-of-the-admin";
pub(super) const PROBER: &str = "token-of-the-prober";

/// The folder of the API server, Helm and the monitoring CRDs; none if they could not be built, which
/// tests/run says.
pub(super) fn tools() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_BIN_EXE_registry-prober"));
    let target = built.ancestors().nth(2).expect("a profile's folder");
    let tools = target.join("tools/kubernetes-1.34.4");
    let whole = ["kube-apiserver", "helm", "crds"].iter().all(|name| tools.join(name).exists());
    if !whole {
        let text = format!("{} is not complete: tests/run builds it", tools.display());
        let accepted = env::var_os("WITHOUT_KUBERNETES").is_some();
        assert!(accepted || env::var_os("CI").is_none(), "{text}");
        eprintln!("{text}; left out");
        return None;
    }
    Some(tools)
}

/// A running API server. It keeps its objects in etcd while it is stopped.
pub(super) struct Server {
    pub(super) tools: PathBuf,
    pub(super) etcd_at: SocketAddr,
    address: SocketAddr,
    process: Option<Process>,
    _etcd: Process,
    client: reqwest::Client,
    // Last, so that it outlives those that write into it.
    pub(super) folder: TempDir,
}

impl Server {
    pub(super) async fn start(tools: &Path) -> Self {
        registry_prober::transport::install_crypto_provider();
        let folder = TempDir::new().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        fs::write(folder.path().join("public.pem"), key.public_key_pem()).unwrap();
        let users = format!("{ADMIN},admin,1,\"system:masters\"\n{PROBER},prober,2,\"probers\"\n");
        fs::write(folder.path().join("users.csv"), users).unwrap();
        let (etcd, etcd_at) = Process::listening(folder.path(), "etcd", |address| {
            let (client, peer) =
                (format!("http://{address}"), format!("http://{}", free_address()));
            let mut etcd = command("etcd");
            etcd.arg("--data-dir").arg(folder.path().join("etcd"));
            etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            etcd.args(["--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync"]);
            etcd
        })
        .await;
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .no_proxy()
            .build()
            .unwrap();
        let (tools, address) = (tools.to_owned(), free_address());
        let mut server =
            Self { folder, tools, etcd_at, address, _etcd: etcd, process: None, client };
        server.up().await;
        server
    }

    /// Starts it, for the first time or again at the same address.
    pub(super) async fn up(&mut self) {
        let folder = self.folder.path();
        let mut api = command(&self.tools.join("kube-apiserver").display().to_string());
        let key = folder.join("key.pem");
        api.arg(format!("--etcd-servers=http://{}", self.etcd_at))
            .arg(format!("--bind-address={}", self.address.ip()))
            .arg(format!("--secure-port={}", self.address.port()))
            .arg(format!("--service-account-key-file={}", folder.join("public.pem").display()))
            .arg(format!("--service-account-signing-key-file={}", key.display()))
            .arg("--service-account-issuer=https://kubernetes.invalid")
            .arg(format!("--token-auth-file={}", folder.join("users.csv").display()))
            .arg("--authorization-mode=RBAC")
            .arg(format!("--cert-dir={}", folder.join("certificates").display()))
            .arg("--service-cluster-ip-range=10.0.0.0/24");
        let mut process = Process::start(api, folder, "kube-apiserver");
        let ready = async || {
            let asked = self.ask(reqwest::Method::GET, "/readyz", ADMIN, String::new()).await;
            asked.is_some_and(|(status, _)| status == 200)
        };
        if let Err(why) = process.until(ready).await {
            panic!("the API server is not ready ({why:?}):\n{}", process.said());
        }
        self.process = Some(process);
    }

    /// Stops it.
    pub(super) fn down(&mut self) {
        self.process = None;
    }

    async fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        token: &str,
        body: String,
    ) -> Option<(u16, String)> {
        let request = self.client.request(method, format!("https://{}{path}", self.address));
        let request = request.bearer_auth(token).header("Content-Type", "application/yaml");
        let answer = request.body(body).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// Reads an object or a list.
    pub(super) async fn get(&self, path: &str) -> Option<Value> {
        let (status, text) =
            self.ask(reqwest::Method::GET, path, ADMIN, String::new()).await.expect("it answers");
        (status == 200).then(|| serde_json::from_str(&text).unwrap())
    }

    /// Creates an object, written in YAML or JSON, and returns it as the server stored it.
    pub(super) async fn create(&self, path: &str, object: &str) -> Value {
        let asked = self.ask(reqwest::Method::POST, path, ADMIN, object.to_owned()).await;
        let (status, text) = asked.expect("it answers");
        assert_eq!(status, 201, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Replaces an object.
    pub(super) async fn replace(&self, path: &str, object: &Value) {
        let asked = self.ask(reqwest::Method::PUT, path, ADMIN, object.to_string()).await;
        let (status, text) = asked.expect("it answers");
        assert_eq!(status, 200, "{path}: {text}");
    }

    /// Deletes an object.
    pub(super) async fn delete(&self, path: &str) {
        let asked = self.ask(reqwest::Method::DELETE, path, ADMIN, String::new()).await;
        let (status, text) = asked.expect("it answers");
        assert_eq!(status, 200, "{path}: {text}");
    }

    pub(super) async fn namespace(&self, name: &str) {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.create("/api/v1/namespaces", &object.to_string()).await;
    }

    /// A kubeconfig of the one with this token.
    pub(super) fn kubeconfig(&self, token: &str) -> PathBuf {
        let ca = self.folder.path().join("certificates/apiserver.crt");
        let name = token.get(..30.min(token.len())).unwrap_or_default();
        let path = self.folder.path().join(format!("{name}.yml"));
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://{}", self.address), "certificate-authority": ca}}],
            "users": [{"name": "test", "user": {"token": token}}],
        });
        fs::write(&path, text.to_string()).unwrap();
        path
    }
}
