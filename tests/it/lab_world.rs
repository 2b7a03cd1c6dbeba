//! The lab without sockets: what its faults do to tokens, doors and answers, in virtual time.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Request, Response};
use hyper::body::Bytes;
use registry_prober::lab::{
    BalancerKind, Connection, Entry, Family, Fault, FaultOrder, Gate, KeyKind, Layer, Login,
    Options, PUBLIC_HOST, Reaction, Scenario, World,
};
use serde_json::Value;

const CLIENT: Connection = Connection { number: 1, source: 1 };
const TAGS: &str = "/v2/probe/canary/tags/list";
const CANARY_BLOB: &str = "sha256:ba8cff4c6eb308e2299450e2d2a54f1b44cf8c46dbb0ef60c3cabd526a31ef2c";

fn options() -> Options {
    Options { keys: KeyKind::Fast, ..Options::default() }
}

fn world(name: &str, family: Option<Family>) -> World {
    World::new(&Scenario::named(name).unwrap(), &Options { family, ..options() }).unwrap()
}

const HEALTH: &str = "/api/v2.0/health";

fn request(uri: &str, authorization: Option<&str>) -> Request<Bytes> {
    let mut request = Request::builder().uri(uri).header("host", PUBLIC_HOST);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    request.body(Bytes::new()).unwrap()
}

fn ask(
    world: &mut World,
    entry: Entry,
    uri: &str,
    authorization: Option<&str>,
    elapsed: Duration,
) -> Response<Bytes> {
    match world.handle(entry, CLIENT, &request(uri, authorization), elapsed) {
        Reaction::Answer { response, .. } => response,
        other => panic!("{other:?}"),
    }
}

fn basic(login: &Login) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", login.username, login.password)))
}

/// The answer of the token endpoint that the challenge of that entry names.
fn token_answer(world: &mut World, entry: Entry, elapsed: Duration) -> Option<Response<Bytes>> {
    let reaction = world.handle(entry, CLIENT, &request("/v2/", None), elapsed);
    let Reaction::Answer { response, .. } = reaction else { return None };
    let challenge = response.headers().get("www-authenticate")?.to_str().unwrap().to_owned();
    let field = |name: &str| challenge.split(name).nth(1).unwrap().split('"').next().unwrap();
    let realm: http::Uri = field("realm=\"").parse().unwrap();
    let service = field("service=\"");
    let uri = format!("{}?service={service}&scope=repository:probe/canary:pull", realm.path());
    let entry = if world.has_token_server() { Entry::TokenServer } else { entry };
    let login = world.login().unwrap();
    match world.handle(entry, CLIENT, &request(&uri, Some(&basic(&login))), elapsed) {
        Reaction::Answer { response, .. } => Some(response),
        _ => None,
    }
}

/// A token with a subject, as a prober wants it.
fn token(world: &mut World, entry: Entry, elapsed: Duration) -> Option<String> {
    let answer = token_answer(world, entry, elapsed)?;
    let body: Value = serde_json::from_slice(answer.body()).ok()?;
    let token = body["token"].as_str()?.to_owned();
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    (!claims["sub"].as_str()?.is_empty()).then_some(token)
}

/// Statuses of every node's token at every node.
fn matrix(world: &mut World, elapsed: Duration) -> Vec<Vec<u16>> {
    let nodes: Vec<Entry> = (0..world.node_names().len()).map(Entry::Node).collect();
    let tokens: Vec<_> = nodes.iter().map(|node| token(world, *node, elapsed)).collect();
    tokens
        .iter()
        .map(|token| {
            let bearer = format!("Bearer {}", token.as_deref().unwrap_or("none"));
            let mut status =
                |node: &Entry| ask(world, *node, "/v2/", Some(&bearer), elapsed).status();
            nodes.iter().map(|node| status(node).as_u16()).collect()
        })
        .collect()
}

