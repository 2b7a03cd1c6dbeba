//! What `run`, `check` and `config` have in common: the configuration file and how it is read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{ConfigErrors, Loaded};

/// The file that `run`, `check` and `config` read.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigFile {
    /// Configuration file [default: prober.yml] [env: `REGISTRY_PROBER_CONFIG`]
    #[arg(
        long = "config.file",
        value_name = "FILE",
        help = "Configuration file [default: prober.yml] [env: REGISTRY_PROBER_CONFIG]"
    )]
    pub(super) config_file: Option<PathBuf>,
}

impl ConfigFile {
    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        let configured = || std::env::var_os("REGISTRY_PROBER_CONFIG").filter(|p| !p.is_empty());
        let given = self.config_file.clone().or_else(|| configured().map(PathBuf::from));
        given.unwrap_or_else(|| "prober.yml".into())
    }
}

/// Loads a configuration without holding up other tasks.
pub(super) async fn load(path: &Path) -> anyhow::Result<Result<Loaded, ConfigErrors>> {
    let path = path.to_owned();
    Ok(tokio::task::spawn_blocking(move || crate::config::load(&path)).await?)
}

/// A duration such as `10s` or `1m 30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; expected a duration such as 10s or 500ms"))
}
