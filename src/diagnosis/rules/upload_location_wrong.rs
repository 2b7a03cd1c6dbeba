//! Uploads that are sent on to another scheme, host or port than the public ones (C2).

use super::super::facts::Facts;
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use crate::model::{
    BackendName, Begun, Check, FindingName, OfRoute, Outcome, RedirectTarget, Route, UrlSaid,
};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let Some(uploads) = facts.round.checks.upload.measured() else { return Vec::new() };
    let public = facts.round.url.trim_end_matches('/');
    let leads_elsewhere =
        |begun: &OfRoute<Begun>| at(begun).is_some_and(|at| !at.is_empty() && at != public);
    let ids = facts.met_on(Check::Upload, &uploads.begun, leads_elsewhere);
    // Where the balancer puts right what every node says, nothing is wrong.
    if ids.is_empty() {
        return Vec::new();
    }
    let told = uploads.begun.iter().filter(|begun| at(begun).is_some());
    let (wrong, right): (Vec<_>, Vec<_>) = told.partition(|begun| leads_elsewhere(begun));
    let through = wrong.iter().any(|begun| begun.route == Route::Balancer);
    let mut names: Vec<BackendName> =
        wrong.iter().filter_map(|begun| begun.route.backend().cloned()).collect();
    if !right.iter().any(|begun| begun.route.backend().is_some()) {
        names.clear();
    }
    let line = |begun: &&OfRoute<Begun>| {
        let to = at(begun).filter(|at| !at.is_empty()).unwrap_or("the same place");
        format!("{}: uploads continue at {to}", begun.route)
    };
    let hits = if names.is_empty() && !through { Hits::Later } else { Hits::Some("Pushes") };
    let found = Hypothesis::new(FindingName::UploadLocationWrong, names.clone(), summary(&names))
        .hits(hits)
        .evidence(wrong.iter().map(line))
        .evidence(right.iter().take(2).map(line))
        .evidence([format!("public URL: {public}")])
        .evidence(without_slash(facts))
        .explains(ids);
    vec![found]
}

fn summary(names: &[BackendName]) -> String {
    let to = "uploads to a different scheme, host or port than the public URL has";
    if names.is_empty() {
        return format!("The registry sends {to}.");
    }
    format!("{} {} {to}.", list(names), verb(names.len(), "sends", "send"))
}

/// Where an upload goes on: none if none was begun, and nothing where only a path is named.
fn at(begun: &OfRoute<Begun>) -> Option<&str> {
    match &begun.value {
        Outcome::Measured(Begun::At(at)) => Some(at.as_deref().unwrap_or_default()),
        _ => None,
    }
}

/// What belongs to a wrong `Location` and does not prove it: nginx writes the scheme of its own
/// port where `/v2` lacks its slash, which is http wherever TLS ends before it.
fn without_slash(facts: &Facts<'_>) -> Vec<String> {
    let url = &facts.round.url;
    let astray = |at: &OfRoute<UrlSaid>| {
        let Outcome::Measured(RedirectTarget { to, public: false }) = &at.value.measured()?.slash
        else {
            return None;
        };
        Some(format!("{}: /v2 without its slash leads to {to}; expected {url}", at.route))
    };
    let said = facts.round.checks.public_url.measured();
    said.into_iter().flatten().filter_map(astray).collect()
}
