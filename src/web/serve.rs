//! Sockets for the router: bounded in number and in patience, and ended in time.
//!
//! The framework's own server has no limit on how long a client may take to send its headers or to
//! read its answer and none on the number of connections, so this room accepts by itself: HTTP/1.1
//! only, which is what Prometheus and every health check speak. Bodies of requests are never read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::middleware::from_fn_with_state;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::access::{Access, Stream, require_users};
use super::patience::Patience;
use super::places::{Places, Seat};

/// How much a client may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections at once, over all listeners.
    connections: usize,
    /// Of them for one address; more take the places of its own.
    each: usize,
    /// For the header block; also how long a kept connection may lie idle.
    headers: Duration,
    /// For an answer that the client has stopped reading.
    write: Duration,
    /// For answers under way when the shutdown begins.
    drain: Duration,
}

const LIMITS: Limits = Limits {
    connections: 256,
    each: 64,
    headers: Duration::from_secs(20),
    write: Duration::from_secs(5),
    drain: Duration::from_secs(1),
};

/// How long to wait where every single connection is being answered.
const MOMENT: Duration = Duration::from_millis(10);

/// A header block larger than this is refused with 431.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Serves until the token is cancelled, then lets answers under way finish for a second. With
/// `access` the port has its TLS and users.
pub async fn serve(
    listeners: Vec<TcpListener>,
    router: Router,
    access: Option<Arc<Access>>,
    shutdown: CancellationToken,
) {
    let router = match &access {
        None => router,
        Some(access) => router.layer(from_fn_with_state(Arc::clone(access), require_users)),
    };
    serve_within(LIMITS, listeners, router, access, shutdown).await;
}

async fn serve_within(
    limits: Limits,
    listeners: Vec<TcpListener>,
    router: Router,
    access: Option<Arc<Access>>,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Places::new(limits.connections, limits.each));
    let connections = TaskTracker::new();
    let accepting = TaskTracker::new();
    for listener in listeners {
        let server = Server {
            limits,
            router: router.clone(),
            access: access.clone(),
            shutdown: shutdown.clone(),
            places: places.clone(),
            connections: connections.clone(),
        };
        accepting.spawn(server.accept(listener));
    }
    accepting.close();
    accepting.wait().await;
    connections.close();
    if timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::debug!(open = connections.len(), "connections left open at the end");
    }
}

struct Server {
    limits: Limits,
    router: Router,
    access: Option<Arc<Access>>,
    shutdown: CancellationToken,
    places: Arc<Places>,
    connections: TaskTracker,
}

impl Server {
    async fn accept(self, listener: TcpListener) {
        while let Some((stream, peer, seat)) =
            self.shutdown.run_until_cancelled(self.next(&listener)).await
        {
            self.connections.spawn(self.connection(stream, peer, seat));
        }
    }

    async fn next(&self, listener: &TcpListener) -> (TcpStream, SocketAddr, Seat) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => loop {
                    if let Some(seat) = self.places.take(peer.ip()) {
                        return (stream, peer, seat);
                    }
                    sleep(MOMENT).await;
                },
                // Out of file descriptors, or the client has left already. Neither lasts for ever.
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// A future that owns all it needs, for it outlives the server that accepted it.
    fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        seat: Seat,
    ) -> impl Future<Output = ()> + use<> {
        let (router, shutdown, limits) = (self.router.clone(), self.shutdown.clone(), self.limits);
        let access = self.access.clone();
        async move {
            let opened = tokio::select! {
                opened = open(stream, peer, access, limits) => opened,
                () = seat.displaced.cancelled() => return,
                () = shutdown.cancelled() => return,
            };
            if let Some(stream) = opened {
                answer(stream, peer, router, (&seat, limits, &shutdown)).await;
            }
        }
    }
}

/// The stream on which requests come; none if the client is too slow or its handshake fails.
async fn open(
    stream: TcpStream,
    peer: SocketAddr,
    access: Option<Arc<Access>>,
    limits: Limits,
) -> Option<Box<dyn Stream>> {
    // Without it small answers wait 40 ms for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let Some(access) = access else { return Some(Box::new(stream)) };
    match timeout(limits.headers, access.open(stream)).await.ok()? {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::debug!(%peer, %error, "a handshake failed");
            None
        }
    }
}

