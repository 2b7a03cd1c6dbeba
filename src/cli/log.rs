//! The log of a long-running command: on standard error, as text or one JSON object a line.

use std::io::{IsTerminal, stderr};
use std::panic;

use clap::ValueEnum;
use tracing::error;
use tracing_subscriber::EnvFilter;

/// What is logged, and how.
#[derive(Debug, clap::Args)]
pub(super) struct LogArguments {
    /// Minimum log level; debug also logs every round
    #[arg(long = "log.level", value_name = "LEVEL", value_enum, default_value_t = Level::Info)]
    level: Level,
    /// Log format
    #[arg(long = "log.format", value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl LogArguments {
    /// Begins to log. Libraries log at `warn` and above only: their `debug` and `trace` lines
    /// contain headers, and headers contain secrets.
    pub(super) fn begin(&self) {
        let level = self.level.to_possible_value();
        let level = level.as_ref().map_or("info", |value| value.get_name());
        let others = if self.level == Level::Error { "error" } else { "warn" };
        let filter = EnvFilter::new(format!("{others},registry_prober={level}"));
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
        // It fails only if there is a logger already. That would be a bug, and the first logger
        // goes on.
        let _ = match self.format {
            Format::Json => builder.json().flatten_event(true).with_target(false).try_init(),
            Format::Text => {
                let colour = stderr().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
                builder.with_ansi(colour).with_target(false).try_init()
            }
        };
        panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let what = text.or(payload.downcast_ref().copied()).unwrap_or("no message");
            error!(place, what, "a task panicked: a bug in registry-prober");
        }));
    }
}
