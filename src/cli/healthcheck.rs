//! `healthcheck`: asks a running daemon whether it is ready, for containers that have no other
//! client inside.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use super::ask::{Files, USUAL_URL, ask};
use super::exit::Exit;
use super::print;
use crate::config::PublicUrl;
use crate::transport::ApiError;

/// Less than the time that containers' health checks are given.
const LIMIT: Duration = Duration::from_secs(4);

/// Asks a running daemon's /-/ready; exit code 0 if it is ready, 1 if not
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The daemon; a container whose port speaks TLS needs it
    #[arg(long, default_value = USUAL_URL, env = "REGISTRY_PROBER_URL")]
    url: String,
    /// Certificates (PEM) to trust for the daemon. Without it, every certificate is accepted from a
    /// daemon on this machine
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Client certificate chain (PEM), if the daemon asks for one
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Key of the client certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let url = PublicUrl::parse(&arguments.url).context("--url")?;
    let files = Files {
        ca: arguments.ca_file.as_deref(),
        cert: arguments.cert_file.as_deref(),
        key: arguments.key_file.as_deref(),
    };
    let why = match ask(&url, "/-/ready", files, LIMIT).await? {
        Ok(body) => {
            print::result(&clean(&body))?;
            return Ok(Exit::Ok);
        }
        Err(ApiError::Refused { status, body }) => {
            format!("{status} {}", String::from_utf8_lossy(&body))
        }
        Err(error) => error.to_string(),
    };
    Ok(not_ready(&format!("{url}: {}", clean(&why).trim())))
}

fn not_ready(why: &str) -> Exit {
    print::note(why);
    Exit::Warning
}

/// Removes control characters: another program may answer there, and a terminal prints it.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}
