//! A lab on real sockets: every node, the balancer and the token server listen on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::credentials::Login;
use super::error::LabError;
use super::fault::FaultOrder;
use super::gate::{Connection, Entry};
use super::options::Options;
use super::pki::Pki;
use super::running::{NodeAddress, Running};
use super::scenario::Scenario;
use super::world::{ActiveFault, World};
use super::{control, serve};

/// A running lab. Dropping it ends everything that it started.
pub struct Cluster {
    shared: Arc<Running>,
    nodes: Vec<NodeAddress>,
    balancer: SocketAddr,
    token_server: Option<SocketAddr>,
    second: Option<SocketAddr>,
    control: SocketAddr,
    login: Login,
    /// Aborts what it holds when dropped.
    tasks: JoinSet<()>,
}

impl Cluster {
    /// Starts a scenario. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`LabError`] if keys, certificates or sockets cannot be created.
    pub fn start(scenario: &Scenario, options: &Options) -> Result<Self, LabError> {
        // Before keys are generated, which may take a second: the lab's wall clock runs from here.
        let began = Instant::now();
        let world = World::new(scenario, options)?;
        let nodes = (0..)
            .zip(world.node_names())
            .map(|(index, name)| Ok((name, BoundPort::any(Entry::Node(index))?)))
            .collect::<Result<Vec<_>, LabError>>()?;
        let second = world.second().map(|index| BoundPort::any(Entry::Node(index))).transpose()?;
        let balancer = BoundPort::any(Entry::Balancer)?;
        let own_server = world.has_token_server().then_some(Entry::TokenServer);
        let token_server = own_server.map(BoundPort::any).transpose()?;
        let public_host = world.public_host().to_owned();
        let shared = Arc::new(Running {
            world: Mutex::new(world),
            pki: Pki::new(&public_host, options.began)?,
            harbor: options.family.unwrap_or(scenario.family).is_harbor(),
            began,
            connections: AtomicU64::new(0),
            changes: watch::channel(0).0,
        });
        let login = shared.world().login()?;
        let (control, listener) = control_port()?;
        let places = control::Places {
            scenario: scenario.name.clone(),
            nodes: nodes
                .iter()
                .map(|(name, port)| NodeAddress { name: name.clone(), address: port.address })
                .collect(),
            balancer: balancer.address,
            token_server: token_server.as_ref().map(|port| port.address),
        };
        if let Some(address) = places.token_server {
            shared.world().set_token_server(&format!("https://{address}"));
        }
        let cluster = Self {
            shared: Arc::clone(&shared),
            nodes: places.nodes.clone(),
            balancer: places.balancer,
            token_server: places.token_server,
            second: second.as_ref().map(|port| port.address),
            control,
            login,
            tasks: JoinSet::new(),
        };
        let nodes = nodes.into_iter().map(|(_, port)| port);
        let ports = nodes.chain(second).chain([balancer]).chain(token_server);
        cluster.open(ports, places, listener)
    }

    /// Lets every port listen before this returns, so that the first request finds an open one.
    fn open(
        mut self,
        ports: impl Iterator<Item = BoundPort>,
        places: control::Places,
        listener: TcpListener,
    ) -> Result<Self, LabError> {
        for BoundPort { entry, socket, address } in ports {
            let door = Door::open(&self.shared, entry, socket, address)?;
            self.tasks.spawn(listen(Arc::clone(&self.shared), entry, address, door));
        }
        self.tasks.spawn(control::serve(Arc::clone(&self.shared), places, listener));
        Ok(self)
    }

    /// The public URL, which no resolver knows: connect to the addresses instead.
    pub fn public_url(&self) -> String {
        format!("https://{}", self.shared.world().public_host())
    }

    /// The nodes, in their order.
    pub fn nodes(&self) -> &[NodeAddress] {
        &self.nodes
    }

    /// Where the balancer listens.
    pub fn balancer(&self) -> SocketAddr {
        self.balancer
    }

    /// Where the token server listens, if there is one apart from the nodes.
    pub fn token_server(&self) -> Option<SocketAddr> {
        self.token_server
    }

    /// The one node of the second installation, if there is one.
    pub fn second(&self) -> Option<SocketAddr> {
        self.second
    }

    /// Where faults are switched while the lab runs: plain HTTP, `GET /` and `POST /faults`.
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// The certificate that signed all others, PEM.
    pub fn ca_pem(&self) -> String {
        self.shared.pki.ca_pem()
    }

    /// The account of the prober. The lab may know it as refused.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// The repository that the prober may push to, if it may.
    pub fn scratch(&self) -> Option<&'static str> {
        self.shared.world().scratch()
    }

    /// The account that lists worker pools, if one may.
    pub fn system_login(&self) -> Option<Login> {
        self.shared.world().system_login()
    }

    /// The person in the directory, if the prober has the account.
    pub fn directory_login(&self) -> Option<Login> {
        self.shared.world().directory_login()
    }

    /// The faults that are switched on.
    pub fn faults(&self) -> Vec<ActiveFault> {
        self.shared.world().faults().to_vec()
    }

    /// Replaces the faults while the lab runs.
    ///
    /// # Errors
    /// [`LabError`] if a fault names no place of this lab; nothing has changed then.
    pub fn set_faults(&self, orders: Vec<FaultOrder>) -> Result<(), LabError> {
        self.shared.set_faults(orders)
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("nodes", &self.nodes)
            .field("balancer", &self.balancer)
            .field("token_server", &self.token_server)
            .finish_non_exhaustive()
    }
}

