//! Registries as people run them, each with one peculiarity, and what the program says of each:
//! small servers on loopback, one address for the load balancer and one for each of two nodes.

#![expect(clippy::option_option, reason = "a front lets pass, answers, or closes")]

mod fronts;
mod kinds;
mod random;
mod variants;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::program::{ended, program};

const BALANCER: &str = "127.0.0.1";
const NODES: [&str; 2] = ["127.0.0.2", "127.0.0.3"];

/// One request.
struct Asked {
    at_balancer: bool,
    /// The node that was asked directly, by its number.
    node: Option<usize>,
    method: String,
    path: String,
    query: String,
    agent: String,
    authorization: String,
    /// The number of this request among those at the balancer.
    number: u64,
}

/// One answer, or none: the connection is closed.
#[derive(Clone)]
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Reply {
    fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json", &body.to_string())
    }

    fn text(status: u16, kind: &str, body: &str) -> Self {
        let headers = vec![("Content-Type".to_owned(), kind.to_owned())];
        Self { status, headers, body: body.to_owned() }
    }

    fn page(status: u16, body: &str) -> Self {
        Self::text(status, "text/html", body)
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// What makes a registry another one than the rest.
struct Kind {
    /// What stands in front answers, or closes the connection.
    front: fn(&Asked) -> Option<Option<Reply>>,
    /// `WWW-Authenticate`, one line each, by the base URL and the path.
    challenge: fn(&str, &str) -> Vec<String>,
    /// The token, by its number and the scope.
    token: fn(u64, &str) -> String,
    /// What the token endpoint answers with a token.
    response: fn(&str) -> Reply,
    /// What it answers where it accepts and where it refuses.
    content_type: &'static str,
    /// It takes the password itself.
    basic: bool,
    /// It looks like distribution: its header, and its words where it refuses.
    distribution: bool,
    /// Whether it accepts a token that it issued, by the request.
    accepts: fn(&Asked) -> bool,
}

fn challenge(base: &str, _: &str) -> Vec<String> {
    vec![format!(r#"Bearer realm="{base}/token",service="fake""#)]
}

fn part(value: &Value) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
}

fn jwt(header: &Value, claims: &Value, number: u64) -> String {
    format!("{}.{}.{}", part(header), part(claims), part(&json!({ "n": number })))
}

fn now() -> i64 {
    registry_prober::clock::Clock::read().now().timestamp()
}

fn access(scope: &str) -> Value {
    let mut parts = scope.split(':');
    let (kind, name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let actions: Vec<&str> = parts.next().unwrap_or("").split(',').collect();
    json!([{ "type": kind, "name": name, "actions": actions }])
}

fn token(number: u64, scope: &str) -> String {
    let claims = json!({
        "iss": "fake", "sub": "alice", "aud": "fake", "iat": now(), "nbf": now() - 5,
        "exp": now() + 1800, "access": access(scope),
    });
    jwt(&json!({ "alg": "RS256", "kid": "K" }), &claims, number)
}

fn response(token: &str) -> Reply {
    Reply::json(200, &json!({ "token": token }))
}

/// A registry without any peculiarity.
const SOUND: Kind = Kind {
    front: |_| None,
    challenge,
    token,
    response,
    content_type: "application/json",
    basic: false,
    distribution: false,
    accepts: |_| true,
};

/// A registry on loopback that ends when it is dropped.
struct Site {
    port: u16,
    over: Arc<AtomicBool>,
    /// Requests at another address, where a token server could be.
    elsewhere: Arc<AtomicU64>,
}

/// What the addresses of a site share.
struct Shared {
    base: String,
    kind: Kind,
    issued: Mutex<HashSet<String>>,
    tokens: AtomicU64,
    at_balancer: AtomicU64,
}

const ELSEWHERE: &str = "127.0.0.4";

impl Site {
    fn start(kind: Kind) -> Self {
        let first = TcpListener::bind((BALANCER, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            base: format!("http://{BALANCER}:{port}"),
            kind,
            issued: Mutex::default(),
            tokens: AtomicU64::new(0),
            at_balancer: AtomicU64::new(0),
        });
        let over = Arc::new(AtomicBool::new(false));
        let elsewhere = Arc::new(AtomicU64::new(0));
        let others = NODES.into_iter().chain([ELSEWHERE]);
        let others = others.map(|at| TcpListener::bind((at, port)).unwrap());
        for listener in std::iter::once(first).chain(others) {
            let (shared, over) = (Arc::clone(&shared), Arc::clone(&over));
            let elsewhere = Arc::clone(&elsewhere);
            thread::spawn(move || {
                let at = listener.local_addr().unwrap().ip().to_string();
                for stream in listener.incoming().map_while(Result::ok) {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    if at == ELSEWHERE {
                        elsewhere.fetch_add(1, Ordering::Relaxed);
                    }
                    let (shared, balancer) = (Arc::clone(&shared), at == BALANCER);
                    let node = NODES.iter().position(|node| *node == at);
                    thread::spawn(move || serve(&stream, &shared, (balancer, node)));
                }
            });
        }
        Self { port, over, elsewhere }
    }

    /// One check of it by the program: the exit code, the headline, and all of it.
    fn check(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let mut password = NamedTempFile::new().unwrap();
        password.write_all(b"good").unwrap();
        let port = self.port;
        let mut arguments = vec![
            "check".to_owned(),
            format!("http://{BALANCER}:{port}"),
            format!("--backend=a={}:{port}", NODES[0]),
            format!("--backend=b={}:{port}", NODES[1]),
            "--username=alice".to_owned(),
            format!("--password-file={}", password.path().display()),
            "--scope=repository:probe/canary:pull".to_owned(),
        ];
        arguments.extend(more.iter().map(|it| (*it).to_owned()));
        // Wide, so that no sentence is broken where a test looks for it.
        let ended = ended(program(&arguments).env("COLUMNS", "1000"));
        let headline = ended.stdout.split("\n\n").next().unwrap_or_default();
        let first = headline.split_whitespace().collect::<Vec<_>>().join(" ");
        (ended.code, first, ended.stdout + &ended.stderr)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for at in NODES.into_iter().chain([BALANCER, ELSEWHERE]) {
            // Wakes the listener, which then ends.
            drop(TcpStream::connect((at, self.port)));
        }
    }
}

fn serve(stream: &TcpStream, shared: &Shared, (at_balancer, node): (bool, Option<usize>)) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(count) if count > 0 && line.trim_end().is_empty() => break,
                Ok(count) if count > 0 => lines.push(line.trim_end().to_owned()),
                _ => return,
            }
        }
        let header = |name: &str| {
            let found = lines.iter().find_map(|line| {
                let (told, value) = line.split_once(':')?;
                told.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            });
            found.unwrap_or_default()
        };
        let length: usize = header("content-length").parse().unwrap_or(0);
        // What is declared may be gigabytes that never come.
        let mut body = Vec::new();
        let read = reader.by_ref().take(length as u64).read_to_end(&mut body);
        if read.is_err() || body.len() < length {
            return;
        }
        let mut start = lines[0].split(' ');
        let (method, target) = (start.next().unwrap_or(""), start.next().unwrap_or(""));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let number =
            if at_balancer { shared.at_balancer.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let asked = Asked {
            at_balancer,
            node,
            method: method.to_owned(),
            path: path.to_owned(),
            // What a form says counts as what a query does.
            query: if body.is_empty() {
                query.to_owned()
            } else {
                String::from_utf8(body).unwrap()
            },
            agent: header("user-agent"),
            authorization: header("authorization"),
            number,
        };
        let Some(mut reply) =
            (shared.kind.front)(&asked).unwrap_or_else(|| Some(answer(shared, &asked)))
        else {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        };
        if shared.kind.distribution {
            reply = reply.with("Docker-Distribution-Api-Version", "registry/2.0");
        }
        let mut head = format!("HTTP/1.1 {} It\r\n", reply.status);
        for (name, value) in &reply.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", reply.body.len());
        let body = if method == "HEAD" { "" } else { reply.body.as_str() };
        let mut out = stream;
        if out.write_all((head + body).as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(shared: &Shared, asked: &Asked) -> Reply {
    let kind = &shared.kind;
    let parameter = |name: &str| {
        let pairs = url::form_urlencoded::parse(asked.query.as_bytes());
        pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    if asked.path == "/token" {
        let number = shared.tokens.fetch_add(1, Ordering::Relaxed);
        let issued = (kind.token)(number, &parameter("scope").unwrap_or_default());
        shared.issued.lock().unwrap().insert(issued.clone());
        return (kind.response)(&issued);
    }
    let known = |told: &str| shared.issued.lock().unwrap().contains(told);
    let good = match asked.authorization.split_once(' ') {
        Some(("Bearer", told)) => known(told) && (kind.accepts)(asked),
        Some(("Basic", _)) => kind.basic,
        _ => false,
    };
    if !good {
        let message = if kind.distribution { "authentication required" } else { "no" };
        let refusal = json!({ "errors": [{ "code": "UNAUTHORIZED", "message": message }] });
        let mut reply = Reply::text(401, kind.content_type, &refusal.to_string());
        for line in (kind.challenge)(&shared.base, &asked.path) {
            reply = reply.with("Www-Authenticate", &line);
        }
        return reply;
    }
    match asked.path.as_str() {
        "/v2/" => Reply::text(200, kind.content_type, "true"),
        path if path.ends_with("/tags/list") => {
            Reply::json(200, &json!({ "name": "probe/canary", "tags": [] }))
        }
        _ => Reply::json(404, &json!({ "errors": [{ "code": "MANIFEST_UNKNOWN" }] })),
    }
}

/// A kind with what the program is to say of it.
type Case = (String, Kind, Vec<&'static str>, Expected);

/// Judges several at once; most of each is waiting. One finding each, unless all is well.
fn expect_each(cases: Vec<Case>) -> Vec<String> {
    let mut said = Vec::new();
    let mut left = cases.into_iter().peekable();
    while left.peek().is_some() {
        let checks: Vec<_> = left
            .by_ref()
            .take(AT_ONCE)
            .map(|case| thread::spawn(move || expect_one(case)))
            .collect();
        said.extend(checks.into_iter().map(|check| check.join().unwrap()));
    }
    said
}

/// The number of checks that a small machine bears next to other tests.
const AT_ONCE: usize = 5;

fn expect_one((what, kind, mut more, said): Case) -> String {
    more.push("--samples=4");
    let all = expect(&what, kind, &more, said);
    let headline = all.split("\n\n").next().unwrap_or_default();
    // Of what is sound and of what was not tested it says more.
    let one = !matches!(said.0, 1 | 2) || !headline.contains(';');
    assert!(one, "{what}: {all}");
    all
}

/// What the program is to say: the exit code, and what the first line holds.
type Expected = (i32, &'static str);

const FINE: Expected = (0, "All OK");

fn expect(what: &str, kind: Kind, more: &[&str], (code, words): Expected) -> String {
    let site = Site::start(kind);
    let (ended, first, all) = site.check(more);
    assert_eq!(ended, Some(code), "{what}: {all}");
    assert!(first.contains(words), "{what}: {all}");
    all
}
