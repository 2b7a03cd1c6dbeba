//! The wire made of real sockets: one connection of hyper for each link.
//!
//! There is no pool. One that has not yet been given a connection back opens another, and through a
//! balancer that is another node. Nor is anything dialled by the URL's host: the pin says where to
//! connect, `Host` and the TLS server name stay public.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::header::{CONTENT_ENCODING, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::classify::classify;
use super::declared::Declared;
use super::dns;
use super::stamps::{Noted, Stamps};
use super::tls::Tls;
use super::{
    Body, BoxFuture, Connect, Destination, Exchange, Link, MAX_BODY, MAX_HEADERS, Reply, Request,
    Wire,
};
use crate::model::{DnsRecord, Failure, Phase, Reason};

/// Opens real connections with the TLS settings of one registry.
#[derive(Debug, Clone)]
pub struct Client {
    tls: Tls,
    user_agent: Option<HeaderValue>,
}

impl Client {
    /// A client that calls itself `user_agent`.
    pub fn new(tls: Tls, user_agent: &str) -> Self {
        Self { tls, user_agent: HeaderValue::from_str(user_agent).ok() }
    }
}

impl Wire for Client {
    fn open(&self, to: &Destination) -> Box<dyn Link> {
        Box::new(Connection {
            tls: self.tls.clone(),
            user_agent: self.user_agent.clone(),
            to: to.clone(),
            stamps: Stamps::default(),
            open: None,
        })
    }

    fn lookup<'a>(
        &'a self,
        host: &'a str,
        resolver: Option<SocketAddr>,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<DnsRecord>, Failure>> {
        Box::pin(async move {
            match resolver {
                None => dns::system(host, deadline).await,
                Some(resolver) => dns::at(resolver, host, deadline).await,
            }
        })
    }

    fn wait_until(&self, at: Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(early) = at.checked_sub(COARSE) {
                tokio::time::sleep_until(early).await;
            }
            let left = at.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                // A thread that cannot be had only makes the request early or late.
                let _ = tokio::task::spawn_blocking(move || std::thread::sleep(left)).await;
            }
        })
    }
}

/// The runtime's timer has steps of a millisecond and may fire one late; what is left is slept
/// by a thread.
const COARSE: Duration = Duration::from_millis(2);

/// How long the addresses of the first one's family are tried alone.
const FALLBACK: Duration = Duration::from_millis(300);

struct Connection {
    tls: Tls,
    user_agent: Option<HeaderValue>,
    to: Destination,
    stamps: Stamps,
    /// The connection, if the last request left it in order.
    open: Option<Open>,
}

/// What is sent: all of a body, or nothing of a declared one.
type Sent = http_body_util::Either<Full<Bytes>, Declared>;

/// An open connection.
struct Open {
    sender: SendRequest<Sent>,
    /// Drives it, and ends with it.
    driver: JoinHandle<hyper::Result<()>>,
}

impl Link for Connection {
    fn send(&mut self, request: Request) -> BoxFuture<'_, Exchange> {
        Box::pin(async move {
            let began = Instant::now();
            let outcome = timeout_at(request.deadline, self.attempt(request)).await;
            let ended = Instant::now();
            let noted = self.stamps.take();
            let result = outcome.unwrap_or_else(|_| {
                let detail = format!(
                    "no end after {:.1} s",
                    ended.saturating_duration_since(began).as_secs_f64()
                );
                Err(Failure { phase: None, reason: Reason::Timeout, detail })
            });
            self.exchange(&noted, began, ended, result)
        })
    }
}

impl Connection {
    fn exchange(
        &self,
        noted: &Noted,
        began: Instant,
        ended: Instant,
        result: Result<Reply, Failure>,
    ) -> Exchange {
        let timeline = noted.timeline(self.to.tls, began, ended, result.is_ok());
        let result = result.map_err(|mut failure| {
            failure.phase = timeline.failed_in().or(failure.phase);
            failure
        });
        Exchange {
            result,
            timeline,
            sent: noted.connecting.unwrap_or(began),
            answered: noted.answered.unwrap_or(ended),
            certificate: noted.certificate.clone(),
        }
    }

