//! What follows from a fault that was seen directly: what users meet of it through the load
//! balancer, and what else fails at the same backend. One table, each row with its reason.

use super::facts::{Facts, is_lb};
use crate::model::{
    Cell, Check, Issuer, Observation, ObservationKind as Kind, Place, Reason, Route, Step,
};

/// Whether `effect` follows from `cause`, which a hypothesis explains.
type Follows = fn(&Facts<'_>, &Observation, &Observation) -> bool;

/// Every way in which one observation follows from another.
const CONSEQUENCES: &[Follows] = &[
    pair_through_balancer,
    refused_through_balancer,
    same_failure_through_balancer,
    lost_through_balancer,
    credential_through_balancer,
    missing_through_balancer,
    realm_through_balancer,
    same_check_elsewhere,
    missing_for_another_check,
    check_through_balancer,
    check_of_own_token,
    check_at_a_sick_backend,
    at_a_backend_that_fails,
    where_the_balancers_flow_fails,
    behind_the_balancers_own_refusal,
    behind_a_balancer_that_answers_itself,
    check_as_samples,
];

/// Whether an observation follows from another by any rule.
pub(super) fn follows(facts: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    CONSEQUENCES.iter().any(|rule| rule(facts, effect, cause))
}

fn is_users(observed: &Observation) -> bool {
    observed.place.involves_balancer()
}

fn cell<'a>(facts: &Facts<'a>, observed: &Observation) -> Option<&'a Cell> {
    let Place::Pair { issuer, verifier } = &observed.place else { return None };
    facts.round.matrix.cell(issuer, verifier)
}

/// A pair with the balancer in it is refused as the pair of backends behind it is.
fn pair_through_balancer(facts: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    let between = |one: &Observation| one.kind == Kind::PairRefused;
    if !between(effect) || !between(cause) || !is_users(effect) || is_users(cause) {
        return false;
    }
    let (Some(met), Some(seen)) = (cell(facts, effect), cell(facts, cause)) else { return false };
    debug_assert!(is_lb(met), "the balancer takes part");
    let verifier = met.verifier == Route::Balancer || seen.verifier == met.verifier;
    let issuer = match met.issuer.backend() {
        // In a sampled matrix another token of the same key stands for this one.
        Some(issuer) => {
            seen.issuer.backend() == Some(issuer) || (met.key.is_some() && met.key == seen.key)
        }
        None => match (&met.key, seen.issuer.backend()) {
            (Some(key), Some(issuer)) => facts.key_of(issuer) == Some(key),
            _ => true,
        },
    };
    verifier && issuer
}

/// Fresh tokens are refused through the balancer where backends refuse each other's, or where one
/// backend refuses all.
fn refused_through_balancer(_: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    let sampled = matches!(effect.kind, Kind::SampleRefused | Kind::ClientRefused);
    let own_flow = effect.kind == Kind::FlowFailed
        && *effect.place.answering() == Route::Balancer
        && effect.step >= Some(Step::Access)
        && effect.reason() == Reason::Unauthorized;
    let at_backend = cause.kind == Kind::FlowFailed
        && cause.step >= Some(Step::Access)
        && cause.reason() == Reason::Unauthorized;
    let refusal = cause.kind == Kind::PairRefused || at_backend;
    // A pull is refused as well where a node knows no account, or not the repository.
    let of_node = cause.kind == Kind::FlowFailed
        && cause.step == Some(Step::Token)
        && cause.reason().refuses_credential();
    let pull = effect.kind == Kind::ClientRefused
        && !is_users(cause)
        && (of_node
            || cause.check == Some(Check::Content)
                && (cause.reason().refuses_credential() || cause.reason() == Reason::NotFound));
    (sampled || own_flow) && refusal || pull
}

/// What is asked through the balancer fails for the same reason as a backend's flow, at the same
/// step or a later one.
fn same_failure_through_balancer(_: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    let flow = |one: &Observation| {
        matches!(one.kind, Kind::FlowFailed | Kind::SampleFailed | Kind::ClientFailed)
    };
    let at_backend = cause.kind == Kind::FlowFailed && !is_users(cause);
    // A node that answers its first request so answers every later one so.
    let step = effect.step == cause.step || cause.step == Some(Step::Challenge);
    let through = flow(effect) || effect.kind == Kind::PairFailed;
    through && is_users(effect) && at_backend && step && effect.reason() == cause.reason()
}