#[test]
fn every_token_of_a_healthy_registry_is_good_everywhere_in_every_family() {
    for family in Family::ALL {
        let mut world = world("healthy", Some(family));
        let elapsed = Duration::from_millis(1_500);
        assert_eq!(matrix(&mut world, elapsed), [[200, 200], [200, 200]], "{family}");
        let bearer = format!("Bearer {}", token(&mut world, Entry::Node(0), elapsed).unwrap());
        let tags = "/v2/probe/canary/tags/list";
        let answer = ask(&mut world, Entry::Balancer, tags, Some(&bearer), elapsed);
        assert_eq!(answer.status(), 200, "{family}");
        assert_eq!(&answer.body()[..], b"{\"name\":\"probe/canary\",\"tags\":[\"v1\"]}\n");
    }
}

#[test]
fn another_key_refuses_off_the_diagonal_in_every_family() {
    for family in Family::ALL {
        let mut world = world("token-key-mismatch", Some(family));
        let now = Duration::from_millis(1_500);
        assert_eq!(matrix(&mut world, now), [[200, 401], [401, 200]], "{family}");
    }
}

#[test]
fn a_clock_behind_refuses_fresh_tokens_until_they_have_aged_where_nothing_is_forgiven() {
    let mut world = world("clock-skew-nbf", None);
    let now = Duration::from_millis(1_500);
    assert_eq!(matrix(&mut world, now), [[200, 200, 401], [200, 200, 401], [200, 200, 200]]);
    let old = format!("Bearer {}", token(&mut world, Entry::Node(0), now).unwrap());
    for (later, status) in [(2_000, 401), (3_000, 200)] {
        let elapsed = now + Duration::from_millis(later);
        let answer = ask(&mut world, Entry::Node(2), "/v2/", Some(&old), elapsed);
        assert_eq!(answer.status(), status, "after {later} ms");
    }
    let mut forgiving = self::world("clock-skew-nbf", Some(Family::Harbor215));
    assert_eq!(matrix(&mut forgiving, now), [[200; 3]; 3]);
}

#[test]
fn a_strict_round_robin_takes_another_node_for_each_request() {
    let mut world = world("token-key-mismatch", None);
    let now = Duration::from_secs(1);
    let bearer = format!("Bearer {}", token(&mut world, Entry::Node(0), now).unwrap());
    let statuses: Vec<u16> = (0..4)
        .map(|_| ask(&mut world, Entry::Balancer, "/v2/", Some(&bearer), now).status().as_u16())
        .collect();
    assert_eq!(statuses, [200, 401, 200, 401]);
}

#[test]
fn an_unreadable_key_fails_the_token_endpoint_and_every_token_at_its_node() {
    let mut world = world("signing-key-unusable", None);
    let now = Duration::from_secs(1);
    let uri = "/service/token?service=harbor-registry&scope=x:y:z";
    let answer = ask(&mut world, Entry::Node(1), uri, None, now);
    assert_eq!((answer.status().as_u16(), answer.body().len()), (500, 0));
    assert_eq!(matrix(&mut world, now), [[200, 401, 200], [401; 3], [200, 401, 200]]);
}

#[test]
fn a_refused_secret_costs_time_and_yields_an_anonymous_token() {
    let mut world = world("credential-refused", None);
    let login = Login::prober();
    let basic = STANDARD.encode(format!("{}:{}", login.username, login.password));
    for (scope, status) in [("", 401), ("&scope=repository:probe/canary:pull", 200)] {
        let request = Request::builder()
            .uri(format!("/service/token?service=harbor-registry{scope}"))
            .header("authorization", format!("Basic {basic}"))
            .body(Bytes::new())
            .unwrap();
        // Each failure locks the name for 1.5 s, in which further ones are refused at once.
        let elapsed = Duration::from_secs(if scope.is_empty() { 10 } else { 20 });
        let reaction = world.handle(Entry::Node(0), CLIENT, &request, elapsed);
        let Reaction::Answer { response, after } = reaction else { panic!("{reaction:?}") };
        assert_eq!(response.status(), status);
        assert_eq!(after, Duration::from_millis(1_500));
    }
    assert_eq!(token(&mut world, Entry::Node(0), Duration::from_secs(30)), None);
}

