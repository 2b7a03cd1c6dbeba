//! What is remembered of each route between rounds: its sessions, its pace, and whether it asked to
//! be asked less.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::pace::{Pace, Side};
use super::redact::Redactor;
use crate::model::{Answer, Route};
use crate::registry;
use crate::transport::Destination;

/// How long a limiter that does not say is left alone.
const DEFAULT_HOLD_SECONDS: u32 = 10;

/// No answer silences the prober for longer.
const MAX_HOLD_SECONDS: u32 = 60;

/// After this time an endpoint that did not know POST may have learned it.
const POST_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// More places of one route are not remembered.
const MAX_SESSIONS: usize = 32;

/// What is remembered of a route between rounds: the sessions that it and the token servers that it
/// names gave, so that no request makes Harbor keep another one, and its pace.
#[derive(Debug)]
pub(super) struct RouteMemory {
    sessions: Mutex<Vec<(Destination, HeaderValue)>>,
    /// Until when only the flow itself is asked.
    hold: Mutex<Option<Instant>>,
    /// Until when tokens are not asked for by POST.
    by_get: Mutex<Option<Instant>>,
    pace: Pace,
}

impl RouteMemory {
    fn sessions(&self) -> MutexGuard<'_, Vec<(Destination, HeaderValue)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that whoever is there gave.
    pub(super) fn session(&self, from: &Destination) -> Option<HeaderValue> {
        let sessions = self.sessions();
        sessions.iter().find(|(to, _)| to == from).map(|(_, session)| session.clone())
    }

    /// Keeps the `sid` that an answer gave.
    pub(super) fn keep_session(&self, from: &Destination, headers: &HeaderMap) {
        let Some(cookie) = registry::set_cookie(headers, registry::SESSION_COOKIE) else { return };
        let mut sessions = self.sessions();
        sessions.retain(|(to, _)| to != from);
        if sessions.len() >= MAX_SESSIONS {
            sessions.remove(0);
        }
        sessions.push((from.clone(), cookie));
    }

    /// Whether tokens are asked for by GET alone.
    pub(super) fn asks_by_get(&self) -> bool {
        let until = self.by_get.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Notes that the token endpoint does not know POST. It is not asked so for a while: with each
    /// such request Harbor keeps a session, for none may be sent along.
    pub(super) fn note_by_get(&self) {
        let until = Instant::now() + POST_AGAIN_AFTER;
        *self.by_get.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// Whether the route asked for fewer requests lately.
    pub(super) fn holds(&self) -> bool {
        let hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        hold.is_some_and(|until| Instant::now() < until)
    }

    /// Notes that the route asks for fewer requests: for as long as it says, within reason.
    pub(super) fn note_hold(&self, answer: &Answer) {
        let asked = match (answer.status, answer.retry_after) {
            (429, after) => after.unwrap_or(DEFAULT_HOLD_SECONDS),
            (503, Some(after)) => after,
            _ => return,
        };
        let seconds = u64::from(asked.clamp(1, MAX_HOLD_SECONDS));
        let until = Instant::now() + Duration::from_secs(seconds);
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}

/// The memory of every route, which all rounds of a registry have in common.
pub(super) type Memories = Mutex<BTreeMap<Route, Arc<RouteMemory>>>;

/// The memory of the routes of one round.
#[derive(Debug)]
pub(super) struct Memory {
    routes: BTreeMap<Route, Arc<RouteMemory>>,
    side: Side,
}

impl Memory {
    /// Takes what is remembered of these routes and begins the memory of new ones. The registry's
    /// own rounds forget those that are gone.
    pub(super) fn of(shared: &Memories, routes: &[Route], per_second: u32, side: Side) -> Self {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if side == Side::Own {
            shared.retain(|route, _| routes.contains(route));
        }
        let begin = || {
            Arc::new(RouteMemory {
                sessions: Mutex::default(),
                hold: Mutex::default(),
                by_get: Mutex::default(),
                pace: Pace::new(per_second),
            })
        };
        let remembered = |route: &Route| {
            (route.clone(), Arc::clone(shared.entry(route.clone()).or_insert_with(begin)))
        };
        Self { routes: routes.iter().map(remembered).collect(), side }
    }

    /// Has the sessions hidden from the first answer on, which may come before they are sent.
    pub(super) fn learned_by(&self, redactor: &Redactor) {
        for memory in self.routes.values() {
            for (_, session) in memory.sessions().iter() {
                redactor.learn_sent(&[(COOKIE, session.clone())]);
            }
        }
    }

    /// What is remembered of a route.
    pub(super) fn get(&self, route: &Route) -> Option<&RouteMemory> {
        self.routes.get(route).map(Arc::as_ref)
    }

    /// Waits for a route's pace; `false` if `deadline` comes first.
    pub(super) async fn may_send(&self, route: &Route, deadline: Instant) -> bool {
        match self.routes.get(route) {
            Some(memory) => memory.pace.wait(deadline, self.side).await,
            None => true,
        }
    }
}
