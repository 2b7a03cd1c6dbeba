//! The daemon's own port: no client locks it, no page elsewhere starts work, and it answers to no
//! name but its own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use registry_prober::lab::{Options, Scenario};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

use crate::support::Bench;
use crate::support::program::{Running, get, http, run};

/// More than all places for connections that the port has.
const MANY: usize = 300;

fn bench() -> Bench {
    Bench::start(&Scenario::named("healthy").unwrap(), &Options::default())
}

/// A daemon after its first round.
fn ready(bench: &Bench, more: &[&str]) -> (Running, String) {
    let (daemon, address) = Running::daemon(&bench.path, more);
    while http("GET", &address, "/-/ready").0 != 200 {
        thread::sleep(Duration::from_millis(20));
    }
    (daemon, address)
}

/// One request in these very words: status and body.
fn said(address: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The same with these headers.
fn asked(address: &str, method: &str, path: &str, headers: &[&str]) -> (u16, String) {
    let mut request = vec![format!("{method} {path} HTTP/1.1")];
    request.extend(headers.iter().map(ToString::to_string));
    request.push("Connection: close\r\n\r\n".to_owned());
    said(address, &request.join("\r\n"))
}

/// A connection that says this, reads nothing, and stays.
async fn holding(address: &str, words: &str) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // What a small window leaves at the server is what holds its place.
    socket.set_recv_buffer_size(2048).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    // The server may have ended it already.
    let _ = stream.write_all(words.as_bytes()).await;
    stream
}

/// Whether a health check and a scrape are answered while other clients hold on.
async fn answered_next_to(words: &str) {
    let bench = bench();
    let (_daemon, address) = ready(&bench, &[]);
    let mut held = Vec::new();
    for _ in 0..MANY {
        held.push(holding(&address, words).await);
    }
    for _ in 0..3 {
        let health = run(&["healthcheck", &format!("--url=http://{address}")]);
        assert_eq!(health.code, Some(0), "{health:?}");
        assert!(get(&address, "/metrics").contains("registry_prober_rounds_total"));
    }
    assert_eq!(held.len(), MANY);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_their_answers_keep_nobody_out() {
    answered_next_to(&"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(64)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_end_their_headers_keep_nobody_out() {
    answered_next_to("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_at_the_same_time_get_the_same_round() {
    let bench = bench();
    let (_daemon, address) = ready(&bench, &[]);
    let scrape = || {
        let address = address.clone();
        thread::spawn(move || get(&address, "/probe?target=lab&debug=true"))
    };
    let scrapes: Vec<_> = (0..6).map(|_| scrape()).collect();
    let round = |page: String| {
        let first = page.lines().next().unwrap();
        first.split_once(", round ").unwrap().1.to_owned()
    };
    let mut rounds: Vec<String> =
        scrapes.into_iter().map(|scrape| round(scrape.join().unwrap())).collect();
    rounds.dedup();
    assert_eq!(rounds.len(), 1, "{rounds:?}");
    assert_ne!(round(get(&address, "/probe?target=lab&debug=true")), rounds[0], "a later one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_elsewhere_makes_the_daemon_do_nothing() {
    let bench = bench();
    let (_daemon, address) = ready(&bench, &[]);
    let host = format!("Host: {address}");
    let own = format!("Origin: http://{address}");
    for (method, path) in [("GET", "/probe?target=lab"), ("POST", "/-/reload")] {
        for foreign in [
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
            "Origin: https://elsewhere.example",
            "Origin: null",
        ] {
            let (status, text) = asked(&address, method, path, &[&host, foreign]);
            assert_eq!(status, 403, "{path} {foreign}: {text}");
            assert!(text.contains("another site"), "{text}");
        }
    }
    for good in [own.as_str(), "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"] {
        assert_eq!(asked(&address, "GET", "/probe?target=lab", &[&host, good]).0, 200, "{good}");
    }
    // Who only looks may come from anywhere: a browser shows the answer to no other page.
    let cross = "Sec-Fetch-Site: cross-site";
    assert_eq!(asked(&address, "GET", "/", &[&host, cross]).0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_on_loopback_answers_to_no_name_but_this_machine_s() {
    let bench = bench();
    let more = ["--web.external-url=https://prober.example.com"];
    for (arguments, outside) in [(&more[..0], 421), (&more[..], 200)] {
        let (_daemon, address) = ready(&bench, arguments);
        let ask = |hosts: &[&str]| asked(&address, "GET", "/metrics", hosts);
        for good in ["127.0.0.1", "127.0.0.1:80", "localhost:9912", "LOCALHOST", "[::1]:9912"] {
            assert_eq!(ask(&[&format!("Host: {good}")]).0, 200, "{good}");
        }
        for bad in ["rebound.example:9912", "localhost.example", "10.0.0.1"] {
            let (status, text) = ask(&[&format!("Host: {bad}")]);
            assert_eq!(status, 421, "{bad}: {text}");
            assert!(text.contains("--web.external-url"), "{text}");
            assert!(!text.contains(bad), "{text}");
        }
        assert_eq!(ask(&["Host: prober.example.com"]).0, outside);
        assert_eq!(ask(&["Host: localhost", "Host: localhost"]).0, 400);
        assert_eq!(ask(&["Host: localhost@rebound.example"]).0, 400);
        assert_eq!(ask(&[]).0, 400, "HTTP/1.1 has a Host");
        assert_eq!(said(&address, "GET /-/healthy HTTP/1.0\r\n\r\n").0, 200);
        // The name in the request line is the one that counts, next to the header.
        let absolute = "GET http://rebound.example/ HTTP/1.1\r\nHost: localhost\r\n\
                        Connection: close\r\n\r\n";
        assert_eq!(said(&address, absolute).0, 421);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_on_every_address_answers_to_every_name_until_it_is_told_its_own() {
    let bench = bench();
    let everywhere = "--web.listen-address=0.0.0.0:0";
    let named = "--web.external-url=http://prober.svc:9912";
    for (arguments, other) in [(vec![everywhere], 200), (vec![everywhere, named], 421)] {
        let (_daemon, address) = ready(&bench, &arguments);
        let status = |host: &str| asked(&address, "GET", "/metrics", &[host]).0;
        assert_eq!(status("Host: prober.svc:9912"), 200);
        assert_eq!(status("Host: 10.1.2.3:9912"), 200, "an address is nobody's to redirect");
        assert_eq!(status("Host: localhost"), 200);
        assert_eq!(status("Host: rebound.example"), other);
        assert_eq!(asked(&address, "GET", "/metrics", &["Host: a", "Host: b"]).0, 400);
    }
}

#[test]
fn an_external_url_that_is_none_is_refused_with_the_option_s_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "registries: []\n").unwrap();
    let file = format!("--config.file={}", file.path().display());
    for url in ["prober.example.com", "ftp://prober.example.com", "https://user@x.example"] {
        let ended = run(&["run", &file, &format!("--web.external-url={url}")]);
        assert_eq!(ended.code, Some(3));
        assert!(ended.stderr.contains("--web.external-url"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("unexpected argument"), "{}", ended.stderr);
    }
}
