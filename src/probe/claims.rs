//! What a token says of itself, against what was asked for. Harbor's claims decide, for Harbor checks
//! them. Those of other servers are a hint: where they speak against a token, its verifier is asked.

use super::answer::outcome;
use super::client::Client;
use super::endpoint::{Endpoint, Purpose};
use super::path::Path;
use super::request::{Auth, Request, Token};
use crate::config::{Credentials, Scope};
use crate::model::{Failure, Family, Reason, Step, TokenFacts};

/// A token that must not be used, kept for what it says.
pub(super) struct Unusable {
    pub(super) failure: Failure,
    pub(super) token: Option<Box<Token>>,
    /// Whether it is only the token's own words that speak against it, and its verifier can tell.
    pub(super) doubted: bool,
}

impl From<Failure> for Unusable {
    fn from(failure: Failure) -> Self {
        Self { failure, token: None, doubted: false }
    }
}

/// What speaks against a token.
pub(super) struct Problem {
    pub(super) failure: Failure,
    /// Whether its verifier can tell that it is none.
    pub(super) doubted: bool,
}

/// HTTP 200 proves nothing: a token is good when it is what was asked for. What a token says of
/// itself matters only where the verifier's rules are known: Harbor and distribution. Many servers
/// look like distribution and have rules of their own, so there the verifier has the last word.
pub(super) fn problem(
    client: &Client<'_>,
    endpoint: &Endpoint,
    family: Family,
    scope: Option<&Scope>,
    facts: &TokenFacts,
) -> Option<Problem> {
    let harbor = matches!(family, Family::Harbor1 | Family::Harbor2);
    // distribution verifies neither a shared secret nor a token without issuer, audience and
    // access: who issues such a token is something else that looks like it.
    let foreign = facts.alg.starts_with("HS")
        || (facts.issuer.is_none() && facts.audience.is_empty() && facts.access.is_empty());
    if family == Family::Unknown || facts.is_opaque() || (foreign && !harbor) {
        return None;
    }
    let credentials = client.registry.credentials.as_ref();
    // A token server next to distribution may name no account, and may map an account to another
    // subject; Harbor 2 does neither.
    let account = credentials.filter(|_| harbor).and_then(|it| other_account(it, family, facts));
    let about_it =
        account.or_else(|| other_audience(endpoint, facts)).or_else(|| no_lifetime(facts));
    let doubted = !harbor;
    if let Some(failure) = about_it {
        return Some(Problem { failure, doubted });
    }
    let scope = scope.filter(|_| credentials.is_some())?;
    let failure = missing_access(scope, facts)?;
    // Only what a request can show harmlessly is asked of the verifier. Where the entry is there and
    // lacks an action, the server has answered.
    let named = facts.access.iter().any(|entry| entry.name == scope.repository);
    let reads_only = scope.actions.iter().all(|action| action == "pull");
    Some(Problem { failure, doubted: doubted && (reads_only || !named) })
}

fn other_account(credentials: &Credentials, family: Family, facts: &TokenFacts) -> Option<Failure> {
    if facts.is_anonymous() {
        let told = "200 with an anonymous token although credentials were sent";
        return Some(Failure::of_answer(Reason::AnonymousToken, told));
    }
    let (subject, name) = (facts.subject.as_deref().unwrap_or_default(), &credentials.username);
    if family != Family::Harbor2 || subject.eq_ignore_ascii_case(name) {
        return None;
    }
    let told = format!("the token is for {subject:?}; expected {name:?}");
    Some(Failure::of_answer(Reason::WrongSubject, told))
}

fn other_audience(endpoint: &Endpoint, facts: &TokenFacts) -> Option<Failure> {
    let service = endpoint.service.as_ref()?;
    if facts.audience.contains(service) {
        return None;
    }
    let told = format!(
        "the token's aud is {:?}; expected the challenge's service {service:?}",
        facts.audience
    );
    Some(Failure::of_answer(Reason::WrongAudience, told))
}

fn no_lifetime(facts: &TokenFacts) -> Option<Failure> {
    let over = facts.lifetime().is_some_and(|lifetime| lifetime <= 0)
        || facts.not_before.zip(facts.expires_at).is_some_and(|(from, to)| from >= to);
    let said = |time: Option<i64>| time.map_or("missing".to_owned(), |time| time.to_string());
    over.then(|| {
        let (iat, nbf) = (said(facts.issued_at), said(facts.not_before));
        let told =
            format!("iat {iat}, nbf {nbf}, exp {} leave no lifetime", said(facts.expires_at));
        Failure::of_answer(Reason::BadTokenTimes, told)
    })
}

fn missing_access(scope: &Scope, facts: &TokenFacts) -> Option<Failure> {
    let lacks = |action: &&String| !facts.grants(&scope.repository, action);
    let missing: Vec<&str> = scope.actions.iter().filter(lacks).map(String::as_str).collect();
    if missing.is_empty() {
        return None;
    }
    let told = format!("the token does not grant {} on {}", missing.join(","), scope.repository);
    Some(Failure::of_answer(Reason::MissingAccess, told))
}

/// Lets the verifier decide where only the token's own words speak against it. Once it accepted such
/// a token, this round asks it no more: from then on a refusal is met where it happens.
pub(super) async fn settled(
    client: &Client<'_>,
    endpoint: &Endpoint,
    purpose: Purpose<'_>,
    got: Result<Token, Unusable>,
) -> Result<Token, Unusable> {
    let (failure, token) = match got {
        Err(Unusable { failure, token: Some(token), doubted: true }) => (failure, token),
        other => return other,
    };
    let reason = failure.reason;
    if client.is_lenient(&endpoint.route, reason) {
        return Ok(*token);
    }
    let scope = purpose.scope.filter(|_| reason == Reason::MissingAccess);
    let tags = scope.map(|scope| Path::of(&scope.repository).then("/tags/list"));
    let paths = [(Step::Access, Some(Path::from("/v2/"))), (Step::Repository, tags)];
    for (step, path) in paths {
        let Some(path) = path else { continue };
        let mut request = Request::get(step, path, Auth::Bearer(&token));
        if purpose.check.is_some() {
            (request.step, request.check) = (Step::Check, purpose.check);
        }
        let mut link = client.link(&endpoint.route);
        let response = client.send(link.as_mut(), &endpoint.route, request).await;
        match outcome(&response).map(|answer| answer.status) {
            Ok(401 | 403) => return Err(Unusable { failure, token: Some(token), doubted: true }),
            Ok(_) => {}
            // What comes next meets the same.
            Err(_) => return Ok(*token),
        }
    }
    client.note_lenient(&endpoint.route, reason);
    Ok(*token)
}
