//! What servers say is freed of what the prober knows and they must not tell, before any of it is
//! kept: passwords, tokens, sessions and the states of uploads, however they are written, and
//! invisible characters. Everything that comes over a link goes through here.

mod index;
mod views;

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{COOKIE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::time::Instant;

use index::{Index, PIECE};

use crate::config;
use crate::model::Failure;
use crate::registry;
use crate::transport::Reply;

/// What stands in the place of a secret.
const HIDDEN: &str = "[secret]";

/// What servers gave is looked for in the round that uses it, and at least this long after it was
/// last used if the next round comes earlier; where it is replaced all the time, at most twice as
/// long.
const REMEMBERED: Duration = Duration::from_secs(30);

/// The most bytes of what servers gave that are looked for in one of the two periods: a server must
/// not fill the memory with them. What came before is looked for less long then.
const MAX_GIVEN: usize = 4 << 20;

/// Words that servers say anyway; a password that is one of them cannot be hidden.
const COMMON: [&str; 6] = [
    "bearer realm=\"service/token\",service=\"harbor-registry\",scope=\"registry:catalog:*\"",
    "unauthorized: unauthorized to access repository: authentication required",
    "application/json; charset=utf-8 text/html text/plain application/octet-stream",
    "distribution nginx docker container registry token issuer sha256 healthy unhealthy",
    "portal core jobservice registryctl database redis trivy storage library latest canary",
    "password username secret error server invalid denied",
];

/// Knows the secrets of a registry and hides them in what its servers say.
pub(super) struct Redactor {
    own: Index,
    /// Pieces of what all may see, which nothing that a server gives can hide.
    public: HashSet<[u8; PIECE]>,
    given: Mutex<Given>,
    /// Texts that had nothing to hide when they were looked at, so that they need no second look:
    /// most headers are the same in every answer.
    clean: Mutex<HashSet<u64>>,
    hashes: RandomState,
    /// Whether the next round begins before [`REMEMBERED`] is over.
    often: bool,
}

/// The most texts that are remembered as clean, and the most bytes of each.
const MAX_CLEAN: usize = 1024;
const MAX_CLEAN_BYTES: usize = 2048;

/// What servers gave, of now and of a while ago.
struct Given {
    now: Index,
    before: Index,
    since: Instant,
    /// Rounds under way: those on demand are in addition to the registry's own.
    rounds: u32,
}

/// A round under way. At its end, what servers gave in it is forgotten, unless another round needs
/// it or comes soon: the tokens of a round take more memory than all else that is known of a
/// registry.
pub(super) struct UnderWay<'r>(&'r Redactor);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut given = self.0.given();
        given.rounds -= 1;
        if given.rounds == 0 && !self.0.often {
            *given = Given::default();
            *self.0.clean() = HashSet::default();
        }
    }
}

impl Default for Given {
    fn default() -> Self {
        let (now, before) = (Index::default(), Index::default());
        Self { now, before, since: Instant::now(), rounds: 0 }
    }
}

impl Redactor {
    pub(super) fn new(registry: &config::Registry) -> Self {
        let accounts =
            [&registry.credentials, &registry.system_credentials, &registry.directory_credentials];
        let accounts = accounts.into_iter().flatten();
        let mut public: Vec<String> = COMMON.map(str::to_owned).into();
        public.push(registry.url.to_string());
        public.extend(registry.allowed_realms.iter().map(ToString::to_string));
        public.extend(registry.scope.as_ref().map(|scope| scope.repository.clone()));
        public.extend(registry.checks.push.as_ref().map(|push| push.repository.clone()));
        public.extend(accounts.clone().map(|account| account.username.clone()));
        for text in &mut public {
            text.make_ascii_lowercase();
        }
        let is_public = |text: &[u8]| is_public(&public, text);
        let mut own = Index::default();
        for account in accounts {
            let password = account.password.expose_secret();
            let pair = format!("{}:{password}", account.username);
            own.own(password.as_bytes(), is_public);
            own.own(pair.as_bytes(), is_public);
            // Where the case is lost, or an end, it no longer decodes.
            own.own(STANDARD.encode(&pair).trim_end_matches('=').as_bytes(), is_public);
        }
        let pieces = public.iter().flat_map(|text| text.as_bytes().windows(PIECE));
        Self {
            own,
            public: pieces.filter_map(|piece| piece.try_into().ok()).collect(),
            given: Mutex::default(),
            clean: Mutex::default(),
            hashes: RandomState::new(),
            often: registry.interval < REMEMBERED,
        }
    }

