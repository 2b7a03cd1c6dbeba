//! Whole rounds in which one backend misbehaves: they end in time, its flow ends in one named
//! step and reason, and the healthy backend next to it stays healthy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt as _, stream};
use registry_prober::clock::Clock;
use registry_prober::config::{
    Backend, BackendSource, Credentials, HostPort, PublicUrl, Registry, Scheme,
};
use registry_prober::diagnosis;
use registry_prober::model::{BackendName, Reason, RegistryName, Round, Route, Step};
use registry_prober::probe::Prober;
use secrecy::SecretString;
use tokio::time::{Instant, timeout};

use super::server::{Act, Server, answer, send};
use super::{GUARD, LONG, client};

pub(super) const PASSWORD: &str = "correct horse battery staple";

/// The public URL of every registry here, behind which no server is.
pub(super) const PUBLIC: &str = "http://hub.invalid";

/// The time of a round, much more than one needs that ends by itself.
const ROUND: Duration = Duration::from_secs(12);

/// What a request asks for, by its first line and its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    Challenge,
    Token,
    Access,
    /// What only the clock is asked for.
    Time,
}

pub(super) fn asks(request: &str) -> Asks {
    let bearer = request.to_ascii_lowercase().contains("\r\nauthorization: bearer ");
    match request.split(' ').nth(1).unwrap_or_default() {
        path if path.starts_with("/token") => Asks::Token,
        "/v1/" => Asks::Time,
        _ if bearer => Asks::Access,
        _ => Asks::Challenge,
    }
}

pub(super) fn challenge(realm: &str) -> Act {
    let headers = format!(
        "Docker-Distribution-Api-Version: registry/2.0\r\n\
         WWW-Authenticate: Bearer realm=\"{realm}\",service=\"hub\"\r\n"
    );
    answer("401 Unauthorized", &headers, "{}")
}

