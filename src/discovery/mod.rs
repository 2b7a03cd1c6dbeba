//! Which backends a registry has right now: those of the file, or every address behind its name.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::config::{Backend, BackendSource, HostPort, PublicUrl, Registry};
use crate::model::{BackendName, RegistryName};

/// Most addresses behind one name that are taken for backends.
const MAX_ADDRESSES: usize = 100;

/// Why the backends of a registry could not be found.
#[derive(Debug, Error)]
#[error("registry {registry}: {host}: {cause}")]
pub struct DiscoveryError {
    /// The registry.
    pub registry: RegistryName,
    /// The host that was looked up.
    pub host: String,
    /// What went wrong.
    pub cause: DiscoveryCause,
}

/// What can go wrong in finding backends.
#[derive(Debug, Error)]
pub enum DiscoveryCause {
    /// The resolver's answer is an error.
    #[error("cannot be looked up: {0}")]
    Lookup(#[source] io::Error),
    /// The resolver did not answer within the registry's timeout.
    #[error("the lookup did not end within the timeout")]
    Timeout,
    /// The name exists without an address.
    #[error("has no address")]
    NoAddress,
    /// More addresses than one registry can have nodes.
    #[error("{0} addresses are too many for one registry; at most {MAX_ADDRESSES} are allowed")]
    TooMany(usize),
}

/// The backends of a registry: as listed, or by DNS, sorted by address.
///
/// # Errors
/// [`DiscoveryError`], with DNS only; asking again later may help.
pub async fn backends(registry: &Registry) -> Result<Vec<Backend>, DiscoveryError> {
    if let BackendSource::Static(backends) = &registry.backends {
        return Ok(backends.clone());
    }
    let HostPort { host, port } = &registry.url.authority().host_port;
    let fail =
        |cause| DiscoveryError { registry: registry.name.clone(), host: host.clone(), cause };
    let found = timeout(registry.timeout, lookup_host((host.as_str(), *port)))
        .await
        .map_err(|_| fail(DiscoveryCause::Timeout))?
        .map_err(|error| fail(DiscoveryCause::Lookup(error)))?;
    named(&registry.url, found.map(|address: SocketAddr| address.ip())).map_err(fail)
}

/// Gives each distinct address its name and the URL's scheme and port.
fn named(
    url: &PublicUrl,
    addresses: impl Iterator<Item = IpAddr>,
) -> Result<Vec<Backend>, DiscoveryCause> {
    // An IPv4 address that a resolver wrapped into IPv6 is the same node.
    let addresses: BTreeSet<IpAddr> = addresses.map(|address| address.to_canonical()).collect();
    match addresses.len() {
        0 => return Err(DiscoveryCause::NoAddress),
        count if count > MAX_ADDRESSES => return Err(DiscoveryCause::TooMany(count)),
        _ => {}
    }
    let authority = url.authority();
    let backend = |address: IpAddr| Backend {
        name: BackendName::of_address(address),
        scheme: authority.scheme,
        address: HostPort { host: address.to_string(), port: authority.host_port.port },
    };
    Ok(addresses.into_iter().map(backend).collect())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn url(text: &str) -> PublicUrl {
        PublicUrl::parse(text).unwrap()
    }

    fn by_dns(text: &str) -> Registry {
        Registry::new(RegistryName::parse("main").unwrap(), url(text), BackendSource::Dns)
    }

    #[test]
    fn addresses_are_named_sorted_and_never_twice() {
        let addresses = ["fd00::1", "10.0.0.2", "10.0.0.1", "::ffff:10.0.0.2", "10.0.0.1"];
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        let found = named(&url("https://hub.example.com:8443"), addresses).unwrap();
        let found: Vec<_> =
            found.iter().map(|b| format!("{} {}://{}", b.name, b.scheme, b.address)).collect();
        assert_eq!(
            found,
            [
                "10.0.0.1 https://10.0.0.1:8443",
                "10.0.0.2 https://10.0.0.2:8443",
                "[fd00::1] https://[fd00::1]:8443",
            ]
        );
    }

    #[test]
    fn a_hundred_addresses_are_backends_and_one_more_is_an_error() {
        let addresses = |count: u32| (1..=count).map(|n| IpAddr::from(Ipv4Addr::from_bits(n)));
        assert_eq!(named(&url("https://h"), addresses(100)).unwrap().len(), 100);
        let error = named(&url("https://h"), addresses(101)).unwrap_err();
        assert!(matches!(error, DiscoveryCause::TooMany(101)), "{error}");
        let error = named(&url("https://h"), std::iter::empty()).unwrap_err();
        assert!(matches!(error, DiscoveryCause::NoAddress), "{error}");
    }

    #[test]
    fn every_address_makes_a_valid_name() {
        let longest = IpAddr::from(Ipv6Addr::from_bits(u128::MAX));
        for address in [longest, Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()] {
            assert!(named(&url("https://h"), [address].into_iter()).is_ok(), "{address}");
        }
    }

    #[tokio::test]
    async fn a_host_that_is_an_address_is_its_own_backend() {
        for (text, name) in [("https://10.0.0.1", "10.0.0.1"), ("http://[::1]:5000", "[::1]")] {
            let found = backends(&by_dns(text)).await.unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].name.as_str(), name);
        }
    }

    #[tokio::test]
    async fn listed_backends_are_taken_as_they_are() {
        let listed = vec![Backend {
            name: BackendName::parse("a").unwrap(),
            scheme: url("http://h").authority().scheme,
            address: HostPort { host: "node-a".to_owned(), port: 5000 },
        }];
        let registry = Registry {
            backends: BackendSource::Static(listed.clone()),
            ..by_dns("https://hub.example.com")
        };
        assert_eq!(backends(&registry).await.unwrap(), listed);
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_names_registry_and_host() {
        let error = backends(&by_dns("https://no.such.host.invalid")).await.unwrap_err();
        assert!(error.to_string().starts_with("registry main: no.such.host.invalid: "), "{error}");
    }
}