/// Requests are lost through the balancer where a backend does not answer, or fails: what the
/// client sees is the balancer's own way to say so.
fn lost_through_balancer(_: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    let by_backend = matches!(cause.kind, Kind::FlowFailed | Kind::PairFailed) && !is_users(cause);
    let through = matches!(
        effect.kind,
        Kind::FlowFailed
            | Kind::PairFailed
            | Kind::SampleFailed
            | Kind::ClientFailed
            | Kind::CheckFailed
    );
    through && is_users(effect) && by_backend && effect.is_loss() && cause.is_loss()
}

/// The token endpoint refuses through the balancer what it refuses at a backend.
fn credential_through_balancer(_: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    let at_token = |one: &Observation| {
        matches!(one.kind, Kind::FlowFailed | Kind::SampleFailed | Kind::ClientFailed)
            && one.step == Some(Step::Token)
            && one.reason().refuses_credential()
    };
    at_token(effect) && is_users(effect) && at_token(cause) && !is_users(cause)
}

/// The repository is missing or refused through the balancer as at a backend that shares neither
/// accounts nor content.
fn missing_through_balancer(_: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    let missing = |one: &Observation| {
        matches!(one.reason(), Reason::Unauthorized | Reason::Forbidden | Reason::NotFound)
    };
    let at_repository = |one: &Observation| one.step == Some(Step::Repository);
    let other_content = |one: &Observation| {
        at_repository(one)
            || one.check == Some(Check::Content)
            || (one.step == Some(Step::Token)
                && (one.reason().refuses_credential() || one.reason() == Reason::MissingAccess))
    };
    is_users(effect)
        && matches!(effect.kind, Kind::FlowFailed | Kind::ClientFailed)
        && at_repository(effect)
        && missing(effect)
        && !is_users(cause)
        && other_content(cause)
}

/// Challenges through the balancer name the realm that a backend names.
fn realm_through_balancer(_: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    let foreign =
        |one: &Observation| matches!(one.reason(), Reason::RealmNotAllowed | Reason::RealmUnusable);
    foreign(effect) && is_users(effect) && foreign(cause) && !is_users(cause)
}

/// A check that meets a fault on one route, or from one backend to another, meets the same fault on
/// other routes.
fn same_check_elsewhere(_: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    let same = effect.check.is_some() && effect.check == cause.check;
    let from_cause = || {
        let Place::Pair { issuer, .. } = &effect.place else { return false };
        issuer.backend().is_some() && issuer.backend() == cause.place.backend()
    };
    let here = effect.place.backend().is_some() && effect.place.backend() == cause.place.backend();
    same && effect.reason() == cause.reason() && (is_users(effect) || here || from_cause())
}

/// Content that one check found to be missing at a backend is missing there for the others, and
/// through the balancer. A storage may answer 500 for bytes that it has lost.
fn missing_for_another_check(_: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    let of_content = |one: &Observation| {
        let checks = [Check::Content, Check::BlobRedirect, Check::Upload, Check::Push];
        one.check.is_some_and(|check| checks.contains(&check))
    };
    let missing = cause.kind == Kind::CheckRefused && cause.reason() == Reason::NotFound;
    let lost = matches!(effect.reason(), Reason::NotFound | Reason::ServerError);
    let here = effect.place.backend().is_some() && effect.place.backend() == cause.place.backend();
    of_content(effect) && of_content(cause) && missing && lost && (here || is_users(effect))
}

/// A check that goes through the balancer meets there what tokens and flows meet at the backends:
/// each of its requests may be led to another one.
fn check_through_balancer(_: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    let through = effect.check.is_some() && *effect.place.answering() == Route::Balancer;
    let tokens =
        matches!(cause.kind, Kind::PairRefused | Kind::SampleRefused | Kind::ClientRefused);
    let refused = tokens && effect.reason().refuses_credential();
    let fails = matches!(cause.kind, Kind::FlowFailed | Kind::PairFailed)
        && !is_users(cause)
        && effect.is_loss() == cause.is_loss();
    through && (refused || fails)
}

/// A backend that now and then refuses its own tokens refuses those of checks too.
fn check_of_own_token(_: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    let Place::Pair { issuer, verifier } = &cause.place else { return false };
    let own = cause.kind == Kind::PairRefused && issuer.backend() == verifier.backend();
    let here = effect.place.backend().is_some() && effect.place.backend() == verifier.backend();
    own && here && effect.check.is_some() && effect.reason().refuses_credential()
}