/// A port of its own for each entry, bound and not yet listening.
struct BoundPort {
    entry: Entry,
    socket: TcpSocket,
    address: SocketAddr,
}

impl BoundPort {
    fn any(entry: Entry) -> Result<Self, LabError> {
        let socket = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = socket.local_addr().map_err(|source| LabError::io("a port", source))?;
        Ok(Self { entry, socket, address })
    }
}

/// Where the lab takes orders.
fn control_port() -> Result<(SocketAddr, TcpListener), LabError> {
    bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?
        .listen(16)
        .and_then(|listener| Ok((listener.local_addr()?, listener)))
        .map_err(|source| LabError::io("the control port", source))
}

/// How often a port that was let go is taken again, and how long after each other.
const BINDS: u32 = 100;
const BIND_AGAIN: Duration = Duration::from_millis(50);

/// A port that listens, or one that is kept but refuses.
enum Door {
    Open(TcpListener),
    /// Bound and not listening: the system refuses connections. Held for the port's sake.
    Shut {
        socket: TcpSocket,
    },
}

impl Door {
    fn open(
        shared: &Running,
        entry: Entry,
        socket: TcpSocket,
        address: SocketAddr,
    ) -> Result<Self, LabError> {
        if Self::must_be_shut(shared, entry) {
            return Ok(Self::Shut { socket });
        }
        let listener = socket
            .listen(1024)
            .map_err(|source| LabError::io(&format!("listening on {address}"), source))?;
        Ok(Self::Open(listener))
    }

    /// Opens what is shut and shuts what is open; none if the port is lost.
    async fn turn(self, shared: &Running, entry: Entry, address: SocketAddr) -> Option<Self> {
        let socket = match self {
            Self::Shut { socket } => socket,
            Self::Open(listener) => {
                drop(listener);
                // Meanwhile another connection may have taken the port for a moment.
                let mut tries = 0..BINDS;
                loop {
                    match bind(address) {
                        Ok(socket) => break socket,
                        Err(_) if tries.next().is_some() => sleep(BIND_AGAIN).await,
                        Err(_) => return None,
                    }
                }
            }
        };
        Self::open(shared, entry, socket, address).ok()
    }

    fn must_be_shut(shared: &Running, entry: Entry) -> bool {
        shared.world().refuses(entry)
    }

    fn is_shut(&self) -> bool {
        matches!(self, Self::Shut { .. })
    }
}

fn bind(address: SocketAddr) -> Result<TcpSocket, LabError> {
    let failed = |source| LabError::io(&format!("binding {address}"), source);
    let socket = TcpSocket::new_v4().map_err(failed)?;
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(address).map_err(failed)?;
    Ok(socket)
}

