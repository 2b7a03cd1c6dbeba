//! `completions` and `man`: what shells and `man` read, from the command line's own definition.

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use super::exit::Exit;
use super::print;

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

pub(super) fn completions(arguments: &Completions, mut all: Command) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut all, "registry-prober", &mut text);
    print::bytes(&text)?;
    Ok(Exit::Ok)
}

pub(super) fn manual(arguments: &Manual, mut all: Command) -> anyhow::Result<Exit> {
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
