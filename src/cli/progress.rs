//! One line on a terminal that says what a check is doing; it is gone when the check has ended.

use std::io::{IsTerminal, Write, stderr};
use std::sync::{Mutex, PoisonError};

use crate::model::RegistryName;
use crate::probe::Progress;

/// Longest line; a longer one would wrap and could not be rewritten.
const WIDTH: usize = 78;
/// Back to the first column, and the line is empty.
const CLEAR: &[u8] = b"\r\x1b[2K";

/// The line. Silent where standard error is no terminal.
#[derive(Debug)]
pub(super) struct ProgressLine {
    shown: bool,
    /// How many registries are done, of how many.
    done: Mutex<(usize, usize)>,
}

impl ProgressLine {
    pub(super) fn new(registries: usize) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { shown: stderr().is_terminal() && !dumb, done: Mutex::new((0, registries)) }
    }

    /// Shows how far one registry's round has come.
    pub(super) fn note(&self, registry: &RegistryName, progress: Progress) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if progress == Progress::Done {
            done.0 += 1;
        }
        if self.shown {
            let line = line(registry, progress, *done);
            let _ = stderr().write_all(&[CLEAR, line.as_bytes()].concat());
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if self.shown {
            let _ = stderr().write_all(CLEAR);
        }
    }
}

fn line(registry: &RegistryName, progress: Progress, (done, of): (usize, usize)) -> String {
    let what = match progress {
        Progress::Flows(routes) => format!("requesting tokens on {routes} routes"),
        Progress::Matrix(pairs) => format!("showing tokens to every node, {pairs} pairs"),
        Progress::Ladder(0) => "sampling through the load balancer".to_owned(),
        Progress::Ladder(pairs) => {
            format!("sampling the load balancer, asking {pairs} refused pairs again")
        }
        Progress::Done => "done".to_owned(),
    };
    let count = if of > 1 { format!("{done} of {of} done, ") } else { String::new() };
    format!("{count}{registry}: {what} …").chars().take(WIDTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_the_check_is_and_never_wraps() {
        let name = RegistryName::parse("main").unwrap();
        assert_eq!(
            line(&name, Progress::Matrix(16), (0, 1)),
            "main: showing tokens to every node, 16 pairs …"
        );
        let long = RegistryName::parse(&"x".repeat(63)).unwrap();
        let line = line(&long, Progress::Ladder(10_000), (7, 1000));
        assert!(line.starts_with("7 of 1000 done, xxx"), "{line}");
        assert_eq!(line.chars().count(), WIDTH);
    }
}
