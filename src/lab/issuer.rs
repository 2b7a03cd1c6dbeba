//! A token issuer by itself, for registries that the lab did not make: real ones, in tests and
//! drills.
//!
//! Plain HTTP on loopback, by GET or OAuth2 POST, in the manner of `docker_auth`; put a front with
//! TLS before it. It grants whatever its one account asks for. It counts what it is asked, so that
//! a test can show that no credentials came.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::answer::{finish, set, with_body};
use super::call::form_values;
use super::credentials::Login;
use super::error::LabError;
use super::jwt::{self, Access, Claims, HeaderOrder};
use super::keys::SigningKey;
use super::options::wall_clock;

/// Seconds by which `nbf` lies before `iat`, as `docker_auth` has it.
const EARLIER: i64 = 10;
/// What of a request's body is read.
const BODY_LIMIT: usize = 64 << 10;

/// How a token's header names its key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KidForm {
    /// libtrust's, which distribution up to 2.8 looks keys up by.
    #[default]
    Libtrust,
    /// The RFC 7638 thumbprint, which distribution from 3.0 looks keys up by.
    Thumbprint,
    /// libtrust's in addition to the certificate itself (`x5c`), which both look at first
    /// (captures/distribution-2.8.2/32-x5c.http, captures/distribution-3.1.1/32-x5c.http).
    WithCertificate,
}

/// How an issuer writes its tokens.
#[derive(Debug, Clone)]
pub struct IssuerSettings {
    /// What signs.
    pub key: Arc<SigningKey>,
    /// How the key is named.
    pub kid_form: KidForm,
    /// The `iss` claim.
    pub issuer: String,
    /// The `aud` claim; the `service` that was asked for, if none.
    pub audience: Option<String>,
    /// `exp` minus `iat`, in seconds.
    pub lifetime: i64,
    /// How far its clock is ahead, in seconds.
    pub clock_offset: i64,
    /// The one account it knows.
    pub login: Login,
}

/// A running issuer. Dropping it ends it.
#[derive(Debug)]
pub struct Issuer {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Aborts what it holds when dropped.
    #[expect(dead_code, reason = "held for its drop")]
    task: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    settings: IssuerSettings,
    requests: AtomicU64,
    with_credentials: AtomicU64,
}

/// User and password as a client sent them.
type Given = Option<(String, String)>;

impl Issuer {
    /// Listens at a free port of loopback, at every path. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`LabError::Io`] if there is no port.
    pub async fn start(settings: IssuerSettings) -> Result<Self, LabError> {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let (address, listener) = bound
            .and_then(|listener| Ok((listener.local_addr()?, listener)))
            .map_err(|source| LabError::io("the token issuer's port", source))?;
        let shared = Arc::new(Shared {
            settings,
            requests: AtomicU64::default(),
            with_credentials: AtomicU64::default(),
        });
        let mut task = JoinSet::new();
        task.spawn(serve(Arc::clone(&shared), listener));
        Ok(Self { address, shared, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have come.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// How many of them carried a user name and a password, right or wrong.
    pub fn requests_with_credentials(&self) -> u64 {
        self.shared.with_credentials.load(Ordering::Relaxed)
    }
}

async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(Arc::clone(&shared), stream));
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request).await.map(Full::new)) }
    });
    let mut server = http1::Builder::new();
    server.auto_date_header(false);
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Bytes> {
    let now =
        wall_clock().saturating_add(shared.settings.clock_offset.saturating_mul(1_000_000_000));
    let method = request.method().clone();
    let mut response = judged(shared, request, now.div_euclid(1_000_000_000)).await;
    finish(&mut response, &method, now);
    response
}

/// What is answered at `now`, in seconds since 1970 by the issuer's clock.
async fn judged(shared: &Shared, request: Request<Incoming>, now: i64) -> Response<Bytes> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let (parameters, given) = match *request.method() {
        Method::GET => (request.uri().query().unwrap_or_default().to_owned(), basic(&request)),
        Method::POST => {
            let body = Limited::new(request.into_body(), BODY_LIMIT).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let form = String::from_utf8_lossy(&body).into_owned();
            let given = first(&form, "username").zip(first(&form, "password"));
            (form, given)
        }
        _ => return plain(405, "Method not allowed\n"),
    };
    shared.with_credentials.fetch_add(u64::from(given.is_some()), Ordering::Relaxed);
    let Login { username, password } = &shared.settings.login;
    if !given.is_some_and(|(user, word)| user == *username && word == *password) {
        let mut response = plain(401, "Auth failed.\n");
        let realm = format!("Basic realm=\"{}\"", shared.settings.issuer);
        set(&mut response, "www-authenticate", &realm);
        return response;
    }
    match token(&shared.settings, &parameters, now) {
        Some(token) => {
            let body = format!("{{\"access_token\":\"{token}\",\"token\":\"{token}\"}}");
            with_body(200, "application/json", body)
        }
        None => plain(500, "Failed to generate token.\n"),
    }
}

fn token(settings: &IssuerSettings, parameters: &str, now: i64) -> Option<String> {
    let service = first(parameters, "service").unwrap_or_default();
    let claims = Claims {
        iss: settings.issuer.clone(),
        sub: Some(settings.login.username.clone()),
        aud: settings.audience.clone().unwrap_or(service),
        exp: now.saturating_add(settings.lifetime),
        nbf: now.saturating_sub(EARLIER),
        iat: now,
        jti: rand::random::<u32>().to_string(),
        access: Some(
            form_values(parameters, "scope").iter().filter_map(|scope| access(scope)).collect(),
        ),
    };
    let named = |kid| jwt::issue(&settings.key, kid, HeaderOrder::TypAlgKid, &claims);
    match settings.kid_form {
        KidForm::Libtrust => named(settings.key.libtrust_id()),
        KidForm::Thumbprint => named(settings.key.thumbprint()),
        KidForm::WithCertificate => {
            let (algorithm, kid) = (settings.key.algorithm, settings.key.libtrust_id());
            let certificate = in_one_line(settings.key.certificate_pem());
            let header = format!(
                r#"{{"typ":"JWT","alg":"{algorithm}","kid":"{kid}","x5c":["{certificate}"]}}"#
            );
            settings.key.token(&header, &serde_json::to_string(&claims).ok()?)
        }
    }
}

