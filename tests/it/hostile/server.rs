//! A listener on loopback that does what the test says, right or wrong, and writes down what it
//! got.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// One thing that a server does with a connection.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Sends this at once.
    Send(Vec<u8>),
    /// Sends this again and again, as fast as it is taken.
    Flood(Vec<u8>),
    /// Sends this byte by byte, again and again.
    Drip(Vec<u8>),
    /// Waits for some bytes and takes them.
    Take,
    /// Says nothing more.
    Hang,
    /// Ends the connection, in TLS without a word.
    Close,
    /// Ends the connection with a reset.
    Reset,
}

pub(super) fn send(text: impl AsRef<[u8]>) -> Act {
    Act::Send(text.as_ref().to_vec())
}

/// A complete answer.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    send(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"))
}

/// What a server got, in order.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Requests, head and body.
    pub(super) requests: Vec<String>,
    /// The TLS server name of every connection.
    pub(super) names: Vec<Option<String>>,
    pub(super) connections: usize,
}

/// What to do when a connection is opened (`None`) and for each request on it.
type Play = Arc<dyn Fn(Option<&str>) -> Vec<Act> + Send + Sync>;

/// A server that ends when it is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start(
        tls: Option<Arc<ServerConfig>>,
        play: impl Fn(Option<&str>) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (play, shared): (Play, _) = (Arc::new(play), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (play, seen, tls) = (Arc::clone(&play), Arc::clone(&shared), tls.clone());
                seen.lock().unwrap().connections += 1;
                connections.spawn(async move {
                    let Some(tls) = tls else { return serve(tcp, &play, &seen).await };
                    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp);
                    let Ok(hello) = hello.await else { return };
                    let name = hello.client_hello().server_name().map(str::to_owned);
                    seen.lock().unwrap().names.push(name);
                    if let Ok(stream) = hello.into_stream(tls).await {
                        serve(stream, &play, &seen).await;
                    }
                });
            }
        });
        Self { address, seen, task }
    }

    /// A server that answers every request alike.
    pub(super) async fn saying(acts: Vec<Act>) -> Self {
        Self::start(None, move |head| head.map(|_| acts.clone()).unwrap_or_default()).await
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().requests.clone()
    }

    pub(super) fn names(&self) -> Vec<Option<String>> {
        self.seen.lock().unwrap().names.clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }
}

/// A stream that can be reset.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    fn reset_on_drop(&self);
}

impl Stream for TcpStream {
    fn reset_on_drop(&self) {
        self.set_zero_linger().unwrap();
    }
}

impl Stream for TlsStream<TcpStream> {
    fn reset_on_drop(&self) {
        self.get_ref().0.reset_on_drop();
    }
}

async fn serve(mut stream: impl Stream, play: &Play, seen: &Mutex<Seen>) {
    if !act(&mut stream, play(None)).await {
        return;
    }
    while let Some(request) = read(&mut stream).await {
        seen.lock().unwrap().requests.push(request.clone());
        if !act(&mut stream, play(Some(&request))).await {
            return;
        }
    }
}

/// One request with its body; none at the end of the connection.
async fn read(stream: &mut impl Stream) -> Option<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        text.push(char::from(stream.read_u8().await.ok()?));
    }
    let length = text.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
    });
    // What is declared may be gigabytes that never come.
    let (mut body, length) = (Vec::new(), length.unwrap_or(0));
    let read = (&mut *stream).take(length as u64).read_to_end(&mut body).await.ok()?;
    if read < length {
        return None;
    }
    Some(text + &String::from_utf8_lossy(&body))
}

/// Whether the connection lives on.
async fn act(stream: &mut impl Stream, acts: Vec<Act>) -> bool {
    for act in acts {
        let gone = match act {
            Act::Send(bytes) => put(stream, &bytes).await.is_err(),
            Act::Flood(bytes) => {
                while put(stream, &bytes).await.is_ok() {}
                true
            }
            Act::Drip(bytes) => {
                for byte in bytes.iter().cycle() {
                    if put(stream, &[*byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                true
            }
            Act::Take => stream.read(&mut [0; 4_096]).await.is_err(),
            Act::Hang => std::future::pending().await,
            Act::Close => true,
            Act::Reset => {
                stream.reset_on_drop();
                true
            }
        };
        if gone {
            return false;
        }
    }
    true
}

async fn put(stream: &mut impl Stream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// A certificate that is its own authority, as `openssl req -x509` makes it, and a server with it.
pub(super) fn self_signed(
    names: &[&str],
    bend: impl FnOnce(&mut CertificateParams),
) -> (String, Arc<ServerConfig>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    bend(&mut params);
    let key = KeyPair::generate().unwrap();
    let own = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .unwrap();
    (own.pem(), Arc::new(config))
}

/// A certificate authority for one test.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server that asks every client for a certificate of this authority, by one version of TLS.
    pub(super) fn asking(&self, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let (chain, key) = self.leaf(&["hub.test"], |_| {});
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()], {
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()
            })
            .unwrap();
        Arc::new(config)
    }

    /// A certificate for these names and its key, both PEM.
    pub(super) fn leaf(
        &self,
        names: &[&str],
        bend: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        bend(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// A server with a certificate for these names, bent by `bend`.
    pub(super) fn server(
        &self,
        names: &[&str],
        bend: impl FnOnce(&mut CertificateParams),
    ) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        bend(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}
