//! The public name in DNS, by real dnsmasq: addresses that answer alike, a dead one, one of another
//! registry, and resolvers that disagree.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use registry_prober::config::{self, PublicUrl, Registry};
use registry_prober::lab::{KeyKind, SigningKey};
use registry_prober::model::{Assessment, Confidence, Finding, FindingName, Severity};
use tempfile::TempDir;

use super::pki::PUBLIC_HOST;
use super::plan::{NodePlan, Plan};
use super::process::{Process, command};
use super::servers::{nginx_front, registry};
use super::site::Site;
use crate::support;

/// Where node a, node b, no server, and another registry listen.
const A: &str = "127.0.0.11";
const B: &str = "127.0.0.12";
const DEAD: &str = "127.0.0.13";
const FOREIGN: &str = "127.0.0.14";
/// Where nothing listens by IPv6.
const OTHER_FAMILY: &str = "::1";

/// A resolver that knows the public name only.
async fn resolver(folder: &Path, name: &str, addresses: &[&str]) -> (Process, SocketAddr) {
    Process::listening(folder, name, |address| {
        let mut command = command("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
        ]);
        command.args(["--bind-interfaces", "--user=", "--pid-file=", "--local-ttl=60"]);
        command.arg(format!("--listen-address={}", address.ip()));
        command.arg(format!("--port={}", address.port()));
        command.args(addresses.iter().map(|to| format!("--host-record={PUBLIC_HOST},{to}")));
        command
    })
    .await
}

/// Nodes at addresses of their own and one port, as DNS wants it; the balancer at 127.0.0.1.
async fn spread(folder: &Path, to: &[(&str, SocketAddr)]) -> (Process, SocketAddr) {
    Process::listening(folder, "spread", |address| {
        let mut text = String::from(
            "defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 30s\n  \
             timeout server 30s\n",
        );
        let (ip, port) = (address.ip().to_string(), address.port());
        for (at, node) in to.iter().copied().chain(to.first().map(|(_, node)| (&*ip, *node))) {
            let _ = writeln!(text, "listen at-{at}\n  bind {at}:{port}\n  server node {node}");
        }
        let file = folder.join("spread.cfg");
        fs::write(&file, text).unwrap();
        let mut command = command("haproxy");
        command.arg("-db").arg("-f").arg(file);
        command
    })
    .await
}

async fn judged(registry: &Registry) -> Assessment {
    let mut prober = support::prober(&std::sync::Arc::new(registry.clone()));
    support::round(registry, &mut prober).await.1
}

fn split(assessment: &Assessment) -> Option<&Finding> {
    assessment.findings.iter().find(|f| f.finding == FindingName::DnsAddressNotABackend)
}

#[tokio::test]
async fn addresses_of_the_public_name_that_do_not_answer_as_the_backends_are_named() {
    let site = Site::start(Plan::healthy()).await;
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let trusted = folder.join("trusted.pem");
    fs::write(&trusted, SigningKey::numbered(KeyKind::Fast, 9).unwrap().certificate_pem()).unwrap();
    let realm = "https://old.invalid/token";
    let plan = NodePlan { realm: realm.to_owned(), ..Plan::healthy().nodes[0].clone() };
    let (_old, at) = registry(folder, "old", &plan, &trusted).await;
    let (_front, old) = nginx_front(folder, "front-old", &[("/", at)], &site.certificate).await;
    let (a, b) = (site.nodes[0].address, site.nodes[1].address);
    let (_spread, balancer) = spread(folder, &[(A, a), (B, b), (FOREIGN, old)]).await;

    let loaded = config::load(&site.config).unwrap_or_else(|errors| panic!("{errors}"));
    let mut registry = loaded.config.registries.into_iter().next().unwrap();
    let url = format!("https://{PUBLIC_HOST}:{}", balancer.port());
    registry.url = PublicUrl::parse(&url).unwrap();
    registry.balancer.address = config::HostPort::parse(&balancer.to_string(), 443).ok();
    let (_good, good) = resolver(folder, "dns-good", &[A, B]).await;

    registry.checks.dns_resolvers = vec![good];
    let healthy = judged(&registry).await;
    assert_eq!(split(&healthy), None);

    for (bad, word) in [(DEAD, "connect"), (FOREIGN, realm), (OTHER_FAMILY, "connect")] {
        let (_stale, stale) = resolver(folder, "dns-stale", &[A, bad]).await;
        registry.checks.dns_resolvers = vec![good, stale];
        let assessment = judged(&registry).await;
        let finding = split(&assessment).unwrap_or_else(|| panic!("{bad}: {assessment:#?}"));
        assert_eq!(finding.confidence, Confidence::Proved);
        assert!(finding.severity >= Severity::Warning, "{finding:#?}");
        assert!(finding.summary.ends_with(&format!("{bad}.")), "{}", finding.summary);
        assert!(finding.evidence[0].contains(word), "{bad}: {:?}", finding.evidence);
        let family =
            finding.summary.starts_with("No IPv6 address") && finding.summary.contains("IPv4 does");
        assert_eq!(family, bad == OTHER_FAMILY, "{}", finding.summary);
        let teller = format!("resolver {stale}: ");
        let told = finding.evidence.iter().find(|line| line.starts_with(&teller));
        assert!(told.is_some_and(|line| line.contains(&format!("{bad} (for 60 s)"))), "{told:?}");
    }

    let (_part, part) = resolver(folder, "dns-part", &[A]).await;
    registry.checks.dns_resolvers = vec![good, part];
    let assessment = judged(&registry).await;
    let finding = split(&assessment).expect("resolvers that disagree are told");
    assert_eq!(finding.severity, Severity::Info);
}
