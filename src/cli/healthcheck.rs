//! `healthcheck`: asks a running daemon whether it is ready, for containers that have no other
//! client inside.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::timeout;

use super::ask::{Said, USUAL, ask};
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
    #[arg(long, default_value = USUAL)]
    url: String,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let url = PublicUrl::parse(&arguments.url).context("--url")?;
    if url.authority().scheme != Scheme::Http {
        bail!("--url: only http is supported");
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

fn not_ready(why: &str) -> Exit {
    print::note(why);
    Exit::Warning
}

/// Whoever listens there, a terminal reads it.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}
