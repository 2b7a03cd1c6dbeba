//! What is written down of every answer of a round, whichever check or flow asked: status codes,
//! certificates, settings, and how many requests the network lost.

use std::collections::BTreeMap;

use super::redact::Redactor;
use super::settings::NotedSettings;
use crate::model::{
    Certificate, Check, Failure, Ratio, ResponseCount, Route, Setting, Step, Traffic,
};
use crate::registry;
use crate::transport::Exchange;

/// The most characters of a certificate's name.
const MAX_NAME: usize = 100;

/// Book-keeping of one round.
#[derive(Debug, Default)]
pub(super) struct Records {
    responses: BTreeMap<(Route, Step, u16, bool), u64>,
    pub(super) certificates: BTreeMap<Route, Certificate>,
    /// Requests of checks, answered or not.
    requests: BTreeMap<Check, u32>,
    /// Requests along each route, and how many of them the network lost.
    sent: BTreeMap<Route, Traffic>,
    /// What the backends said about their settings.
    pub(super) settings: NotedSettings,
}

/// An answer, or that there was none, and what was asked for.
pub(super) struct Record<'a> {
    pub(super) route: &'a Route,
    pub(super) step: Step,
    /// Whether whoever is the route's end was asked, and not a token server of its own.
    pub(super) own: bool,
    /// Whether a token was shown that was issued in this round.
    pub(super) fresh_token: bool,
    pub(super) exchange: &'a Exchange,
}

impl Records {
    /// Counts a request of a check.
    pub(super) fn count_request(&mut self, check: Check) {
        *self.requests.entry(check).or_default() += 1;
    }

    /// How many requests a check has sent.
    pub(super) fn requests_of(&self, check: Check) -> u32 {
        self.requests.get(&check).copied().unwrap_or_default()
    }

    /// Requests along a route, and how many of them the network lost.
    pub(super) fn sent(&self, route: &Route) -> Ratio {
        self.sent.get(route).map(|sent| sent.lost).unwrap_or_default()
    }

    /// Takes in an answer, and the certificate that came with it.
    pub(super) fn take(&mut self, of: &Record<'_>, redactor: &Redactor) {
        if of.own {
            self.note_certificate(of, redactor);
        }
        let Ok(reply) = &of.exchange.result else { return };
        // A token may come from another server than the route's.
        if let Some(backend) = of.route.backend().filter(|_| of.own && of.step != Step::Token)
            && let Some(secure) = registry::csrf_cookie_secure(&reply.headers)
        {
            self.settings.note(backend, Setting::CsrfCookieSecure, secure);
        }
        let key = (of.route.clone(), of.step, reply.status, of.fresh_token);
        *self.responses.entry(key).or_default() += 1;
    }

    fn note_certificate(&mut self, of: &Record<'_>, redactor: &Redactor) {
        let Some(peer) = &of.exchange.certificate else { return };
        if self.certificates.contains_key(of.route) {
            return;
        }
        let Some((valid, names)) = peer.validity() else { return };
        let name = |name: &String| redactor.text(name).chars().take(MAX_NAME).collect();
        let certificate = Certificate {
            route: of.route.clone(),
            fingerprint: peer.fingerprint(),
            not_before: valid.start,
            not_after: valid.end,
            names: names.iter().map(name).collect(),
            chain_length: peer.chain_length,
            invalid: peer.invalid.as_deref().map(|text| redactor.text(text)),
        };
        self.certificates.insert(of.route.clone(), certificate);
        if let (Some(backend), Some(version)) = (of.route.backend(), peer.tls_version) {
            self.settings.note(backend, Setting::TlsVersion, version.to_owned());
        }
    }

    /// Counts a request along a route, and whether the network lost it; its failure says no secret.
    pub(super) fn count_sent(&mut self, route: &Route, failure: Option<&Failure>) {
        let begin = || Traffic { route: route.clone(), lost: Ratio::default(), last: None };
        let sent = self.sent.entry(route.clone()).or_insert_with(begin);
        sent.lost.trials += 1;
        let lost = |it: &&Failure| it.reason.is_network() && !it.reason.is_own();
        if let Some(failure) = failure.filter(lost) {
            sent.lost.events += 1;
            sent.last = Some(failure.clone());
        }
    }

    /// Takes in what an answer along a route says of a backend's settings.
    pub(super) fn take_settings(&mut self, route: &Route, settings: Vec<(Setting, String)>) {
        let Some(backend) = route.backend() else { return };
        for (setting, value) in settings {
            self.settings.note(backend, setting, value);
        }
    }

    /// How often each status code came.
    pub(super) fn response_counts(&self) -> Vec<ResponseCount> {
        let count = |(key, count): (&(Route, Step, u16, bool), &u64)| ResponseCount {
            route: key.0.clone(),
            step: key.1,
            code: key.2,
            authenticated: key.3,
            count: *count,
        };
        self.responses.iter().map(count).collect()
    }

    /// The requests along every route.
    pub(super) fn traffic(&self) -> Vec<Traffic> {
        self.sent.values().cloned().collect()
    }
}
