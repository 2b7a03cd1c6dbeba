//! Every route, asked as a client asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, Response, StatusCode};
use chrono::{DateTime, Utc};
use tokio::sync::{Semaphore, mpsc, watch};
use tower::ServiceExt;

mod history;
mod pages;
mod runbooks;

use super::{Names, PROBES_AT_ONCE, Pending, Program, Rendered, State, router};
use crate::model::sample;
use crate::model::{
    FindingName, Incident, Judged, RegistryName, RoundLine, Severity, ShownRound, Snapshot,
};

struct Bench {
    router: Router,
    publish: watch::Sender<Arc<Snapshot>>,
    reloads: Arc<AtomicUsize>,
}

fn healthy() -> Arc<Judged> {
    sample::judged(sample::round(&["a", "b"]), Vec::new())
}

type MetricsPage = dyn Fn(Option<&str>) -> Rendered + Send + Sync;
type ProbeNow = dyn Fn(RegistryName, Duration) -> Pending<Option<Arc<Judged>>> + Send + Sync;
type Reload = dyn Fn() -> Pending<Result<(), String>> + Send + Sync;

/// A program that says what it was asked; a bend makes it do something else.
struct Fake {
    metrics: Box<MetricsPage>,
    probe: Box<ProbeNow>,
    reload: Box<Reload>,
    past: history::Remembered,
}

impl Program for Fake {
    fn now(&self) -> DateTime<Utc> {
        sample::started() + Duration::from_secs(12)
    }

    fn metrics(&self, accept: Option<&str>) -> Rendered {
        (self.metrics)(accept)
    }

    fn document(&self, snapshot: &Snapshot) -> serde_json::Value {
        serde_json::json!({"status": snapshot.status()})
    }

    fn configuration(&self) -> Pending<String> {
        Box::pin(async { "registries: []\n".to_owned() })
    }

    fn probe(&self, registry: RegistryName, within: Duration) -> Pending<Option<Arc<Judged>>> {
        (self.probe)(registry, within)
    }

    fn probe_metrics(
        &self,
        judged: Option<&Arc<Judged>>,
        _: Duration,
        accept: Option<&str>,
    ) -> Rendered {
        let success = u8::from(judged.is_some());
        ("text/plain; version=0.0.4", said(&format!("probe_success {success}"), accept))
    }

    fn probe_text(&self, judged: &Arc<Judged>) -> String {
        format!("All of {}", judged.round.registry)
    }

    fn reload(&self) -> Pending<Result<(), String>> {
        (self.reload)()
    }

    fn incidents(&self) -> Vec<Incident> {
        self.past.incidents.clone()
    }

    fn last_rounds(&self) -> Vec<RoundLine> {
        self.past.rounds.clone()
    }

    fn round(&self, id: String) -> Pending<Option<Result<ShownRound, String>>> {
        let found = self.past.kept.iter().find(|(known, _)| *known == id);
        let found = found.map(|(_, round)| round.clone());
        Box::pin(async { found })
    }
}

fn bench_with(snapshot: Snapshot, bend: impl FnOnce(&mut Fake)) -> Bench {
    let (publish, snapshots) = watch::channel(Arc::new(snapshot));
    let reloads = Arc::new(AtomicUsize::new(0));
    let counted = reloads.clone();
    let mut program = Fake {
        metrics: Box::new(|accept| ("text/plain; version=0.0.4", said("metrics", accept))),
        probe: Box::new(|_, _| Box::pin(async { Some(healthy()) })),
        reload: Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { Ok(()) })
        }),
        past: history::Remembered::default(),
    };
    bend(&mut program);
    let state = State {
        snapshots,
        program: Box::new(program),
        reload_token: Some("open-sesame".into()),
        names: Names::new(&["0.0.0.0:9912".parse().unwrap()], []),
    };
    Bench { router: router(state), publish, reloads }
}

fn said(what: &str, accept: Option<&str>) -> Vec<u8> {
    format!("{what} for {}\n", accept.unwrap_or("nobody")).into_bytes()
}

fn bench() -> Bench {
    bench_with(sample::snapshot(&[healthy()]), |_| ())
}

