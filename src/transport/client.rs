//! The wire over real sockets: reqwest, one client for each link.
//!
//! A client from a prepared TLS configuration costs microseconds, and a client of its own is what
//! keeps connections of different flows apart. The pin is reqwest's resolver hook; an explicit
//! port in the URL would beat it, so the URL has none and `Host` is set by hand. Where the public
//! host is an address the hook is not asked, so the backend's own address is dialled and the
//! certificate is checked against the public one all the same.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use http::header::{CONTENT_ENCODING, HOST};
use http::{HeaderMap, HeaderValue};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use tokio::time::{Instant, timeout_at};

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
pub struct HttpClient {
    tls: Tls,
    user_agent: Arc<str>,
}

impl HttpClient {
    /// A client that calls itself `user_agent`.
    pub fn new(tls: Tls, user_agent: &str) -> Self {
        Self { tls, user_agent: user_agent.into() }
    }
}

impl Wire for HttpClient {
    fn open(&self, to: &Destination) -> Box<dyn Link> {
        Box::new(Connection {
            tls: self.tls.clone(),
            user_agent: Arc::clone(&self.user_agent),
            to: to.clone(),
            stamps: Stamps::default(),
            opened: None,
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

struct Connection {
    tls: Tls,
    user_agent: Arc<str>,
    to: Destination,
    stamps: Stamps,
    /// The client and the base of its URLs, once the address is known.
    opened: Option<(reqwest::Client, String)>,
}

impl Link for Connection {
    fn send(&mut self, request: Request) -> BoxFuture<'_, Exchange> {
        Box::pin(async move {
            let began = Instant::now();
            let deadline = request.deadline;
            let half_sent = matches!(request.body, Body::Declared(_));
            let outcome = timeout_at(deadline, self.attempt(request)).await;
            let ended = Instant::now();
            let noted = self.stamps.take();
            let result = outcome.unwrap_or_else(|_| {
                let detail = format!(
                    "no end after {:.1} s",
                    ended.saturating_duration_since(began).as_secs_f64()
                );
                Err(Failure { phase: None, reason: Reason::Timeout, detail })
            });
            if result.is_err() || half_sent {
                // What is left of a failed or unfinished request must not serve the next one.
                self.opened = None;
            }
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

    async fn attempt(&mut self, request: Request) -> Result<Reply, Failure> {
        if self.opened.is_none() {
            let addresses = self.resolve().await?;
            self.opened = Some(self.build(addresses)?);
        }
        let Some((client, base)) = &self.opened else {
            return Err(at(Phase::Connect, Reason::Unreachable, "no connection"));
        };
        let mut builder = client
            .request(request.method, format!("{base}{}", request.path))
            .header(HOST, &self.to.host_header);
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        builder = match request.body {
            Body::Empty => builder,
            Body::Text(text) => builder.body(text),
            Body::Declared(bytes) => builder.body(reqwest::Body::wrap(Declared(bytes))),
        };
        let response = builder.send().await.map_err(|error| {
            let noted = self.stamps.peek();
            classify(&error, noted.open_phase(self.to.tls), &noted)
        })?;
        bounded(response.headers())?;
        self.stamps.note(|n| n.answered = Some(Instant::now()));
        read(response).await
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, Failure> {
        match &self.to.connect {
            Connect::Address(address) => Ok(vec![*address]),
            Connect::Name { host, port } => {
                self.stamps.note(|n| n.resolving = Some(Instant::now()));
                let found = tokio::net::lookup_host((host.as_str(), *port)).await;
                let failed =
                    |why: &str| at(Phase::Dns, Reason::DnsFailed, &format!("{host:?} {why}"));
                let unknown = |error: std::io::Error| {
                    dns::not_resolved(&error, format!("{host:?} does not resolve"))
                };
                let addresses: Vec<_> = found.map_err(unknown)?.take(32).collect();
                if addresses.is_empty() {
                    return Err(failed("resolves to no address"));
                }
                self.stamps.note(|n| n.resolved = Some(Instant::now()));
                Ok(addresses)
            }
        }
    }

    fn build(&self, addresses: Vec<SocketAddr>) -> Result<(reqwest::Client, String), Failure> {
        let scheme = if self.to.tls { "https" } else { "http" };
        let base = match (self.to.host.parse::<IpAddr>(), addresses.first()) {
            (Ok(_), Some(address)) => format!("{scheme}://{address}"),
            _ => format!("{scheme}://{}", self.to.host),
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(&*self.user_agent)
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(1)
            .referer(false)
            // As tolerant as docker: neither a folded header nor a stray byte in one loses the answer.
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .dns_resolver(Arc::new(Pin(addresses)))
            .connector_layer(self.stamps.clone());
        let config = self.tls.config(&self.to.host, &self.stamps);
        let broken = |text: &str| at(Phase::Tls, Reason::TlsHandshake, text);
        let config =
            config.ok_or_else(|| broken("the public host is no name that TLS can ask for"))?;
        builder = builder.tls_backend_preconfigured(config);
        let client = builder.build().map_err(|_| broken("no client could be built"))?;
        Ok((client, base))
    }
}

/// Answers every name with the pinned addresses.
struct Pin(Vec<SocketAddr>);

impl Resolve for Pin {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
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

async fn read(mut response: reqwest::Response) -> Result<Reply, Failure> {
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let mut zipped = false;
    let named = |it: &HeaderValue, name: &str| it.as_bytes().eq_ignore_ascii_case(name.as_bytes());
    for coding in headers.get_all(CONTENT_ENCODING).iter().filter(|it| !named(it, "identity")) {
        // What clients written in Go ask for by themselves and read without a word.
        if !zipped && (named(coding, "gzip") || named(coding, "x-gzip")) {
            zipped = true;
            continue;
        }
        let known = ["gzip", "x-gzip", "deflate", "br", "zstd", "compress"].into_iter();
        let known = known.filter(|name| named(coding, name)).last();
        let name = known.map_or_else(|| "an unknown one".to_owned(), |name| format!("{name:?}"));
        let detail = format!("content coding {name}, which was not asked for");
        return Err(at(Phase::Transfer, Reason::UnexpectedEncoding, &detail));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| classify(&error, Phase::Transfer, &Noted::default()))?
    {
        if body.len() + chunk.len() > MAX_BODY {
            let detail = format!("a body of more than {MAX_BODY} bytes");
            return Err(at(Phase::Transfer, Reason::TooLarge, &detail));
        }
        body.extend_from_slice(&chunk);
    }
    // An answer without a body has nothing that is packed.
    if zipped && !body.is_empty() {
        body = unzipped(&body)?;
    }
    Ok(Reply { status, headers, body })
}

/// What was packed, within the limit of a body.
fn unzipped(packed: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let limit = u64::try_from(MAX_BODY).unwrap_or(u64::MAX).saturating_add(1);
    let read = MultiGzDecoder::new(packed).take(limit).read_to_end(&mut body);
    if body.len() > MAX_BODY {
        let detail = format!("a body of more than {MAX_BODY} bytes");
        return Err(at(Phase::Transfer, Reason::TooLarge, &detail));
    }
    let broken = "the body is not gzip, although Content-Encoding says so; gzip was not asked for";
    read.map(|_| body).map_err(|_| at(Phase::Transfer, Reason::UnexpectedEncoding, broken))
}

fn at(phase: Phase, reason: Reason, detail: &str) -> Failure {
    Failure { phase: Some(phase), reason, detail: detail.to_owned() }
}
