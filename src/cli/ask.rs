//! One question to a running daemon.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config::PublicUrl;

/// Where a daemon listens unless it is given another address.
pub(super) const USUAL: &str = "http://127.0.0.1:9912";

/// What came back.
pub(super) struct Said {
    /// The status; none if it is no HTTP.
    pub(super) status: Option<u16>,
    /// Status line and headers.
    pub(super) head: String,
    /// The body.
    pub(super) body: String,
}

/// One request on a connection of its own; HTTP/1.0, so that the answer is not chunked. No more
/// than `most` bytes are read.
pub(super) async fn ask(url: &PublicUrl, path: &str, most: u64) -> std::io::Result<Said> {
    let to = &url.authority().host_port;
    let mut stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
    let host = url.authority().host_header();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(most).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok(Said { status: status(head), head: head.to_owned(), body: body.to_owned() })
}

fn status(head: &str) -> Option<u16> {
    let mut words = head.lines().next()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_http_answer_has_a_status() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\nServer: x", Some(200)),
            ("HTTP/1.0 503 Service Unavailable", Some(503)),
            ("SSH-2.0-OpenSSH_10.0", None),
            ("HTTP/1.1", None),
            ("", None),
        ] {
            assert_eq!(status(head), expected, "{head:?}");
        }
    }
}
