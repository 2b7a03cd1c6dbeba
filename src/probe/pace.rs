//! At most so many requests a second to one route.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Spaces requests evenly once a burst of one second's worth is used up (the generic cell rate
/// algorithm).
#[derive(Debug)]
pub(super) struct Pace {
    spacing: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Self {
        Self { spacing: Duration::from_secs(1) / per_second.max(1), next: Mutex::new(None) }
    }

    /// Waits until a request may be sent, at most until `deadline`.
    pub(super) async fn wait(&self, deadline: Instant) {
        let now = Instant::now();
        let due = {
            let mut next = self.next.lock().await;
            let due = next.map_or(now, |due| due.max(now));
            *next = Some(due + self.spacing);
            due
        };
        if let Some(due) = due.checked_sub(Duration::from_secs(1))
            && due > now
        {
            sleep_until(due.min(deadline)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate_holds() {
        let (pace, began) = (Pace::new(10), Instant::now());
        let far = began + Duration::from_secs(60);
        for _ in 0..11 {
            pace.wait(far).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..20 {
            pace.wait(far).await;
        }
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }
}