    /// Begins a round, which ends when the result is dropped.
    pub(super) fn round(&self) -> UnderWay<'_> {
        self.given().rounds += 1;
        UnderWay(self)
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a server gave, or what is sent because one gave it.
    pub(super) fn learn(&self, secret: &str) {
        let mut given = self.given();
        let age = given.since.elapsed();
        if age >= REMEMBERED || given.now.bytes() >= MAX_GIVEN {
            let now = std::mem::take(&mut given.now);
            given.before = if age < 2 * REMEMBERED { now } else { Index::default() };
            given.since = Instant::now();
        }
        let is_public =
            |piece: &[u8]| piece.try_into().is_ok_and(|it| self.public.contains::<[u8; PIECE]>(it));
        let is_new = given.now.given(secret.as_bytes(), is_public);
        // A token that is issued again and again may have been said before it was issued. Those
        // that are signed are new each time.
        if is_new && !secret.starts_with("eyJ") {
            self.clean().clear();
        }
    }

    /// Takes in what of a request came from servers.
    pub(super) fn learn_sent(&self, headers: &[(HeaderName, HeaderValue)]) {
        for (name, value) in headers.iter().filter(|(_, value)| value.is_sensitive()) {
            let text = value.to_str().unwrap_or_default();
            let text = text.strip_prefix("Bearer ").unwrap_or(text);
            if name == COOKIE {
                text.split("; ")
                    .filter_map(|it| it.split_once('='))
                    .for_each(|it| self.learn(it.1));
            } else {
                self.learn(text);
            }
        }
    }

    /// A text without secrets and with everything in it to be seen.
    pub(super) fn text(&self, text: &str) -> String {
        self.changed(text).unwrap_or_else(|| text.to_owned())
    }

    /// The same; none if there is nothing to change.
    pub(super) fn changed(&self, text: &str) -> Option<String> {
        let hash = self.hash(text.as_bytes());
        if hash.is_some_and(|hash| self.clean().contains(&hash)) {
            return None;
        }
        let found = self.found(text.as_bytes());
        if found.is_empty() && !text.chars().any(is_unseen) {
            self.note_clean(hash);
            return None;
        }
        let hidden = replaced(text, found);
        Some(hidden.chars().fold(String::with_capacity(hidden.len()), |mut seen, c| {
            match c {
                '\n' | '\r' | '\t' => seen.push(' '),
                c if is_unseen(c) => seen.extend(c.escape_unicode()),
                c => seen.push(c),
            }
            seen
        }))
    }

    /// A failure without secrets in what a server may have put into it.
    pub(super) fn failure(&self, mut failure: Failure) -> Failure {
        failure.detail = self.text(&failure.detail);
        failure
    }

    /// A reply without secrets, those that it gives included; and the reply itself, where that is
    /// another.
    pub(super) fn reply(&self, reply: Reply) -> (Reply, Option<Reply>) {
        let mut json: Option<Value> = serde_json::from_slice(&reply.body).ok();
        self.learn_given(&reply, json.as_ref());
        let headers = self.headers(&reply.headers);
        let body = if let Some(json) = &mut json {
            let changed = registry::each_text(json, &|text| self.changed(text));
            changed.then(|| json.to_string().into_bytes())
        } else {
            self.body(&reply.body)
        };
        if headers.is_none() && body.is_none() {
            return (reply, None);
        }
        let clean = Reply {
            status: reply.status,
            headers: headers.unwrap_or_else(|| reply.headers.clone()),
            body: body.unwrap_or_else(|| reply.body.clone()),
        };
        (clean, Some(reply))
    }