/// Accepts connections at one port until the lab ends.
async fn listen(shared: Arc<Running>, entry: Entry, address: SocketAddr, mut door: Door) {
    let mut changes = shared.changes.subscribe();
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            match &door {
                Door::Open(listener) => listener.accept().await,
                Door::Shut { .. } => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => {
                let Ok((stream, peer)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let source = match peer {
                    SocketAddr::V4(peer) => u32::from(*peer.ip()),
                    SocketAddr::V6(_) => 0,
                };
                let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
                let connection = Connection { number, source };
                connections.spawn(serve::connection(
                    Arc::clone(&shared), entry, connection, stream,
                ));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                if door.is_shut() == Door::must_be_shut(&shared, entry) {
                    continue;
                }
                let Some(turned) = door.turn(&shared, entry, address).await else { return };
                door = turned;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::lab::{Family, Fault, KeyKind, PUBLIC_HOST};

    fn options() -> Options {
        Options { keys: KeyKind::Fast, ..Options::default() }
    }

    async fn get(cluster: &Cluster, address: SocketAddr, path: &str) -> std::io::Result<String> {
        ask(cluster, address, "GET", path).await
    }

    /// One request on a connection of its own; everything that comes back.
    async fn ask(
        cluster: &Cluster,
        address: SocketAddr,
        method: &str,
        path: &str,
    ) -> std::io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(cluster.ca_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(PUBLIC_HOST).unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8(answer).unwrap())
    }

    fn start(name: &str) -> Cluster {
        Cluster::start(&Scenario::named(name).unwrap(), &options()).unwrap()
    }

    #[tokio::test]
    async fn nodes_and_balancer_answer_over_tls_with_headers_as_on_the_wire() {
        let cluster = start("healthy");
        let node = cluster.nodes()[1].address;
        for (address, server) in [(node, "nginx\r\n"), (cluster.balancer(), "nginx/1.22.1\r\n")] {
            let answer = get(&cluster, address, "/v2/").await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
            let challenge = "Www-Authenticate: Bearer realm=\"https://hub.lab.invalid/service/token\",\
                             service=\"harbor-registry\"\r\n";
            assert!(answer.contains(challenge), "{answer}");
            assert!(answer.contains(&format!("Server: {server}")), "{answer}");
            assert!(
                answer.contains("Docker-Distribution-Api-Version: registry/2.0\r\n"),
                "{answer}"
            );
            assert_eq!(answer.matches("Date: ").count(), 1, "{answer}");
        }
    }

    #[tokio::test]
    async fn a_node_that_is_unreachable_refuses_and_comes_back_when_the_fault_goes() {
        let cluster = start("backend-unreachable");
        let address = cluster.nodes()[1].address;
        let error = get(&cluster, address, "/v2/").await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(get(&cluster, cluster.balancer(), "/v2/").await.unwrap().contains(" 401 "));
        cluster.set_faults(Vec::new()).unwrap();
        // The port opens as soon as its task has seen the change.
        loop {
            match get(&cluster, address, "/v2/").await {
                Ok(answer) => break assert!(answer.contains(" 401 "), "{answer}"),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    #[tokio::test]
    async fn resets_garbage_and_truncated_bodies_reach_the_client_as_such() {
        let cluster = start("healthy");
        let address = cluster.nodes()[0].address;
        for (fault, expected) in [
            (Fault::Reset { probability: 1.0 }, None),
            (Fault::Garbage, Some("SSH-2.0-lab")),
            (Fault::TruncatedBody, Some("content-length: 76")),
        ] {
            cluster.set_faults(vec![FaultOrder::at("a", fault.clone())]).unwrap();
            let answer = get(&cluster, address, "/v2/").await;
            match expected {
                None => assert!(answer.is_err(), "{answer:?}"),
                Some(text) => {
                    let answer = answer.unwrap();
                    assert!(answer.contains(text), "{answer}");
                    assert!(!answer.ends_with("]}\n"), "{answer}");
                }
            }
        }
    }

    #[tokio::test]
    async fn head_tells_the_length_of_a_body_that_does_not_come() {
        let cluster = start("healthy");
        for address in [cluster.nodes()[0].address, cluster.balancer()] {
            let answer = ask(&cluster, address, "HEAD", "/v2/").await.unwrap();
            assert!(answer.contains("Content-Length: 76\r\n"), "{answer}");
            assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        }
    }

    #[tokio::test]
    async fn plain_http_at_a_tls_port_is_told_so_as_captured() {
        for (family, expected) in [
            // tests/captures/distribution-2.8.2/73-plain-http-to-tls-port.http
            (
                Family::Distribution2,
                "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
            ),
            (Family::Harbor215, "The plain HTTP request was sent to HTTPS port"),
        ] {
            let options = Options { family: Some(family), ..options() };
            let cluster = Cluster::start(&Scenario::named("healthy").unwrap(), &options).unwrap();
            let mut stream = TcpStream::connect(cluster.nodes()[0].address).await.unwrap();
            stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: lab\r\n\r\n").await.unwrap();
            // Closing with unread input may reset the connection after the answer.
            let mut answer = vec![0; 2_048];
            let read = stream.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..read]);
            assert!(answer.contains(expected), "{answer}");
        }
    }

    #[tokio::test]
    async fn certificates_are_wrong_as_ordered_and_only_there() {
        use crate::lab::CertificateFault;
        for (fault, words) in [
            (CertificateFault::Expired, "expired"),
            (CertificateFault::WrongName, "another.lab.invalid"),
            (CertificateFault::SelfSigned, "UnknownIssuer"),
        ] {
            let order = FaultOrder::at("b", Fault::Certificate(fault));
            let options = Options { faults: vec![order], ..options() };
            let cluster = Cluster::start(&Scenario::named("healthy").unwrap(), &options).unwrap();
            let error = get(&cluster, cluster.nodes()[1].address, "/v2/").await.unwrap_err();
            let error = format!("{error} {error:?}");
            assert!(error.to_lowercase().contains(&words.to_lowercase()), "{error}");
            for good in [cluster.nodes()[0].address, cluster.balancer()] {
                assert!(get(&cluster, good, "/v2/").await.unwrap().contains(" 401 "));
            }
        }
    }

    #[tokio::test]
    async fn the_configuration_names_every_node_and_its_files_exist() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = start("token-key-mismatch");
        let text = cluster.config_yaml(dir.path()).unwrap();
        for node in cluster.nodes() {
            let line = format!("{{name: {}, address: '{}'}}", node.name, node.address);
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains(&format!("balancer: {{address: '{}'}}", cluster.balancer())));
        for name in ["lab-ca.pem", "lab-password"] {
            assert!(text.contains(name) && dir.path().join(name).exists(), "{text}");
        }
    }

    #[tokio::test]
    async fn dropping_a_lab_closes_its_ports() {
        let cluster = start("healthy");
        let address = cluster.balancer();
        drop(cluster);
        loop {
            // Aborted tasks end when the runtime next turns to them.
            if TcpStream::connect(address).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}
