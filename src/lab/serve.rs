//! One client connection: TLS, HTTP/1.1, and the ways in which a connection can go wrong.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::answer::Reaction;
use super::gate::{Connection, Entry, Gate};
use super::running::Running;

/// The first byte of every TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;
/// What of a request's body is read.
const BODY_LIMIT: usize = 64 << 20;

/// How a connection ends if it does not end as in HTTP.
#[derive(Debug)]
enum Ending {
    Reset,
    Raw(Bytes),
}

/// A stream under which a TCP socket lies.
trait Transport: AsyncRead + AsyncWrite + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Transport for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Transport for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Serves a connection until it ends. Errors of one connection concern no other.
pub(super) async fn connection(
    shared: Arc<Running>,
    entry: Entry,
    connection: Connection,
    stream: TcpStream,
) {
    let gate = shared.world().gate(entry, connection, shared.elapsed());
    match gate {
        Gate::Closed => {
            let _ = stream.set_zero_linger();
        }
        Gate::Silent => pending().await,
        Gate::Open { entry, tls: false, .. } => http(&shared, entry, connection, stream).await,
        Gate::Open { entry, tls: true, certificate, place } => {
            let mut first = [0_u8; 1];
            if stream.peek(&mut first).await.is_ok_and(|read| read == 1) && first != [TLS_HANDSHAKE]
            {
                plain_request(&shared, stream).await;
                return;
            }
            let Ok(config) = shared.pki.config(&place, certificate) else { return };
            if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                http(&shared, entry, connection, stream).await;
            }
        }
    }
}

/// Plain HTTP has come to a TLS port.
async fn plain_request(shared: &Running, mut stream: TcpStream) {
    let harbor = shared.harbor;
    let answer = if harbor {
        "HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Type: text/html\r\n\
         Content-Length: 230\r\nConnection: close\r\n\r\n\
         <html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n\
         <body>\r\n<center><h1>400 Bad Request</h1></center>\r\n\
         <center>The plain HTTP request was sent to HTTPS port</center>\r\n\
         <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    } else {
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    };
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn http<T: Transport>(
    shared: &Arc<Running>,
    entry: Entry,
    connection: Connection,
    stream: T,
) {
    let ending: Arc<Mutex<Option<Ending>>> = Arc::default();
    let service = service_fn(|request| {
        let (shared, ending) = (Arc::clone(shared), Arc::clone(&ending));
        Box::pin(async move {
            match respond(&shared, entry, connection, request).await {
                Ok(response) => Ok(response),
                Err(end) => {
                    *ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
                    Err("the connection ends here")
                }
            }
        })
    });
    let mut serving = http1::Builder::new()
        .title_case_headers(true)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    let _ = poll_fn(|context| serving.poll_without_shutdown(context)).await;
    let mut stream = serving.into_parts().io.into_inner();
    let ending = ending.lock().unwrap_or_else(PoisonError::into_inner).take();
    match ending {
        Some(Ending::Reset) => {
            let _ = stream.socket().set_zero_linger();
        }
        Some(Ending::Raw(bytes)) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        None => {
            let _ = stream.shutdown().await;
        }
    }
}

async fn respond(
    shared: &Running,
    entry: Entry,
    connection: Connection,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Ending> {
    let early = shared.world().before_body(entry, &request, shared.elapsed());
    let reaction = if let Some(reaction) = early {
        reaction
    } else {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_LIMIT).collect().await;
        let body = body.map_err(|_| Ending::Reset)?.to_bytes();
        let request = Request::from_parts(head, body);
        shared.world().handle(entry, connection, &request, shared.elapsed())
    };
    match reaction {
        Reaction::Answer { response, after } => {
            tokio::time::sleep(after).await;
            Ok(response.map(Full::new))
        }
        Reaction::Raw { bytes, after } => {
            tokio::time::sleep(after).await;
            Err(Ending::Raw(bytes))
        }
        Reaction::Reset => Err(Ending::Reset),
        Reaction::Hang => match pending::<Infallible>().await {},
    }
}