    /// A body that is not JSON, without secrets; none if it has none.
    fn body(&self, body: &[u8]) -> Option<Vec<u8>> {
        let hash = self.hash(body);
        if hash.is_some_and(|hash| self.clean().contains(&hash)) {
            return None;
        }
        let found = self.found(body);
        if found.is_empty() {
            self.note_clean(hash);
            return None;
        }
        Some(match String::from_utf8_lossy(body) {
            Cow::Borrowed(text) => replaced(text, found).into_bytes(),
            // Places in bytes are none in a text that had to be repaired.
            Cow::Owned(text) => self.text(&text).into_bytes(),
        })
    }

    fn headers(&self, headers: &HeaderMap) -> Option<HeaderMap> {
        let change = |value: &HeaderValue| {
            let text = String::from_utf8_lossy(value.as_bytes());
            let changed = self.changed(&text)?;
            Some(
                HeaderValue::from_bytes(changed.as_bytes())
                    .unwrap_or(HeaderValue::from_static(HIDDEN)),
            )
        };
        let (mut clean, mut any) = (HeaderMap::with_capacity(headers.len()), false);
        for (name, value) in headers {
            let changed = change(value);
            any |= changed.is_some();
            clean.append(name, changed.unwrap_or_else(|| value.clone()));
        }
        any.then_some(clean)
    }

    /// What a reply gives that will be sent back, and belongs to this prober alone.
    fn learn_given(&self, reply: &Reply, json: Option<&Value>) {
        let fields = ["token", "access_token", "refresh_token"];
        let tokens = fields.iter().filter_map(|field| json?.get(field)?.as_str());
        for token in tokens.filter(|token| token.len() <= registry::MAX_TOKEN) {
            self.learn(token);
        }
        let cookies = [registry::SESSION_COOKIE, registry::CSRF_COOKIE];
        let cookies = cookies.iter().filter_map(|name| registry::set_cookie(&reply.headers, name));
        for cookie in cookies {
            let pair = cookie.to_str().ok().and_then(|text| text.split_once('='));
            self.learn(pair.map_or("", |(_, value)| value));
        }
        let token = registry::csrf_token(&reply.headers);
        self.learn(token.as_ref().and_then(|token| token.to_str().ok()).unwrap_or_default());
        let location = reply.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let state = location.filter(|_| reply.status == 202).and_then(|it| it.split_once('?'));
        if let Some((_, state)) = state {
            self.learn(state);
            for (_, value) in url::form_urlencoded::parse(state.as_bytes()) {
                self.learn(&value);
            }
        }
    }

    /// By what a text is known again; none if it is too long for that.
    fn hash(&self, text: &[u8]) -> Option<u64> {
        (text.len() <= MAX_CLEAN_BYTES).then(|| self.hashes.hash_one(text))
    }

    fn note_clean(&self, hash: Option<u64>) {
        let mut clean = self.clean();
        if clean.len() >= MAX_CLEAN {
            clean.clear();
        }
        clean.extend(hash);
    }

    fn clean(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.clean.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self, text: &[u8]) -> Vec<Range<usize>> {
        let given = self.given();
        views::found(text, self.own.shortest(), &|text, found| {
            for index in [&self.own, &given.now, &given.before] {
                index.find(text, found);
            }
        })
    }
}

fn is_public(public: &[String], text: &[u8]) -> bool {
    public.iter().any(|known| known.as_bytes().windows(text.len().max(1)).any(|it| it == text))
}

/// A text with these places of it hidden.
fn replaced(text: &str, mut places: Vec<Range<usize>>) -> String {
    places.sort_by_key(|range| range.start);
    let (mut hidden, mut at) = (String::with_capacity(text.len()), 0);
    for place in places {
        let (mut start, mut end) = (place.start.min(text.len()), place.end.min(text.len()));
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        while !text.is_char_boundary(end) {
            end += 1;
        }
        if start >= at {
            hidden.push_str(&text[at..start]);
            if start > at || at == 0 {
                hidden.push_str(HIDDEN);
            }
        }
        at = at.max(end);
    }
    hidden.push_str(&text[at..]);
    hidden
}

/// What is not seen, or makes others be seen elsewhere.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests;
