//! Registries without tokens: every route asks for Basic, or for nothing. They are measured as far
//! as that goes: the challenge, `/v2/` and the repository with the password or without any.
//!
//! One odd node among others that ask for tokens is a fault of that node, so this is for routes
//! that all agree.

use futures_util::future::join_all;
use tokio::time::Instant;

use super::answer::{outcome, unexpected};
use super::client::{Client, TRY_AGAIN_AFTER};
use super::flow::{boxed, report};
use super::path::Path;
use super::request::{Auth, Request, Response};
use crate::model::{
    AccessScheme, Answer, AuthScheme, BalancerRun, Failure, Flow, FlowResult, Outcome, Reason,
    Route, SampledFlow, Skipped, Step,
};

/// What the routes ask for, if they agree. A route that gave no answer has no say.
pub(super) fn scheme(flows: &[Flow]) -> AccessScheme {
    let asks = |flow: &Flow| {
        let answer = flow.answer(Step::Challenge)?;
        let basic = answer.challenge.as_ref().is_some_and(|c| c.scheme == AuthScheme::Basic);
        match (answer.status, flow.failure()) {
            (401, Some((Step::Challenge, _))) if basic => Some(AccessScheme::Basic),
            (_, Some((Step::Challenge, failure))) if failure.reason == Reason::NoChallenge => {
                Some(AccessScheme::Open)
            }
            _ => Some(AccessScheme::Token),
        }
    };
    let mut told = flows.iter().filter_map(asks);
    let Some(first) = told.next() else { return AccessScheme::Token };
    if told.all(|other| other == first) { first } else { AccessScheme::Token }
}

/// The flow of every route; one that the network lost is tried once more.
pub(super) async fn flows(client: &Client<'_>, scheme: AccessScheme) -> Vec<Flow> {
    let routes = client.routes();
    let each = routes.iter().map(|route| {
        boxed(async move {
            let first = attempt(client, route, scheme).await;
            let lost = first.failure().map(|(_, failure)| failure.clone());
            match lost.filter(|failure| failure.reason.is_network() && !client.is_over()) {
                None => first,
                Some(failure) => {
                    client.sleep_until(Instant::now() + TRY_AGAIN_AFTER).await;
                    let again = attempt(client, route, scheme).await;
                    Flow { lost_before: Some(failure), ..again }
                }
            }
        })
    });
    join_all(each).await
}

async fn attempt(client: &Client<'_>, route: &Route, scheme: AccessScheme) -> Flow {
    let mut flow = Flow {
        route: route.clone(),
        scheme,
        steps: Vec::with_capacity(3),
        challenge: Outcome::Skipped(Skipped::NotApplicable),
        token: Outcome::Skipped(Skipped::NotApplicable),
        issuer: None,
        result: FlowResult::Success,
        other_method: None,
        lost_before: None,
    };
    let response = ask(client, route, Step::Challenge, "/v2/".into(), Auth::None).await;
    let failure = outcome(&response).and_then(|answer| as_agreed(answer, scheme)).err();
    let mut going = failure.is_none();
    flow.steps.push(report(Step::Challenge, response, failure.as_ref()));
    let auth = match (scheme, &client.registry.credentials) {
        (AccessScheme::Basic, Some(credentials)) => Some(Auth::Basic(credentials)),
        (AccessScheme::Open, _) => Some(Auth::None),
        _ => None,
    };
    let mut steps = vec![(Step::Access, Path::from("/v2/"))];
    let repository = client.registry.scope.as_ref().map(|scope| &scope.repository);
    steps.extend(repository.map(|name| (Step::Repository, Path::of(name).then("/tags/list"))));
    for (step, path) in steps {
        let Some(auth) = auth.filter(|_| going) else { break };
        let response = ask(client, route, step, path, auth).await;
        let failure = outcome(&response).and_then(|answer| accepted(answer, step)).err();
        going = failure.is_none();
        flow.steps.push(report(step, response, failure.as_ref()));
    }
    if let Some(failed) = flow.steps.iter().find(|step| step.failure.is_some())
        && let Some(failure) = failed.failure.clone()
    {
        flow.result = FlowResult::Failed { step: failed.step, failure };
    }
    flow
}