/// The base64 of a PEM block without its first and last line.
fn in_one_line(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}

/// Everything that a scope asks for.
fn access(scope: &str) -> Option<Access> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let actions = actions.split(',').map(str::to_owned).collect();
    Some(Access { kind: kind.to_owned(), name: name.to_owned(), actions })
}

fn first(parameters: &str, name: &str) -> Option<String> {
    form_values(parameters, name).into_iter().next()
}

fn basic(request: &Request<Incoming>) -> Given {
    let value = request.headers().get("authorization")?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

fn plain(status: u16, text: &str) -> Response<Bytes> {
    with_body(status, "text/plain; charset=utf-8", text.to_owned())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::Value;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::lab::KeyKind;

    fn settings() -> IssuerSettings {
        IssuerSettings {
            key: SigningKey::numbered(KeyKind::Fast, 0).unwrap(),
            kid_form: KidForm::Libtrust,
            issuer: "lab issuer".to_owned(),
            audience: None,
            lifetime: 300,
            clock_offset: 0,
            login: Login { username: "user".to_owned(), password: "word".to_owned() },
        }
    }

    /// Status and body of one request.
    async fn ask(issuer: &Issuer, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(issuer.address()).await.unwrap();
        let length = body.len();
        let request =
            format!("{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn parts(body: &str) -> (Value, Value) {
        let token = serde_json::from_str::<Value>(body).unwrap()["token"].clone();
        let mut parts = token.as_str().unwrap().split('.').map(|part| {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap_or_default()
        });
        (parts.next().unwrap(), parts.next().unwrap())
    }

    const GET: &str = "GET /t?service=hub&scope=repository:a/b:pull,push HTTP/1.1\r\nHost: x\r\n\
                       Authorization: Basic dXNlcjp3b3Jk";

    #[tokio::test]
    async fn the_account_gets_what_it_asks_for_by_get_and_by_post_and_nobody_else_does() {
        let issuer = Issuer::start(settings()).await.unwrap();
        let post = "POST /t HTTP/1.1\r\nHost: x";
        let form = "service=hub&scope=repository:a/b:pull,push&username=user&password=word";
        for (head, body) in [(GET, ""), (post, form)] {
            let (status, body) = ask(&issuer, head, body).await;
            let (header, claims) = parts(&body);
            assert_eq!(
                (status, &claims["aud"], &claims["sub"]),
                (200, &"hub".into(), &"user".into())
            );
            assert_eq!(header["kid"], settings().key.libtrust_id());
            assert_eq!(claims["access"][0]["actions"], serde_json::json!(["pull", "push"]));
            assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
        }
        assert_eq!((issuer.requests(), issuer.requests_with_credentials()), (2, 2));
        let anonymous = "GET /t?service=hub HTTP/1.1\r\nHost: x";
        let wrong = form.replace("word=word", "word=other");
        for (head, body) in [(anonymous, ""), (post, wrong.as_str())] {
            assert_eq!(ask(&issuer, head, body).await.0, 401);
        }
        assert_eq!((issuer.requests(), issuer.requests_with_credentials()), (4, 3));
    }

    #[tokio::test]
    async fn the_certificate_goes_with_the_token_where_that_is_ordered() {
        let ordered = IssuerSettings { kid_form: KidForm::WithCertificate, ..settings() };
        for (settings, chain) in [(settings(), None), (ordered, Some(settings().key))] {
            let issuer = Issuer::start(settings).await.unwrap();
            let (header, _) = parts(&ask(&issuer, GET, "").await.1);
            let der = header["x5c"][0].as_str().map(|text| STANDARD.decode(text).unwrap());
            let pem = chain.map(|key| key.certificate_pem().replace("\r\n", "\n"));
            let own = pem.map(|pem| x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1);
            assert_eq!(der, own.map(|pem| pem.contents));
        }
    }

    #[tokio::test]
    async fn key_id_audience_lifetime_and_clock_are_as_set() {
        let changed = IssuerSettings {
            kid_form: KidForm::Thumbprint,
            audience: Some("another".to_owned()),
            lifetime: 60,
            clock_offset: -3_600,
            ..settings()
        };
        let [plain, changed] = [settings(), changed].map(Issuer::start);
        let (plain, changed) = (plain.await.unwrap(), changed.await.unwrap());
        let (_, before) = parts(&ask(&plain, GET, "").await.1);
        let (header, claims) = parts(&ask(&changed, GET, "").await.1);
        assert_eq!(header["kid"], settings().key.thumbprint());
        assert_eq!(claims["aud"], "another");
        let time = |claims: &Value, name: &str| claims[name].as_i64().unwrap();
        assert_eq!(time(&claims, "exp") - time(&claims, "iat"), 60);
        assert_eq!(time(&claims, "iat") - time(&claims, "nbf"), 10);
        // The second token may have been written some seconds after the first.
        let behind = time(&before, "iat") - time(&claims, "iat");
        assert!((3_500..=3_600).contains(&behind), "{behind}");
    }
}