#[test]
fn the_same_seed_gives_the_same_answers() {
    let began = 1_800_000_000_000_000_000;
    let [first, second] = [7, 7].map(|seed| {
        let options = Options { seed, began, keys: KeyKind::Fast, ..Options::default() };
        let mut world = World::new(&Scenario::named("healthy").unwrap(), &options).unwrap();
        (0..5)
            .map(|second| {
                let elapsed = Duration::from_secs(second);
                format!("{:?}", ask(&mut world, Entry::Balancer, "/v2/", None, elapsed))
            })
            .collect::<Vec<_>>()
    });
    assert_eq!(first, second);
}

/// Everything that a prober could learn from one entry, as text.
fn seen(world: &mut World, entry: Entry, held: Option<&str>, elapsed: Duration) -> String {
    let gate = world.gate(entry, CLIENT, elapsed);
    let entry = match &gate {
        Gate::Open { entry, .. } => *entry,
        _ => return format!("{gate:?}"),
    };
    let tell = |reaction: &Reaction| match reaction {
        Reaction::Answer { response, after } => {
            let header = |name: &str| response.headers().get(name).cloned();
            format!(
                "{} {:?} {:?} {:?} {:?} {after:?}",
                response.status(),
                header("www-authenticate"),
                header("content-type"),
                header("date"),
                header("x-request-id").is_some(),
            )
        }
        other => format!("{other:?}"),
    };
    let mut text = match gate {
        Gate::Open { tls, certificate, .. } => format!("tls={tls} {certificate:?}"),
        _ => String::new(),
    };
    let token = token(world, entry, elapsed);
    let answered = token_answer(world, entry, elapsed)
        .and_then(|answer| serde_json::from_slice::<Value>(answer.body()).ok());
    let lifetime = answered.map(|body| body["expires_in"].clone());
    let _ = write!(text, "\ntoken {} {lifetime:?}", token.is_some());
    let own = token.map(|token| format!("Bearer {token}"));
    let login = basic(&world.login().unwrap());
    for (uri, authorization) in [
        ("/v2/", None),
        ("/service/token?service=harbor-registry&scope=x:y:z", None),
        ("/service/token?service=harbor-registry&scope=repository:probe/canary:pull", None),
        ("/v2/", own.as_deref()),
        (TAGS, own.as_deref()),
        (TAGS, None),
        ("/v2/", held),
        ("/v2/", Some("Bearer garbage")),
        ("/api/v2.0/systeminfo", Some(login.as_str())),
    ] {
        let reaction = world.handle(entry, CLIENT, &request(uri, authorization), elapsed);
        let _ = write!(text, "\n{uri} {}", tell(&reaction));
        if let (Reaction::Answer { response, .. }, true) = (reaction, uri.ends_with("systeminfo")) {
            let info: Value = serde_json::from_slice(response.body()).unwrap_or_default();
            for told in ["harbor_version", "auth_mode", "external_url"] {
                let _ = write!(text, " {}", info[told]);
            }
        }
    }
    for (method, path) in [("GET", "/api/v2.0/ping"), ("POST", "/api/v2.0/ping"), ("GET", HEALTH)] {
        let asked = Request::builder().method(method).uri(path).header("host", PUBLIC_HOST);
        let asked = asked.header("cookie", "sid=x").body(Bytes::new()).unwrap();
        if let Reaction::Answer { response, .. } = world.handle(entry, CLIENT, &asked, elapsed) {
            let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
            let _ = write!(text, "\n{method} {path} {cookies:?} {:?}", response.body());
        }
    }
    let blobs = TAGS.replace("tags/list", "blobs/");
    let blob = request(&format!("{blobs}{CANARY_BLOB}"), own.as_deref());
    if let Reaction::Answer { response, .. } = world.handle(entry, CLIENT, &blob, elapsed) {
        let _ = write!(text, "\nblob {}", response.status());
    }
    let large = Request::builder().header("content-length", "1000000000").body(()).unwrap();
    let early = world.before_body(entry, &large, elapsed);
    let _ = write!(text, "\n1 GB {:?}", early.as_ref().map(tell));
    // The image: its manifest, and the blob that it names.
    let manifest = request("/v2/probe/canary/manifests/v1", own.as_deref());
    let reaction = world.handle(entry, CLIENT, &manifest, elapsed);
    let _ = write!(text, "\nmanifest {}", tell(&reaction));
    if let Reaction::Answer { response, .. } = reaction
        && let Ok(manifest) = serde_json::from_slice::<Value>(response.body())
        && let Some(digest) = manifest["config"]["digest"].as_str()
    {
        let blob = request(&format!("/v2/probe/canary/blobs/{digest}"), own.as_deref());
        let reaction = world.handle(entry, CLIENT, &blob, elapsed);
        let _ = write!(text, "\nblob {digest} {}", tell(&reaction));
    }
    text
}

