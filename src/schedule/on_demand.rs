//! Rounds on demand of one registry: one at a time, shared by all who ask while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use crate::model::Judged;

/// The result of a round on demand; none if its registry is stopped meanwhile.
type Coming = BoxFuture<'static, Option<Arc<Judged>>>;

/// The round that runs now, if one does. It runs as long as a client waits for it.
#[derive(Debug, Default)]
pub(super) struct OnDemand(Mutex<Option<WeakShared<Coming>>>);

impl OnDemand {
    /// The round that runs, or a new one.
    pub(super) fn join(&self, begin: impl FnOnce() -> Coming) -> Shared<Coming> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let round = running.as_ref().and_then(WeakShared::upgrade);
        if let Some(round) = round.filter(|round| round.peek().is_none()) {
            return round;
        }
        let round = begin().shared();
        *running = round.downgrade();
        round
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;
    use crate::model::sample::{judged, round};

    #[tokio::test]
    async fn who_asks_meanwhile_gets_the_round_that_runs_and_who_asks_later_another() {
        let (rounds, begun) = (OnDemand::default(), AtomicUsize::new(0));
        let begin = |end: oneshot::Receiver<()>| {
            begun.fetch_add(1, Ordering::Relaxed);
            async { end.await.ok().map(|()| judged(round(&["a"]), Vec::new())) }.boxed()
        };
        let (end, ended) = oneshot::channel();
        let first = rounds.join(|| begin(ended));
        let second = rounds.join(|| unreachable!("one runs"));
        end.send(()).unwrap();
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert!(Arc::ptr_eq(&first, &second));

        let (end, ended) = oneshot::channel();
        let left = rounds.join(|| begin(ended));
        drop(left);
        assert!(end.is_closed(), "nobody waits for it any more");
        drop(rounds.join(|| begin(oneshot::channel().1)));
        assert_eq!(begun.into_inner(), 3);
    }
}
