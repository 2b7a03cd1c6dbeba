//! Flows through the load balancer as each kind of client makes them.
//!
//! docker opens a connection for each request and gives up at the first 401. The other kinds keep
//! one connection; the same flow tells of both: podman gives up where containerd asks again.

use std::sync::{Mutex, PoisonError};

use http::HeaderValue;
use http::header::{ACCEPT, LOCATION};

use super::answer::{outcome, unexpected};
use super::claims::Unusable;
use super::client::{Client, Connection};
use super::endpoint::{self, Endpoint, Purpose};
use super::flow;
use super::memory::RouteMemory;
use super::path::Path;
use super::request::{Auth, Request, Response, Token};
use super::sample::{End, Felt, Pulled, Sample};
use super::token;
use crate::config::TokenMethod;
use crate::model::{
    Answer, AuthScheme, ClientKind, Failure, Family, Phase, Reason, Route, SampledFlow, Step,
};
use crate::registry;

/// The types of manifests that clients take.
const MANIFESTS: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";

/// How often a round looks for a tag.
const LOOKS: u32 = 3;

/// Answers to one request after which containerd gives up.
const ANSWERS: u32 = 5;

/// How often a token is asked for by POST once more, where POST was refused and GET was not.
const POSTS_AGAIN: u32 = 2;

/// What the client flows of a round know together.
#[derive(Debug, Default)]
pub(super) struct SharedTag(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    tag: Option<String>,
    looks: u32,
}

impl SharedTag {
    fn with<T>(&self, look: impl FnOnce(&mut Found) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    /// Whether it keeps its connection.
    pub(super) keeps: bool,
    /// Whether it pulls the canary after the login.
    pub(super) pulls: bool,
}

/// What a client shows with its requests.
enum Shows {
    Token(Box<Token>),
    Password,
}

/// What came of a request.
struct Shown {
    /// The answer that refused the token at the first try.
    refusal: Option<Box<Answer>>,
    /// Whether it got through at last.
    passed: bool,
    /// The configuration that a manifest names.
    config: Option<String>,
}

/// A client that has its token.
struct Login<'a> {
    client: &'a Client<'a>,
    family: Family,
    known: &'a SharedTag,
    manner: Manner,
    line: Connection,
    endpoint: Endpoint,
    held: Shows,
    /// Whether the last answer said that its connection ends; none before the first.
    closes: Option<bool>,
    torn: bool,
    post_refused: bool,
    sample: Sample,
}

/// Makes one flow.
pub(super) async fn client_flow(
    client: &Client<'_>,
    family: Family,
    known: &SharedTag,
    manner: Manner,
) -> Sample {
    let kinds: &[ClientKind] = if manner.keeps {
        &[ClientKind::Podman, ClientKind::Containerd]
    } else {
        &[ClientKind::Docker]
    };
    let mut login = match begin(client, family, known, manner).await {
        Ok(login) => login,
        Err(mut sample) => {
            let lost = sample.failures.last().map(|failed| failed.step);
            let felt = |kind: &ClientKind| Felt { lost, ..Felt::of(*kind) };
            // A client that logs in asks for no repository: it would not have met this.
            if !sample.lacks_access() {
                sample.felt = kinds.iter().map(felt).collect();
            }
            return *sample;
        }
    };
    let shown = login.show(Step::Access, "/v2/".into(), true).await;
    let mut refusal = shown.refusal.clone();
    let lost = (!shown.passed && refusal.is_none()).then_some(Step::Access);
    let mut felt: Vec<Felt> = kinds.iter().map(|kind| Felt { lost, ..Felt::of(*kind) }).collect();
    for felt in &mut felt {
        let without_token = login.post_refused && asks_again(felt.client);
        felt.lost = felt.lost.or(without_token.then_some(Step::Token));
        let accepted = shown.passed && (asks_again(felt.client) || refusal.is_none());
        felt.logged_in = accepted && !without_token;
    }
    if manner.pulls && shown.passed && !client.is_over() {
        login.pull(&mut felt, &mut refusal).await;
    }
    let torn = login.torn;
    let key = match (&login.held, manner.keeps) {
        (Shows::Token(token), false) => token.facts.kid.clone(),
        _ => None,
    };
    let mut sample = login.sample;
    sample.felt = felt;
    if refusal.is_none() && sample.has_failed() {
        return sample;
    }
    if manner.keeps && torn {
        return sample.ended(End::Torn { refused: refusal.is_some() });
    }
    let (certificate, realms) = (None, crate::model::Ratio::default());
    sample.ended(End::Answered { refusal, key, certificate, realms })
}

