//! Which hosts the port answers to, and which pages may make it work.
//!
//! A web page elsewhere can let its own name resolve to this machine, and then read every answer as
//! if it came from its own server (DNS rebinding). Its requests carry that name, so they can be
//! refused. With `localhost` or with an address this attack is not possible.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Request, Version};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names under which the daemon is reached.
#[derive(Debug)]
pub struct Names {
    /// Every name is accepted, because it is not known how the daemon is reached.
    any: bool,
    /// Whether addresses other than loopback lead here as well.
    addresses: bool,
    external: BTreeSet<String>,
}

impl Names {
    /// The names of a daemon that listens at these addresses and that, as the operator says, is
    /// reached under these hosts.
    pub fn new(listeners: &[SocketAddr], external: impl IntoIterator<Item = String>) -> Self {
        let external: BTreeSet<String> = external.into_iter().collect();
        let addresses = !listeners.iter().all(|at| at.ip().to_canonical().is_loopback());
        Self { any: external.is_empty() && addresses, addresses, external }
    }

    /// Whether a request is meant for this daemon.
    pub(super) fn answer_to(&self, host: &str) -> bool {
        let local = host == "localhost" || host.ends_with(".localhost");
        let known = match host.parse::<IpAddr>() {
            Ok(address) => self.addresses || address.to_canonical().is_loopback(),
            Err(_) => local,
        };
        self.any || known || self.external.contains(host)
    }

    /// Whether a browser sent a request for a page of another site.
    pub(super) fn is_from_elsewhere(&self, headers: &HeaderMap) -> bool {
        let here = headers.get(HOST).and_then(|value| value.to_str().ok());
        let own = |origin: &str| {
            let authority = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
            authority.is_some_and(|authority| {
                here.is_some_and(|here| here.eq_ignore_ascii_case(authority))
                    || host(authority).is_some_and(|host| self.external.contains(&host))
            })
        };
        let site = |site: &str| matches!(site, "same-origin" | "none");
        let all = |name: HeaderName, good: &dyn Fn(&str) -> bool| {
            headers.get_all(name).iter().all(|value| value.to_str().is_ok_and(good))
        };
        !(all(SEC_FETCH_SITE, &site) && all(ORIGIN, &own))
    }
}

/// Every host that a request names; none if it names no host, or two of them in its headers.
pub(super) fn hosts<B>(request: &Request<B>) -> Option<Vec<String>> {
    let mut headers = request.headers().get_all(HOST).iter();
    let mut named = Vec::new();
    match (headers.next(), headers.next()) {
        (Some(value), None) => named.push(host(value.to_str().ok()?)?),
        (None, _) if request.version() < Version::HTTP_11 => {}
        _ => return None,
    }
    if let Some(authority) = request.uri().authority() {
        named.push(host(authority.as_str())?);
    }
    Some(named)
}

/// The host of `host:port`, in the one form in which hosts are compared.
fn host(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok()?;
    let host = authority.host();
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty() && !text.contains('@')).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(listeners: &[&str], external: &[&str]) -> Names {
        let listeners: Vec<_> = listeners.iter().map(|at| at.parse().unwrap()).collect();
        Names::new(&listeners, external.iter().map(ToString::to_string))
    }

    fn answers(names: &Names, text: &str) -> bool {
        host(text).is_some_and(|host| names.answer_to(&host))
    }

    #[test]
    fn on_loopback_only_this_machine_s_names_are_answered() {
        let names = names(&["127.0.0.1:9912", "[::1]:9912"], &[]);
        for good in
            ["localhost", "LocalHost.:1", "a.localhost", "127.8.9.1:80", "[::1]", "[::1]:9912"]
        {
            assert!(answers(&names, good), "{good}");
        }
        for bad in [
            "rebound.example",
            "localhost.example",
            "notlocalhost",
            "127.0.0.1.example",
            "10.0.0.1",
            "x@localhost",
            "[::2]",
            "0.0.0.0",
            "",
            ":9912",
            "a b",
        ] {
            assert!(!answers(&names, bad), "{bad}");
        }
    }

    #[test]
    fn elsewhere_every_name_is_answered_until_the_own_ones_are_given() {
        for listener in ["0.0.0.0:9912", "[::]:9912", "10.0.0.5:9912"] {
            let open = names(&["127.0.0.1:9912", listener], &[]);
            assert!(answers(&open, "rebound.example"), "{listener}");
            let named = names(&[listener], &["prober.example.com"]);
            for good in ["prober.example.com:443", "10.0.0.5", "[fd00::1]:9912", "localhost"] {
                assert!(answers(&named, good), "{listener} {good}");
            }
            assert!(!answers(&named, "rebound.example"), "{listener}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_known_by_what_the_browser_adds() {
        let names = names(&["127.0.0.1:9912"], &["prober.example.com"]);
        let from_elsewhere = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "localhost:9912".parse().unwrap());
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            names.is_from_elsewhere(&headers)
        };
        for good in [
            &[][..],
            &[("origin", "http://localhost:9912")],
            &[("origin", "http://LOCALHOST:9912"), ("sec-fetch-site", "same-origin")],
            &[("origin", "https://prober.example.com")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(!from_elsewhere(good), "{good:?}");
        }
        for bad in [
            &[("origin", "null")][..],
            &[("origin", "http://localhost:3000")],
            &[("origin", "http://localhost:9912"), ("origin", "http://x.example")],
            &[("origin", "http://localhost:9912"), ("sec-fetch-site", "cross-site")],
            &[("origin", "https://prober.example.com.x.example")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "what comes after it")],
        ] {
            assert!(from_elsewhere(bad), "{bad:?}");
        }
    }
}