/// A token as a good server would give it, but for its signature.
pub(super) fn jwt() -> String {
    let now = Clock::read().now().timestamp();
    let claims = format!(
        r#"{{"iss":"i","sub":"prober","aud":"hub","iat":{now},"nbf":{now},"exp":{}}}"#,
        now + 300
    );
    parts(r#"{"alg":"ES256","kid":"K"}"#, &claims)
}

fn parts(header: &str, claims: &str) -> String {
    format!("{}.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

pub(super) fn issued() -> Act {
    answer("200 OK", "", &format!(r#"{{"token":"{}"}}"#, jwt()))
}

/// What a registry says that is well.
pub(super) fn well(asked: Asks) -> Vec<Act> {
    vec![match asked {
        Asks::Challenge => challenge(&format!("{PUBLIC}/token")),
        Asks::Token => issued(),
        Asks::Access => answer("200 OK", "", "{}"),
        Asks::Time => answer("404 Not Found", "", ""),
    }]
}

pub(super) async fn healthy() -> Server {
    Server::start(None, |request| request.map(|it| well(asks(it))).unwrap_or_default()).await
}

/// A registry that is well but for one kind of request.
pub(super) async fn ill(at: Asks, acts: Vec<Act>) -> Server {
    Server::start(None, move |request| match request.map(asks) {
        None => Vec::new(),
        Some(asked) if asked == at => acts.clone(),
        Some(asked) => well(asked),
    })
    .await
}

/// A registry at `url` with these backends, the last of which the balancer leads to.
pub(super) fn registry(url: &str, scheme: Scheme, backends: &[&Server]) -> Registry {
    let at = |server: &Server| HostPort::parse(&server.address.to_string(), 1).unwrap();
    let list = backends.iter().zip('a'..).map(|(server, name)| Backend {
        name: BackendName::parse(&name.to_string()).unwrap(),
        scheme,
        address: at(server),
        ready: true,
    });
    let name = RegistryName::parse("hub").unwrap();
    let url = PublicUrl::parse(url).unwrap();
    let mut registry = Registry::new(name, url, BackendSource::Static(list.collect()));
    registry.balancer.address = backends.last().map(|server| at(server));
    registry.balancer.samples = 2;
    registry.timeout = Duration::from_secs(2);
    registry.credentials =
        Some(Credentials { username: "prober".to_owned(), password: SecretString::from(PASSWORD) });
    registry
}

/// One round, which must end by its deadline and be judged without a panic.
pub(super) async fn round(registry: Registry, roots: Option<&str>) -> Round {
    let BackendSource::Static(backends) = registry.backends.clone() else { panic!("listed") };
    let mut prober = Prober::new(Arc::new(registry), Arc::new(client(roots, false)));
    let deadline = Instant::now() + ROUND;
    let round = prober.round(&backends, Clock::read(), deadline, &|_| {});
    let round = timeout(GUARD, round).await.expect("a round that does not hang");
    let assessment = diagnosis::assess(&round);
    assert!(serde_json::to_string(&(&round, &assessment)).is_ok());
    round
}

/// How the flow of a backend ended.
pub(super) fn end(round: &Round, backend: &str) -> Option<(Step, Reason)> {
    let route = Route::Backend(BackendName::parse(backend).unwrap());
    let flow = round.flows.iter().find(|flow| flow.route == route).unwrap();
    flow.failure().map(|(step, failure)| (step, failure.reason))
}

fn token(text: &str) -> Vec<Act> {
    vec![answer("200 OK", "", &format!(r#"{{"token":"{text}"}}"#))]
}

/// A name, what a backend does to which request, and how its flow is to end.
type Case = (&'static str, Asks, Vec<Act>, Option<(Step, Reason)>);

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let bomb = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let now = Clock::read().now().timestamp();
    let claims = |more: &str| {
        format!(r#"{{"sub":"prober","aud":"hub","iat":{now},"exp":{}{more}}}"#, now + 300)
    };
    let head = r#"{"alg":"none"}"#;
    let bad = Some((Step::Token, Reason::BadTokenResponse));
    let challenged = |reason| Some((Step::Challenge, reason));
    let www = |value: &str| {
        vec![answer("401 Unauthorized", &format!("WWW-Authenticate: {value}\r\n"), "")]
    };
    vec![
        ("all well", Asks::Token, well(Asks::Token), None),
        // The challenge.
        ("silence", Asks::Challenge, vec![Act::Hang], challenged(Reason::Timeout)),
        (
            "a dripping answer",
            Asks::Challenge,
            vec![Act::Drip(b"HTTP/1.1 401 U".to_vec())],
            challenged(Reason::Timeout),
        ),
        (
            "an endless body",
            Asks::Challenge,
            vec![send("HTTP/1.1 401 Unauthorized\r\n\r\n"), Act::Flood(vec![b'x'; 9_000])],
            challenged(Reason::TooLarge),
        ),
        ("resets", Asks::Challenge, vec![Act::Reset], challenged(Reason::ConnectionReset)),
        (
            "no HTTP",
            Asks::Challenge,
            vec![send("SSH-2.0-x\r\n"), Act::Hang],
            challenged(Reason::NotHttp),
        ),
        (
            "a challenge that is noise",
            Asks::Challenge,
            vec![send(
                b"HTTP/1.1 401 X\r\nWWW-Authenticate: \xff\xfe=\xff\r\nContent-Length: 0\r\n\r\n",
            )],
            challenged(Reason::BadChallenge),
        ),
        ("an empty challenge", Asks::Challenge, www(""), challenged(Reason::BadChallenge)),
        (
            "a realm that is no URL",
            Asks::Challenge,
            www("Bearer realm=\"///\",service=\"hub\""),
            Some((Step::Token, Reason::RealmUnusable)),
        ),
        (
            "a deep error body",
            Asks::Challenge,
            vec![answer("500 Oops", "", &format!(r#"{{"errors":{}}}"#, bomb(200_000)))],
            challenged(Reason::ServerError),
        ),
        // The token.
        (
            "a token of 65 KiB",
            Asks::Token,
            token(&"x".repeat(65 * 1024)),
            Some((Step::Token, Reason::TooLarge)),
        ),
        (
            "a JWT of 65 KiB",
            Asks::Token,
            token(&parts(head, &claims(&format!(r#","x":"{}""#, "x".repeat(49 * 1024))))),
            Some((Step::Token, Reason::TooLarge)),
        ),
        (
            "a JWT of 60 KiB",
            Asks::Token,
            token(&parts(head, &claims(&format!(r#","x":"{}""#, "x".repeat(44 * 1024))))),
            None,
        ),
        ("a token with a line break", Asks::Token, token("e30.e30.x\\r\\nX-Evil: 1"), bad),
        ("a token with a zero", Asks::Token, token("e30.e30.\\u0000"), bad),
        ("a token outside ASCII", Asks::Token, token("e30.e30.ä"), bad),
        // What is no JWT is opaque: its verifier decides.
        ("a token of four parts", Asks::Token, token("e30.e30.e30.e30"), None),
        ("a deep answer", Asks::Token, vec![answer("200 OK", "", &bomb(200_000))], bad),
        (
            "a deep member that nobody reads",
            Asks::Token,
            vec![answer(
                "200 OK",
                "",
                &format!(r#"{{"x":{},"token":"{}"}}"#, bomb(100_000), jwt()),
            )],
            None,
        ),
        (
            "a deep claim",
            Asks::Token,
            token(&parts(head, &claims(&format!(r#","access":{}"#, bomb(20_000))))),
            None,
        ),
        (
            "times beyond all bounds",
            Asks::Token,
            token(&parts(
                head,
                r#"{"sub":"prober","aud":"hub","iat":-9e18,"exp":9223372036854775807}"#,
            )),
            None,
        ),
        ("text where the token is due", Asks::Token, vec![answer("200 OK", "", "token")], bad),
        (
            "HTML where the token is due",
            Asks::Token,
            vec![answer("200 OK", "Content-Type: text/html\r\n", "<html>sign in</html>")],
            Some((Step::Token, Reason::Html)),
        ),
        (
            "bytes where the token is due",
            Asks::Token,
            vec![send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xff\xfe\0\xff")],
            bad,
        ),
        (
            "a token that is cut",
            Asks::Token,
            vec![
                send("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"token\":\"e30"),
                Act::Close,
            ],
            Some((Step::Token, Reason::Truncated)),
        ),
        (
            "a compressed token",
            Asks::Token,
            vec![answer("200 OK", "Content-Encoding: gzip\r\n", "\x1f")],
            Some((Step::Token, Reason::UnexpectedEncoding)),
        ),
        // The access.
        (
            "silence to a token",
            Asks::Access,
            vec![Act::Hang],
            Some((Step::Access, Reason::Timeout)),
        ),
        (
            "an end to a token",
            Asks::Access,
            vec![Act::Close],
            Some((Step::Access, Reason::ConnectionReset)),
        ),
        (
            "a deep refusal",
            Asks::Access,
            vec![answer("401 No", "", &bomb(200_000))],
            Some((Step::Access, Reason::Unauthorized)),
        ),
        (
            "a redirect to a token",
            Asks::Access,
            vec![answer("302 Found", "Location: /elsewhere\r\n", "")],
            Some((Step::Access, Reason::Redirected)),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_misbehaves_ends_in_one_step_and_reason_and_harms_no_other() {
    let played = stream::iter(cases()).map(async |(name, at, acts, expected)| {
        let (well, ill) = (healthy().await, ill(at, acts).await);
        // The balancer leads to the healthy one.
        let mut registry = registry(PUBLIC, Scheme::Http, &[&ill, &well]);
        if expected.is_none_or(|(_, reason)| reason != Reason::Timeout) {
            registry.timeout = LONG;
        }
        let round = round(registry, None).await;
        let found = (end(&round, "a"), end(&round, "b"));
        (found != (expected, None)).then(|| format!("{name}: {found:?}, expected {expected:?}"))
    });
    let wrong: Vec<Option<String>> = played.buffer_unordered(4).collect().await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_of_nothing_but_silence_ends_by_its_deadline() {
    let silent = || Server::saying(vec![Act::Hang]);
    let (a, b, c) = (silent().await, silent().await, silent().await);
    let mut registry = registry(PUBLIC, Scheme::Http, &[&a, &b, &c]);
    // A request alone may take longer than the round.
    registry.timeout = Duration::from_secs(3_600);
    let round = round(registry, None).await;
    for backend in ["a", "b", "c"] {
        assert_eq!(end(&round, backend), Some((Step::Challenge, Reason::DeadlineReached)));
    }
}

/// A registry whose challenges come to this after others come to nothing.
async fn later(lost: Act, times: usize) -> Server {
    let left = AtomicUsize::new(times);
    Server::start(None, move |request| match request.map(asks) {
        None => Vec::new(),
        Some(Asks::Challenge)
            if left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() =>
        {
            vec![lost.clone()]
        }
        Some(asked) => well(asked),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_is_asked_three_times_and_what_is_silent_twice() {
    for (lost, times, expected) in [
        (Act::Reset, 2, None),
        (Act::Reset, 3, Some((Step::Challenge, Reason::ConnectionReset))),
        (Act::Hang, 1, None),
        (Act::Hang, 2, Some((Step::Challenge, Reason::Timeout))),
    ] {
        let (well, ill) = (healthy().await, later(lost.clone(), times).await);
        let round = round(registry(PUBLIC, Scheme::Http, &[&ill, &well]), None).await;
        assert_eq!(end(&round, "a"), expected, "{lost:?}, {times} times");
    }
}
