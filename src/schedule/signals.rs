//! What the operating system tells the program: stop, or take the configuration again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for SIGTERM and SIGINT from the moment of the call; the future it returns ends with the
/// first of them.
///
/// # Errors
/// The signals cannot be listened for.
pub fn told_to_stop() -> io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Every SIGHUP from its creation on; several that come close together count as one.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// Begins to listen, so that SIGHUP no longer ends the program.
    ///
    /// # Errors
    /// The signal cannot be listened for.
    pub fn listen() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}
