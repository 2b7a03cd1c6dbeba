//! `healthcheck`: asks a running daemon whether it is ready, for containers that have no other
//! client inside.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::SecretString;
use tokio::time::{Instant, timeout};

use super::ask::{Said, USUAL, ask};
use super::{Exit, print};
use crate::config::{HostPort, PublicUrl, Scheme};
use crate::model::Failure;
use crate::transport::{
    Body, ClientPem, Connect, Destination, HttpClient, Reply, Request, Tls, Wire as _,
};

/// Less than the time that containers' health checks are given.
const LIMIT: Duration = Duration::from_secs(4);
/// An answer is a status line, a few headers and one line of text.
const MAX_ANSWER: u64 = 16 * 1024;

/// Asks a running daemon's /-/ready; exit code 0 if it is ready, 1 if not
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The daemon
    #[arg(long, default_value = USUAL)]
    url: String,
    /// Certificates (PEM) that sign for the daemon; without it, one on this machine may show any
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Client certificate chain (PEM), where the daemon wants one
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Key of the client certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let url = PublicUrl::parse(&arguments.url).context("--url")?;
    if url.authority().scheme == Scheme::Https {
        let (status, body) = match ask_tls(&url, &arguments).await? {
            Ok(reply) => (reply.status, String::from_utf8_lossy(&reply.body).into_owned()),
            Err(failure) => return Ok(not_ready(&format!("{url}: {}", failure.detail))),
        };
        if status == 200 {
            print::result(&clean(&body))?;
            return Ok(Exit::Ok);
        }
        return Ok(not_ready(&format!("{url}: {status} {}", clean(&body).trim())));
    }
    let answer = match timeout(LIMIT, ask(&url, "/-/ready", MAX_ANSWER)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Ok(not_ready(&format!("{url}: {error}"))),
        Err(_) => return Ok(not_ready(&format!("{url}: no answer within {LIMIT:?}"))),
    };
    let Said { status, head, body } = answer;
    if status == Some(200) {
        print::result(&clean(&body))?;
        return Ok(Exit::Ok);
    }
    let first = head.lines().next().unwrap_or_default();
    let said = if body.trim().is_empty() { first } else { &body };
    Ok(not_ready(&format!("{url}: {}", clean(said).trim())))
}

/// The same over TLS.
async fn ask_tls(url: &PublicUrl, arguments: &Arguments) -> anyhow::Result<Result<Reply, Failure>> {
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| path.display().to_string());
    let ca = arguments.ca_file.as_ref().map(read).transpose()?;
    let certificates = arguments.cert_file.as_ref().map(read).transpose()?;
    let key = arguments.key_file.as_ref().map(read).transpose()?.map(String::from_utf8);
    let key = key.transpose().context("--key-file")?.map(SecretString::from);
    let client = certificates.as_deref().zip(key.as_ref());
    let client = client.map(|(certificates, key)| ClientPem { certificates, key });
    // Its certificate names the host as others know it; what answers here is this machine itself.
    let trusted = ca.is_none() && url.authority().is_loopback();
    let tls = Tls::prepare(ca.as_deref(), client.as_ref(), trusted)?;
    let HostPort { host, port } = url.authority().host_port.clone();
    let to = Destination {
        tls: true,
        host: host.clone(),
        host_header: url.authority().host_header(),
        connect: Connect::Name { host, port },
    };
    let mut link =
        HttpClient::new(tls, concat!("registry-prober/", env!("CARGO_PKG_VERSION"))).open(&to);
    let request = Request {
        method: http::Method::GET,
        path: "/-/ready".to_owned(),
        headers: Vec::new(),
        body: Body::Empty,
        deadline: Instant::now() + LIMIT,
    };
    Ok(link.send(request).await.result)
}

fn not_ready(why: &str) -> Exit {
    print::note(why);
    Exit::Warning
}

/// Whoever listens there, a terminal reads it.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}
