//! `completions` and `man`: what shells and `man` read, from the command line's own definition.

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, Exit, print};

/// Prints completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  registry-prober completions bash | sudo tee /etc/bash_completion.d/registry-prober")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Prints the manual page of the program or of one command
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  registry-prober man check | man -l -")]
pub(super) struct Manual {
    /// The command; without one, the program
    command: Option<String>,
}

pub(super) fn completions(arguments: &Completions) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "registry-prober", &mut text);
    print::bytes(&text)?;
    Ok(Exit::Ok)
}

pub(super) fn manual(arguments: &Manual) -> anyhow::Result<Exit> {
    let mut all = Cli::command();
    all.build();
    let command = match &arguments.command {
        None => all,
        Some(name) => match all.find_subcommand(name) {
            // A page of a command is found under both words.
            Some(found) => found.clone().display_name(format!("registry-prober-{name}")),
            None => anyhow::bail!("there is no command {name}; registry-prober --help lists all"),
        },
    };
    let mut text = Vec::new();
    Man::new(command).render(&mut text)?;
    print::bytes(&text)?;
    Ok(Exit::Ok)
}
