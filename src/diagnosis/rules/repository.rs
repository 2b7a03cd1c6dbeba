//! Flows whose token is good and does not lead to the repository. Read here once for the causes
//! that look at it.

use super::super::facts::{Facts, ObservationId};
use super::content::Seen;
use super::database_unavailable::is_database_error;
use crate::model::{
    AuthScheme, BackendName, Family, Flow, Observation, Outcome, Reason, Step, Version,
};

/// The first Harbor that compares a token's age with the project's (2.13.5).
const COMPARES_PROJECT_AGE: Version = Version { major: 2, minor: 13, patch: 5 };

/// Flows that fail alike.
pub(super) struct Failing<'a> {
    /// At the backends.
    pub(super) at: Vec<(ObservationId, &'a Flow)>,
    /// Through the load balancer, which leads to one of them.
    pub(super) through: Vec<(ObservationId, &'a Flow)>,
    /// Whether it is so at every backend that came as far.
    pub(super) everywhere: bool,
}

impl<'a> Failing<'a> {
    fn of(facts: &Facts<'a>, step: Step, found: Vec<(ObservationId, &'a Flow)>) -> Option<Self> {
        let (at, through): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(_, flow)| flow.route.backend().is_some());
        if at.is_empty() {
            return None;
        }
        let reached = |flow: &&Flow| flow.route.backend().is_some() && flow.step(step).is_some();
        let everywhere = at.len() == facts.round.flows.iter().filter(reached).count();
        Some(Self { at, through, everywhere })
    }

    pub(super) fn names(&self) -> Vec<BackendName> {
        super::super::facts::backends_of(self.at.iter().map(|(_, flow)| *flow))
    }

    /// One line for every flow.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |flow: &Flow| {
            let (step, failure) = flow.failure()?;
            Some(format!("{}: {} failed, {failure}", flow.route, step.as_str()))
        };
        self.at.iter().chain(&self.through).filter_map(|(_, flow)| line(flow)).collect()
    }
}

/// The observations alone.
pub(super) fn ids(flows: &[(ObservationId, &Flow)]) -> Vec<ObservationId> {
    flows.iter().map(|(id, _)| *id).collect()
}

/// The token names us and lacks the action.
pub(super) fn ungranted<'a>(facts: &Facts<'a>) -> Option<Failing<'a>> {
    let found =
        facts.flows_that(|_, step, reason| step == Step::Token && reason == Reason::MissingAccess);
    Failing::of(facts, Step::Token, found)
}

/// `/v2/` accepts the token and the repository does not, or is not there. What a database's driver
/// says, and what is known to be missing in a storage, is another matter.
pub(super) fn refused<'a>(facts: &Facts<'a>) -> Option<Failing<'a>> {
    let storage = Seen::of(facts).storage;
    let found = facts.flows_that(|flow, step, reason| {
        let stored = reason == Reason::NotFound
            && flow.route.backend().is_some_and(|name| storage.has(name));
        step == Step::Repository
            && matches!(reason, Reason::Unauthorized | Reason::Forbidden | Reason::NotFound)
            && !stored
            && !flow.answer(step).is_some_and(is_database_error)
    });
    Failing::of(facts, Step::Repository, found)
}

/// Whether Harbor granted the scope and refuses it at the repository as it does where the project
/// is younger than the token: by a challenge for Basic. One whose tokens are refused elsewhere, or
/// behind whose address there are several keys, has another reason for it.
pub(super) fn is_younger(facts: &Facts<'_>, failing: &Failing<'_>) -> bool {
    failing.at.iter().all(|(_, flow)| {
        let answer = flow.answer(Step::Repository);
        let challenge = answer.and_then(|answer| answer.challenge.as_ref());
        facts.family_of(&flow.route) == Family::Harbor2
            && challenge.is_some_and(|challenge| challenge.scheme == AuthScheme::Basic)
            && flow.passed(Step::Token) == Some(true)
            && compares_age(facts, flow)
            && !flow.route.backend().is_some_and(|name| refuses_tokens(facts, name))
    })
}

fn compares_age(facts: &Facts<'_>, flow: &Flow) -> bool {
    match facts.facts_of(&flow.route).map(|facts| &facts.version) {
        Some(Outcome::Measured(Some(version))) => *version >= COMPARES_PROJECT_AGE,
        // Hidden: 2.13 or later.
        Some(Outcome::Measured(None)) => true,
        _ => false,
    }
}

fn refuses_tokens(facts: &Facts<'_>, name: &BackendName) -> bool {
    let involved = |seen: &Observation| seen.place.involves(name);
    let pairs = facts.refused_pairs();
    let keys = facts.round.key_census.iter().find(|census| census.backend == *name);
    pairs.iter().any(|(id, ..)| involved(facts.observation(*id)))
        || keys.is_some_and(|census| census.keys.len() > 1)
}
