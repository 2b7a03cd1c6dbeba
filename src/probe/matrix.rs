//! Every issuer's token shown to every verifier.
//!
//! Tokens are shown as fresh as possible, since Harbor up to 2.10 tolerates no clock difference: a
//! token is issued over a warm connection and at once shown to all verifiers over theirs. A
//! refused pair is asked again with the same token, which tells time from keys.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::client::{Client, Connection};
use super::endpoint::{self, Endpoint};
use super::flow;
use super::request::{Auth, Request, Token};
use super::token;
use crate::config::MatrixMode;
use crate::model::{
    Cell, CellResult, EVERY_PAIR_UP_TO, Failure, Family, Flow, Issuer, Matrix, Outcome, Refusal,
    Route, Skipped, Step, TokenFacts,
};

/// When what was refused is tried again, after the first time: a token, or an upload.
pub(super) const LADDER: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Pairs that `auto` adds for each verifier to one per key.
const AUTO_SAMPLE: u32 = 2;

/// After this number of rounds `auto` tries all pairs again.
const AUTO_FULL_EVERY: u64 = 10;

/// The most refused pairs that climb the ladder in one round; they tell the rest apart.
const MAX_LADDERS: usize = 64;

/// An issuer with the way to its token endpoint, or why it has no token.
pub(super) struct Row {
    pub(super) issuer: Issuer,
    route: Route,
    pub(super) source: Result<(Endpoint, Family), Skipped>,
    /// Of the flow's token, by which sampling groups equal issuers.
    facts: Option<TokenFacts>,
}

/// One row for each distinct issuer of the flows.
pub(super) fn rows(client: &Client<'_>, flows: &[Flow]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for flow in flows {
        let issuer = flow.issuer.clone().unwrap_or_else(|| Issuer::Route(flow.route.clone()));
        if rows.iter().any(|row| row.issuer == issuer && row.source.is_ok()) {
            continue;
        }
        let row = row(client, flow, issuer);
        match rows.iter_mut().find(|known| known.issuer == row.issuer) {
            Some(known) => *known = row,
            None => rows.push(row),
        }
    }
    rows
}

fn row(client: &Client<'_>, flow: &Flow, issuer: Issuer) -> Row {
    let family = family(flow);
    let facts = flow.token.measured().cloned();
    let source = match (&flow.challenge, flow.passed(Step::Token)) {
        (Outcome::Measured(challenge), Some(true)) => {
            endpoint::endpoint(client, &flow.route, challenge)
                .map(|endpoint| (endpoint, family))
                .map_err(|_| Skipped::NoToken)
        }
        _ => Err(Skipped::NoToken),
    };
    // Harbor's core accepts only a named subject on /v2/: an anonymous token shows nothing.
    let anonymous = facts.as_ref().is_some_and(TokenFacts::is_anonymous);
    let source = source.and_then(|source| {
        if anonymous && family == Family::Harbor2 {
            Err(Skipped::NoCredentials)
        } else {
            Ok(source)
        }
    });
    Row { issuer, route: flow.route.clone(), source, facts }
}

/// The family that a flow's challenge shows.
pub(super) fn family(flow: &Flow) -> Family {
    flow.answer(Step::Challenge).map_or(Family::Unknown, crate::registry::family_of)
}

/// A cell that was refused, with the token that climbs the ladder.
pub(super) struct Refused {
    cell: usize,
    token: std::sync::Arc<Token>,
    first: Instant,
}

