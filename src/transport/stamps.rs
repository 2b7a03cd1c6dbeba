//! Instants noted while a connection is made, outside the future that makes it, so that they
//! remain when it is cut off by a deadline.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::PeerCertificate;
use crate::model::{Phase, Timeline};

/// What was noted of one request.
#[derive(Debug, Default, Clone)]
pub(super) struct Noted {
    pub(super) resolving: Option<Instant>,
    pub(super) resolved: Option<Instant>,
    pub(super) connecting: Option<Instant>,
    pub(super) tls_begun: Option<Instant>,
    pub(super) connected: Option<Instant>,
    pub(super) answered: Option<Instant>,
    pub(super) certificate: Option<Arc<PeerCertificate>>,
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
        if let Some(from) = self.connecting {
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

    /// Takes the notes, leaving none for the next request.
    pub(super) fn take(&self) -> Noted {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
