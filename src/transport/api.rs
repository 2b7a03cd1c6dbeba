//! A client of one API server: whole answers, and answers that go on line by line.
//!
//! Unlike a link it keeps connections and speaks to no server but its own. It follows no redirect,
//! so a token goes nowhere else.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, StatusCode};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;
use tokio::time::timeout;
use url::Url;

use super::classify::classify;
use super::stamps::{Noted, Stamps};
use super::tls::{Tls, TlsError};
use crate::model::{Failure, Phase};

/// The largest answer, in bytes: a page of a hundred objects has less.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// The longest line, in bytes: one object.
const MAX_LINE: usize = 2 * 1024 * 1024;
/// The largest refusal whose text is read, in bytes.
const MAX_REFUSAL: usize = 64 * 1024;

/// Why a server could not be asked.
#[derive(Debug, Error)]
pub enum ApiError {
    /// Its URL is none.
    #[error("{0:?} is not a URL of an API server")]
    Url(String),
    /// TLS cannot be prepared.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token is no header.
    #[error("the token has characters that are not allowed in a token")]
    Token,
    /// No answer.
    #[error("{}", .0.detail)]
    Failed(Failure),
    /// Nothing came within the time.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// Another status than 200.
    #[error("status {status}")]
    Refused {
        /// The status.
        status: u16,
        /// The beginning of its body.
        body: Vec<u8>,
    },
    /// More than is read.
    #[error("an answer of more than {0} bytes")]
    TooLarge(usize),
}

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    server: String,
    token: Option<HeaderValue>,
}

impl Api {
    /// A client of the server at this URL, which shows this token.
    ///
    /// # Errors
    /// [`ApiError`] if one of them cannot be used.
    pub fn new(
        server: &str,
        tls: &Tls,
        token: Option<&SecretString>,
        user_agent: &str,
    ) -> Result<Self, ApiError> {
        let wrong = || ApiError::Url(server.to_owned());
        let url = Url::parse(server).map_err(|_| wrong())?;
        let host = url.host_str().ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let config = tls.config(host, &Stamps::default()).ok_or_else(wrong)?;
        let client = reqwest::Client::builder()
            .user_agent(user_agent)
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .tls_backend_preconfigured(config)
            .build()
            .map_err(|_| wrong())?;
        let token = token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))?;
            value.set_sensitive(true);
            Ok::<_, http::header::InvalidHeaderValue>(value)
        });
        let token = token.transpose().map_err(|_| ApiError::Token)?;
        Ok(Self { client, server: server.trim_end_matches('/').to_owned(), token })
    }

    /// The body of an answer with status 200, within a time.
    ///
    /// # Errors
    /// [`ApiError`] says why there is none.
    pub async fn get(&self, path: &str, within: Duration) -> Result<Vec<u8>, ApiError> {
        let whole = async { body(self.send(path).await?, MAX_ANSWER).await };
        timeout(within, whole).await.map_err(|_| ApiError::Silent(within))?
    }

    /// An answer with status 200, whose lines come one after the other. Its head must come within a
    /// time, and each line as well.
    ///
    /// # Errors
    /// [`ApiError`] says why there is none.
    pub async fn lines(&self, path: &str, within: Duration) -> Result<Lines, ApiError> {
        let sent = timeout(within, self.send(path)).await;
        let response = sent.map_err(|_| ApiError::Silent(within))??;
        Ok(Lines { response, buffer: Vec::new(), within })
    }

    async fn send(&self, path: &str) -> Result<reqwest::Response, ApiError> {
        let mut request = self.client.get(format!("{}{path}", self.server));
        request = request.header(ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let response = request.send().await.map_err(|error| failed(&error, Phase::Connect))?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status().as_u16();
        // A refusal without a text that can be read is one all the same.
        let body = body(response, MAX_REFUSAL).await.unwrap_or_default();
        Err(ApiError::Refused { status, body })
    }
}

async fn body(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::new();
    let lost = |error| failed(&error, Phase::Transfer);
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > limit {
            return Err(ApiError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn failed(error: &reqwest::Error, phase: Phase) -> ApiError {
    ApiError::Failed(classify(error, phase, &Noted::default()))
}

/// The lines of an answer that goes on.
#[derive(Debug)]
pub struct Lines {
    response: reqwest::Response,
    buffer: Vec<u8>,
    within: Duration,
}

impl Lines {
    /// The next line; none at the end.
    ///
    /// # Errors
    /// [`ApiError`] if the connection is lost, nothing comes in time, or a line is too long.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return Ok(Some(line));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(ApiError::TooLarge(MAX_LINE));
            }
            let chunk = timeout(self.within, self.response.chunk()).await;
            let chunk = chunk.map_err(|_| ApiError::Silent(self.within))?;
            match chunk.map_err(|error| failed(&error, Phase::Transfer))? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
