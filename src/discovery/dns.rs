//! Backends by DNS: the addresses of a name, or the servers of a service.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{Instant, timeout};

use super::cause::DiscoveryCause;
use crate::config::{Backend, DnsSource, HostPort};
use crate::model::BackendName;
use crate::transport::{Srv, services};

/// The backends behind a name.
pub(super) async fn backends(
    source: &DnsSource,
    within: Duration,
) -> Result<Vec<Backend>, DiscoveryCause> {
    if source.is_service() {
        let found = services(&source.name, Instant::now() + within).await;
        return servers(source, found.map_err(DiscoveryCause::Resolver)?);
    }
    let found = timeout(within, lookup_host((source.name.as_str(), source.port)))
        .await
        .map_err(|_| DiscoveryCause::Timeout)?
        .map_err(DiscoveryCause::Lookup)?;
    addresses(source, found.map(|address: SocketAddr| address.ip()))
}

/// Gives each distinct address its name, scheme and port; sorted by address.
fn addresses(
    source: &DnsSource,
    found: impl Iterator<Item = IpAddr>,
) -> Result<Vec<Backend>, DiscoveryCause> {
    // An IPv4 address that a resolver wrapped into IPv6 is the same node.
    let found: BTreeSet<IpAddr> = found.map(|address| address.to_canonical()).collect();
    if found.is_empty() {
        return Err(DiscoveryCause::NoAddress);
    }
    let backend = |address: IpAddr| Backend {
        name: BackendName::of_address(address),
        scheme: source.scheme,
        address: HostPort { host: address.to_string(), port: source.port },
        ready: true,
    };
    Ok(found.into_iter().map(backend).collect())
}

/// Names each server by the first label of its name where that tells them apart, as it does for the
/// pods of a headless Service; else by its name and port.
fn servers(source: &DnsSource, mut found: Vec<Srv>) -> Result<Vec<Backend>, DiscoveryCause> {
    found.sort_by(|a, b| (&a.target, a.port).cmp(&(&b.target, b.port)));
    found.dedup();
    if found.is_empty() {
        return Err(DiscoveryCause::NoAddress);
    }
    let label = |server: &Srv| server.target.split('.').next().unwrap_or_default().to_owned();
    let labels: BTreeSet<String> = found.iter().map(label).collect();
    let distinct = labels.len() == found.len();
    let backend = |server: Srv| {
        let unfit = |why: String| DiscoveryCause::Server(server.target.clone(), why);
        let address = HostPort::parse(&server.target, server.port);
        let address = address.map_err(|error| unfit(error.to_string()))?;
        let short = Some(label(&server)).filter(|_| distinct);
        let whole = || BackendName::parse(&format!("{}_{}", server.target, server.port));
        let name = short.and_then(|label| BackendName::parse(&label).ok()).map_or_else(whole, Ok);
        let name = name.map_err(|error| unfit(error.to_string()))?;
        Ok(Backend {
            name,
            scheme: source.scheme,
            address: HostPort { port: server.port, ..address },
            ready: true,
        })
    };
    found.into_iter().map(backend).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::config::Scheme;

    fn source(port: u16) -> DnsSource {
        DnsSource { name: "hub.example.com".to_owned(), port, scheme: Scheme::Https }
    }

    fn shown(found: Result<Vec<Backend>, DiscoveryCause>) -> Vec<String> {
        let line = |b: &Backend| format!("{} {}://{}", b.name, b.scheme, b.address);
        found.unwrap().iter().map(line).collect()
    }

    #[test]
    fn addresses_are_named_sorted_and_never_twice() {
        let found = ["fd00::1", "10.0.0.2", "10.0.0.1", "::ffff:10.0.0.2", "10.0.0.1"];
        let found = found.iter().map(|text| text.parse().unwrap());
        assert_eq!(
            shown(addresses(&source(8443), found)),
            [
                "10.0.0.1 https://10.0.0.1:8443",
                "10.0.0.2 https://10.0.0.2:8443",
                "[fd00::1] https://[fd00::1]:8443",
            ]
        );
        let error = addresses(&source(443), std::iter::empty()).unwrap_err();
        assert!(matches!(error, DiscoveryCause::NoAddress), "{error}");
    }

    #[test]
    fn every_address_makes_a_valid_name() {
        let longest = IpAddr::from(Ipv6Addr::from_bits(u128::MAX));
        for address in [longest, Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()] {
            assert!(addresses(&source(443), [address].into_iter()).is_ok(), "{address}");
        }
    }

    #[test]
    fn servers_have_the_names_of_their_pods_and_the_ports_of_their_records() {
        let srv = |target: &str, port| Srv { target: target.to_owned(), port };
        let pods = vec![srv("core-1.core.harbor.svc", 8080), srv("core-0.core.harbor.svc", 8080)];
        assert_eq!(
            shown(servers(&source(443), pods)),
            [
                "core-0 https://core-0.core.harbor.svc:8080",
                "core-1 https://core-1.core.harbor.svc:8080",
            ]
        );
        let ports = vec![srv("hub.a", 1), srv("hub.a", 2), srv("hub.a", 2)];
        assert_eq!(
            shown(servers(&source(443), ports)),
            ["hub.a_1 https://hub.a:1", "hub.a_2 https://hub.a:2"]
        );
    }
}
