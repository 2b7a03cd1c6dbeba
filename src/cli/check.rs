//! `check`: a complete diagnosis now, for the engineer on call and for CI.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use secrecy::SecretString;
use tokio::time::Instant;

use super::progress::ProgressLine;
use super::{ConfigFile, Exit, duration, load, print};
use crate::clock::Clock;
use crate::config::{AdHoc, Registry, ad_hoc};
use crate::metrics;
use crate::model::{Earlier, Judged, ProgramFacts, RegistryState, Snapshot, Status};
use crate::report::{self, Form};
use crate::schedule::{Turned, Wheel, beside};

/// More than any password has.
const MAX_PASSWORD: u64 = 64 * 1024;

/// Diagnoses registries now, in under 15 s; exit code 0 OK, 1 warning, 2 critical, 3 unknown
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  registry-prober check --config.file=prober.yml
  registry-prober check https://hub.example.com \\
      --backend a=10.0.0.1:443 --backend b=10.0.0.2:443 \\
      --username 'robot$prober' --password-stdin < password.txt")]
pub(super) struct Arguments {
    /// The public URL of one registry, or names from the configuration file; without one, all
    /// registries of the file
    #[arg(value_name = "URL|REGISTRY")]
    targets: Vec<String>,
    #[command(flatten)]
    file: ConfigFile,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Also explain for each considered cause why it is a finding or not (text and JSON)
    #[arg(long)]
    trace: bool,
    /// Time limit for the whole diagnosis
    #[arg(long, default_value = "13s", value_parser = limit)]
    timeout: Duration,
    #[command(flatten)]
    given: Given,
}

/// A registry without a file.
#[derive(Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Options with a URL")]
struct Given {
    /// A node and its address (repeatable). Without it, every address behind the URL's
    /// host is a node
    #[arg(long = "backend", value_name = "NAME=ADDRESS", value_parser = backend)]
    backends: Vec<(String, String)>,
    /// The user or robot account; anonymous without
    #[arg(long)]
    username: Option<String>,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "password_file")]
    password_stdin: bool,
    /// Read the password from a file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The repository scope to ask for, for instance repository:probe/canary:pull
    #[arg(long)]
    scope: Option<String>,
    /// Certificates (PEM) to trust in addition to the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The client certificate (PEM, with its chain) that the registry asks for
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// The key of the client certificate (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// Accept every certificate; what is wrong with it is still reported
    #[arg(long)]
    insecure_skip_verify: bool,
    /// Allow credentials over unencrypted http
    #[arg(long)]
    allow_plaintext: bool,
    /// Address of the load balancer, instead of asking DNS for the URL's host
    #[arg(long, value_name = "ADDRESS")]
    balancer_address: Option<String>,
    /// Independent pairs of requests through the load balancer [default: 20]
    #[arg(long, value_name = "COUNT")]
    samples: Option<u32>,
    /// Which pairs of issuer and verifier to try: auto, full or sampled:K [default: auto]
    #[arg(long, value_name = "MODE")]
    matrix: Option<String>,
    /// How to request tokens: get or post [default: get]
    #[arg(long, value_name = "METHOD")]
    token_method: Option<String>,
    /// Another authority that may see the credentials (repeatable)
    #[arg(long = "allowed-realm", value_name = "URL")]
    allowed_realms: Vec<String>,
    /// User-Agent of all requests [default: registry-prober/VERSION]
    #[arg(long, value_name = "TEXT")]
    user_agent: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text for people
    Text,
    /// JSON with a documented schema
    Json,
    /// JUnit XML for CI servers
    Junit,
    /// One line with performance data, for Nagios and similar monitoring
    Nagios,
    /// Metrics for a textfile collector
    Prometheus,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let format = arguments.output;
    match diagnose(arguments).await {
        // Nagios shows standard output only.
        Err(error) if format == Format::Nagios => {
            let text = format!("{error:#}").replace(['\n', '|'], " ");
            print::result(&format!("REGISTRY UNKNOWN: {text}\n"))?;
            Ok(Exit::Unknown)
        }
        other => other,
    }
}

async fn diagnose(arguments: Arguments) -> anyhow::Result<Exit> {
    let (format, limit, trace) = (arguments.output, arguments.timeout, arguments.trace);
    let registries = registries(arguments).await?;
    let mut wheels = Vec::new();
    for registry in registries {
        let name = registry.name.clone();
        wheels.push(Wheel::new(Arc::new(registry)).with_context(|| format!("registry {name}"))?);
    }
    let snapshot = turn(wheels, Instant::now() + limit).await?;
    let form = match format {
        Format::Text => report::Output::Text,
        Format::Json => report::Output::Json,
        Format::Junit => report::Output::Junit,
        Format::Nagios => report::Output::Nagios,
        Format::Prometheus => {
            let rounds = snapshot.registries.values().filter_map(|state| state.latest.clone());
            print::bytes(&metrics::page_of(&rounds.collect::<Vec<_>>(), None).1)?;
            return Ok(snapshot.status().into());
        }
    };
    let how = Form { trace, width: print::width() };
    print::result(&report::render(form, &snapshot, how))?;
    Ok(snapshot.status().into())
}

