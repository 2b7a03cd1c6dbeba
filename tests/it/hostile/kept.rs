//! One link is one connection: through a balancer another connection may be another node, so a
//! client-like flow that changed it would blame a node for tokens of another.

use std::time::Duration;

use futures_util::future::join_all;
use registry_prober::transport::{Body, Link, Request, Wire as _};
use tokio::time::Instant;

use super::server::{Act, Authority, Server, answer, send};
use super::{LONG, client, destination};

/// Links that are used at the same time.
const LINKS: usize = 100;
/// Requests on each, as many as a client-like flow has.
const REQUESTS: usize = 3;

fn get() -> Request {
    Request {
        method: http::Method::GET,
        path: "/v2/".to_owned(),
        headers: Vec::new(),
        body: Body::Empty,
        deadline: Instant::now() + LONG,
    }
}

async fn ask(link: &mut dyn Link) {
    let exchange = link.send(get()).await;
    assert_eq!(exchange.result.as_ref().map(|reply| reply.status), Ok(200), "{exchange:?}");
    let phases = exchange.timeline.phases().len();
    assert!(exchange.timeline.failed_in().is_none() && phases >= 2, "{exchange:?}");
}

/// How many connections a server saw of links that were used side by side.
async fn connections(tls: bool, acts: Vec<Act>) -> usize {
    let authority = Authority::new("lab");
    let config = tls.then(|| authority.server(&["hub.test"], |_| {}));
    let play = move |request: Option<&str>| request.map(|_| acts.clone()).unwrap_or_default();
    let server = Server::start(config, play).await;
    let client = client(Some(&authority.pem()), false);
    let used = (0..LINKS).map(|_| {
        let mut link = client.open(&destination(tls, server.address));
        tokio::spawn(async move {
            for _ in 0..REQUESTS {
                ask(link.as_mut()).await;
            }
        })
    });
    for ended in join_all(used).await {
        ended.unwrap();
    }
    server.connections()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_a_link_goes_over_its_one_connection() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (name, acts) in [
        ("a body", vec![answer("200 OK", "", "hello")]),
        ("no body", vec![answer("200 OK", "", "")]),
        ("chunks", vec![send(chunked), send("2\r\nhm\r\n"), send("0\r\n\r\n")]),
    ] {
        for tls in [false, true] {
            assert_eq!(connections(tls, acts.clone()).await, LINKS, "{name}, tls: {tls}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_its_server_ended_is_opened_anew() {
    let client = client(None, false);
    for (name, headers) in [("with a word", "Connection: close\r\n"), ("without one", "")] {
        let acts = vec![answer("200 OK", headers, "hello"), Act::Close];
        let server = Server::saying(acts).await;
        let mut link = client.open(&destination(false, server.address));
        for number in 1..=REQUESTS {
            ask(link.as_mut()).await;
            assert_eq!(server.connections(), number, "{name}");
            // The end is seen before the next request.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
