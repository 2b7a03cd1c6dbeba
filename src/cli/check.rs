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
use tokio::time::{Instant, sleep};

use super::ask::{Files, USUAL_URL};
use super::config_file::{ConfigFile, duration, load};
use super::exit::Exit;
use super::progress::ProgressLine;
use super::{print, since};
use crate::clock::Clock;
use crate::config::{AdHoc, PublicUrl, Registry, Scheme, ad_hoc, docker_account};
use crate::metrics;
use crate::model::{Earlier, Judged, ProgramFacts, RegistryState, Snapshot, Status};
use crate::report::{self, Form};
use crate::schedule::{Run, Runner, judge_together, told_to_stop};

/// More than any password has.
const MAX_PASSWORD: u64 = 64 * 1024;

/// From the end of a round to the next, where the caller does not say.
const WATCH: Duration = Duration::from_secs(5);

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
    /// Print everything that was measured, all remedies and all evidence (text)
    #[arg(short, long)]
    verbose: bool,
    /// Also explain for each considered cause why it is a finding or not (text and JSON)
    #[arg(long)]
    trace: bool,
    #[command(flatten)]
    repeat: Repeat,
    /// Print the incidents of the last hours from a running daemon, for instance 24h (text and
    /// JSON); nothing is measured
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "config_file")]
    since: Option<Duration>,
    /// URL of that daemon. `--ca-file`, `--cert-file` and `--key-file` apply to it if it uses TLS
    #[arg(long, value_name = "URL", default_value = USUAL_URL, requires = "since")]
    daemon: String,
    /// Time limit for the whole diagnosis
    #[arg(long, default_value = "13s", value_parser = limit)]
    timeout: Duration,
    /// Use no account, not even that of `docker login`
    #[arg(long, conflicts_with = "username", help_heading = "Options with a URL")]
    anonymous: bool,
    #[command(flatten)]
    given: Given,
}

/// Rounds one after another.
#[derive(Debug, clap::Args)]
struct Repeat {
    /// Check again and again and print a line for each round, until Ctrl-C
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, require_equals = true, default_missing_value = "5s", value_parser = limit)]
    watch: Option<Duration>,
    /// Check again and again until a round is OK, then end with exit code 0
    #[arg(long)]
    until_ok: bool,
}

/// A registry without a file.
#[derive(Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Options with a URL")]
struct Given {
    /// A node and its address (repeatable). Without it, every address behind the URL's
    /// host is a node
    #[arg(long = "backend", value_name = "NAME=ADDRESS", value_parser = backend)]
    backends: Vec<(String, String)>,
    /// The user or robot account. Without it, the account that `docker login` stored for this
    /// registry is used, if there is one
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
    if let Some(since) = arguments.since {
        let json = match arguments.output {
            Format::Text => false,
            Format::Json => true,
            _ => bail!("--since prints text or JSON"),
        };
        let files = Files {
            ca: arguments.given.ca_file.as_deref(),
            cert: arguments.given.cert_file.as_deref(),
            key: arguments.given.key_file.as_deref(),
        };
        return since::run(&arguments.daemon, since, &arguments.targets, json, files).await;
    }
    let (format, limit) = (arguments.output, arguments.timeout);
    let how = Form {
        trace: arguments.trace,
        verbose: arguments.verbose || arguments.trace,
        width: print::width(),
    };
    let watched = arguments.repeat.watch.or(arguments.repeat.until_ok.then_some(WATCH));
    let until_ok = arguments.repeat.until_ok;
    if watched.is_some() && format != Format::Text {
        bail!("--watch and --until-ok print text");
    }
    let registries = registries(arguments).await?;
    let mut runners = Vec::new();
    for registry in registries {
        let name = registry.name.clone();
        runners.push(Runner::new(Arc::new(registry)).with_context(|| format!("registry {name}"))?);
    }
    if let Some(pause) = watched {
        return watch(runners, limit, pause, until_ok, how).await;
    }
    let snapshot = rounds(runners, Instant::now() + limit).await?;
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
    print::result(&report::render(form, &snapshot, how))?;
    Ok(snapshot.status().into())
}

/// Rounds one after another: prints the first one in full, then a line for each with what changed.
async fn watch(
    runners: Vec<Runner>,
    limit: Duration,
    pause: Duration,
    until_ok: bool,
    how: Form,
) -> anyhow::Result<Exit> {
    let stop = told_to_stop().context("SIGTERM")?;
    let mut stop = std::pin::pin!(stop);
    let mut before: Option<Snapshot> = None;
    loop {
        // Twins run every check each time: one that waited for its interval would not see the fix.
        let twins = runners.iter().map(Runner::twin).collect();
        let snapshot = tokio::select! {
            snapshot = rounds(twins, Instant::now() + limit) => snapshot?,
            _ = &mut stop => return Ok(before.map_or(Exit::Unknown, |last| last.status().into())),
        };
        if before.is_none() {
            print::result(&(report::render(report::Output::Text, &snapshot, how) + "\n"))?;
        }
        print::result(&report::watch::line(before.as_ref(), &snapshot, how.width))?;
        let status = snapshot.status();
        if until_ok && status == Status::Ok {
            return Ok(Exit::Ok);
        }
        before = Some(snapshot);
        tokio::select! {
            () = sleep(pause) => {}
            _ = &mut stop => return Ok(status.into()),
        }
    }
}

