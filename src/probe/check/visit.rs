//! A visit of a check to one route: a token of its own, one kept connection, and a second try for
//! what the network lost.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, RANGE};
use http::{HeaderName, HeaderValue, Method};

use tokio::time::Instant;

use super::super::answer::unexpected;
use super::super::client::{Client, Connection};
use super::super::endpoint::{self, Purpose};
use super::super::matrix;
use super::super::path::Path;
use super::super::request::{Auth, Request, Token};
use super::super::token;
use crate::config::Scope;
use crate::model::{Answer, Check, Failure, Flow, Outcome, Reason, Route, Skipped, Step};
use crate::transport::{Body, Reply};

/// One route with a token for a scope: what any number of visits need.
#[derive(Clone)]
pub(super) struct Pass<'a> {
    client: &'a Client<'a>,
    check: Check,
    pub(super) route: &'a Route,
    token: Arc<Token>,
    /// No request ends later.
    pub(super) until: Instant,
}

/// One route over one connection.
pub(super) struct Visit<'a> {
    pub(super) pass: Pass<'a>,
    link: Connection,
}

/// What a request needs in addition to method and path.
#[derive(Clone)]
pub(super) struct Extra {
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Body,
}

impl Extra {
    /// Nothing.
    pub(super) fn none() -> Self {
        Self { headers: Vec::new(), body: Body::Empty }
    }

    /// A header.
    pub(super) fn header(name: HeaderName, value: &'static str) -> Self {
        Self { headers: vec![(name, HeaderValue::from_static(value))], body: Body::Empty }
    }

    /// A body.
    pub(super) fn body(kind: &'static str, text: String) -> Self {
        Self { body: Body::Text(text), ..Self::header(CONTENT_TYPE, kind) }
    }
}

/// An answer with its bytes.
pub(super) struct Got {
    pub(super) answer: Answer,
    pub(super) reply: Reply,
    raw: Option<Reply>,
}

impl Got {
    /// The reply as it came: for what is sent back, and never for what is kept or shown.
    pub(super) fn raw(&self) -> &Reply {
        self.raw.as_ref().unwrap_or(&self.reply)
    }
}

impl<'a> Pass<'a> {
    /// Gets a token for a scope, issued where the route's own flow got its.
    pub(super) async fn begin(
        client: &'a Client<'a>,
        check: Check,
        flow: &'a Flow,
        scope: &Scope,
    ) -> Result<Self, Outcome<()>> {
        let route = &flow.route;
        let Some(challenge) = flow.challenge.measured().filter(|_| is_well(flow)) else {
            return Err(Outcome::Skipped(Skipped::EarlierStepFailed));
        };
        if client.holds(route) {
            return Err(Outcome::Skipped(Skipped::BackingOff));
        }
        if client.is_over() {
            return Err(Outcome::Skipped(Skipped::DeadlineReached));
        }
        let endpoint = endpoint::endpoint(client, route, challenge).map_err(Outcome::Failed)?;
        let purpose = Purpose { scope: Some(scope), check: Some(check), account: false };
        let family = matrix::family(flow);
        for again in [false, true] {
            let mut link = endpoint.link(client);
            let got = token::token_for(client, link.as_mut(), &endpoint, family, purpose).await.1;
            match got {
                Ok(token) => {
                    let token = Arc::new(token);
                    return Ok(Self { client, check, route, token, until: client.deadline });
                }
                Err(unusable) if again || !unusable.failure.reason.is_network() => {
                    return Err(Outcome::Failed(unusable.failure));
                }
                Err(_) => {}
            }
        }
        Err(Outcome::Skipped(Skipped::NoToken))
    }

    /// A text of a server that did not come by its answer's facts, without secrets.
    pub(super) fn hidden(&self, text: &str) -> String {
        self.client.redactor.text(text)
    }

    /// A visit over a fresh connection.
    pub(super) fn visit(&self) -> Visit<'a> {
        Visit { pass: self.clone(), link: self.client.link(self.route) }
    }
}

impl Visit<'_> {
    /// From here on over a fresh connection.
    pub(super) fn renew(&mut self) {
        self.link = self.pass.client.link(self.pass.route);
    }

    /// Asks, and once more over a fresh connection if the network lost it.
    pub(super) async fn send(
        &mut self,
        method: &Method,
        path: &Path,
        extra: &Extra,
    ) -> Result<Got, Failure> {
        match self.once(method, path, extra).await {
            // Some registries know no HEAD: one byte, or a small document, tells the same.
            Ok(got) if *method == Method::HEAD && matches!(got.answer.status, 405 | 501) => {
                let mut get = extra.clone();
                if path.clone().into_string().contains("/blobs/") {
                    get.headers.push((RANGE, HeaderValue::from_static("bytes=0-0")));
                }
                self.once(&Method::GET, path, &get).await
            }
            Err(failure) if failure.reason.is_network() && Instant::now() < self.pass.until => {
                self.renew();
                self.once(method, path, extra).await
            }
            other => other,
        }
    }

    /// Asks once.
    pub(super) async fn once(
        &mut self,
        method: &Method,
        path: &Path,
        extra: &Extra,
    ) -> Result<Got, Failure> {
        let pass = &self.pass;
        let auth = Auth::Bearer(&pass.token);
        let mut request = Request::of(pass.check, method.clone(), path.clone(), auth);
        request.headers.clone_from(&extra.headers);
        request.body = extra.body.clone();
        let left = pass.until.saturating_duration_since(Instant::now());
        request.within = Some(left);
        let response = pass.client.send(self.link.as_mut(), pass.route, request).await;
        let answer = response.answer.clone();
        // What the check had no time for says nothing of the server.
        let cut_off = left < pass.client.registry.timeout;
        let (reply, raw) = response.into_replies().map_err(|failure| match failure.reason {
            Reason::Timeout if cut_off => Failure { reason: Reason::DeadlineReached, ..failure },
            _ => failure,
        })?;
        let answer = answer
            .ok_or_else(|| Failure::of_answer(Reason::UnexpectedStatus, "no answer was read"))?;
        Ok(Got { answer, reply, raw })
    }
}

/// Whether a redirect says where to: without that no client can follow it.
pub(super) fn leads_on(got: &Got) -> bool {
    matches!(got.answer.status, 301..=303 | 307 | 308)
        && got.reply.headers.contains_key(http::header::LOCATION)
}

/// Whether a flow came as far as `/v2/`: what its backend answers there is its own.
fn is_well(flow: &Flow) -> bool {
    flow.passed(Step::Access) == Some(true)
}

/// Whether something is there, by an answer to `HEAD` or `GET`: a redirect leads to where it is.
pub(super) fn is_there(got: &Got) -> Result<bool, Failure> {
    match got.answer.status {
        200 | 206 if !got.answer.html => Ok(true),
        _ if leads_on(got) => Ok(true),
        404 if !got.answer.html => Ok(false),
        _ => Err(unexpected(&got.answer, "200 or 404")),
    }
}