fn request(method: Method, path: &str) -> Request<Body> {
    let peer: SocketAddr = "127.0.0.1:40000".parse().unwrap();
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    request.headers_mut().insert("host", "prober.example.com".parse().unwrap());
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

impl Bench {
    async fn ask(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = self.ask(request(Method::GET, path)).await;
        (response.status(), text(response).await)
    }
}

async fn text(response: Response<Body>) -> String {
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn the_status_page_reloads_itself_until_its_reader_stops_that() {
    let bench = bench();
    let (_, page) = bench.get("/").await;
    assert!(page.contains("http-equiv=\"refresh\"") && page.contains("href=\"?still\""), "{page}");
    let (_, still) = bench.get("/?still").await;
    assert!(!still.contains("refresh") && !still.contains("reloads every"), "{still}");
    assert!(still.contains("<a href=\"./\">Reload again</a>"), "{still}");
}

#[tokio::test]
async fn every_path_answers_with_its_type_and_the_security_headers() {
    let bench = bench();
    let cases = [
        ("/", 200, "text/html; charset=utf-8"),
        ("/style.css", 200, "text/css; charset=utf-8"),
        ("/metrics", 200, "text/plain; version=0.0.4"),
        ("/probe?target=main", 200, "text/plain; version=0.0.4"),
        ("/probe?target=main&debug=true", 200, "text/plain; charset=utf-8"),
        ("/api/v1/status", 200, "application/json"),
        ("/config", 200, "text/plain; charset=utf-8"),
        ("/history", 200, "text/html; charset=utf-8"),
        ("/rounds/main-1", 404, "text/plain; charset=utf-8"),
        ("/api/v1/incidents", 200, "application/json"),
        ("/api/v1/rounds", 200, "application/json"),
        ("/api/v1/rounds/main-1", 404, "text/plain; charset=utf-8"),
        ("/runbooks/", 200, "text/html; charset=utf-8"),
        ("/runbooks/clock-skew-nbf", 200, "text/html; charset=utf-8"),
        ("/runbooks/clock-skew", 404, "text/plain; charset=utf-8"),
        ("/-/healthy", 200, "text/plain; charset=utf-8"),
        ("/-/ready", 200, "text/plain; charset=utf-8"),
        ("/nothing", 404, "text/plain; charset=utf-8"),
        ("/probe", 400, "text/plain; charset=utf-8"),
    ];
    for (path, status, content_type) in cases {
        for method in [Method::GET, Method::HEAD] {
            let response = bench.ask(request(method.clone(), path)).await;
            assert_eq!(response.status(), status, "{path}");
            let headers = response.headers().clone();
            assert_eq!(headers["content-type"], content_type, "{path}");
            assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'; style-src 'self'"), "{path}");
            let cached = if path == "/style.css" { "max-age=60" } else { "no-store" };
            assert_eq!(headers["cache-control"], cached, "{path}");
            assert_eq!(text(response).await.is_empty(), method == Method::HEAD, "{path}");
        }
    }
}

#[tokio::test]
async fn an_unknown_path_lists_the_known_ones() {
    let (status, body) = bench().get("/metrics/").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    for path in ["/metrics/", "/probe?target=", "/api/v1/status", "/-/ready", "/-/reload"] {
        assert!(body.contains(path), "{path}");
    }
}

#[tokio::test]
async fn metrics_and_api_give_what_the_other_rooms_made() {
    let bench = bench();
    let mut asked = request(Method::GET, "/metrics");
    asked.headers_mut().insert("accept", "application/openmetrics-text".parse().unwrap());
    let page = text(bench.ask(asked).await).await;
    assert_eq!(page, "metrics for application/openmetrics-text\n");
    assert_eq!(bench.get("/metrics").await.1, "metrics for nobody\n");
    assert_eq!(bench.get("/api/v1/status").await.1, r#"{"status":"ok"}"#);
}

#[tokio::test]
async fn only_a_configured_registry_is_probed_and_the_others_are_named() {
    let bench = bench_with(sample::snapshot(&[healthy()]), |program| {
        program.probe = Box::new(|_, _| panic!("nobody is to be probed"));
    });
    for query in [
        "",
        "?target=",
        "?target=other",
        "?target=https://hub.example.com",
        "?target=main&target=main",
        "?module=main",
    ] {
        let (status, body) = bench.get(&format!("/probe{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(body.ends_with("Registries:\nmain\n"), "{query}: {body}");
    }
}

#[tokio::test]
async fn a_probe_gets_the_scrapes_time_and_a_failed_one_still_answers_200() {
    let (asked, mut seen) = mpsc::unbounded_channel();
    let bench = bench_with(sample::snapshot(&[healthy()]), |program| {
        program.probe = Box::new(move |registry, deadline| {
            asked.send((registry.to_string(), deadline)).unwrap();
            Box::pin(async { None })
        });
    });
    let mut scrape = request(Method::GET, "/probe?target=main&module=any");
    let seconds = "x-prometheus-scrape-timeout-seconds";
    scrape.headers_mut().insert(seconds, "5".parse().unwrap());
    let response = bench.ask(scrape).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "probe_success 0 for nobody\n");
    assert_eq!(seen.recv().await.unwrap(), ("main".to_owned(), Duration::from_millis(4500)));

    let mut odd = request(Method::GET, "/probe?target=main");
    odd.headers_mut().insert(seconds, "soon".parse().unwrap());
    assert_eq!(bench.ask(odd).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn a_round_that_overruns_its_deadline_is_a_failed_probe() {
    let bench = bench_with(sample::snapshot(&[healthy()]), |program| {
        program.probe = Box::new(|_, _| Box::pin(std::future::pending()));
    });
    let (status, body) = bench.get("/probe?target=main").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "probe_success 0 for nobody\n"));
}

#[tokio::test]
async fn debug_shows_the_round_and_the_metrics() {
    let (_, body) = bench().get("/probe?target=main&debug=true").await;
    for part in
        ["Probe of main: ", "All of main", "lb           challenge    401", "probe_success 1"]
    {
        assert!(body.contains(part), "{part}: {body}");
    }
    assert!(!bench().get("/probe?target=main&debug=no").await.1.contains("All of"));
}

#[tokio::test]
async fn too_many_probes_at_once_are_turned_away_and_later_ones_are_not() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let (entered, mut running) = mpsc::unbounded_channel();
    let bench = bench_with(sample::snapshot(&[healthy()]), |program| {
        program.probe = Box::new(move |_, _| {
            let held = held.clone();
            entered.send(()).unwrap();
            Box::pin(async move {
                held.acquire().await.unwrap().forget();
                Some(healthy())
            })
        });
    });
    let mut probes = Vec::new();
    for _ in 0..PROBES_AT_ONCE {
        let probe = request(Method::GET, "/probe?target=main");
        probes.push(tokio::spawn(bench.router.clone().oneshot(probe)));
        running.recv().await.unwrap();
    }
    let another = bench.ask(request(Method::GET, "/probe?target=main")).await;
    assert_eq!(another.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(another.headers()["retry-after"], "1");
    gate.add_permits(PROBES_AT_ONCE + 1);
    for probe in probes {
        assert_eq!(probe.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(bench.get("/probe?target=main").await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn ready_means_every_registry_was_probed_or_had_an_interval_for_it() {
    let bench = bench_with(sample::fresh_snapshot(&["a"]), |_| ());
    let (status, body) = bench.get("/-/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("first round has not finished: 1."), "{body}");
    assert!(!body.contains("main"), "whoever asks for health may be anyone: {body}");
    assert_eq!(bench.get("/-/healthy").await.0, StatusCode::OK);

    bench.publish.send_replace(Arc::new(sample::snapshot(&[healthy()])));
    assert_eq!(bench.get("/-/ready").await.0, StatusCode::OK);

    bench.publish.send_replace(Arc::new(sample::fresh_snapshot(&["a"])));
    assert_eq!(bench.get("/-/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
    tokio::time::advance(Duration::from_secs(15)).await;
    assert_eq!(bench.get("/-/ready").await.0, StatusCode::OK);
}

#[tokio::test]
async fn reload_takes_post_and_put_from_those_who_may() {
    let bench = bench();
    for method in [Method::POST, Method::PUT] {
        let response = bench.ask(request(method, "/-/reload")).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(bench.reloads.load(Ordering::SeqCst), 2);

    for method in [Method::GET, Method::HEAD, Method::DELETE] {
        let response = bench.ask(request(method, "/-/reload")).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        let allowed = response.headers()["allow"].to_str().unwrap();
        assert!(allowed.contains("POST") && allowed.contains("PUT"), "{allowed}");
    }

    let elsewhere = |token: Option<&str>| {
        let mut request = request(Method::POST, "/-/reload");
        let peer: SocketAddr = "192.0.2.7:40000".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        if let Some(token) = token {
            request.headers_mut().insert("authorization", token.parse().unwrap());
        }
        request
    };
    for (token, status) in [
        (None, StatusCode::FORBIDDEN),
        (Some("Bearer another token"), StatusCode::FORBIDDEN),
        (Some("Bearer open-sesame"), StatusCode::OK),
    ] {
        let response = bench.ask(elsewhere(token)).await;
        assert_eq!(response.status(), status, "{token:?}");
        assert!(!text(response).await.contains("sesame"));
    }
    assert_eq!(bench.reloads.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_bad_configuration_is_an_error_with_its_reason() {
    let bench = bench_with(sample::snapshot(&[healthy()]), |program| {
        program.reload = Box::new(|| Box::pin(async { Err("prober.yml:3:5: no".to_owned()) }));
    });
    let response = bench.ask(request(Method::POST, "/-/reload")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text(response).await.contains("prober.yml:3:5: no"));
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_next_request_is_served() {
    let bench = bench_with(sample::snapshot(&[healthy()]), |program| {
        program.metrics = Box::new(|_| panic!("as ordered"));
    });
    let (status, body) = bench.get("/metrics").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!body.contains("as ordered"));
    assert_eq!(bench.get("/-/healthy").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_body_is_refused_unread() {
    let bench = bench();
    for (header, value, status) in [
        ("content-length", "2000", StatusCode::PAYLOAD_TOO_LARGE),
        ("content-length", "many", StatusCode::PAYLOAD_TOO_LARGE),
        ("transfer-encoding", "chunked", StatusCode::PAYLOAD_TOO_LARGE),
        ("content-length", "10", StatusCode::OK),
    ] {
        let mut request = request(Method::POST, "/-/reload");
        request.headers_mut().insert(header, value.parse().unwrap());
        assert_eq!(bench.ask(request).await.status(), status, "{header}: {value}");
    }
    assert_eq!(bench.reloads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_host_header_has_no_say() {
    let bench = bench();
    let mut request = request(Method::GET, "/");
    request.headers_mut().insert("host", "evil.example".parse().unwrap());
    request.headers_mut().insert("x-forwarded-host", "evil.example".parse().unwrap());
    assert!(!text(bench.ask(request).await).await.contains("evil"));
}

#[tokio::test]
async fn the_page_changes_with_the_snapshot() {
    let bench = bench_with(sample::fresh_snapshot(&["a", "b"]), |_| ());
    let (status, body) = bench.get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains("The first round has not finished yet.") && body.contains("a, b, lb"));
    let finding = sample::finding(FindingName::ClockSkewNbf, Severity::Critical, &["b"]);
    let judged = sample::judged(sample::round(&["a", "b"]), vec![finding]);
    bench.publish.send_replace(Arc::new(sample::snapshot(&[judged])));
    assert!(bench.get("/").await.1.contains("clock-skew-nbf"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pages_are_made_one_after_the_other_and_health_is_answered_meanwhile() {
    let (made, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (at_once, highest) = (made.clone(), most.clone());
    let bench = bench_with(sample::snapshot(&[healthy()]), |program| {
        program.metrics = Box::new(move |_| {
            highest.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            at_once.fetch_sub(1, Ordering::SeqCst);
            ("text/plain; version=0.0.4", Vec::new())
        });
    });
    let ask = |_| tokio::spawn(bench.router.clone().oneshot(request(Method::GET, "/metrics")));
    let pages: Vec<_> = (0..40).map(ask).collect();
    assert_eq!(bench.get("/-/healthy").await.0, StatusCode::OK);
    assert!(pages.iter().any(|page| !page.is_finished()), "it did not wait for all of them");
    for page in pages {
        assert_eq!(page.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
}
