//! What is kept of rounds that are over.
//!
//! [`events`] says what a judged round changed against what was known before it, [`apply`] takes
//! an event in, and the [`Journal`] keeps events in a file so that they survive a restart: since
//! when a finding lasts, and which key a backend signed with. [`Incidents`] are what findings come
//! to over time, [`Rounds`] the rounds that are kept with them, and the [`Ring`] has the last rounds
//! of each registry. No token is ever kept.

mod event;
mod incidents;
mod journal;
mod ring;
mod rounds;

pub use event::{Event, What, apply, events};
pub use incidents::Incidents;
pub use journal::{Journal, JournalError};
pub use ring::Ring;
pub use rounds::{KeptPlace, KeptRoundError, Rounds};