fn asks_again(client: ClientKind) -> bool {
    client == ClientKind::Containerd
}

/// Challenge and token. A client goes where this very challenge sends it.
async fn begin<'a>(
    client: &'a Client<'a>,
    family: Family,
    known: &'a SharedTag,
    manner: Manner,
) -> Result<Login<'a>, Box<Sample>> {
    let route = &Route::Balancer;
    let mut sample = Sample::new(SampledFlow::Client);
    let mut line = client.link(route);
    sample.step(Step::Challenge);
    let (first, challenge) = flow::challenge(client, line.as_mut(), route).await;
    let endpoint = match challenge.and_then(|c| endpoint::endpoint(client, route, &c)) {
        Ok(endpoint) => endpoint,
        Err(failure) => {
            sample.fail(Step::Challenge, failure, first.answer);
            return Err(Box::new(sample));
        }
    };
    let mut other;
    let kept = manner.keeps && matches!(endpoint.issuer, crate::model::Issuer::Route(_));
    let to_issuer = if kept {
        line.as_mut()
    } else {
        other = endpoint.link(client);
        other.as_mut()
    };
    let fetched =
        flow::boxed(fetch(client, to_issuer, (&endpoint, family), manner, &mut sample)).await;
    let Fetched { response: second, got, post_refused } = fetched;
    let token = match got {
        Ok(token) => token,
        Err(unusable) => {
            sample.fail(Step::Token, unusable.failure, second.answer);
            return Err(Box::new(sample));
        }
    };
    let (mut closes, mut torn) = (Some(is_closing(&first)), false);
    if kept {
        torn = is_torn(closes, &second);
        closes = Some(is_closing(&second));
    }
    let held = Shows::Token(Box::new(token));
    Ok(Login {
        client,
        family,
        known,
        manner,
        line,
        endpoint,
        held,
        closes,
        torn,
        post_refused,
        sample,
    })
}

/// What came of asking for a token.
struct Fetched {
    response: Response,
    got: Result<Token, Unusable>,
    /// Whether containerd ended here, while who asks by GET went on.
    post_refused: bool,
}

/// Asks for a token: docker by GET; the others by POST first, which containerd does when it has a
/// password. An endpoint that does not know POST is not asked so again for minutes. Where POST is
/// refused otherwise, containerd ends, and podman goes on by GET.
async fn fetch(
    client: &Client<'_>,
    line: &mut Connection,
    (endpoint, family): (&Endpoint, Family),
    manner: Manner,
    sample: &mut Sample,
) -> Fetched {
    let configured = client.registry.token_method;
    let memory = client.at_balancer();
    let by_get = memory.is_some_and(RouteMemory::asks_by_get);
    let posts = manner.keeps && client.registry.credentials.is_some() && !by_get;
    let method = if posts { TokenMethod::Post } else { TokenMethod::Get };
    sample.step(Step::Token);
    let scope = client.registry.scope.as_ref();
    let purpose = Purpose { scope, check: None, account: !manner.keeps };
    let got = token::token_by(client, line, (endpoint, family), method, purpose).await;
    let fetched = |(response, got), post_refused| Fetched { response, got, post_refused };
    let status = got.0.answer.as_ref().map(|answer| answer.status);
    let falls_back = status.is_some_and(token::is_unknown_method);
    let of_the_method = status.is_some_and(is_of_the_method);
    let by_get_too = status.is_some_and(|status| status != 429);
    if got.1.is_ok() || !by_get_too {
        return fetched(got, false);
    }
    if method == TokenMethod::Get {
        // Who configures POST knows an endpoint that has no GET.
        if configured == TokenMethod::Get {
            return fetched(got, false);
        }
        let second = token::token_by(client, line, (endpoint, family), configured, purpose).await;
        return fetched(second, false);
    }
    let second = token::token_by(client, line, (endpoint, family), TokenMethod::Get, purpose).await;
    // Where both fail, one token was asked for, and one failure is said.
    if second.1.is_ok() {
        sample.step(Step::Token);
    }
    if falls_back {
        if let Some(memory) = memory.filter(|_| second.1.is_ok()) {
            memory.note_by_get();
        }
        return fetched(second, false);
    }
    let Err(refused) = &got.1 else { return fetched(got, false) };
    if second.1.is_err() {
        return fetched(got, false);
    }
    let mut failure = refused.failure.clone();
    if of_the_method && refuses_again(client, line, (endpoint, family), purpose, sample).await {
        failure.reason = Reason::PostRefused;
    }
    sample.fail(Step::Token, failure, got.0.answer);
    fetched(second, true)
}