/// Answers requests until the client leaves, its place is wanted, or the server ends.
async fn answer(
    stream: Box<dyn Stream>,
    peer: SocketAddr,
    router: Router,
    (seat, limits, shutdown): (&Seat, Limits, &CancellationToken),
) {
    let turn = seat.turn.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let (answer, turn) = (router.clone().oneshot(request), turn.clone());
        turn.server();
        async move {
            let answer = answer.await;
            turn.client();
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(Patience::new(stream, limits.write)), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = seat.displaced.cancelled() => {
            tracing::debug!(%peer, "closed the connection that waited longest, for a new one");
            Ok(())
        }
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.drain, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use futures_util::{StreamExt as _, stream};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    async fn start(
        limits: Limits,
        router: Router,
    ) -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task =
            tokio::spawn(serve_within(limits, vec![listener], router, None, shutdown.clone()));
        (address, shutdown, task)
    }

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    const CLOSE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    #[tokio::test]
    async fn the_peer_is_known_to_handlers_and_the_end_is_prompt() {
        let router = Router::new().route(
            "/",
            get(async |ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>| peer.ip().to_string()),
        );
        let (address, shutdown, task) = start(LIMITS, router).await;
        assert!(ask(address, CLOSE).await.ends_with("\r\n\r\n127.0.0.1"));
        // A connection that is open and silent does not hold up the end.
        let idle = TcpStream::connect(address).await.unwrap();
        shutdown.cancel();
        task.await.unwrap();
        drop(idle);
        assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
    }

    #[tokio::test]
    async fn a_client_that_never_ends_its_headers_is_cut_off() {
        let limits = Limits { headers: Duration::from_millis(20), ..LIMITS };
        let (address, _shutdown, _task) = start(limits, Router::new()).await;
        let answer = ask(address, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
        assert!(!answer.contains("200"), "{answer}");
    }

    #[tokio::test]
    async fn a_header_block_without_end_is_refused() {
        let (address, _shutdown, _task) = start(LIMITS, Router::new()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nX-Long: ").await;
        while stream.write_all(&[b'a'; 16 * 1024]).await.is_ok() {}
    }

    #[tokio::test]
    async fn who_does_not_read_his_answer_is_cut_off() {
        let limits = Limits { write: Duration::from_millis(20), ..LIMITS };
        let (begun, mut answers) = mpsc::channel(1);
        let endless = move || {
            let begun = begun.clone();
            async move {
                let answer = Arc::new(());
                begun.send(Arc::downgrade(&answer)).await.unwrap();
                let bytes = Bytes::from_static(&[b'x'; 16 * 1024]);
                let kept = stream::repeat(answer);
                let pieces = kept.map(move |_| Ok::<_, std::io::Error>(bytes.clone()));
                Body::from_stream(pieces)
            }
        };
        let (address, _shutdown, _task) =
            start(limits, Router::new().route("/", get(endless))).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(CLOSE.as_bytes()).await.unwrap();
        let answer = answers.recv().await.unwrap();
        // The client stays and reads nothing, so the end of the answer is the server's doing.
        let ended = async {
            while answer.strong_count() > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), ended).await.unwrap();
        drop(stream);
    }

    #[tokio::test]
    async fn while_all_are_being_answered_others_wait_for_their_turn() {
        let limits = Limits { connections: 1, ..LIMITS };
        let (entered, mut handlers) = mpsc::channel(8);
        let gate = Arc::new(Semaphore::new(0));
        let held = gate.clone();
        let handler = move || async move {
            entered.send(()).await.unwrap();
            held.acquire().await.unwrap().forget();
            "done"
        };
        let (address, _shutdown, _task) =
            start(limits, Router::new().route("/", get(handler))).await;
        let first = tokio::spawn(ask(address, CLOSE));
        handlers.recv().await.unwrap();
        let second = tokio::spawn(ask(address, CLOSE));
        tokio::task::yield_now().await;
        assert!(handlers.try_recv().is_err(), "the second one is being served");
        gate.add_permits(2);
        assert!(first.await.unwrap().ends_with("done"));
        assert!(second.await.unwrap().ends_with("done"));
    }

    #[tokio::test]
    async fn an_answer_under_way_is_finished_at_the_end() {
        let (entered, mut handlers) = mpsc::channel(1);
        let gate = Arc::new(Semaphore::new(0));
        let held = gate.clone();
        let handler = move || async move {
            entered.send(()).await.unwrap();
            held.acquire().await.unwrap().forget();
            "done"
        };
        let (address, shutdown, task) = start(LIMITS, Router::new().route("/", get(handler))).await;
        let client = tokio::spawn(ask(address, CLOSE));
        handlers.recv().await.unwrap();
        shutdown.cancel();
        gate.add_permits(1);
        assert!(client.await.unwrap().ends_with("done"));
        task.await.unwrap();
    }
}