/// One turn for each registry, all at once.
async fn turn(wheels: Vec<Wheel>, deadline: Instant) -> anyhow::Result<Snapshot> {
    let line = Arc::new(ProgressLine::new(wheels.len()));
    let turns: Vec<_> = wheels
        .into_iter()
        .map(|mut wheel| {
            let line = Arc::clone(&line);
            tokio::spawn(async move {
                let name = wheel.registry().name.clone();
                let turned = wheel
                    .turn(deadline, &Earlier::default(), &|progress| line.note(&name, progress))
                    .await;
                (wheel, turned)
            })
        })
        .collect();
    let (mut ended, mut rounds) = (Vec::new(), Vec::new());
    for turn in turns {
        let (wheel, Turned { judged, discovery }) = turn.await?;
        ended.push((wheel, discovery));
        rounds.push(judged);
    }
    let mut registries = BTreeMap::new();
    let mut notes = Vec::new();
    // What only shows across registries needs every round.
    for ((wheel, discovery), judged) in ended.into_iter().zip(beside(rounds)) {
        let registry = wheel.registry();
        if let Some(error) = &discovery {
            notes.push(format!("{error:#}"));
        }
        // Where no node was found, that nothing is wrong has not been seen.
        let blind = discovery.is_some() && judged.assessment.status == Status::Ok;
        let state = state(registry, (!blind).then_some(judged));
        registries.insert(registry.name.clone(), state);
    }
    line.clear();
    for text in notes {
        print::note(&text);
    }
    let program = ProgramFacts {
        reload_successful: true,
        reload_success: Clock::read().now(),
        reload_error: None,
    };
    Ok(Snapshot { registries, program })
}

fn state(registry: &Registry, latest: Option<Arc<Judged>>) -> RegistryState {
    let flows = latest.iter().flat_map(|judged| &judged.round.flows);
    RegistryState {
        url: registry.url.to_string(),
        interval_seconds: registry.interval.as_secs_f64(),
        routes: flows.map(|flow| flow.route.clone()).collect(),
        latest,
    }
}

/// What is to be diagnosed.
async fn registries(arguments: Arguments) -> anyhow::Result<Vec<Registry>> {
    let Arguments { targets, file, given, .. } = arguments;
    if let Some(url) = targets.iter().find(|target| target.contains("://")) {
        if targets.len() > 1 {
            bail!("one URL is checked at a time; several registries need a configuration file");
        }
        if file.config_file.is_some() {
            bail!("a URL and --config.file exclude each other; keep one");
        }
        let url = url.clone();
        let registry = tokio::task::spawn_blocking(move || given.registry(url)).await??;
        return Ok(vec![registry]);
    }
    if given != Given::default() {
        bail!(
            "options that describe a registry need its URL, for instance https://hub.example.com"
        );
    }
    let path = file.path();
    if file.config_file.is_none() && targets.is_empty() && !path.exists() {
        bail!(
            "nothing to check: give a registry's URL, or a configuration file ({} does not exist)",
            path.display()
        );
    }
    let mut registries = load(&path).await??.config.registries;
    for target in &targets {
        if !registries.iter().any(|registry| registry.name.as_str() == target) {
            let known: Vec<_> = registries.iter().map(|r| r.name.as_str()).collect();
            bail!(
                "no registry of {} is called {target:?}; there are {} (a URL begins with https://)",
                path.display(),
                known.join(", ")
            );
        }
    }
    registries.retain(|r| targets.is_empty() || targets.iter().any(|t| t == r.name.as_str()));
    Ok(registries)
}

impl Given {
    fn registry(self, url: String) -> anyhow::Result<Registry> {
        let password = match &self.password_file {
            Some(path) => Some(password_of(path)?),
            None if self.password_stdin => {
                Some(password(stdin().lock()).context("--password-stdin")?)
            }
            None => None,
        };
        let given = AdHoc {
            url,
            backends: self.backends,
            username: self.username,
            password,
            scope: self.scope,
            ca_file: self.ca_file,
            cert_file: self.cert_file,
            key_file: self.key_file,
            insecure_skip_verify: self.insecure_skip_verify,
            balancer_address: self.balancer_address,
            samples: self.samples,
            matrix: self.matrix,
            token_method: self.token_method,
            allowed_realms: self.allowed_realms,
            user_agent: self.user_agent,
            allow_plaintext: self.allow_plaintext,
        };
        Ok(ad_hoc(given)?)
    }
}

/// The password in a file.
fn password_of(path: &Path) -> anyhow::Result<SecretString> {
    File::open(path)
        .map_err(anyhow::Error::from)
        .and_then(password)
        .with_context(|| path.display().to_string())
}

/// Everything but the line end that editors and `echo` leave.
fn password(from: impl std::io::Read) -> anyhow::Result<SecretString> {
    let mut text = String::new();
    from.take(MAX_PASSWORD + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_PASSWORD {
        bail!("too long for a password");
    }
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        bail!("the password is empty");
    }
    Ok(SecretString::from(password))
}

fn backend(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, address)| (name.to_owned(), address.to_owned()))
        .ok_or_else(|| "expected NAME=ADDRESS, for instance a=10.0.0.1:443".to_owned())
}

fn limit(text: &str) -> Result<Duration, String> {
    let limit = duration(text)?;
    let usable = Duration::from_millis(100)..=Duration::from_secs(600);
    if usable.contains(&limit) { Ok(limit) } else { Err("expected 100ms to 10m".to_owned()) }
}