/// Whether POST is refused whenever it is asked: one refusal may be a share of all answers, by
/// whatever method.
async fn refuses_again(
    client: &Client<'_>,
    line: &mut Connection,
    of: (&Endpoint, Family),
    purpose: Purpose<'_>,
    sample: &mut Sample,
) -> bool {
    for _ in 0..POSTS_AGAIN {
        sample.step(Step::Token);
        let (response, got) = token::token_by(client, line, of, TokenMethod::Post, purpose).await;
        let refused = response.answer.is_some_and(|answer| is_of_the_method(answer.status));
        if got.is_ok() || !refused {
            return false;
        }
    }
    true
}

/// Whether an answer without a token may be about the method, and not about load.
fn is_of_the_method(status: u16) -> bool {
    !matches!(status, 429 | 500..)
}

impl Login<'_> {
    /// Manifest by tag and configuration, with what the login left.
    async fn pull(&mut self, felt: &mut [Felt], refusal: &mut Option<Box<Answer>>) {
        let Some(scope) = &self.client.registry.scope else { return };
        if !scope.actions.iter().any(|action| action == "pull") {
            return;
        }
        let repository = scope.repository.clone();
        let Some(tag) = self.tag(&repository, refusal).await else { return };
        let path = Path::of(&repository).then("/manifests/").reference(&tag);
        let manifest = self.show(Step::Repository, path, false).await;
        let (mut passed, mut refused) = (manifest.passed, manifest.refusal);
        if let Some(config) = manifest.config.filter(|_| passed) {
            let path = Path::of(&repository).then("/blobs/").reference(&config);
            let blob = self.show(Step::Repository, path, false).await;
            passed = blob.passed;
            refused = refused.or(blob.refusal);
        }
        // Who gave up at the login pulls nothing.
        for felt in felt.iter_mut().filter(|felt| felt.logged_in) {
            let refused = refused.is_some() && !(passed && asks_again(felt.client));
            felt.pulled = Some(match (refused, passed) {
                (true, _) => Pulled::Refused,
                (false, true) => Pulled::Passed,
                (false, false) => Pulled::Lost,
            });
        }
        *refusal = refusal.take().or(refused);
    }

    /// A tag of the repository, looked for once in a round, over a connection of its own.
    async fn tag(&mut self, repository: &str, refusal: &mut Option<Box<Answer>>) -> Option<String> {
        let (known, looks) = self.known.with(|it| {
            it.looks += 1;
            (it.tag.clone(), it.looks)
        });
        if known.is_some() || looks > LOOKS {
            return known;
        }
        let Shows::Token(token) = &self.held else { return None };
        let route = &Route::Balancer;
        let path = Path::of(repository).then("/tags/list");
        let mut line = self.client.link(route);
        let asked = flow::access(self.client, line.as_mut(), route, Step::Repository, path, token);
        let (asked, failure) = flow::boxed(asked).await;
        self.sample.step(Step::Repository);
        if let Some(failure) = failure {
            if failure.reason == Reason::Unauthorized {
                *refusal = refusal.take().or(Some(Box::new(asked.answer.unwrap_or_default())));
            } else {
                self.sample.fail(Step::Repository, failure, asked.answer);
            }
            return None;
        }
        let reply = asked.reply()?;
        let tags = registry::tags_of(&reply.body)?;
        // What a push of the prober is just writing is no image that clients could miss.
        let tag = registry::canary_tag(&tags).filter(|tag| *tag != registry::OWN_TAG);
        let tag = tag.cloned();
        self.known.with(|it| it.tag.clone_from(&tag));
        tag
    }

    /// A request as this client makes it. Whoever keeps its connection asks again, as containerd
    /// does, where a token is refused.
    async fn show(&mut self, step: Step, path: Path, first: bool) -> Shown {
        let (asked, failure) = self.ask(step, path.clone()).await;
        let Some(failure) = failure else {
            let config = asked.reply().and_then(|reply| registry::config_of(&reply.body));
            return Shown { refusal: None, passed: true, config };
        };
        if failure.reason != Reason::Unauthorized {
            self.sample.fail(step, failure, asked.answer);
            return Shown { refusal: None, passed: false, config: None };
        }
        let answer = asked.answer.unwrap_or_default();
        let again =
            if self.manner.keeps { self.again(step, path, first, &answer).await } else { None };
        let config = again
            .as_ref()
            .and_then(|asked| asked.reply().and_then(|reply| registry::config_of(&reply.body)));
        Shown { refusal: Some(Box::new(answer)), passed: again.is_some(), config }
    }

    /// What containerd does after a refusal: it follows the challenge that came with it. Returns
    /// the answer that let it through.
    async fn again(
        &mut self,
        step: Step,
        path: Path,
        first: bool,
        refused: &Answer,
    ) -> Option<Response> {
        let challenge = refused.challenge.as_ref()?;
        match (challenge.scheme, &challenge.error) {
            (AuthScheme::Basic, _) if self.client.registry.credentials.is_some() => {
                self.held = Shows::Password;
                self.once_more(step, path).await.ok().flatten()
            }
            // The request for which the token was fetched has had its second answer.
            (AuthScheme::Bearer, Some(_)) if first => None,
            (AuthScheme::Bearer, Some(_)) => {
                let at = (&self.endpoint, self.family);
                let mut link = self.endpoint.link(self.client);
                let got = fetch(self.client, link.as_mut(), at, self.manner, &mut self.sample);
                self.held = Shows::Token(Box::new(flow::boxed(got).await.got.ok()?));
                self.once_more(step, path).await.ok().flatten()
            }
            (AuthScheme::Bearer, None) => {
                for _ in if first { 2 } else { 1 }..ANSWERS {
                    match self.once_more(step, path.clone()).await {
                        Ok(None) => {}
                        Ok(passed) => return passed,
                        Err(()) => return None,
                    }
                }
                None
            }
            _ => None,
        }
    }

    /// One more try: the answer if it got through, none if it was refused again.
    async fn once_more(&mut self, step: Step, path: Path) -> Result<Option<Response>, ()> {
        match self.ask(step, path).await {
            (asked, None) => Ok(Some(asked)),
            (_, Some(failure)) if failure.reason == Reason::Unauthorized => Ok(None),
            (asked, Some(failure)) => {
                if is_loss(&failure) {
                    self.sample.fail(step, failure, asked.answer);
                }
                Err(())
            }
        }
    }

    async fn ask(&mut self, step: Step, path: Path) -> (Response, Option<Failure>) {
        let route = &Route::Balancer;
        if !self.manner.keeps {
            self.line = self.client.link(route);
        }
        self.sample.step(step);
        let is_blob = path.is_of_a_blob();
        let auth = match (&self.held, &self.client.registry.credentials) {
            (Shows::Token(token), _) => Auth::Bearer(token),
            (Shows::Password, Some(credentials)) => Auth::Basic(credentials),
            (Shows::Password, None) => Auth::None,
        };
        let mut request = Request::get(step, path, auth);
        if step == Step::Repository {
            request = request.with(ACCEPT, HeaderValue::from_static(MANIFESTS));
        }
        let asked = flow::boxed(self.client.send(self.line.as_mut(), route, request)).await;
        self.torn |= is_torn(self.closes, &asked);
        self.closes = Some(is_closing(&asked));
        let failure = match outcome(&asked) {
            Err(failure) => Some(failure),
            Ok(answer) if answer.lets_in(step) => None,
            // A blob may lie elsewhere, if the answer says where.
            Ok(answer) if is_blob && (300..400).contains(&answer.status) && says_where(&asked) => {
                None
            }
            Ok(answer) => Some(unexpected(answer, "200")),
        };
        (asked, failure)
    }
}

fn is_loss(failure: &Failure) -> bool {
    failure.reason.is_network() || failure.reason.is_server_error() || failure.reason.is_own()
}

fn says_where(asked: &Response) -> bool {
    asked.reply().is_some_and(|reply| reply.headers.contains_key(LOCATION))
}

/// Whether a request went over a connection of its own, which the answer before had not announced:
/// the pool had not yet taken the first one back.
fn is_torn(before_closes: Option<bool>, asked: &Response) -> bool {
    before_closes == Some(false) && asked.timeline().phase(Phase::Connect).is_some()
}

/// Whether an answer says that its connection ends.
fn is_closing(asked: &Response) -> bool {
    let header = asked.reply().and_then(|reply| reply.headers.get(http::header::CONNECTION));
    let said = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"))
}
