//! Real nginx and `HAProxy` before real registries with what people put there: client certificates,
//! old TLS, logins, small buffers, pages for 401, caches, packed answers, the PROXY protocol. Each
//! with what the program says of it, and next to it what is sound.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;
use registry_prober::config::{Backend, BackendSource, HostPort, Registry, Scheme};
use registry_prober::model::{AccessScheme, Assessment, BackendName, Round, Status};
use registry_prober::probe::Prober;
use registry_prober::transport::{ClientPem, HttpClient, Tls};
use secrecy::SecretString;

use super::plan::{NODES, Plan, login};
use super::process::{Process, free_address};
use super::servers::{
    Directives, haproxy_balancer_with, nginx_balancer_of, nginx_front, registry_with_passwords,
};
use super::site::Site;
use super::verdict::found_by;
use crate::support;

async fn judged(registry: Registry) -> (Round, Assessment) {
    let registry = Arc::new(registry);
    let mut prober = support::prober(&registry);
    support::round(&registry, &mut prober).await
}

/// The site behind another balancer, with fewer samples.
fn behind(site: &Site, balancer: SocketAddr) -> Registry {
    let mut registry = site.behind(balancer);
    registry.balancer.samples = 12;
    registry
}

fn addresses(site: &Site) -> Vec<SocketAddr> {
    site.nodes.iter().map(|node| node.address).collect()
}

/// The same with other nodes.
fn with_nodes(registry: Registry, nodes: &[SocketAddr]) -> Registry {
    let backend = |(name, at): (&str, &SocketAddr)| Backend {
        name: BackendName::parse(name).unwrap(),
        scheme: Scheme::Https,
        address: HostPort::parse(&at.to_string(), 443).unwrap(),
        ready: true,
    };
    let backends = NODES.into_iter().zip(nodes).map(backend).collect();
    Registry { backends: BackendSource::Static(backends), ..registry }
}

/// What nginx does in front, what is found, and words of the first finding.
type Case<'a> = (&'a str, Directives<'a>, &'a [&'a str], &'a str);

