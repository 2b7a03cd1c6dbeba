//! A few requests at well-chosen instants, which narrow what is known of the backends' clocks.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::client::{Client, Connection};
use super::flow::boxed;
use super::matrix;
use super::request::{Auth, Request};
use crate::model::{BackendName, ClockSource, Family, Flow, Outcome, Step};
use crate::registry;

/// Harbor's nginx answers this by itself, with 404; any answer tells the time.
const PATH: &str = "/v1/";

/// The first round, for whose end a person may be waiting, asks for clocks no longer: three or
/// four ticks.
const FIRST: Duration = Duration::from_millis(3_300);

/// A later round may look for a clock that was moved.
const LATER: Duration = Duration::from_secs(6);

/// What is left after the last tick for its answer.
const GRACE: Duration = Duration::from_millis(300);

/// This number of lost requests in a row ends the asking.
const MAX_LOST: u32 = 2;

/// Asks every backend that answers for its time.
pub(super) async fn measure(client: &Client<'_>, flows: &[Flow], first: bool) {
    let until = (Instant::now() + if first { FIRST } else { LATER }).min(client.deadline);
    let answer = |flow: &&Flow| match &flow.challenge {
        Outcome::Failed(failure) => !failure.reason.is_network(),
        Outcome::Measured(_) | Outcome::Skipped(_) => true,
    };
    let flows = flows.iter().filter(answer);
    let asks = flows
        .filter_map(|flow| Some(boxed(of_backend(client, flow, flow.route.backend()?, until))));
    join_all(asks).await;
}

async fn of_backend(client: &Client<'_>, flow: &Flow, backend: &BackendName, until: Instant) {
    let route = &flow.route;
    let mut link = client.link(route);
    let mut lost = 0;
    while let Some((_, at)) = client.clocks.plan(backend) {
        if at >= until || lost >= MAX_LOST || client.holds(route) {
            break;
        }
        let exchange = client.send_at(link.as_mut(), route, PATH, at, until + GRACE).await;
        lost = if client.clocks.book_planned(backend, &exchange) { 0 } else { lost + 1 };
    }
    if lost == 0 && !client.holds(route) && !client.is_over() {
        system_time(client, link.as_mut(), flow).await;
    }
}

/// Harbor's core tells robots its time to the millisecond, and its settings. People are not logged
/// in for it: that costs a password hash or a question to a directory.
async fn system_time(client: &Client<'_>, link: &mut Connection, flow: &Flow) {
    let credentials = client.registry.credentials.as_ref();
    let robot = credentials.filter(|credentials| credentials.username.starts_with("robot$"));
    let harbor = matrix::family(flow) == Family::Harbor2;
    let (Some(robot), true, Some(true)) = (robot, harbor, flow.passed(Step::Token)) else { return };
    let request = Request::get(Step::Check, "/api/v2.0/systeminfo", Auth::Basic(robot));
    let response = client.send(link, &flow.route, request).await;
    let reply = response.reply().filter(|reply| reply.status == 200);
    let told = reply.map(|reply| registry::system_settings(&reply.body));
    client.record_settings(&flow.route, told.unwrap_or_default());
    let stamp = reply.and_then(|reply| registry::systeminfo_time(&reply.body));
    if stamp.is_some() {
        client.clocks.book(&flow.route, ClockSource::Systeminfo, &response.exchange, stamp);
    }
}
