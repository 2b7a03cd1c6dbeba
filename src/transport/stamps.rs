//! Instants noted while a connection opens, outside the future that opens it, so that they
//! remain when it is cut off by a deadline.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tower::{Layer, Service};

use super::BoxFuture;
use super::certificate::PeerCertificate;
use crate::model::{Phase, Timeline};

/// What was noted of one request.
#[derive(Debug, Default, Clone)]
pub(super) struct Noted {
    /// Which request of its link this is.
    number: u64,
    pub(super) resolving: Option<Instant>,
    pub(super) resolved: Option<Instant>,
    pub(super) connecting: Option<Instant>,
    pub(super) tls_begun: Option<Instant>,
    pub(super) connected: Option<Instant>,
    pub(super) answered: Option<Instant>,
    pub(super) certificate: Option<Arc<PeerCertificate>>,
    /// The peer asked for a client certificate; whether one was sent.
    pub(super) client_certificate: Option<bool>,
}

impl Noted {
    /// The phases of a request that began and ended at these instants. A request that failed
    /// died in the first phase that has no end.
    pub(super) fn timeline(&self, tls: bool, began: Instant, ended: Instant, ok: bool) -> Timeline {
        let between =
            |from: Instant, to: Option<Instant>| to.map(|to| to.saturating_duration_since(from));
        let mut phases: Vec<(Phase, Instant, Option<Duration>)> = Vec::with_capacity(5);
        if let Some(from) = self.resolving {
            phases.push((Phase::Dns, from, between(from, self.resolved)));
        }
        // The pool may give the kept connection back while a new one opens.
        if let Some(from) = self.connecting.filter(|_| !ok || self.connected.is_some()) {
            let tcp_end = if tls { self.tls_begun } else { self.connected };
            phases.push((Phase::Connect, from, between(from, tcp_end)));
            if let (true, Some(from)) = (tls, self.tls_begun) {
                phases.push((Phase::Tls, from, between(from, self.connected)));
            }
        }
        let ready = self.ready(began);
        phases.push((Phase::Wait, ready, between(ready, self.answered)));
        let body = self.answered.unwrap_or(ready);
        phases.push((Phase::Transfer, body, ok.then(|| ended.saturating_duration_since(body))));

        let mut timeline = Timeline::default();
        for (phase, from, took) in phases {
            timeline = match took {
                Some(took) => timeline.then(phase, took),
                None => return timeline.failed(phase, ended.saturating_duration_since(from)),
            };
        }
        timeline
    }

    /// The phase that is open: the first that has no end.
    pub(super) fn open_phase(&self, tls: bool) -> Phase {
        let now = Instant::now();
        self.timeline(tls, now, now, false).failed_in().unwrap_or(Phase::Wait)
    }

    /// When the request could first have been sent.
    pub(super) fn ready(&self, began: Instant) -> Instant {
        self.connected.or(self.resolved).unwrap_or(began)
    }
}

/// Shared notes of the request under way.
#[derive(Debug, Default, Clone)]
pub(super) struct Stamps(Arc<Mutex<Noted>>);

impl Stamps {
    pub(super) fn note(&self, write: impl FnOnce(&mut Noted)) {
        write(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn peek(&self) -> Noted {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the notes, leaving none for the next request.
    pub(super) fn take(&self) -> Noted {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Noted { number: noted.number + 1, ..Noted::default() };
        std::mem::replace(&mut *noted, next)
    }
}

/// Notes when reqwest's connector starts and has a connection ready, TLS included.
impl<S> Layer<S> for Stamps {
    type Service = Stamped<S>;

    fn layer(&self, inner: S) -> Stamped<S> {
        Stamped { inner, stamps: self.clone() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Stamped<S> {
    inner: S,
    stamps: Stamps,
}

impl<R, S> Service<R> for Stamped<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Response: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let stamps = self.stamps.clone();
        let number = stamps.peek().number;
        stamps.note(|n| n.connecting = Some(Instant::now()));
        let connection = self.inner.call(request);
        Box::pin(async move {
            let connection = connection.await?;
            // One that no request waits for any longer does not concern a later request.
            stamps.note(|n| {
                if n.number == number {
                    n.connected = Some(Instant::now());
                }
            });
            Ok(connection)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_was_begun_and_not_needed_is_no_part_of_a_request_that_succeeded() {
        let began = Instant::now();
        let after = |milliseconds| began + Duration::from_millis(milliseconds);
        let noted =
            Noted { connecting: Some(after(1)), answered: Some(after(5)), ..Noted::default() };
        let phases = |ok| {
            let timeline = noted.timeline(true, began, after(7), ok);
            (timeline.phases().to_vec(), timeline.failed_in())
        };
        let ms = Duration::from_millis;
        assert_eq!(phases(true), (vec![(Phase::Wait, ms(5)), (Phase::Transfer, ms(2))], None));
        assert_eq!(phases(false), (vec![(Phase::Connect, ms(6))], Some(Phase::Connect)));
    }
}