/// Requests of checks are lost, or answered with an error, at a backend whose health page calls a
/// part unhealthy, and through the balancer that leads to it.
fn check_at_a_sick_backend(_: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    let sick = cause.check == Some(Check::Health) && cause.kind == Kind::CheckRefused;
    let here = effect.place.backend() == cause.place.backend();
    sick && effect.check.is_some() && effect.is_loss() && (here || is_users(effect))
}

/// Whatever else is asked of a backend whose flow or pairs fail, or of its tokens, fails as well.
fn at_a_backend_that_fails(_: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    let Some(failing) = cause.place.backend() else { return false };
    let fails = match cause.kind {
        Kind::FlowFailed => true,
        Kind::PairFailed => effect.is_loss() || effect.check.is_some(),
        _ => false,
    };
    let issued_there = match &effect.place {
        Place::Pair { issuer: Issuer::Route(Route::Backend(name)), .. } => name == failing,
        _ => false,
    };
    let there = effect.place.backend() == Some(failing);
    // Only a refused token explains another refused token: a backend that does not answer refuses
    // none, and a refused password says nothing about tokens.
    let about_tokens = effect.kind == Kind::PairRefused || effect.kind == Kind::HeldTokenRefused;
    let at_token = cause.step >= Some(Step::Access) && cause.reason().refuses_credential();
    let fits = !about_tokens || at_token;
    fails && fits && (there || (issued_there && effect.check.is_some()))
}

/// What is asked through the balancer is lost where its own flow is lost, and fails as that does.
fn where_the_balancers_flow_fails(
    _: &Facts<'_>,
    effect: &Observation,
    cause: &Observation,
) -> bool {
    let own_flow = cause.kind == Kind::FlowFailed && *cause.place.answering() == Route::Balancer;
    let lost = effect.is_loss() && cause.is_loss();
    let alike =
        effect.reason() == cause.reason() && (effect.step == cause.step || effect.check.is_some());
    own_flow && is_users(effect) && (lost || alike)
}

/// A balancer that refuses a request without a token refuses one with a token too. Where it refused
/// a flow, the pairs with that route were not tried, and carry the failure of the flow.
fn behind_the_balancers_own_refusal(
    _: &Facts<'_>,
    effect: &Observation,
    cause: &Observation,
) -> bool {
    let at_challenge = cause.kind == Kind::FlowFailed
        && *cause.place.answering() == Route::Balancer
        && cause.step == Some(Step::Challenge);
    let refuses = matches!(cause.reason(), Reason::Unauthorized | Reason::BadChallenge);
    let refused = match effect.kind {
        Kind::PairFailed => effect.failure == cause.failure,
        Kind::SampleRefused | Kind::ClientRefused => refuses,
        _ => false,
    };
    at_challenge && is_users(effect) && refused
}

/// Where the balancer's own flow ended at the first request and no sample came through either, what
/// else is asked there meets the same, in whatever form that answers another path.
fn behind_a_balancer_that_answers_itself(
    facts: &Facts<'_>,
    effect: &Observation,
    cause: &Observation,
) -> bool {
    let at_challenge = cause.kind == Kind::FlowFailed
        && *cause.place.answering() == Route::Balancer
        && cause.step == Some(Step::Challenge)
        && !cause.is_loss();
    let sampled = matches!(
        effect.kind,
        Kind::SampleRefused | Kind::SampleFailed | Kind::ClientRefused | Kind::ClientFailed
    );
    let none_came_through = |run: &crate::model::BalancerRun| {
        run.pairs.trials == run.pairs.events && run.client_flows.trials == run.client_flows.events
    };
    at_challenge && sampled && !effect.is_loss() && facts.sampling().is_some_and(none_came_through)
}

/// A check through the balancer meets what samples through it meet.
fn check_as_samples(_: &Facts<'_>, effect: &Observation, cause: &Observation) -> bool {
    let sampled = matches!(cause.kind, Kind::SampleFailed | Kind::ClientFailed);
    let check = effect.check.is_some() && *effect.place.answering() == Route::Balancer;
    sampled && is_users(cause) && check && effect.reason() == cause.reason()
}
