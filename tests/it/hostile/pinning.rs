//! A backend is reached at its own address and asked for the public one: `Host` and TLS server
//! name are those of the URL, for names and for addresses.

use registry_prober::config::Scheme;
use registry_prober::model::Flow;

use super::rounds::{asks, end, registry, round, well};
use super::server::{Authority, Server};

/// A public URL without its scheme, the `Host` header, and the TLS server name.
const PUBLIC: [(&str, &str, Option<&str>); 8] = [
    ("hub.example.com", "hub.example.com", Some("hub.example.com")),
    ("HUB.Example.com", "hub.example.com", Some("hub.example.com")),
    ("hub.example.com:8443", "hub.example.com:8443", Some("hub.example.com")),
    ("192.0.2.7", "192.0.2.7", None),
    ("192.0.2.7:5000", "192.0.2.7:5000", None),
    ("[2001:db8::7]", "[2001:db8::7]", None),
    ("[2001:db8::7]:5000", "[2001:db8::7]:5000", None),
    ("hub.example.com:DEFAULT", "hub.example.com", Some("hub.example.com")),
];

#[tokio::test(flavor = "multi_thread")]
async fn host_and_server_name_are_public_and_the_connection_is_pinned() {
    let authority = Authority::new("pinning");
    let roots = authority.pem();
    let names = ["hub.example.com", "192.0.2.7", "2001:db8::7"];
    for scheme in [Scheme::Http, Scheme::Https] {
        let tls = (scheme == Scheme::Https).then(|| authority.server(&names, |_| {}));
        for (public, host, name) in PUBLIC {
            let public = public.replace("DEFAULT", &scheme.default_port().to_string());
            let url = format!("{scheme}://{public}");
            let base = url.clone();
            let server = Server::start(tls.clone(), move |request| {
                let Some(request) = request else { return Vec::new() };
                match asks(request) {
                    super::rounds::Asks::Challenge => {
                        vec![super::rounds::challenge(&format!("{base}/token"))]
                    }
                    asked => well(asked),
                }
            })
            .await;
            let round = round(registry(&url, scheme, &[&server]), Some(&roots)).await;
            assert_eq!(end(&round, "a"), None, "{url}: {:?}", round.flows);
            assert!(round.flows.iter().all(Flow::succeeded), "{url}: through lb as well");
            let requests = server.requests();
            assert!(requests.len() >= 6, "{url}: two flows of three requests");
            for request in requests {
                let hosts: Vec<&str> = request
                    .lines()
                    .filter_map(|line| line.split_once(": "))
                    .filter(|(key, _)| key.eq_ignore_ascii_case("host"))
                    .map(|(_, value)| value)
                    .collect();
                assert_eq!(hosts, [host], "{url}: {request}");
            }
            for seen in server.names() {
                assert_eq!(seen.as_deref(), name, "{url}");
            }
            assert_eq!(server.names().is_empty(), scheme == Scheme::Http);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_the_backends_own_address_is_not_the_public_one() {
    let authority = Authority::new("pinning");
    for url in ["https://hub.example.com", "https://192.0.2.7", "https://[2001:db8::7]"] {
        let config = authority.server(&["127.0.0.1"], |_| {});
        let server = Server::start(Some(config), |_| Vec::new()).await;
        let round = round(registry(url, Scheme::Https, &[&server]), Some(&authority.pem())).await;
        let reason = end(&round, "a").map(|(_, reason)| reason.as_str());
        assert_eq!(reason, Some("tls_certificate"), "{url}");
        assert!(server.requests().is_empty(), "{url}: nothing was said to it");
    }
}
