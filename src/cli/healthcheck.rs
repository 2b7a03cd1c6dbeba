//! `healthcheck`: asks a running daemon whether it is ready, for containers that have no other
//! client inside.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Exit, print};
use crate::config::{PublicUrl, Scheme};

/// Less than the time that containers' health checks are given.
const LIMIT: Duration = Duration::from_secs(4);
/// An answer is a status line, a few headers and one line of text.
const MAX_ANSWER: u64 = 16 * 1024;

/// Asks a running daemon's /-/ready; exit code 0 if it is ready, 1 if not
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The daemon
    #[arg(long, default_value = "http://127.0.0.1:9912")]
    url: String,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let url = PublicUrl::parse(&arguments.url).context("--url")?;
    if url.authority().scheme != Scheme::Http {
        bail!("--url: only http is supported");
    }
    let answer = match timeout(LIMIT, ask(&url)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Ok(not_ready(&format!("{url}: {error}"))),
        Err(_) => return Ok(not_ready(&format!("{url}: no answer within {LIMIT:?}"))),
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if status(head) == Some(200) {
        print::result(&clean(body))?;
        return Ok(Exit::Ok);
    }
    let said = if body.trim().is_empty() { head.lines().next().unwrap_or_default() } else { body };
    Ok(not_ready(&format!("{url}: {}", clean(said).trim())))
}

fn not_ready(why: &str) -> Exit {
    print::note(why);
    Exit::Warning
}

/// One request on a connection of its own; HTTP/1.0, so that the answer is not chunked.
async fn ask(url: &PublicUrl) -> std::io::Result<String> {
    let to = &url.authority().host_port;
    let mut stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
    let host = url.authority().host_header();
    stream.write_all(format!("GET /-/ready HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn status(head: &str) -> Option<u16> {
    let mut words = head.lines().next()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

/// Whoever listens there, a terminal reads it.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
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