/// Shows every token to every verifier once.
pub(super) async fn first_pass(
    client: &Client<'_>,
    rows: &[Row],
    flows: &[Flow],
    round: u64,
) -> (Matrix, Vec<Refused>) {
    let mut verifiers: Vec<Column<'_>> =
        flows.iter().map(|flow| Column::new(client, flow)).collect();
    join_all(verifiers.iter_mut().map(|column| column.warm(client))).await;

    let mut matrix = Matrix::default();
    let mut refused = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let token = match issue(client, row).await {
            Ok(token) => std::sync::Arc::new(token),
            Err(result) => {
                for column in &verifiers {
                    matrix.cells.push(column.cell(row, None, 0.0, result.clone()));
                }
                continue;
            }
        };
        let shows = verifiers.iter_mut().enumerate().map(|(number, column)| {
            let wanted = sampled(client, rows, index, number, round);
            flow::boxed(column.show(client, row, &token, wanted))
        });
        for (cell, first) in join_all(shows).await {
            if matches!(cell.result, CellResult::Refused(_)) {
                let token = std::sync::Arc::clone(&token);
                refused.push(Refused { cell: matrix.cells.len(), token, first });
            }
            matrix.cells.push(cell);
        }
    }
    (matrix, refused)
}

/// Shows the refused tokens again, each on a fresh connection, until they heal or the ladder
/// ends.
pub(super) async fn ladder(client: &Client<'_>, matrix: &mut Matrix, refused: Vec<Refused>) {
    let verifiers: Vec<Route> =
        refused.iter().map(|refused| matrix.cells[refused.cell].verifier.clone()).collect();
    let climbs = refused
        .iter()
        .zip(&verifiers)
        .take(MAX_LADDERS)
        .map(|(refused, verifier)| flow::boxed(climb(client, refused, verifier)));
    let climbed = join_all(climbs).await;
    for (refused, climbed) in refused.iter().zip(climbed) {
        if let CellResult::Refused(refusal) = &mut matrix.cells[refused.cell].result {
            refusal.tries += climbed.tries;
            refusal.healed_after = climbed.healed_after;
            refusal.refused_until = climbed.refused_until;
        }
    }
}

#[derive(Default)]
struct Climbed {
    tries: u32,
    healed_after: Option<f64>,
    refused_until: f64,
}

async fn climb(client: &Client<'_>, refused: &Refused, verifier: &Route) -> Climbed {
    let mut climbed = Climbed::default();
    for rung in LADDER {
        if !client.sleep_until(refused.first + rung).await {
            break;
        }
        let mut link = client.link(verifier);
        let request = Request::get(Step::Access, "/v2/", Auth::Bearer(&refused.token));
        let response = client.send(link.as_mut(), verifier, request).await;
        let after = refused.first.elapsed().as_secs_f64();
        match response.answer.map(|answer| answer.status) {
            Some(200) => {
                climbed.tries += 1;
                climbed.healed_after = Some(after);
                break;
            }
            Some(401 | 403) => {
                climbed.tries += 1;
                climbed.refused_until = after;
            }
            // A lost request or a gateway's error says nothing about the token.
            _ => {}
        }
    }
    climbed
}

async fn issue(client: &Client<'_>, row: &Row) -> Result<Token, CellResult> {
    let (endpoint, family) = match &row.source {
        Ok(source) => source,
        Err(reason) => return Err(CellResult::Skipped { reason: *reason }),
    };
    if client.is_over() {
        return Err(CellResult::Skipped { reason: Skipped::DeadlineReached });
    }
    let mut link = endpoint.link(client);
    let (_, token) = token::token(client, link.as_mut(), endpoint, *family).await;
    token.map_err(|_| CellResult::Skipped { reason: Skipped::NoToken })
}

/// One verifier with a kept connection; `lb` gets a fresh one each time, since a balancer of
/// connections would lead a kept one to the same backend always.
struct Column<'a> {
    route: &'a Route,
    link: Connection,
    kept: bool,
    unreachable: Option<Failure>,
}

impl<'a> Column<'a> {
    fn new(client: &Client<'_>, flow: &'a Flow) -> Self {
        let unreachable = match &flow.challenge {
            Outcome::Failed(failure) => Some(failure.clone()),
            Outcome::Measured(_) | Outcome::Skipped(_) => None,
        };
        let kept = flow.route != Route::Balancer;
        Self { route: &flow.route, link: client.link(&flow.route), kept, unreachable }
    }

