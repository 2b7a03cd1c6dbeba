//! One question to a running daemon.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::SecretString;

use crate::config::PublicUrl;
use crate::transport::{Api, ApiError, ClientPem, Tls, USER_AGENT};

macro_rules! usual_address {
    () => {
        "127.0.0.1:9912"
    };
}

/// Where a daemon listens unless it is given another address.
pub(super) const USUAL_ADDRESS: &str = usual_address!();

/// The same as a URL.
pub(super) const USUAL_URL: &str = concat!("http://", usual_address!());

/// The PEM files for asking a daemon over TLS.
#[derive(Debug, Clone, Copy)]
pub(super) struct Files<'a> {
    /// Certificates to trust for the daemon.
    pub(super) ca: Option<&'a Path>,
    /// The client certificate, with its chain.
    pub(super) cert: Option<&'a Path>,
    /// The key of the client certificate.
    pub(super) key: Option<&'a Path>,
}

/// The body of an answer with status 200.
///
/// # Errors
/// Outer: a file cannot be used. Inner: why there is no answer with status 200.
pub(super) async fn ask(
    url: &PublicUrl,
    path: &str,
    files: Files<'_>,
    within: Duration,
) -> anyhow::Result<Result<String, ApiError>> {
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    let ca = files.ca.map(read).transpose()?;
    let certificates = files.cert.map(read).transpose()?;
    let key = files.key.map(read).transpose()?.map(String::from_utf8);
    let key = key.transpose().context("--key-file")?.map(SecretString::from);
    let client = certificates.as_deref().zip(key.as_ref());
    let client = client.map(|(certificates, key)| ClientPem { certificates, key });
    // On loopback every certificate is accepted: the daemon runs on this machine.
    let trusted = ca.is_none() && url.authority().is_loopback();
    let tls = Tls::prepare(ca.as_deref(), client.as_ref(), trusted)?;
    let daemon = Api::new(&url.to_string(), &tls, None, USER_AGENT)?;
    let body = daemon.get(path, within).await;
    Ok(body.map(|body| String::from_utf8_lossy(&body).into_owned()))
}
