//! When to probe, with what, and until when; where finished rounds go.
//!
//! [`Wheel::turn`] is the whole walk once: discovery, probe, diagnosis. `run`, `check` and
//! `/probe` turn the same wheel. [`Daemon`] gives every registry a task with a timer of its own,
//! publishes each judged round in the one [`Snapshot`](crate::model::Snapshot), takes
//! configurations again while it runs, and logs what has changed. Nothing here sends a request or
//! concludes anything.

mod changes;
mod daemon;
mod on_demand;
mod past;
mod registry;
mod signals;
mod timer;
mod turn;

pub use daemon::{ConfigurationError, Daemon};
pub use past::ShowRound;
pub use signals::{Hangups, told_to_stop};
pub use turn::{Turned, Wheel, beside};
