//! `run`: probes until it is stopped, and answers to Prometheus and to people.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use secrecy::SecretString;
use tracing::info;

use super::ask::USUAL_ADDRESS;
use super::config_file::{ConfigFile, duration, load};
use super::exit::Exit;
use super::log::LogArguments;
use super::service::{Service, ServiceSettings, listen};
use crate::config::{PublicUrl, Shard, WebTls, web_config};
use crate::history::Journal;
use crate::schedule::told_to_stop;
use crate::web;

/// Probes all registries on a timer and serves metrics, status page and API until SIGTERM
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Listen address (repeatable). Port 0 picks a free port, :PORT listens on every address
    #[arg(long = "web.listen-address", value_name = "HOST:PORT", default_value = USUAL_ADDRESS)]
    listen: Vec<String>,
    /// URL under which clients reach the program (repeatable). If set, or if it listens on loopback
    /// only, it refuses requests for other host names
    #[arg(long = "web.external-url", value_name = "URL", value_parser = external)]
    external: Vec<PublicUrl>,
    /// File with a token that allows POST /-/reload from other machines (Authorization: Bearer)
    #[arg(long = "web.reload-token-file", value_name = "FILE")]
    reload_token_file: Option<PathBuf>,
    /// File with TLS and users of the port, in the format of Prometheus' exporters
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config: Option<PathBuf>,
    /// File that keeps incidents, findings and signing keys across restarts. A folder next to it
    /// keeps the rounds of incidents
    #[arg(long = "history.file", value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Probe only part I of N of the file's registries, with I from 0 to N-1: several probers share
    /// them. auto/N takes I from the number at the end of the host name, as pods of a stateful set
    /// have it
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<Shard>,
    /// How often to look for changes of the configuration and the files it names; 0s: never
    #[arg(
        long = "config.auto-reload-interval",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration
    )]
    auto_reload: Duration,
    #[command(flatten)]
    log: LogArguments,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let stop = told_to_stop().context("SIGTERM")?;
    arguments.log.begin();
    let path = arguments.file.path();
    let loaded = load(&path).await??;
    let reload_token = arguments.reload_token_file.as_deref().map(token).transpose()?;
    let journal = arguments.journal.as_deref().map(Journal::open).transpose()?;
    let mut listeners = Vec::new();
    for address in &arguments.listen {
        listeners.push(listen(address).await?);
    }
    for listener in &listeners {
        info!(address = %listener.local_addr()?, "listening");
    }
    let (auto_reload, external) = (arguments.auto_reload, arguments.external);
    let shard = arguments.shard.unwrap_or_default();
    let access = arguments.web_config.map(access).transpose()?;
    let settings =
        ServiceSettings { listeners, auto_reload, journal, shard, access, reload_token, external };
    let mut service = Service::start(&path, loaded, settings).await?;
    let exit = tokio::select! {
        signal = stop => {
            info!(signal, "stopping");
            Exit::Ok
        }
        () = service.failed() => Exit::Unknown,
    };
    service.end().await;
    Ok(exit)
}

fn external(text: &str) -> Result<PublicUrl, String> {
    PublicUrl::parse(text).map_err(|error| error.to_string())
}

/// The port's TLS and users, read from this file now and again whenever it changes.
fn access(path: PathBuf) -> anyhow::Result<Arc<web::Access>> {
    let shown = path.display().to_string();
    let load = move || {
        let read = web_config(&path).map_err(|errors| errors.to_string())?;
        let pem = |tls: WebTls| web::Pem {
            certificates: tls.certificates,
            key: tls.key,
            client_ca: tls.client_ca,
            client_required: tls.client_required,
            only_1_3: tls.only_1_3,
        };
        Ok(web::Rules { tls: read.tls.map(pem), users: read.users })
    };
    let access = web::Access::new(Box::new(load)).map_err(anyhow::Error::msg);
    access.with_context(|| format!("--web.config.file={shown}")).map(Arc::new)
}

fn shard(text: &str) -> Result<Shard, String> {
    let host = std::env::var("HOSTNAME").ok();
    let host = host.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    Shard::parse(text, host.as_deref().map(str::trim))
}

fn token(path: &Path) -> anyhow::Result<SecretString> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    match text.trim() {
        "" => bail!("{}: contains no token", path.display()),
        token => Ok(SecretString::from(token)),
    }
}
