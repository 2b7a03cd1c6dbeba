//! What is kept of rounds that are over.
//!
//! [`events`] says what a judged round changed against what was known before it, [`apply`] takes
//! an event in, and the [`Journal`] keeps events in a file so that they survive a restart: since
//! when a finding lasts, and which key a backend signed with. No token is ever kept.

mod event;
mod journal;

pub use event::{Event, What, apply, events};
pub use journal::{Journal, JournalError};
