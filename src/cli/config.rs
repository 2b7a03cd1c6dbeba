//! `config check|show|schema`: for operators before a change goes live, and for editors.

use clap::Subcommand;

use super::config_file::{ConfigFile, load};
use super::exit::Exit;
use super::print;
use crate::config::{schema_json, show};

/// Checks or shows the configuration file
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Reports every mistake in the file, with line and column; exit code 1 if there is one
    Check(ConfigFile),
    /// Prints the configuration as the program understands it: every default filled in, no secrets
    Show(ConfigFile),
    /// Prints the JSON Schema of the file, for editors
    Schema,
}

pub(super) async fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Check(file) => {
            let path = file.path();
            match load(&path).await? {
                Ok(loaded) => {
                    let count = loaded.config.registries.len();
                    let noun = if count == 1 { "registry" } else { "registries" };
                    print::result(&format!("{}: good, {count} {noun}\n", path.display()))?;
                }
                Err(errors) => {
                    print::result(&format!("{errors}\n"))?;
                    return Ok(Exit::Warning);
                }
            }
        }
        Command::Show(file) => {
            let loaded = load(&file.path()).await??;
            print::result(&show(&loaded.config))?;
        }
        Command::Schema => print::result(&schema_json())?,
    }
    Ok(Exit::Ok)
}
