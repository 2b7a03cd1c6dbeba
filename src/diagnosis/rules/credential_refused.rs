//! The prober's own credential, which every route refuses: wrong, expired, disabled or deleted, or
//! a token of a key that is gone.

use super::request_filtered::{asks_twice, ended_by_filter};
use crate::diagnosis::facts::{Facts, ObservationId};
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::model::{AccessScheme, Account, Family, FindingName, Flow, Route, Step};

/// Harbor sleeps this long after a wrong secret; a database that is down answers at once
/// (captures/harbor-2.15.2/04-token-robot.http and 70-database-down.http).
pub(super) const WRONG_SECRET_SECONDS: f64 = 1.4;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let refusals = Refusals::of(facts);
    // A node that cannot look up accounts refuses all of them.
    let database = is_harbor(facts) && !facts.calls_unhealthy("database").is_empty();
    if !refusals.are_everywhere() || database {
        return Vec::new();
    }
    vec![everywhere(facts, &refusals)]
}

pub(super) fn is_harbor(facts: &Facts<'_>) -> bool {
    facts.common_family() == Family::Harbor2
}

/// Flows that the token endpoint refused, among those that came so far.
pub(super) struct Refusals<'a> {
    pub(super) flows: Vec<(ObservationId, &'a Flow)>,
    asked: usize,
    asked_backends: usize,
}

impl<'a> Refusals<'a> {
    pub(super) fn of(facts: &Facts<'a>) -> Self {
        let flows = facts.flows_that(|flow, step, reason| {
            step == credential_step(flow) && reason.refuses_credential() && !is_about_the_way(flow)
        });
        let asked =
            || facts.round.flows.iter().filter(|flow| flow.step(credential_step(flow)).is_some());
        let asked_backends = asked().filter(|flow| flow.route.backend().is_some()).count();
        Self { flows, asked: asked().count(), asked_backends }
    }

    fn at_backends(&self) -> usize {
        self.flows.iter().filter(|(_, flow)| flow.route.backend().is_some()).count()
    }

    /// Whether every backend that was asked refuses the credential, or all that was asked was the
    /// load balancer.
    pub(super) fn are_everywhere(&self) -> bool {
        !self.flows.is_empty() && self.at_backends() == self.asked_backends
    }

    /// Whether some backends refuse it and others do not.
    pub(super) fn are_at_some(&self) -> bool {
        self.at_backends() > 0 && self.at_backends() < self.asked_backends
    }

    /// Whether only the way through the load balancer refuses it.
    pub(super) fn are_at_the_balancer(&self) -> bool {
        let balancer = |(_, flow): &(ObservationId, &Flow)| flow.route == Route::Balancer;
        self.flows.iter().all(balancer) && !self.flows.is_empty() && self.asked_backends > 0
    }
}

/// Where a flow shows the password: at the token endpoint, or where there is none with each
/// request.
fn credential_step(flow: &Flow) -> Step {
    if flow.scheme == AccessScheme::Basic { Step::Access } else { Step::Token }
}

/// Whether the way in which the credential was sent is refused, not the credential: another method
/// is accepted, a login accepts it and the registry behind then asks for a token, or a filter in
/// front did not let it pass.
fn is_about_the_way(flow: &Flow) -> bool {
    flow.knows_one_method() || asks_twice(flow) || ended_by_filter(flow)
}

/// How long the token endpoint took.
fn wait(flow: &Flow) -> f64 {
    flow.step(credential_step(flow)).map_or(0.0, |report| report.timeline.total().as_secs_f64())
}

/// Whether core compared the secret and found it wrong. It locks for that time after a wrong
/// password, so that only the first of several tries waits.
pub(super) fn compared(flow: &Flow) -> bool {
    wait(flow) >= WRONG_SECRET_SECONDS
}

/// One line of evidence for each refusal.
pub(super) fn lines(flows: &[(ObservationId, &Flow)]) -> Vec<String> {
    let line = |(_, flow): &(ObservationId, &Flow)| {
        let (_, failure) = flow.failure()?;
        let at = if flow.scheme == AccessScheme::Basic { "/v2/" } else { "token endpoint" };
        Some(format!("{}: {at}, {failure}, after {:.2} s", flow.route, wait(flow)))
    };
    flows.iter().filter_map(line).collect()
}

fn everywhere(facts: &Facts<'_>, refusals: &Refusals<'_>) -> Hypothesis {
    let compared = refusals.flows.iter().any(|(_, flow)| compared(flow));
    let jwt = facts.round.account == Account::JwtRobot;
    let (name, summary, others): (_, _, &[FindingName]) = if jwt {
        (
            FindingName::RobotTokenOfOldKey,
            "Every route refuses the robot's secret, which is itself a token: its key may be gone.",
            &[FindingName::CredentialRefused],
        )
    } else if compared || !is_harbor(facts) {
        (
            FindingName::CredentialRefused,
            "The credential is refused on every route: wrong, expired, disabled or deleted.",
            &[],
        )
    } else {
        // At once and everywhere: core did not even compare the secret.
        (
            FindingName::CredentialRefused,
            "The token endpoint refuses the credential everywhere, and at once.",
            &[FindingName::DatabaseUnavailable, FindingName::LoginLocked],
        )
    };
    // Where a database may be the cause, every credential may be refused.
    let own = refusals.flows.len() == refusals.asked
        && !others.contains(&FindingName::DatabaseUnavailable);
    let told =
        jwt.then(|| "the robot's secret is itself a token, as in Harbor up to 2.1".to_owned());
    Hypothesis::new(name, Vec::new(), summary.to_owned())
        .proved_if(others.is_empty(), others)
        .hits(if own { Hits::Prober } else { Hits::Requests })
        .evidence(lines(&refusals.flows))
        .evidence(told)
        .flows(&refusals.flows)
}
