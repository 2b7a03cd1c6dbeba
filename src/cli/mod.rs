//! The command line: one file for each command, and the only room that prints.
//!
//! Every command is wiring: it reads its arguments, uses the same runner as all others
//! ([`crate::schedule`]) and hands what comes out to a room that shows it. No secret is ever an
//! argument, for arguments show in process lists.

mod ask;
mod check;
mod config;
mod demo;
mod drill;
mod explain;
mod generate;
mod healthcheck;
mod lab;
mod log;
mod print;
mod progress;
mod run;
mod service;
mod since;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::{ConfigErrors, Loaded};
use crate::model::Status;

/// Finds out why a highly-available container registry answers 401: performs the token flow of a
/// docker client on every node and through the load balancer, carries each node's token to every
/// other node, and names the cause, the node at fault and the fix.
#[derive(Debug, Parser)]
#[command(name = "registry-prober", version = VERSION, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("REGISTRY_PROBER_REVISION"), ")");

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Check(Box<check::Arguments>),
    Demo(demo::Arguments),
    Lab(lab::Arguments),
    Explain(explain::Arguments),
    #[command(subcommand)]
    Config(config::Command),
    Healthcheck(healthcheck::Arguments),
    Completions(generate::Completions),
    Man(generate::Manual),
}

/// How the program ends, in the words of monitoring plug-ins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; of `check`: nothing above `info` was found.
    Ok,
    /// `check` found a warning; `config check` found problems; `healthcheck` found the daemon not
    /// ready.
    Warning,
    /// `check` found something critical.
    Critical,
    /// The command could not do its work: usage, configuration, files, ports.
    Unknown,
}

impl From<Status> for Exit {
    fn from(status: Status) -> Self {
        match status {
            Status::Ok => Self::Ok,
            Status::Warning => Self::Warning,
            Status::Critical => Self::Critical,
            Status::Unknown => Self::Unknown,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Warning => 1,
            Exit::Critical => 2,
            Exit::Unknown => 3,
        })
    }
}

/// Reads the command line.
///
/// # Errors
/// The exit code. Help, the version or the mistake in the usage is printed already.
pub fn parse() -> Result<Cli, Exit> {
    Cli::try_parse().map_err(|error| {
        // If standard output or error is closed, there is nothing left to do.
        let _ = error.print();
        if error.use_stderr() { Exit::Unknown } else { Exit::Ok }
    })
}

/// Runs a command to its end. Must be called inside a tokio runtime.
pub async fn run(cli: Cli) -> Exit {
    let result = match cli.command {
        Command::Run(arguments) => run::run(arguments).await,
        Command::Check(arguments) => check::run(*arguments).await,
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Lab(arguments) => lab::run(arguments).await,
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Config(command) => config::run(command).await,
        Command::Healthcheck(arguments) => healthcheck::run(arguments).await,
        Command::Completions(arguments) => generate::completions(&arguments),
        Command::Man(arguments) => generate::manual(&arguments),
    };
    result.unwrap_or_else(|error| failed(&error))
}

/// Says why the program cannot do its work.
pub fn failed(error: &anyhow::Error) -> Exit {
    print::error(error);
    Exit::Unknown
}

/// The file that `run`, `check` and `config` read.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// Configuration file [default: prober.yml] [env: `REGISTRY_PROBER_CONFIG`]
    #[arg(
        long = "config.file",
        value_name = "FILE",
        help = "Configuration file [default: prober.yml] [env: REGISTRY_PROBER_CONFIG]"
    )]
    config_file: Option<PathBuf>,
}

impl ConfigFile {
    /// Where it is.
    fn path(&self) -> PathBuf {
        let configured = || std::env::var_os("REGISTRY_PROBER_CONFIG").filter(|p| !p.is_empty());
        let given = self.config_file.clone().or_else(|| configured().map(PathBuf::from));
        given.unwrap_or_else(|| "prober.yml".into())
    }
}

/// Loads a configuration without holding up other tasks.
async fn load(path: &Path) -> anyhow::Result<Result<Loaded, ConfigErrors>> {
    let path = path.to_owned();
    Ok(tokio::task::spawn_blocking(move || crate::config::load(&path)).await?)
}

/// A duration such as `10s` or `1m 30s`.
fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; expected a duration such as 10s or 500ms"))
}