    /// Sends and reads. The connection is kept only if nothing of this request is left on it.
    async fn attempt(&mut self, request: Request) -> Result<Reply, Failure> {
        let half_sent = matches!(request.body, Body::Declared(_));
        let message = self.message(request)?;
        let (open, response) = self.answered(message).await?;
        bounded(response.headers())?;
        self.stamps.note(|n| n.answered = Some(Instant::now()));
        let reply = read(response).await?;
        if half_sent {
            // The rest of the body never comes, so the connection would not end by itself.
            open.driver.abort();
        } else {
            self.open = Some(open);
        }
        Ok(reply)
    }

    fn message(&self, request: Request) -> Result<http::Request<Sent>, Failure> {
        let unfit = |what: &str| {
            at(
                Phase::Wait,
                Reason::Unreachable,
                &format!("no request can be made with this {what}"),
            )
        };
        let path: PathAndQuery = request.path.parse().map_err(|_| unfit("path"))?;
        let host = HeaderValue::from_str(&self.to.host_header).map_err(|_| unfit("host"))?;
        let body = match request.body {
            Body::Empty => Sent::Left(Full::default()),
            Body::Text(text) => Sent::Left(Full::from(text)),
            Body::Declared(bytes) => Sent::Right(Declared(bytes)),
        };
        let mut message = http::Request::new(body);
        *message.method_mut() = request.method;
        *message.uri_mut() = Uri::from(path);
        let headers = message.headers_mut();
        headers.insert(HOST, host);
        headers.extend(self.user_agent.clone().map(|name| (USER_AGENT, name)));
        for (name, value) in request.headers {
            headers.append(name, value);
        }
        Ok(message)
    }

    /// The head of the answer. A kept connection that was closed before anything was sent on it
    /// is opened anew, once.
    async fn answered(
        &mut self,
        mut message: http::Request<Sent>,
    ) -> Result<(Open, Response<Incoming>), Failure> {
        if let Some(mut kept) = self.open.take()
            && kept.sender.ready().await.is_ok()
        {
            match kept.sender.try_send_request(message).await {
                Ok(response) => return Ok((kept, response)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => message = unsent,
                    None => return Err(classify(error.error(), Phase::Wait)),
                },
            }
        }
        let mut open = self.open().await?;
        if let Err(closed) = open.sender.ready().await {
            // The driver knows better why.
            let why = open.driver.await.ok().and_then(Result::err).unwrap_or(closed);
            return Err(classify(&why, Phase::Wait));
        }
        match open.sender.send_request(message).await {
            Ok(response) => Ok((open, response)),
            Err(error) => Err(classify(&error, Phase::Wait)),
        }
    }

    async fn open(&self) -> Result<Open, Failure> {
        let addresses = self.resolve().await?;
        self.stamps.note(|n| n.connecting = Some(Instant::now()));
        let tcp = dial(&addresses).await.map_err(|error| classify(&error, Phase::Connect))?;
        // Without it the system may hold a small request back; nothing else is lost.
        let _ = tcp.set_nodelay(true);
        if self.to.tls {
            self.stamps.note(|n| n.tls_begun = Some(Instant::now()));
            let stream = self.secured(tcp).await?;
            self.spoken(stream).await
        } else {
            self.spoken(tcp).await
        }
    }

    async fn secured(
        &self,
        tcp: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
        let broken = |text: String| at(Phase::Tls, Reason::TlsHandshake, &text);
        let host = &self.to.host;
        let name = ServerName::try_from(host.clone())
            .map_err(|_| broken(format!("{host:?} is not a TLS server name")))?;
        let config = self.tls.config(&self.stamps).map_err(|error| broken(error.to_string()))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        stream.map_err(|error| classify(&error, Phase::Tls))
    }

