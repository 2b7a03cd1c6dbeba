//! The command line: one file for each command, and the only room that prints.
//!
//! Every command is wiring: it reads its arguments, uses the same runner as all others
//! ([`crate::schedule`]) and hands what comes out to a room that shows it. No secret is ever an
//! argument, for arguments show in process lists.

mod ask;
mod check;
mod config;
mod config_file;
mod demo;
mod drill;
mod exit;
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

use clap::{CommandFactory as _, Parser, Subcommand};

pub use self::exit::Exit;

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
        Command::Completions(arguments) => generate::completions(&arguments, Cli::command()),
        Command::Man(arguments) => generate::manual(&arguments, Cli::command()),
    };
    result.unwrap_or_else(|error| failed(&error))
}

/// Says why the program cannot do its work.
pub fn failed(error: &anyhow::Error) -> Exit {
    print::error(error);
    Exit::Unknown
}