    async fn warm(&mut self, client: &Client<'_>) {
        if self.kept && self.unreachable.is_none() && !client.is_over() {
            let request = Request::get(Step::Challenge, "/v2/", Auth::None);
            client.send(self.link.as_mut(), self.route, request).await;
        }
    }

    fn cell(&self, row: &Row, token: Option<&Token>, age: f64, result: CellResult) -> Cell {
        Cell {
            issuer: row.issuer.clone(),
            verifier: self.route.clone(),
            key: token.and_then(|token| token.facts.kid.clone()),
            age_seconds: age,
            result,
        }
    }

    async fn show(
        &mut self,
        client: &Client<'_>,
        row: &Row,
        token: &Token,
        wanted: bool,
    ) -> (Cell, Instant) {
        let first = Instant::now();
        let age = first.saturating_duration_since(token.received).as_secs_f64();
        let result = if let Some(failure) = &self.unreachable {
            CellResult::Failed { failure: failure.clone(), answer: None }
        } else if !wanted {
            CellResult::Skipped { reason: Skipped::NotSampled }
        } else if client.is_over() {
            CellResult::Skipped { reason: Skipped::DeadlineReached }
        } else if client.holds(self.route) {
            CellResult::Skipped { reason: Skipped::BackingOff }
        } else {
            let result = self.present(client, token).await;
            match &result {
                // One lost request is not a finding: a fresh connection gets a second try.
                CellResult::Failed { failure, .. } if failure.reason.is_network() => {
                    self.link = client.link(self.route);
                    self.present(client, token).await
                }
                _ => result,
            }
        };
        (self.cell(row, Some(token), age, result), first)
    }

    async fn present(&mut self, client: &Client<'_>, token: &Token) -> CellResult {
        if !self.kept {
            self.link = client.link(self.route);
        }
        let link = self.link.as_mut();
        let (response, failure) =
            flow::access(client, link, self.route, Step::Access, "/v2/", token).await;
        match (failure, response.answer) {
            (None, _) => CellResult::Accepted,
            (Some(_), Some(answer))
                if matches!(answer.status, 401 | 403)
                    && (!answer.html || answer.challenge.is_some()) =>
            {
                CellResult::Refused(Refusal {
                    answer,
                    tries: 1,
                    healed_after: None,
                    refused_until: 0.0,
                })
            }
            (Some(failure), answer) => CellResult::Failed { failure, answer },
        }
    }
}

/// Whether a pair is tried in this round. Tokens of equal key, issuer, audience and lifetime are
/// interchangeable, so one of each group and a rotating few do.
fn sampled(client: &Client<'_>, rows: &[Row], row: usize, verifier: usize, round: u64) -> bool {
    let extra = match client.registry.matrix {
        MatrixMode::Full => return true,
        MatrixMode::Auto
            if client.backends.len() <= EVERY_PAIR_UP_TO
                || round.is_multiple_of(AUTO_FULL_EVERY) =>
        {
            return true;
        }
        MatrixMode::Auto => AUTO_SAMPLE,
        MatrixMode::Sampled(extra) => extra,
    };
    let key = |row: &Row| {
        let facts = row.facts.as_ref()?;
        Some((facts.kid.clone(), facts.issuer.clone(), facts.audience.clone(), facts.lifetime()))
    };
    // A backend's own token, and whatever goes through the balancer, is always tried.
    if rows[row].route.backend().is_none() || row == verifier {
        return true;
    }
    let offset = (usize::try_from(round).unwrap_or(0) + verifier) % rows.len();
    let rotated = |index: usize| (index + rows.len() - offset) % rows.len();
    let mine = rotated(row);
    let first_of_group = rows
        .iter()
        .enumerate()
        .filter(|(_, other)| key(other) == key(&rows[row]))
        .map(|(index, _)| rotated(index))
        .min();
    first_of_group == Some(mine) || mine <= extra as usize
}