/// Judges a sound site behind each of some nginx, all at once.
async fn expect_behind(site: &Site, cases: &[Case<'_>]) {
    let nodes = addresses(site);
    let each =
        cases.iter().enumerate().map(async |(number, (what, directives, expected, words))| {
            let (folder, name) = (site.folder(), format!("front-{number}"));
            let (_nginx, balancer) =
                nginx_balancer_of(folder, &name, *directives, &nodes, &site.certificate).await;
            let (_, assessment) = judged(behind(site, balancer)).await;
            let found = found_by(&assessment);
            let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{what}: {:#?}", assessment.findings);
            let said = assessment.findings.first().map_or("", |finding| &finding.summary);
            assert!(said.contains(words), "{what}: {said}");
            assert_eq!(assessment.status == Status::Ok, expected.is_empty(), "{what}");
        });
    join_all(each).await;
}

fn server(server: &str) -> Directives<'_> {
    Directives { server, ..Directives::default() }
}

const TLS: &str = "tls-handshake-refused";

#[tokio::test(flavor = "multi_thread")]
async fn what_the_balancer_wants_of_tls_is_said_in_words() {
    let site = Site::start(Plan::healthy()).await;
    let root = site.folder().join("ca.pem");
    let wants =
        |how| format!("ssl_client_certificate {}; ssl_verify_client {how};", root.display());
    let (on, optional) = (wants("on"), wants("optional"));
    let critical = format!("{TLS} critical proved []");
    let prober = format!("{TLS} warning proved []");
    expect_behind(
        &site,
        &[
            ("a client certificate", server(&on), &[&prober], "--cert-file"),
            ("one that may be left out", server(&optional), &[], ""),
            (
                "TLS 1.1",
                server("ssl_protocols TLSv1 TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;"),
                &[&critical],
                "no TLS version or cipher",
            ),
            ("TLS 1.2", server("ssl_protocols TLSv1.2;"), &[], ""),
            (
                "ciphers of long ago",
                server("ssl_protocols TLSv1.2; ssl_ciphers AES256-SHA256:@SECLEVEL=0;"),
                &[&critical],
                "no TLS version or cipher",
            ),
            ("another name", server("ssl_reject_handshake on;"), &[&critical], "other names"),
        ],
    )
    .await;

    // The same certificate authority signs for the prober.
    let (_nginx, balancer) = nginx_balancer_of(
        site.folder(),
        "front-mutual",
        server(&on),
        &addresses(&site),
        &site.certificate,
    )
    .await;
    let registry = Arc::new(behind(&site, balancer));
    let read = |path| fs::read(path).unwrap();
    let (chain, key) = (read(&site.certificate.certificate), read(&site.certificate.key));
    let key = SecretString::from(String::from_utf8(key).unwrap());
    let pem = ClientPem { certificates: &chain, key: &key };
    let tls = Tls::prepare(registry.tls.extra_roots.as_deref(), Some(&pem), false).unwrap();
    let client = Arc::new(HttpClient::new(tls, "registry-prober/test"));
    let mut prober = Prober::new(Arc::clone(&registry), client);
    let (_, assessment) = support::round(&registry, &mut prober).await;
    assert_eq!(found_by(&assessment), Vec::<String>::new(), "{:#?}", assessment.findings);
}

const MISROUTES: &str = "lb-misroutes-api-path";

#[tokio::test(flavor = "multi_thread")]
async fn what_the_balancer_answers_in_place_of_the_registry_is_named() {
    let site = Site::start(Plan::healthy()).await;
    let users = site.folder().join("users");
    let account = login();
    let lines = format!("{}:{{PLAIN}}{}\nother:{{PLAIN}}x\n", account.username, account.password);
    fs::write(&users, lines).unwrap();
    let login = format!("auth_basic Restricted; auth_basic_user_file '{}';", users.display());
    let page = "location = /login.html { internal; default_type text/html; \
                return 200 '<html><body>Log in</body></html>'; }";
    let replaced = |how: &str| format!("{page} proxy_intercept_errors on; error_page 401 {how};");
    let (as_200, moved) = (replaced("=200 /login.html"), replaced("=302 https://login.invalid/"));
    let small = "client_header_buffer_size 256; large_client_header_buffers 4 512;";
    let critical = format!("{MISROUTES} critical proved []");
    expect_behind(
        &site,
        &[
            (
                "a login of its own",
                Directives { location: &login, ..Directives::default() },
                &[&critical],
                "a login of its own",
            ),
            ("a page for 401", server(&as_200), &[&critical], "not the registry"),
            ("a redirect for 401", server(&moved), &[&critical], "not the registry"),
            (
                "small buffers",
                server(small),
                &["header-size-limited critical proved []"],
                "its headers are too large",
            ),
            ("larger buffers", server("large_client_header_buffers 4 4k;"), &[], ""),
        ],
    )
    .await;
}

/// nginx forgets what an outer level sets once a location sets any header.
const KEEP: &str = "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https;";

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_does_not_look_at_authorization_is_named() {
    let site = Site::start(Plan::healthy()).await;
    let http = "proxy_cache_path cache keys_zone=answers:1m;";
    let said = "add_header X-Cache-Status $upstream_cache_status always;";
    let silent = "proxy_cache answers; proxy_cache_valid 200 10m;";
    let speaks = format!("{silent} {said}");
    let everything = format!("proxy_cache answers; proxy_cache_valid any 10m; {said}");
    let off = format!("{everything} proxy_cache_bypass $http_authorization; proxy_no_cache 1;");
    let at = |location| Directives { http, location, ..Directives::default() };
    let (proved, suspected) =
        (format!("{MISROUTES} critical proved []"), format!("{MISROUTES} critical suspected []"));
    expect_behind(
        &site,
        &[
            ("one that says nothing", at(silent), &[&suspected], "a cache"),
            ("one that says so", at(&speaks), &[&proved], "A cache"),
            ("one that keeps refusals", at(&everything), &[&proved], "A cache"),
            ("one that keeps nothing", at(&off), &[], ""),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_packed_unasked_are_read_as_clients_read_them() {
    let mut plan = Plan::healthy();
    for node in &mut plan.nodes {
        node.front = "gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;";
    }
    let site = Site::start(plan).await;
    let asks = format!("{KEEP} proxy_set_header Accept-Encoding gzip;");
    let directives = Directives { location: &asks, ..Directives::default() };
    expect_behind(&site, &[("packed", directives, &[], "")]).await;
    // They are packed indeed.
    let log = fs::read_to_string(site.folder().join("front-0/access.log")).unwrap();
    assert!(log.contains("/v2/"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_expect_the_proxy_protocol_are_suspected_of_that() {
    let site = Site::start(Plan::healthy()).await;
    let (folder, certificate) = (site.folder(), &site.certificate);
    for (listen, words, expected) in [
        ("proxy_protocol", "send-proxy", vec!["backend-unreachable warning suspected [a b c]"]),
        ("", "", vec![]),
    ] {
        let directives = Directives { listen, ..Directives::default() };
        let each = site.nodes.iter().zip(NODES).map(|(node, name)| {
            let name = format!("outer-{name}-{listen}");
            async move {
                nginx_balancer_of(folder, &name, directives, &[node.address], certificate).await
            }
        });
        let outer: Vec<(Process, SocketAddr)> = join_all(each).await;
        let nodes: Vec<SocketAddr> = outer.iter().map(|(_, address)| *address).collect();
        let name = format!("haproxy-{listen}");
        let (_haproxy, balancer) = haproxy_balancer_with(folder, &name, words, &nodes).await;
        let (_, assessment) = judged(with_nodes(behind(&site, balancer), &nodes)).await;
        assert_eq!(found_by(&assessment), expected, "{listen}: {:#?}", assessment.findings);
        let proxied = assessment.findings.iter().all(|one| one.summary.contains("PROXY protocol"));
        assert!(proxied, "{:#?}", assessment.findings);
        let due = if expected.is_empty() { Status::Ok } else { Status::Unknown };
        assert_eq!(assessment.status, due);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_that_take_passwords_and_know_no_tokens_are_sound() {
    let site = Site::start(Plan::healthy()).await;
    let (folder, certificate) = (site.folder(), &site.certificate);
    let each = NODES.into_iter().map(|name| async move {
        let (registry, behind) = registry_with_passwords(folder, &format!("basic-{name}")).await;
        let front = format!("basic-front-{name}");
        let (front, at) = nginx_front(folder, &front, &[("/v2/", behind)], certificate).await;
        (registry, front, at)
    });
    let running = join_all(each).await;
    let nodes: Vec<SocketAddr> = running.iter().map(|(_, _, at)| *at).collect();
    let directives = Directives::default();
    let (_nginx, balancer) =
        nginx_balancer_of(folder, "basic-balancer", directives, &nodes, certificate).await;
    let registry = with_nodes(behind(&site, balancer), &nodes);
    let (round, assessment) = judged(registry.clone()).await;
    assert!(round.flows.iter().all(|flow| flow.scheme == AccessScheme::Basic), "{round:#?}");
    assert_eq!(found_by(&assessment), Vec::<String>::new(), "{:#?}", assessment.findings);
    assert_eq!(assessment.status, Status::Ok, "{:#?}", assessment.unmeasured);
    let tokens = assessment.unmeasured.iter().find(|entry| entry.what == "tokens");
    assert!(tokens.is_some_and(|entry| entry.why.contains("Basic")), "{assessment:#?}");

    let mut wrong = registry;
    let credentials = wrong.credentials.as_mut().unwrap();
    credentials.password = SecretString::from("wrong horse".to_owned());
    let (_, assessment) = judged(wrong).await;
    assert_eq!(found_by(&assessment), ["credential-refused warning proved []"]);
}

/// This number of checks at once; what a dead server takes of each is waiting.
const CHECKS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_behind_the_balancer_that_is_not_listed_is_never_passed_over() {
    let site = Site::start(Plan::healthy()).await;
    let two = &addresses(&site)[..2];
    let with_a_dead_one = [two[0], two[1], free_address()];
    let (_haproxy, balancer) =
        haproxy_balancer_with(site.folder(), "with-a-dead-one", "", &with_a_dead_one).await;
    let mut registry = with_nodes(behind(&site, balancer), two);
    registry.balancer.samples = 20;
    let checks = join_all((0..CHECKS).map(|_| judged(registry.clone()))).await;
    for (round, assessment) in checks {
        let found = found_by(&assessment);
        println!("{:?} {found:?} {:?}", assessment.status, assessment.unmeasured);
        assert_ne!(assessment.status, Status::Ok, "{:#?}", round.balancer);
        let named = assessment.findings.iter().flat_map(|finding| &finding.backends);
        assert_eq!(named.count(), 0, "{found:?}");
    }
    let (_haproxy, balancer) = haproxy_balancer_with(site.folder(), "sound", "", two).await;
    let (_, assessment) = judged(with_nodes(behind(&site, balancer), two)).await;
    assert_eq!(assessment.status, Status::Ok, "{:#?}", assessment.findings);
}
