//! Servers that misbehave: whatever they do, each request ends in exactly one named phase and
//! reason, each round ends in time, and no credential goes where it does not belong.

mod blobs;
mod cookies;
mod echo;
mod elsewhere;
mod kept;
mod paths;
mod pinning;
mod rounds;
mod server;
mod sockets;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use registry_prober::model::{Phase, Reason};
use registry_prober::transport::{
    Connect, Destination, Exchange, HttpClient, Request, Tls, Wire as _, install_crypto_provider,
};
use tokio::time::{Instant, timeout};

/// Within this nothing may hang, however busy the machine is.
const GUARD: Duration = Duration::from_secs(60);

/// The time of a request that is to end by its deadline.
const SHORT: Duration = Duration::from_millis(400);

/// The time of a request that is to end by itself.
const LONG: Duration = Duration::from_secs(30);

/// How a request is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Status(u16),
    Fails(Phase, Reason),
}

impl End {
    /// How long to wait for it.
    fn patience(self) -> Duration {
        match self {
            Self::Fails(_, Reason::Timeout) => SHORT,
            _ => LONG,
        }
    }

    fn of(exchange: &Exchange) -> Self {
        match &exchange.result {
            Ok(reply) => Self::Status(reply.status),
            Err(failure) => {
                assert!(!failure.detail.is_empty(), "{failure:?}");
                let phase = failure.phase.expect("a request dies in a phase");
                assert_eq!(exchange.timeline.failed_in(), Some(phase), "{failure}");
                Self::Fails(phase, failure.reason)
            }
        }
    }
}

fn client(roots: Option<&str>, accept_invalid: bool) -> HttpClient {
    install_crypto_provider();
    let tls = Tls::prepare(roots.map(str::as_bytes), None, accept_invalid).unwrap();
    HttpClient::new(tls, "registry-prober/test")
}

fn destination(tls: bool, address: SocketAddr) -> Destination {
    Destination {
        tls,
        host: "hub.test".to_owned(),
        host_header: "hub.test".to_owned(),
        connect: Connect::Address(address),
    }
}

async fn get(client: &HttpClient, to: &Destination, patience: Duration) -> Exchange {
    let request = Request {
        method: Method::GET,
        path: "/v2/".to_owned(),
        headers: Vec::new(),
        body: registry_prober::transport::Body::Empty,
        deadline: Instant::now() + patience,
    };
    let mut link = client.open(to);
    timeout(GUARD, link.send(request)).await.expect("a request that does not hang")
}
