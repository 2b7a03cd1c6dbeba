//! A request of a round, the token that it may carry, and what came back.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method};
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::path::Path;
use super::redact::Redactor;
use crate::config::Credentials;
use crate::model::{Answer, Check, Failure, Issuer, Step, Timeline, TokenFacts};
use crate::transport::{Body, Exchange, Reply};

/// A token with what it says of itself. It remembers who issued it, has no `Display`, and its
/// `Debug` shows the claims only.
pub(super) struct Token {
    /// `Bearer …`, marked sensitive.
    authorization: HeaderValue,
    pub(super) facts: TokenFacts,
    pub(super) issuer: Issuer,
    pub(super) received: Instant,
}

impl Token {
    /// `None` if the token cannot stand in a header, which the parser has already excluded.
    pub(super) fn new(secret: &str, facts: TokenFacts, issuer: Issuer) -> Option<Self> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {secret}")).ok()?;
        authorization.set_sensitive(true);
        Some(Self { authorization, facts, issuer, received: Instant::now() })
    }

    /// Held for another round, it is looked for in that one too.
    pub(super) fn learned_by(&self, redactor: &Redactor) {
        redactor.learn_sent(&[(AUTHORIZATION, self.authorization.clone())]);
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// What a request says of who sends it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Auth<'a> {
    None,
    Basic(&'a Credentials),
    Bearer(&'a Token),
    /// Something that is no token: tells whether the header arrives.
    Garbage,
}

impl Auth<'_> {
    /// The value of the `Authorization` header, if there is one.
    pub(super) fn header(self) -> Option<HeaderValue> {
        match self {
            Auth::None => None,
            Auth::Basic(credentials) => basic(credentials),
            Auth::Bearer(token) => Some(token.authorization.clone()),
            Auth::Garbage => Some(HeaderValue::from_static("Bearer garbage")),
        }
    }
}

fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    let pair = format!("{}:{}", credentials.username, credentials.password.expose_secret());
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// One request. No `Debug`: its body may hold the password.
#[derive(Clone)]
pub(super) struct Request<'a> {
    pub(super) step: Step,
    /// Which check asks; none for the flow.
    pub(super) check: Option<Check>,
    pub(super) method: Method,
    pub(super) path: Path,
    pub(super) auth: Auth<'a>,
    /// Headers in addition to those that every request has.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Body,
    /// A shorter time than the configured one.
    pub(super) within: Option<Duration>,
}

impl<'a> Request<'a> {
    pub(super) fn get(step: Step, path: impl Into<Path>, auth: Auth<'a>) -> Self {
        Self {
            step,
            check: None,
            method: Method::GET,
            path: path.into(),
            auth,
            headers: Vec::new(),
            body: Body::Empty,
            within: None,
        }
    }

    /// A form sent by POST.
    pub(super) fn form(step: Step, path: Path, form: String) -> Self {
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut request = Self::get(step, path, Auth::None).with(CONTENT_TYPE, kind);
        (request.method, request.body) = (Method::POST, Body::Text(form));
        request
    }

    /// A request of a check.
    pub(super) fn of(check: Check, method: Method, path: impl Into<Path>, auth: Auth<'a>) -> Self {
        let request = Self::get(Step::Check, path, auth);
        Self { check: Some(check), method, ..request }
    }

    /// With one more header.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// What came of a request.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) exchange: Exchange,
    /// The answer read, if one arrived.
    pub(super) answer: Option<Answer>,
    /// The reply as it came, where secrets had to be taken out of it.
    pub(super) raw: Option<Reply>,
}

impl Response {
    pub(super) fn reply(&self) -> Option<&Reply> {
        self.exchange.result.as_ref().ok()
    }

    /// The reply as it came: for what is sent back, and never for what is kept or shown.
    pub(super) fn raw(&self) -> Option<&Reply> {
        self.raw.as_ref().or(self.reply())
    }

    /// The reply, freed of secrets and as it came.
    pub(super) fn into_replies(self) -> Result<(Reply, Option<Reply>), Failure> {
        Ok((self.exchange.result?, self.raw))
    }

    pub(super) fn timeline(&self) -> Timeline {
        self.exchange.timeline.clone()
    }
}
