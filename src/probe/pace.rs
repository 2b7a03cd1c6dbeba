//! Limits the requests a second to one route, whoever asks.

use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Spaces requests evenly once a burst of one second's worth is used up (the generic cell rate
/// algorithm). All who ask along a route stand in one queue, so that the rate holds for them
/// together.
#[derive(Debug)]
pub(super) struct Pace {
    spacing: Duration,
    /// A request that waits for its turn holds it. A place in the queue is given up by no longer
    /// waiting, so that a round that is cut off leaves no gap for the next one.
    next: Mutex<Option<Instant>>,
    /// How many of each side stand in the queue at once; the others wait here.
    own: Semaphore,
    guests: Semaphore,
}

/// Whose request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// One of the registry's own rounds.
    Own,
    /// One of a round on demand: where both sides want more than there is, it gets a quarter.
    Guest,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Self {
        let spacing = Duration::from_secs(1) / per_second.max(1);
        let (own, guests) = (Semaphore::new(3), Semaphore::new(1));
        Self { spacing, next: Mutex::new(None), own, guests }
    }

    /// Waits until a request may be sent; `false` if that is not before `deadline`, which is then
    /// over.
    pub(super) async fn wait(&self, deadline: Instant, side: Side) -> bool {
        let lane = if side == Side::Own { &self.own } else { &self.guests };
        let turn = async {
            // Never closed.
            let _place = lane.acquire().await;
            self.turn().await;
        };
        timeout_at(deadline, turn).await.is_ok()
    }

    async fn turn(&self) {
        let mut next = self.next.lock().await;
        let now = Instant::now();
        let due = next.map_or(now, |due| due.max(now));
        if let Some(at) = due.checked_sub(Duration::from_secs(1))
            && at > now
        {
            sleep_until(at).await;
        }
        *next = Some(due + self.spacing);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::{join, join_all};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate_holds() {
        let (pace, began) = (Pace::new(10), Instant::now());
        let far = began + Duration::from_secs(60);
        for _ in 0..11 {
            assert!(pace.wait(far, Side::Own).await);
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..20 {
            assert!(pace.wait(far, Side::Own).await);
        }
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn whose_time_is_over_sends_nothing_and_takes_nobody_s_turn() {
        let (pace, began) = (Pace::new(1), Instant::now());
        let soon = began + Duration::from_millis(1_500);
        let response = join_all((0..40).map(|_| pace.wait(soon, Side::Own))).await;
        assert_eq!(
            response.iter().filter(|sent| **sent).count(),
            3,
            "two at once, one after a second"
        );
        assert_eq!(began.elapsed(), Duration::from_millis(1_500));
        assert!(pace.wait(began + Duration::from_secs(60), Side::Own).await);
        assert_eq!(began.elapsed(), Duration::from_secs(2), "the turn is the next one");
    }

    #[tokio::test(start_paused = true)]
    async fn guests_leave_the_larger_part_to_the_registry_s_own_rounds() {
        let (pace, sent) = (Pace::new(10), [AtomicUsize::new(0), AtomicUsize::new(0)]);
        let end = Instant::now() + Duration::from_secs(20);
        let asking = |side: Side| {
            let (pace, sent) = (&pace, &sent[usize::from(side == Side::Guest)]);
            async move {
                while pace.wait(end, side).await {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let own = join_all((0..4).map(|_| asking(Side::Own)));
        join(own, join_all((0..40).map(|_| asking(Side::Guest)))).await;
        let [own, guests] = sent.map(AtomicUsize::into_inner);
        assert!(own >= 3 * guests - 15 && guests > 40, "{own} own, {guests} guests");
        assert!(own + guests <= 211, "the rate holds for both together");
    }
}
