//! Can a person whom a directory (LDAP, OIDC) knows log in at every backend? The robot of the flow
//! is in the database and says nothing of that. One backend after the other, and after two that do
//! not accept no further: a directory may lock an account whose password is refused too often.

use http::Method;

use super::super::ask::{Ask, Asker, Auth};
use super::super::flow::{outcome, unexpected};
use super::super::token;
use super::pairs;
use crate::config::Credentials;
use crate::model::{
    Check, DirectoryLogin, Flow, Issuer, LoginVerdict, OfRoute, Outcome, Reason, Skipped,
};

/// So many backends are asked before one accepts.
const ENOUGH: usize = 2;

type Logins = Vec<OfRoute<DirectoryLogin>>;

pub(super) async fn look(
    asker: &Asker<'_>,
    flows: &[Flow],
    before: Option<&Logins>,
) -> Outcome<Logins> {
    let Some(credentials) = &asker.registry.directory_credentials else {
        return Outcome::Skipped(Skipped::NoCredentials);
    };
    let harbors = match pairs::harbors(flows) {
        Ok(harbors) => harbors,
        Err(reason) => return Outcome::Skipped(reason),
    };
    let is_harbor = |flow: &&Flow| flow.route.backend().is_some_and(|name| harbors.contains(name));
    let accepted_before = |flow: &&Flow| {
        let own = |login: &&OfRoute<DirectoryLogin>| login.route == flow.route;
        before.into_iter().flatten().find(own).is_some_and(|login| accepted(&login.value))
    };
    // Where it was accepted before comes first; where nobody takes it any more, one is enough.
    let mut order: Vec<&Flow> = flows.iter().filter(is_harbor).collect();
    order.sort_by_key(|flow| !accepted_before(flow));
    let enough = if before.is_some_and(in_vain) { 1 } else { ENOUGH };
    let mut logins = Logins::new();
    for flow in order {
        let hopeless = !logins.iter().any(|login| accepted(&login.value))
            && logins.iter().filter(|login| login.value.measured().is_some()).count() >= enough;
        let value = if hopeless {
            Outcome::Skipped(Skipped::EarlierStepFailed)
        } else {
            login(asker, flow, credentials).await
        };
        logins.push(OfRoute { route: flow.route.clone(), value });
    }
    Outcome::Measured(logins)
}

fn accepted(value: &Outcome<DirectoryLogin>) -> bool {
    value.measured().is_some_and(|login| login.verdict == LoginVerdict::Accepted)
}

/// Whether it was tried, and nowhere accepted.
fn in_vain(logins: &Logins) -> bool {
    logins.iter().any(|login| login.value.measured().is_some())
        && !logins.iter().any(|login| accepted(&login.value))
}

/// Asks for a token without a scope, which is refused to whom Harbor does not know; with one, an
/// unknown person would get an anonymous token.
async fn login(
    asker: &Asker<'_>,
    flow: &Flow,
    credentials: &Credentials,
) -> Outcome<DirectoryLogin> {
    let route = &flow.route;
    if asker.holds(route) {
        return Outcome::Skipped(Skipped::BackingOff);
    }
    if asker.is_over() {
        return Outcome::Skipped(Skipped::DeadlineReached);
    }
    let challenge = flow.challenge.measured();
    let endpoint = challenge.and_then(|challenge| token::endpoint(asker, route, challenge).ok());
    let Some(endpoint) = endpoint.filter(|at| at.issuer == Issuer::Route(route.clone())) else {
        return Outcome::Skipped(Skipped::EarlierStepFailed);
    };
    let auth = Auth::Basic(credentials);
    let ask = Ask::of(Check::DirectoryLogin, Method::GET, &endpoint.path(), auth);
    let asked = asker.ask(asker.link(route).as_mut(), route, ask).await;
    let seconds = asked.timeline().total().as_secs_f64();
    let verdict = match outcome(&asked) {
        Ok(answer) if answer.status == 200 && !answer.html => LoginVerdict::Accepted,
        Ok(answer) if answer.status == 401 => LoginVerdict::Refused,
        Ok(answer) => return Outcome::Failed(unexpected(answer, "200 or 401")),
        Err(failure) if failure.reason == Reason::Timeout => LoginVerdict::TimedOut,
        Err(failure) => return Outcome::Failed(failure),
    };
    Outcome::Measured(DirectoryLogin { verdict, seconds })
}
