//! When to probe, with what, and until when; where finished rounds go.
//!
//! [`Runner::run`] is the whole walk once: discovery, probe, diagnosis. `run`, `check` and
//! `/probe` use the same runner. [`Daemon`] gives every registry a task with a timer of its own,
//! publishes each judged round in the one [`Snapshot`](crate::model::Snapshot), takes
//! configurations again while it runs, and logs what has changed. Nothing here sends a request or
//! concludes anything.

mod changes;
mod daemon;
mod on_demand;
mod past;
#[cfg(test)]
mod refusing;
mod registry;
mod runner;
mod signals;
mod timer;

pub use daemon::{ConfigurationError, Daemon};
pub use past::ShowRound;
pub use runner::{Run, Runner, judge_together};
pub use signals::{Hangups, told_to_stop};