#[test]
fn every_scenario_shows_and_its_healthy_twin_does_not() {
    for scenario in Scenario::all().unwrap() {
        let began = 1_800_000_000_000_000_000;
        let options = Options { began, ..options() };
        let mut healthy = scenario.clone();
        healthy.faults.clear();
        let [sick, twin] = [&scenario, &healthy].map(|scenario| {
            let mut world = World::new(scenario, &options).unwrap();
            let mut entries: Vec<Entry> = (0..world.node_names().len()).map(Entry::Node).collect();
            entries.push(Entry::Balancer);
            let first = Duration::from_millis(1_500);
            let held: Vec<_> = (0..entries.len() - 1)
                .map(|node| match world.gate(Entry::Node(node), CLIENT, first) {
                    Gate::Open { .. } => token(&mut world, Entry::Node(node), first),
                    _ => None,
                })
                .collect();
            let held: Vec<String> = held
                .into_iter()
                .map(|token| format!("Bearer {}", token.unwrap_or_default()))
                .collect();
            let mut all = Vec::new();
            for (round, seconds) in [3, 20, 40].into_iter().enumerate() {
                for entry in &entries {
                    let held = &held[round % held.len()];
                    all.push(seen(&mut world, *entry, Some(held), Duration::from_secs(seconds)));
                }
            }
            all
        });
        if scenario.faults.is_empty() {
            assert_eq!(sick, twin);
        } else if !scenario.push && !scenario.pools && !scenario.directory {
            // What shows only to those who push, list pools or log in as a person is seen by the
            // checks that do.
            assert_ne!(sick, twin, "{} shows nothing", scenario.name);
        }
        let healthy_pairs = twin.iter().all(|text| text.contains("token true"));
        assert!(healthy_pairs, "{}: {twin:#?}", scenario.name);
    }
}

/// Which nodes answer a number of requests through the balancer, by the key of their tokens'
/// issuer.
fn shares(kind: BalancerKind, layer: Layer, faults: Vec<FaultOrder>, sources: u32) -> Vec<u16> {
    let options = Options { balancer: Some(kind), layer: Some(layer), faults, ..options() };
    let mut world = World::new(&Scenario::named("healthy").unwrap(), &options).unwrap();
    let elapsed = Duration::from_secs(2);
    let bearer = format!("Bearer {}", token(&mut world, Entry::Node(0), elapsed).unwrap());
    (0..100_u32)
        .map(|number| {
            let connection = Connection { number: u64::from(number), source: number % sources };
            let Gate::Open { entry, .. } = world.gate(Entry::Balancer, connection, elapsed) else {
                panic!("closed");
            };
            match world.handle(entry, connection, &request("/v2/", Some(&bearer)), elapsed) {
                Reaction::Answer { response, .. } => response.status().as_u16(),
                other => panic!("{other:?}"),
            }
        })
        .collect()
}

#[test]
fn balancers_choose_as_their_kind_says() {
    let other_key = || vec![FaultOrder::at("b", Fault::OtherKey)];
    let refused = |statuses: &[u16]| statuses.iter().filter(|status| **status == 401).count();
    for layer in [Layer::Http, Layer::Tcp] {
        let strict = shares(BalancerKind::RoundRobin, layer, other_key(), 1);
        assert!(strict.chunks(2).all(|pair| pair[0] != pair[1]), "{layer:?}");
        let random = shares(BalancerKind::Random, layer, other_key(), 1);
        assert!((30..=70).contains(&refused(&random)), "{layer:?}");
        assert!(random.windows(2).any(|pair| pair[0] == pair[1]), "{layer:?}");
        let one_source = shares(BalancerKind::Source, layer, other_key(), 1);
        assert!([0, 100].contains(&refused(&one_source)), "{layer:?}");
        let many_sources = shares(BalancerKind::Source, layer, other_key(), 100);
        assert!((20..=80).contains(&refused(&many_sources)), "{layer:?}");
        // Without its cookie a client is new each time.
        let cookie = shares(BalancerKind::Cookie, layer, other_key(), 1);
        assert_eq!(refused(&cookie), 50, "{layer:?}");
        let down =
            vec![FaultOrder::at("b", Fault::OtherKey), FaultOrder::at("b", Fault::Unreachable)];
        let around = shares(BalancerKind::RoundRobin, layer, down, 1);
        assert_eq!(refused(&around), 0, "{layer:?}");
    }
}

