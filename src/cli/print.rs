//! Writing to people: standard output for results, standard error for everything else.

use std::io::{self, IsTerminal as _, Write};

use crate::report::Form;

/// Prints a result. Styles are dropped where standard output is no terminal or `NO_COLOR` is set.
///
/// # Errors
/// Standard output cannot be written. That its reader has left (`| head`) is no error.
pub(super) fn result(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    quiet(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Columns of a line of text: what `COLUMNS` says, else those of the terminal, and 80 where the
/// output goes elsewhere.
pub(super) fn width() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let width = said.unwrap_or_else(|| {
        if io::stdout().is_terminal() { textwrap::termwidth() } else { Form::default().width }
    });
    // Narrower than that, no label and word fit into a line.
    width.max(40)
}

/// Prints bytes as they are.
///
/// # Errors
/// As [`result`].
pub(super) fn bytes(content: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    quiet(out.write_all(content).and_then(|()| out.flush()))
}

fn quiet(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints a notice that is not part of the result.
pub(super) fn note(text: &str) {
    // Without a standard error no one can read it.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Tells the user why a command could not do its work.
pub(super) fn error(error: &anyhow::Error) {
    const RED: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();
    let text = format!("{error:#}");
    // Problems of a configuration begin with file and line, as editors and compilers have it.
    let lead = if text.contains('\n') { "\n" } else { " " };
    note(&format!("{RED}error:{RED:#}{lead}{text}"));
}