async fn ask(
    client: &Client<'_>,
    route: &Route,
    step: Step,
    path: Path,
    auth: Auth<'_>,
) -> Response {
    let mut line = client.link(route);
    client.send(line.as_mut(), route, Request::get(step, path, auth)).await
}

/// Whether the answer without credentials is what all routes agreed on a moment ago.
fn as_agreed(answer: &Answer, scheme: AccessScheme) -> Result<(), Failure> {
    let fits = match scheme {
        AccessScheme::Open => (200..300).contains(&answer.status) && !answer.html,
        _ => answer.status == 401 && answer.challenge.is_some(),
    };
    if fits { Ok(()) } else { Err(unexpected(answer, "the same answer as a moment ago")) }
}

fn accepted(answer: &Answer, step: Step) -> Result<(), Failure> {
    if answer.lets_in(step) { Ok(()) } else { Err(unexpected(answer, "200")) }
}

/// Requests through the load balancer, each on a connection of its own.
pub(super) async fn sample(client: &Client<'_>, scheme: AccessScheme) -> Outcome<BalancerRun> {
    let route = &Route::Balancer;
    let samples = client.registry.balancer.samples;
    if samples == 0 {
        return Outcome::Skipped(Skipped::Disabled);
    }
    let auth = match (scheme, &client.registry.credentials) {
        (AccessScheme::Basic, Some(credentials)) => Auth::Basic(credentials),
        (AccessScheme::Basic, None) => return Outcome::Skipped(Skipped::NoCredentials),
        _ => Auth::None,
    };
    let mut run = BalancerRun::default();
    for _ in 0..samples {
        if client.is_over() || client.holds(route) {
            break;
        }
        let response = ask(client, route, Step::Access, "/v2/".into(), auth).await;
        let failure = outcome(&response).and_then(|answer| accepted(answer, Step::Access)).err();
        if failure.as_ref().is_some_and(|failure| failure.reason.is_own()) {
            break;
        }
        run.try_step(SampledFlow::Pair, Step::Access, 1);
        if let Some(failure) = failure {
            run.fail(SampledFlow::Pair, Step::Access, failure, response.answer);
        }
    }
    Outcome::Measured(run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Challenge;
    use crate::model::sample::{fail, round};

    /// Flows of three routes whose challenge was answered so.
    fn answered(answers: &[(u16, Option<AuthScheme>)]) -> Vec<Flow> {
        let mut round = round(&["a", "b"]);
        for (route, (status, scheme)) in ["a", "b", "lb"].iter().zip(answers) {
            let reason = if *status == 200 { Reason::NoChallenge } else { Reason::BadChallenge };
            if *scheme != Some(AuthScheme::Bearer) {
                fail(&mut round, route, Step::Challenge, reason);
            }
        }
        for (flow, (status, scheme)) in round.flows.iter_mut().zip(answers) {
            let challenge = scheme.map(|scheme| Challenge {
                scheme,
                realm: Some("Registry".into()),
                service: None,
                scope: None,
                error: None,
            });
            let answer = Answer { status: *status, challenge, ..Answer::default() };
            flow.steps[0].answer = Some(answer);
        }
        round.flows
    }

    #[test]
    fn routes_that_agree_on_no_tokens_have_none_and_one_odd_route_decides_nothing() {
        let (basic, open) = ((401, Some(AuthScheme::Basic)), (200, None));
        let bearer = (401, Some(AuthScheme::Bearer));
        for (answers, expected) in [
            ([basic, basic, basic], AccessScheme::Basic),
            ([open, open, open], AccessScheme::Open),
            ([bearer, bearer, bearer], AccessScheme::Token),
            ([bearer, basic, bearer], AccessScheme::Token),
            ([open, basic, basic], AccessScheme::Token),
        ] {
            assert_eq!(scheme(&answered(&answers)), expected, "{answers:?}");
        }
    }
}