    async fn spoken<S>(&self, stream: S) -> Result<Open, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.stamps.note(|n| n.connected = Some(Instant::now()));
        #[expect(clippy::disallowed_methods, reason = "this is the one room that may")]
        let hands = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = hands.map_err(|error| classify(&error, Phase::Wait))?;
        Ok(Open { sender, driver: tokio::spawn(connection) })
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, Failure> {
        match &self.to.connect {
            Connect::Address(address) => Ok(vec![*address]),
            Connect::Name { host, port } => {
                self.stamps.note(|n| n.resolving = Some(Instant::now()));
                let found = tokio::net::lookup_host((host.as_str(), *port)).await;
                let failed =
                    |why: &str| at(Phase::Dns, Reason::DnsFailed, &format!("{host:?} {why}"));
                let addresses: Vec<_> =
                    found.map_err(|_| failed("does not resolve"))?.take(32).collect();
                if addresses.is_empty() {
                    return Err(failed("resolves to no address"));
                }
                self.stamps.note(|n| n.resolved = Some(Instant::now()));
                Ok(addresses)
            }
        }
    }
}

/// Connects to the first address that takes it. Where one family leads nowhere the other is tried
/// beside it after a moment (RFC 8305).
async fn dial(addresses: &[SocketAddr]) -> std::io::Result<TcpStream> {
    let of_first = |address: &&SocketAddr| {
        addresses.first().is_some_and(|first| first.is_ipv4() == address.is_ipv4())
    };
    let (first, other): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses.iter().partition(of_first);
    let mut first = pin!(TcpStream::connect(first.as_slice()));
    if other.is_empty() {
        return first.await;
    }
    match timeout(FALLBACK, &mut first).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(_)) => return TcpStream::connect(other.as_slice()).await,
        Err(_) => {}
    }
    let other = pin!(TcpStream::connect(other.as_slice()));
    match select(first, other).await {
        Either::Left((Ok(stream), _)) | Either::Right((Ok(stream), _)) => Ok(stream),
        Either::Left((Err(_), other)) => other.await,
        Either::Right((Err(_), first)) => first.await,
    }
}

/// Refuses a header block over the limit, while the request still waits for its answer.
fn bounded(headers: &HeaderMap) -> Result<(), Failure> {
    let block: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if block <= MAX_HEADERS {
        return Ok(());
    }
    let detail = format!("{block} bytes of headers; at most {MAX_HEADERS} are accepted");
    Err(at(Phase::Wait, Reason::TooLarge, &detail))
}

async fn read(response: Response<Incoming>) -> Result<Reply, Failure> {
    let (head, mut incoming) = response.into_parts();
    let (status, headers) = (head.status.as_u16(), head.headers);
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    if let Some(coding) = codings.find(|it| !it.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let coding: String = String::from_utf8_lossy(coding.as_bytes()).chars().take(20).collect();
        let detail = format!("content coding {coding:?}, which was not asked for");
        return Err(at(Phase::Transfer, Reason::UnexpectedEncoding, &detail));
    }
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| classify(&error, Phase::Transfer))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if body.len() + chunk.len() > MAX_BODY {
            let detail = format!("a body of more than {MAX_BODY} bytes");
            return Err(at(Phase::Transfer, Reason::TooLarge, &detail));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { status, headers, body })
}

fn at(phase: Phase, reason: Reason, detail: &str) -> Failure {
    Failure { phase: Some(phase), reason, detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn a_family_that_leads_nowhere_does_not_hide_the_other() {
        let Ok(listener) = TcpListener::bind("[::1]:0").await else {
            println!("skipped: there is no IPv6 here");
            return;
        };
        let live = listener.local_addr().unwrap();
        let refusing = {
            let bound = TcpListener::bind("127.0.0.1:0").await.unwrap();
            bound.local_addr().unwrap()
        };
        // Nobody accepts; once the queue is full, the system no longer answers.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = socket.listen(1).unwrap();
        let silent_at = silent.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(Ok(stream)) = timeout(FALLBACK, TcpStream::connect(silent_at)).await {
            queued.push(stream);
        }
        for addresses in [vec![live], vec![refusing, live], vec![silent_at, live]] {
            let dialled = dial(&addresses).await.map(|stream| stream.peer_addr().unwrap());
            assert_eq!(dialled.ok(), Some(live), "{addresses:?}");
        }
        assert!(dial(&[refusing]).await.is_err());
    }
}
