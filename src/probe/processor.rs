//! How long this host kept the prober waiting for a processor. What came late for that says nothing
//! of whoever was asked.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How often the round looks whether it is still on time.
const TICK: Duration = Duration::from_millis(250);

/// A round that waited for longer cannot tell a late answer from its own delay.
const BUSY: Duration = Duration::from_millis(500);

/// The processor as one round had it.
#[derive(Debug, Default)]
pub(super) struct Processor {
    /// The longest wait, in milliseconds.
    longest: AtomicU64,
    /// When the last wait ended that was so long that lateness proves nothing, and how long it was.
    last: Mutex<Option<(Instant, Duration)>>,
}

impl Processor {
    /// Does the work of a round and notes how late it was let go on.
    pub(super) async fn watch<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut due = Instant::now() + TICK;
        let mut tick = pin!(sleep_until(due));
        loop {
            // The tick comes first, so that the work knows of the delay before it meets its own
            // deadlines.
            tokio::select! {
                biased;
                () = &mut tick => {
                    self.note(due.elapsed());
                    due = Instant::now() + TICK;
                    tick.as_mut().reset(due);
                }
                done = &mut work => return done,
            }
        }
    }

    fn note(&self, late: Duration) {
        if late >= BUSY {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((Instant::now(), late));
        }
        let late = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
        self.longest.fetch_max(late, Ordering::Relaxed);
    }

    /// The longest wait so far.
    pub(super) fn longest_wait(&self) -> Duration {
        Duration::from_millis(self.longest.load(Ordering::Relaxed))
    }

    /// A wait since this time that was so long that lateness proves nothing.
    pub(super) fn busy_since(&self, sent: Instant) -> Option<Duration> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(ended, _)| *ended >= sent).map(|(_, wait)| wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work that occupies the thread for a time, in steps.
    async fn hog(each: Duration) {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            std::thread::sleep(each);
        }
    }

    #[tokio::test]
    async fn a_round_that_was_kept_waiting_knows_it_and_one_that_slept_was_not() {
        for (work, busy) in [(Duration::ZERO, false), (Duration::from_millis(900), true)] {
            let (processor, began) = (Processor::default(), Instant::now());
            processor.watch(hog(work)).await;
            assert_eq!(processor.busy_since(began).is_some(), busy, "{work:?}: {processor:?}");
            // What is sent after the wait is over was not kept waiting.
            assert_eq!(processor.busy_since(Instant::now()), None, "{work:?}");
        }
        let (processor, began) = (Processor::default(), Instant::now());
        processor.watch(tokio::time::sleep(TICK * 3)).await;
        assert_eq!(processor.busy_since(began), None, "it slept as long as it wanted");
    }
}
