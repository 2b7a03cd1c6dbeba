//! `completions` and `man`: what shells and `man` read, from the command line's own definition.

use clap::Command;
use clap::builder::PossibleValuesParser;
use clap_complete::Shell;
use clap_mangen::Man;

use super::exit::Exit;
use super::print;
use crate::findings::Runbook;
use crate::lab::Scenario;

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

pub(super) fn completions(arguments: &Completions, all: Command) -> anyhow::Result<Exit> {
    print::bytes(&completed(arguments.shell, all))?;
    Ok(Exit::Ok)
}

fn completed(shell: Shell, all: Command) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut with_names(all), "registry-prober", &mut text);
    if shell == Shell::Fish {
        // The generator for fish leaves out what stands without an option.
        for (command, _, names) in names() {
            let line = format!(
                "complete -c registry-prober -n \"__fish_seen_subcommand_from {command}\" -f -a \"{}\"\n",
                names.join(" ")
            );
            text.extend(line.bytes());
        }
    }
    text
}

/// The names that commands take: command, argument, names.
fn names() -> [(&'static str, &'static str, Vec<&'static str>); 3] {
    let scenarios: Vec<&str> = Scenario::names().collect();
    let pages = Runbook::all().map(Runbook::name).collect();
    [
        ("explain", "name", pages),
        ("lab", "scenario", scenarios.clone()),
        ("demo", "scenario", scenarios),
    ]
}

/// The commands with the names that they take. Only completions get them: the program itself says
/// which name was meant, and help would list a hundred.
fn with_names(all: Command) -> Command {
    names().into_iter().fold(all, |all, (command, argument, names)| {
        let parser = PossibleValuesParser::new(names);
        all.mut_subcommand(command, |of| of.mut_arg(argument, |arg| arg.value_parser(parser)))
    })
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn shells_complete_the_names_of_scenarios_findings_and_alerts() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = String::from_utf8(completed(shell, Cli::command())).unwrap();
            for name in ["two-faults", "csrf-key-mismatch", "RegistryProberStale"] {
                assert!(text.contains(name), "{shell}: {name}");
            }
        }
    }
}