/// One round of each registry, all at once.
async fn rounds(runners: Vec<Runner>, deadline: Instant) -> anyhow::Result<Snapshot> {
    let line = Arc::new(ProgressLine::new(runners.len()));
    let running: Vec<_> = runners
        .into_iter()
        .map(|mut runner| {
            let line = Arc::clone(&line);
            tokio::spawn(async move {
                let name = runner.registry().name.clone();
                let run = runner
                    .run(deadline, &Earlier::default(), &|progress| line.note(&name, progress))
                    .await;
                (runner, run)
            })
        })
        .collect();
    let (mut ended, mut rounds) = (Vec::new(), Vec::new());
    for run in running {
        let (runner, Run { judged, discovery, .. }) = run.await?;
        ended.push((runner, discovery));
        rounds.push(judged);
    }
    let mut registries = BTreeMap::new();
    let mut notes = Vec::new();
    // Some causes only show when the rounds of all registries are compared.
    for ((runner, discovery), judged) in ended.into_iter().zip(judge_together(rounds)) {
        let registry = runner.registry();
        if let Some(error) = &discovery {
            notes.push(format!("{error:#}"));
        }
        let state = state(registry, Some(judged));
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
    let Arguments { mut targets, file, given, anonymous, .. } = arguments;
    if let [target] = targets.as_mut_slice()
        && is_host(target, &file, given != Given::default())
    {
        print::note(&format!("{target} is taken as https://{target}"));
        *target = format!("https://{target}");
    }
    if let Some(url) = targets.iter().find(|target| target.contains("://")) {
        if targets.len() > 1 {
            bail!("one URL is checked at a time; several registries need a configuration file");
        }
        if file.config_file.is_some() {
            bail!("a URL and --config.file exclude each other; keep one");
        }
        let url = url.clone();
        let registry =
            tokio::task::spawn_blocking(move || given.registry(url, anonymous)).await??;
        return Ok(vec![registry]);
    }
    if given != Given::default() {
        bail!(
            "options that describe a registry need its URL, for instance https://hub.example.com"
        );
    }
    let path = file.path();
    if file.config_file.is_none() && !path.exists() {
        let file = path.display();
        match targets.first() {
            None => bail!(
                "nothing to check: give a registry's URL, or a configuration file ({file} does not \
                 exist)"
            ),
            Some(target) => bail!(
                "{target:?} is no URL, and there is no configuration file ({file}) with a registry \
                 of that name. Did you mean https://{target}?"
            ),
        }
    }
    let mut registries = load(&path).await??.config.registries;
    for target in &targets {
        if !registries.iter().any(|registry| registry.name.as_str() == target) {
            let known: Vec<_> = registries.iter().map(|r| r.name.as_str()).collect();
            if humantime::parse_duration(target).is_ok() {
                bail!("{target:?} is read as the name of a registry; write --watch={target}");
            }
            bail!(
                "no registry in {} is called {target:?}; the file has {}. For a registry that is not in \
                 the file, did you mean https://{target}?",
                path.display(),
                known.join(", ")
            );
        }
    }
    registries.retain(|r| targets.is_empty() || targets.iter().any(|t| t == r.name.as_str()));
    Ok(registries)
}

/// Whether a word is the host of a registry and no name in a file: it looks like one, and there is
/// no file, or options that only a URL has.
fn is_host(target: &str, file: &ConfigFile, described: bool) -> bool {
    let looks = !target.contains("://") && target.contains(['.', ':']);
    looks && file.config_file.is_none() && (described || !file.path().exists())
}

impl Given {
    /// Takes the account of `docker login`, where the caller names none.
    fn borrow_account(&mut self, url: &str) -> Option<SecretString> {
        let named = self.username.is_some() || self.password_file.is_some() || self.password_stdin;
        let url = PublicUrl::parse(url).ok().filter(|_| !named)?;
        // A broken docker configuration must not fail a check that asked for no account.
        let found = docker_account(&url).unwrap_or_else(|mistake| {
            print::note(&format!("The account of docker login cannot be used: {mistake}"));
            None
        });
        let (account, path) = found?;
        if self.may_show_passwords(&url) {
            print::note(
                "The account of docker login is not used, because a connection is not encrypted or \
                 its certificate is not verified. To use one anyway, name it with --username.",
            );
            return None;
        }
        print::note(&format!(
            "Using the account {} from {}. --anonymous uses none, --username another one.",
            account.username,
            path.display()
        ));
        self.username = Some(account.username);
        Some(account.password)
    }

    /// Whether the password of `docker login` could be read on its way or reach another server.
    fn may_show_passwords(&self, url: &PublicUrl) -> bool {
        let plain = |url: &PublicUrl| {
            url.authority().scheme == Scheme::Http && !url.authority().is_loopback()
        };
        let plain_text = |text: &String| PublicUrl::parse(text).is_ok_and(|url| plain(&url));
        plain(url)
            || self.insecure_skip_verify
            || self.allow_plaintext
            || self.backends.iter().any(|(_, address)| plain_text(address))
            || self.allowed_realms.iter().any(plain_text)
    }

    fn registry(mut self, url: String, anonymous: bool) -> anyhow::Result<Registry> {
        let borrowed = if anonymous { None } else { self.borrow_account(&url) };
        let password = match &self.password_file {
            Some(path) => Some(password_of(path)?),
            None if self.password_stdin => {
                Some(password(stdin().lock()).context("--password-stdin")?)
            }
            None => borrowed,
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
