//! `explain`: the page of a finding in the terminal.

use anyhow::bail;

use super::exit::Exit;
use super::print;
use crate::findings::Runbook;
use crate::report;

/// Prints the page of a finding or alert: meaning, impact, how to confirm it and how to fix it
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A finding or alert; without it, all are listed
    name: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let text = match &arguments.name {
        None => report::runbook::list(),
        Some(name) => match Runbook::named(name) {
            Some(page) => report::runbook::page(page),
            None => bail!(
                "there is no finding or alert {name:?}{}; registry-prober explain lists all",
                did_you_mean(Runbook::meant(name))
            ),
        },
    };
    print::result(&text)?;
    Ok(Exit::Ok)
}

/// The name that was meant, as a part of a sentence.
pub(super) fn did_you_mean(meant: Option<&str>) -> String {
    meant.map_or(String::new(), |name| format!(" (did you mean {name}?)"))
}
