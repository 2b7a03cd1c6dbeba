//! What a socket can do to a plain request.

use std::io::Write as _;

use http::header::{DATE, WWW_AUTHENTICATE};
use registry_prober::model::{AuthScheme, Phase, Reason};
use registry_prober::registry::{answer_of, date_of};
use registry_prober::transport::{Connect, Destination, MAX_BODY, MAX_HEADERS};
use tokio::net::TcpSocket;

use super::server::{Act, Server, answer, send};
use super::{End, LONG, SHORT, client, destination, get};

const HEAD: &str = "HTTP/1.1 200 OK\r\n";

fn fails(phase: Phase, reason: Reason) -> End {
    End::Fails(phase, reason)
}

/// An answer with a number of bytes in its body, or in one header.
fn body(length: usize) -> Act {
    answer("200 OK", "", &"x".repeat(length))
}

/// A body that is packed unasked.
fn gzip(body: &[u8]) -> Act {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(body).unwrap();
    let packed = packer.finish().unwrap();
    let length = packed.len();
    let head = format!("{HEAD}Content-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n");
    send([head.as_bytes(), &packed].concat())
}

fn header(length: usize) -> Act {
    answer("200 OK", &format!("X-Long: {}\r\n", "x".repeat(length)), "")
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn answers() -> Vec<(&'static str, Vec<Act>, End)> {
    use Phase::{Transfer, Wait};
    use Reason::{ConnectionReset, NotHttp, Timeout, TooLarge, Truncated, UnexpectedEncoding};
    let chunked = || send(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n"));
    let chunk = || b"4000\r\n".iter().copied().chain(vec![b'x'; 0x4000]).chain(*b"\r\n").collect();
    vec![
        ("a good answer", vec![body(2)], End::Status(200)),
        (
            "an answer without length that ends",
            vec![send(HEAD), send("\r\nhello"), Act::Close],
            End::Status(200),
        ),
        (
            "early hints before the answer",
            vec![send("HTTP/1.1 103 Early Hints\r\n\r\n"), body(2)],
            End::Status(200),
        ),
        ("a status that nobody knows", vec![answer("799 Whatever", "", "")], End::Status(799)),
        // Bodies.
        ("a body of 1 MiB", vec![body(MAX_BODY)], End::Status(200)),
        ("a body over 1 MiB", vec![body(MAX_BODY + 1)], fails(Transfer, TooLarge)),
        (
            "an endless fast body",
            vec![send(format!("{HEAD}\r\n")), Act::Flood(vec![b'x'; 9_000])],
            fails(Transfer, TooLarge),
        ),
        (
            "an endless chunked body",
            vec![chunked(), Act::Flood(chunk())],
            fails(Transfer, TooLarge),
        ),
        (
            "an endless slow body",
            vec![send(format!("{HEAD}\r\n")), Act::Drip(b"x".to_vec())],
            fails(Transfer, Timeout),
        ),
        (
            "a body that stops",
            vec![send(format!("{HEAD}Content-Length: 9\r\n\r\n123")), Act::Hang],
            fails(Transfer, Timeout),
        ),
        (
            "a truncated body",
            vec![send(format!("{HEAD}Content-Length: 9\r\n\r\n123")), Act::Close],
            fails(Transfer, Truncated),
        ),
        (
            "truncated chunks",
            vec![chunked(), send("4\r\nab"), Act::Close],
            fails(Transfer, Truncated),
        ),
        (
            "chunks of no length",
            vec![chunked(), send("zz\r\nab\r\n"), Act::Hang],
            fails(Transfer, Truncated),
        ),
        (
            "a reset within the body",
            vec![send(format!("{HEAD}Content-Length: 9\r\n\r\n123")), Act::Reset],
            fails(Transfer, ConnectionReset),
        ),
        // Headers.
        ("headers of 60 KiB", vec![header(60 * 1024)], End::Status(200)),
        ("headers over 64 KiB", vec![header(MAX_HEADERS)], fails(Wait, TooLarge)),
        ("headers of 2 MiB", vec![header(2 << 20)], fails(Wait, TooLarge)),
        (
            "a thousand headers",
            vec![answer("200 OK", &"A: b\r\n".repeat(1_000), "")],
            fails(Wait, TooLarge),
        ),
        (
            "endless headers",
            vec![send(HEAD), Act::Flood(b"A: b\r\n".repeat(100))],
            fails(Wait, TooLarge),
        ),
        (
            "an endless header",
            vec![send(HEAD), send("A: "), Act::Flood(vec![b'x'; 9_000])],
            fails(Wait, TooLarge),
        ),
        (
            "endless slow headers",
            vec![send(HEAD), Act::Drip(b"A: b\r\n".to_vec())],
            fails(Wait, Timeout),
        ),
        ("a slow status line", vec![Act::Drip(b"HTTP/1.1 200 OK".to_vec())], fails(Wait, Timeout)),
        (
            "endless interim answers",
            vec![Act::Flood(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())],
            fails(Wait, Timeout),
        ),
        (
            "a control character in a header",
            vec![answer("200 OK", "A: b\0c\r\n", "")],
            fails(Wait, NotHttp),
        ),
        ("two lengths", vec![answer("200 OK", "Content-Length: 7\r\n", "")], fails(Wait, NotHttp)),
        (
            "a length that is no number",
            vec![send(format!("{HEAD}Content-Length: x\r\n\r\n"))],
            fails(Wait, NotHttp),
        ),
        // Bytes that are not ours to read.
        (
            "headers in another charset",
            vec![send(b"HTTP/1.1 200 OK\r\nServer: \xe4\xff\r\nContent-Length: 2\r\n\r\n\xff\xfe")],
            End::Status(200),
        ),
        (
            "a charset that nobody knows",
            vec![answer("200 OK", "Content-Type: text/plain; charset=nonsense\r\n", "hm")],
            End::Status(200),
        ),
        (
            "a coding that was not asked for",
            vec![answer("200 OK", "Content-Encoding: gzip\r\n", "\x1f")],
            fails(Transfer, UnexpectedEncoding),
        ),
        ("a coding that clients read", vec![gzip(b"{}")], End::Status(200)),
        ("1 MiB that is packed", vec![gzip(&vec![b'x'; MAX_BODY])], End::Status(200)),
        ("more that is packed", vec![gzip(&vec![b'x'; MAX_BODY + 1])], fails(Transfer, TooLarge)),
        (
            "a coding behind another",
            vec![answer("200 OK", "Content-Encoding: identity\r\nContent-Encoding: br\r\n", "x")],
            fails(Transfer, UnexpectedEncoding),
        ),
        (
            "the coding that is none",
            vec![answer("200 OK", "Content-Encoding: identity\r\n", "x")],
            End::Status(200),
        ),
        // No answer.
        ("silence", vec![Act::Hang], fails(Wait, Timeout)),
        ("an end before the answer", vec![Act::Close], fails(Wait, ConnectionReset)),
        ("a reset before the answer", vec![Act::Reset], fails(Wait, ConnectionReset)),
        ("an end within the headers", vec![send(HEAD), Act::Close], fails(Wait, ConnectionReset)),
        ("a reset within the headers", vec![send(HEAD), Act::Reset], fails(Wait, ConnectionReset)),
        // No HTTP.
        (
            "an SSH banner",
            vec![send("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"), Act::Hang],
            fails(Wait, NotHttp),
        ),
        (
            "HTTP/0.9",
            vec![send("<html><body>It works!</body></html>\n"), Act::Close],
            fails(Wait, NotHttp),
        ),
        (
            "a TLS alert",
            vec![send(b"\x15\x03\x01\0\x02\x02\x46"), Act::Close],
            fails(Wait, NotHttp),
        ),
        ("HTTP/2 settings", vec![send(b"\0\0\0\x04\0\0\0\0\0"), Act::Hang], fails(Wait, NotHttp)),
        ("no status", vec![send("HTTP/1.1 OK\r\n\r\n"), Act::Hang], fails(Wait, NotHttp)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_ends_in_one_phase_and_reason() {
    let client = client(None, false);
    let mut wrong = Vec::new();
    for (name, acts, expected) in answers() {
        let server = Server::saying(acts).await;
        let exchange = get(&client, &destination(false, server.address), expected.patience()).await;
        let end = End::of(&exchange);
        if end != expected {
            wrong.push(format!("{name}: {end:?}, expected {expected:?}: {:?}", exchange.result));
        }
        assert_eq!(server.connections(), 1, "{name}: asked once and not again");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_first_is_not_taken_for_a_web_server() {
    let client = client(None, false);
    for greeting in ["SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "220 mail.test ESMTP\r\n"] {
        let server = Server::start(None, move |request| match request {
            None => vec![send(greeting), Act::Hang],
            Some(_) => Vec::new(),
        })
        .await;
        let exchange = get(&client, &destination(false, server.address), LONG).await;
        // Bytes that come before the request was even handed over end the connection first.
        let (usual, rare) = (Reason::NotHttp, Reason::ConnectionReset);
        let ends = [usual, rare].map(|reason| fails(Phase::Wait, reason));
        assert!(ends.contains(&End::of(&exchange)), "{greeting}: {:?}", exchange.result);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_headers_that_stand_twice_the_first_date_and_the_bearer_challenge_count() {
    let headers = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nDate: Sun, 06 Nov 1994 09:49:37 GMT\r\n\
                   WWW-Authenticate: Basic realm=\"x\"\r\n\
                   WWW-Authenticate: Bearer realm=\"https://hub.test/token\",service=\"s\"\r\n\
                   WWW-Authenticate: Bearer realm=\"https://other.test/token\",service=\"s\"\r\n";
    let server = Server::saying(vec![answer("401 Unauthorized", headers, "")]).await;
    let reply = get(&client(None, false), &destination(false, server.address), LONG).await;
    let reply = reply.result.unwrap();
    assert_eq!(reply.headers.get_all(DATE).iter().count(), 2);
    assert_eq!(reply.headers.get_all(WWW_AUTHENTICATE).iter().count(), 3);
    assert_eq!(date_of(&reply.headers), Some(784_111_777));
    let challenge = answer_of(reply.status, &reply.headers, &reply.body).challenge.unwrap();
    assert_eq!(challenge.scheme, AuthScheme::Bearer);
    assert_eq!(challenge.realm.as_deref(), Some("https://hub.test/token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_followed_or_asked_again() {
    let other = Server::saying(vec![body(0)]).await;
    let client = client(None, false);
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let location = format!("Location: http://{}/\r\n", other.address);
        let server = Server::saying(vec![answer(status, &location, "")]).await;
        let exchange = get(&client, &destination(false, server.address), LONG).await;
        assert_eq!(End::of(&exchange), End::Status(status[..3].parse().unwrap()));
        assert_eq!(server.requests().len(), 1, "{status}");
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_is_named() {
    let client = client(None, false);
    let free = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    for tls in [false, true] {
        let exchange = get(&client, &destination(tls, free), LONG).await;
        let refused = fails(Phase::Connect, Reason::ConnectionRefused);
        assert_eq!(End::of(&exchange), refused, "tls: {tls}");

        // A label may have 63 characters, so no name server is asked for this one.
        let host = format!("{}.test", "x".repeat(64));
        let connect = Connect::Name { host, port: 80 };
        let to = Destination { connect, ..destination(tls, free) };
        let exchange = get(&client, &to, LONG).await;
        assert_eq!(End::of(&exchange), fails(Phase::Dns, Reason::DnsFailed), "tls: {tls}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_takes_no_more_connections_is_charged_to_connect() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // No one accepts; once the queue is full, the system no longer answers.
    let mut queued = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, SHORT) {
        queued.push(stream);
        assert!(queued.len() < 64, "a queue of 1 is full sooner");
    }
    let client = client(None, false);
    for tls in [false, true] {
        let exchange = get(&client, &destination(tls, address), SHORT).await;
        assert_eq!(End::of(&exchange), fails(Phase::Connect, Reason::Timeout), "tls: {tls}");
    }
}
