//! One request at one replica, with everything that its answer may depend on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request};
use hyper::body::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _};

use super::digest::hex;
use super::error::LabError;
use super::keys::KeyKind;
use super::keys::SigningKey;
use super::settings::{ROTATED_KEY, Settings};
use super::stores::Stores;

/// What a replica keeps in its own memory.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Account → until when it is locked after a wrong password.
    pub(super) locked: HashMap<String, Duration>,
    /// Requests since Redis went away.
    pub(super) without_redis: u32,
}

/// The keys of the lab.
#[derive(Debug)]
pub(super) struct KeyRing {
    kind: KeyKind,
    keys: HashMap<u32, Arc<SigningKey>>,
}

impl KeyRing {
    pub(super) fn new(kind: KeyKind) -> Self {
        Self { kind, keys: HashMap::new() }
    }

    /// Makes a key ready, so that [`Self::get`] finds it.
    pub(super) fn prepare(&mut self, number: u32) -> Result<(), LabError> {
        if let std::collections::hash_map::Entry::Vacant(place) = self.keys.entry(number) {
            place.insert(SigningKey::numbered(self.kind, number)?);
        }
        Ok(())
    }

    fn get(&self, number: u32) -> Option<Arc<SigningKey>> {
        self.keys.get(&number).cloned()
    }
}

/// One request at one replica.
pub(super) struct Call<'a> {
    pub(super) request: &'a Request<Bytes>,
    pub(super) settings: &'a Settings,
    pub(super) stores: &'a mut Stores,
    pub(super) memory: &'a mut Memory,
    pub(super) keys: &'a KeyRing,
    pub(super) rng: &'a mut SmallRng,
    /// The replica's clock, nanoseconds since 1970.
    pub(super) now: i64,
    /// The true time, nanoseconds since 1970.
    pub(super) true_now: i64,
    /// When the lab began, nanoseconds since 1970.
    pub(super) began: i64,
    /// Since the lab began.
    pub(super) elapsed: Duration,
    /// What the answer has taken so far; `now`, `true_now` and `elapsed` include it.
    pub(super) spent: Duration,
    /// Whether the client came by TLS.
    pub(super) secure: bool,
    /// The realm of registries that do not issue tokens themselves.
    pub(super) token_realm: &'a str,
    /// Every worker pool: whose it is, and the Redis that it uses.
    pub(super) pool_owners: &'a [(u32, u32)],
}

impl Call<'_> {
    /// Lets time pass.
    pub(super) fn spend(&mut self, time: Duration) {
        let nanos = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        self.now = self.now.saturating_add(nanos);
        self.true_now = self.true_now.saturating_add(nanos);
        self.elapsed += time;
        self.spent += time;
    }

    pub(super) fn path(&self) -> &str {
        self.request.uri().path()
    }

    pub(super) fn method(&self) -> &Method {
        self.request.method()
    }

    /// The text of a request header; none if it is absent or not text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name)?.to_str().ok()
    }

    /// The host that the client wrote, or what stands in its place.
    pub(super) fn host(&self) -> &str {
        match &self.settings.host_under {
            Some((path, host)) if self.path().starts_with(path.as_str()) => host,
            _ => self.header("host").unwrap_or_default(),
        }
    }

    /// The values of a query parameter, decoded, in their order.
    pub(super) fn query(&self, name: &str) -> Vec<String> {
        form_values(self.request.uri().query().unwrap_or_default(), name)
    }

    /// The value of a cookie.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let mut pairs = self
            .request
            .headers()
            .get_all("cookie")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        pairs
            .find_map(|pair| pair.trim().split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    }

    /// User and password of Basic authentication.
    pub(super) fn basic(&self) -> Option<(String, String)> {
        let value = self.header("authorization")?.strip_prefix("Basic ")?;
        let text = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
        text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
    }

    /// The key that tokens are signed with, unless it cannot be read.
    pub(super) fn signing_key(&self) -> Option<Arc<SigningKey>> {
        if !self.settings.key_readable {
            return None;
        }
        self.keys.get(self.now_used(self.settings.signing_key))
    }

    /// The key that tokens are checked with, unless it cannot be read.
    pub(super) fn verifying_key(&self) -> Option<Arc<SigningKey>> {
        if !self.settings.key_readable {
            return None;
        }
        self.keys.get(self.now_used(self.settings.verifying_key))
    }

    fn now_used(&self, number: u32) -> u32 {
        let rotated = self.settings.rotates_at.is_some_and(|at| self.elapsed >= at);
        if rotated { ROTATED_KEY } else { number }
    }

    /// The true time when the canary's project was created, nanoseconds since 1970.
    pub(super) fn project_created(&self) -> i64 {
        self.began.saturating_sub(self.settings.project_age)
    }

    /// A random UUID of version 4.
    pub(super) fn uuid(&mut self) -> String {
        uuid(self.rng)
    }

    /// Random letters and digits.
    pub(super) fn random_word(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from(self.rng.sample(rand::distr::Alphanumeric))).collect()
    }
}

/// A random UUID of version 4.
pub(super) fn uuid(rng: &mut SmallRng) -> String {
    let mut bytes = [0_u8; 16];
    rng.fill_bytes(&mut bytes);
    let text = hex(&bytes);
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    format!("{}-{}-4{}-a{}-{}", part(0..8), part(8..12), part(13..16), part(17..20), part(20..32))
}

/// The values of one name in `application/x-www-form-urlencoded` text.
pub(super) fn form_values(text: &str, name: &str) -> Vec<String> {
    url::form_urlencoded::parse(text.as_bytes())
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
        .collect()
}
