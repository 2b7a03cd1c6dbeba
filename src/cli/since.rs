//! `check --since`: what a running daemon remembers of the last hours. Nothing is measured.

use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

use super::ask::{Files, ask};
use super::exit::Exit;
use super::print;
use crate::clock::Clock;
use crate::config::PublicUrl;
use crate::model::Incident;
use crate::report;
use crate::transport::ApiError;

/// How long the daemon may take.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Answer {
    incidents: Vec<Incident>,
}

/// Prints the incidents of the last hours, of these registries or of all.
pub(super) async fn run(
    daemon: &str,
    since: Duration,
    registries: &[String],
    json: bool,
    files: Files<'_>,
) -> anyhow::Result<Exit> {
    let url = PublicUrl::parse(daemon).context("--daemon")?;
    let body = match ask(&url, "/api/v1/incidents", files, LIMIT).await? {
        Ok(body) => body,
        Err(ApiError::Refused { status: 401, .. }) => bail!(
            "{url} asks for a user and a password, which --since cannot give; open {url}/history in \
             a browser"
        ),
        Err(ApiError::Refused { .. }) => {
            bail!("{url} does not serve incidents: is it registry-prober, and new enough?")
        }
        Err(error) => bail!(
            "no daemon answers at {url}: {error}. `registry-prober run` keeps the incidents; \
             --daemon says where it listens"
        ),
    };
    let answer: Answer =
        serde_json::from_str(&body).with_context(|| format!("the answer of {url}"))?;
    let now = Clock::read().now();
    let from = TimeDelta::from_std(since).ok().and_then(|since| now.checked_sub_signed(since));
    let from = from.context("--since is longer than dates reach")?;
    let mut incidents = answer.incidents;
    incidents.retain(|incident| is_within(incident, from, registries));
    if json {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "incidents": incidents }))?;
        print::result(&(text + "\n"))?;
    } else {
        print::result(&report::incidents::render(
            &incidents,
            &url.to_string(),
            from,
            now,
            print::width(),
        ))?;
    }
    Ok(Exit::Ok)
}

/// Whether an incident lasted at any time since then, at one of these registries.
fn is_within(incident: &Incident, from: DateTime<Utc>, registries: &[String]) -> bool {
    incident.closed.is_none_or(|closed| closed >= from)
        && (registries.is_empty() || registries.contains(&incident.registry))
}
