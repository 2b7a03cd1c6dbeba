//! The only room that opens sockets outward.
//!
//! A [`Wire`] opens [`Link`]s: one link is one connection, used once (fresh) or kept alive. A
//! link is pinned: it connects where its [`Destination`] says while `Host` and the TLS server
//! name stay public. Every request ends within its time in an [`Exchange`]: a bounded reply or a
//! classified [`Failure`], with the duration of each phase and the peer's certificate. Nothing
//! here knows what a token is, follows a redirect, retries, or keeps a cookie. An [`Api`] is for
//! discovery: the server of a cluster, which is no registry.

mod api;
mod certificate;
mod classify;
mod client;
mod declared;
mod dns;
mod handshake;
mod stamps;
mod tls;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::time::Instant;

use crate::model::{DnsRecord, Failure, Timeline};

pub use api::{Api, ApiError, Lines};
pub use certificate::PeerCertificate;
pub use client::HttpClient;
pub use dns::{Srv, services};
pub use tls::{ClientPem, Tls, TlsError, install_crypto_provider};

/// What the program calls itself where no other `User-Agent` is configured.
pub const USER_AGENT: &str = concat!("registry-prober/", env!("CARGO_PKG_VERSION"));

/// The largest body that is read, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// The largest header block that is accepted, in bytes.
pub const MAX_HEADERS: usize = 64 * 1024;

/// Where a connection goes and which host it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Whether to speak TLS.
    pub tls: bool,
    /// The public host, a name or an address: TLS server name and certificate name.
    pub host: String,
    /// The `Host` header: the public host, with its port unless that is the scheme's own.
    pub host_header: String,
    /// Where to connect.
    pub connect: Connect,
}

/// Where a connection is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connect {
    /// A known address.
    Address(SocketAddr),
    /// A name that is resolved for every connection.
    Name {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
}

/// The body of a request. No `Debug`: it may hold a password.
#[derive(Clone)]
pub enum Body {
    /// None.
    Empty,
    /// This text.
    Text(String),
    /// This number of bytes is declared and none is ever sent: a server that refuses the length
    /// says so at once, any other waits. The link cannot be used again.
    Declared(u64),
}

impl Body {
    /// The length that the request declares, in bytes.
    pub fn declared(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Text(text) => text.len() as u64,
            Self::Declared(bytes) => *bytes,
        }
    }
}

/// One request. Whoever creates secret header values marks them sensitive; its query
/// may hold the state of an upload and its body a password, so `Debug` leaves out the one and tells
/// only the length of the other.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// Headers in addition to `Host`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Body,
    /// When the request must have ended.
    pub deadline: Instant,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path.split('?').next().unwrap_or_default())
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.declared())
            .finish_non_exhaustive()
    }
}

/// A complete answer within the limits. Its body may hold a token and its headers a session, so
/// `Debug` tells only how much there is of both.
#[derive(Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most [`MAX_BODY`] bytes.
    pub body: Vec<u8>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// One request as it went.
#[derive(Debug)]
pub struct Exchange {
    /// The answer, or why there is none.
    pub result: Result<Reply, Failure>,
    /// The phases.
    pub timeline: Timeline,
    /// When the connection began to be opened, or if it was open when the request was sent: the
    /// server's clock was read after that.
    pub sent: Instant,
    /// When the headers of the answer were there.
    pub answered: Instant,
    /// The certificate met while connecting; none on a kept connection or without TLS.
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// A boxed future, so that wires can be exchanged at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that opens links: sockets in the program, a simulation in tests.
pub trait Wire: Send + Sync {
    /// Prepares a link; nothing is connected before the first request.
    fn open(&self, to: &Destination) -> Box<dyn Link>;

    /// The addresses of a name, by one resolver or as the system sees them, by `deadline`.
    fn lookup<'a>(
        &'a self,
        host: &'a str,
        resolver: Option<SocketAddr>,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<DnsRecord>, Failure>>;

    /// Waits until an instant, as exactly as requests can be sent over this wire.
    fn wait_until(&self, at: Instant) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep_until(at))
    }
}

/// One connection.
pub trait Link: Send {
    /// Sends a request, opening the connection if it is not open, and always ends by the
    /// request's deadline.
    fn send(&mut self, request: Request) -> BoxFuture<'_, Exchange>;
}