#[test]
fn a_cookie_ties_a_client_to_the_node_that_it_names() {
    let options = Options {
        balancer: Some(BalancerKind::Cookie),
        faults: vec![FaultOrder::at("b", Fault::OtherKey)],
        ..options()
    };
    let mut world = World::new(&Scenario::named("healthy").unwrap(), &options).unwrap();
    let elapsed = Duration::from_secs(2);
    let bearer = format!("Bearer {}", token(&mut world, Entry::Node(0), elapsed).unwrap());
    for (name, status) in [("a", 200), ("b", 401)] {
        for _ in 0..5 {
            let mut request = request("/v2/", Some(&bearer));
            request.headers_mut().insert("cookie", format!("SERVERID={name}").parse().unwrap());
            let reaction = world.handle(Entry::Balancer, CLIENT, &request, elapsed);
            let Reaction::Answer { response, .. } = reaction else { panic!("{reaction:?}") };
            assert_eq!(response.status(), status);
        }
    }
    let answer = ask(&mut world, Entry::Balancer, "/v2/", None, elapsed);
    let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().collect();
    assert!(
        cookies.iter().any(|cookie| cookie.as_bytes().starts_with(b"SERVERID=")),
        "{cookies:?}"
    );
}

#[test]
fn faults_that_are_switched_keep_what_cores_remember() {
    let mut world = world("healthy", None);
    let elapsed = Duration::from_secs(5);
    let orders = vec![FaultOrder::at("a", Fault::RedisDown)];
    world.set_faults(orders.clone(), elapsed).unwrap();
    let mut waits = || {
        let reaction = world.handle(Entry::Node(0), CLIENT, &request("/v2/", None), elapsed);
        let Reaction::Answer { after, .. } = reaction else { panic!("{reaction:?}") };
        after.as_millis()
    };
    assert_eq!([waits(), waits(), waits()], [14_700, 4_660, 380]);
    world
        .set_faults([orders, vec![FaultOrder::at("b", Fault::CoreDown)]].concat(), elapsed)
        .unwrap();
    let since: Vec<Duration> = world.faults().iter().map(|active| active.since).collect();
    assert_eq!(since, [elapsed, elapsed]);
    let unknown = world.set_faults(vec![FaultOrder::at("z", Fault::CoreDown)], elapsed);
    assert!(unknown.unwrap_err().to_string().contains("\"z\""));
    assert_eq!(world.faults().len(), 2, "a wrong order changes nothing");
}

#[test]
fn a_directory_that_is_down_refuses_people_and_nobody_else() {
    let fault = FaultOrder::at("b", Fault::PeopleRefused { after_seconds: 5.0 });
    let mut world = World::new(
        &Scenario::named("healthy").unwrap(),
        &Options { faults: vec![fault], ..options() },
    )
    .unwrap();
    for (node, login, status, seconds) in [
        (0, Login::person(), 200, 0),
        (1, Login::person(), 401, 5),
        (1, Login::prober(), 200, 0),
        (1, Login::admin(), 200, 0),
    ] {
        let request = request("/service/token?service=harbor-registry", Some(&basic(&login)));
        let reaction = world.handle(Entry::Node(node), CLIENT, &request, Duration::from_secs(9));
        let Reaction::Answer { response, after } = reaction else { panic!("{reaction:?}") };
        assert_eq!((response.status().as_u16(), after.as_secs()), (status, seconds), "{login:?}");
    }
}
