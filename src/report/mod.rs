//! What `check` prints: text for the engineer on call, JSON for programs, JUnit for a CI's page,
//! and one line for Nagios and its kin.
//!
//! `explain` prints its pages by [`runbook`].
//!
//! Every output is a pure function of a [`Snapshot`]. Nothing is measured, judged or written here,
//! and nothing depends on whether standard output is a terminal. Texts that servers had a hand in
//! pass through `wording` before they are put into any output.

mod backends;
mod checks;
mod clients;
mod form;
pub mod incidents;
pub mod json;
mod junit;
mod nagios;
mod observed;
mod pair;
pub mod round;
pub mod runbook;
mod text;
pub mod watch;
mod wording;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod sample;

pub use form::Form;

use crate::model::Snapshot;

/// A form in which a snapshot can be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// For people.
    Text,
    /// The documented contract.
    Json,
    /// `JUnit` XML, as CI servers read it.
    Junit,
    /// One line with performance data, and details after it.
    Nagios,
}

/// Prints a snapshot; the result ends with a line break.
///
/// Text carries ANSI styles. Write it through `anstream`, which drops them where the output is no
/// terminal or `NO_COLOR` is set. The other forms have no styles.
pub fn render(output: Output, snapshot: &Snapshot, form: Form) -> String {
    match output {
        Output::Text => text::render(snapshot, form),
        Output::Json => json::render(snapshot, form.trace),
        Output::Junit => junit::render(snapshot),
        Output::Nagios => nagios::render(snapshot),
    }
}
