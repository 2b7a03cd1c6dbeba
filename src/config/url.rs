//! Public URLs and authorities, parsed once and compared as the wire compares them.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Reads `http` or `https`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|scheme| scheme.as_str() == text)
    }

    /// The port that is meant when none is given.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text is not a URL or address that can be used here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Not a URL at all.
    #[error("not a URL ({0}); expected something like https://hub.example.com")]
    Syntax(String),
    /// Neither http nor https.
    #[error("scheme {0:?} is not supported; expected http or https")]
    Scheme(String),
    /// User or password inside.
    #[error("a URL or address must not contain credentials; set them separately")]
    Credentials,
    /// A path, query or fragment.
    #[error("{0:?} after the host is not allowed; expected scheme, host and port only")]
    Path(String),
    /// Not `host:port`.
    #[error("{0:?} is not host:port; expected for instance 10.0.0.1:443 or [fd00::1]:443")]
    Address(String),
}

/// A host, without brackets if it is an IPv6 address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct HostPort {
    /// Name or address, lower case.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl HostPort {
    /// Reads `host`, `host:port`, `[v6]:port` or a bare IPv6 address.
    ///
    /// # Errors
    /// [`UrlError::Address`] if it is none of these.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, UrlError> {
        if text.contains('@') {
            return Err(UrlError::Credentials);
        }
        let bad = || UrlError::Address(text.to_owned());
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            let port = match rest.strip_prefix(':') {
                Some(port) => port.parse().map_err(|_| bad())?,
                None if rest.is_empty() => default_port,
                None => return Err(bad()),
            };
            (host, port)
        } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
            (text, default_port)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
                None => (text, default_port),
            }
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        // Names whose last label is a number do not exist: 10.0.0.300 is a mistyped address.
        let number = host.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        let mistyped = number && host.parse::<std::net::IpAddr>().is_err();
        if host.is_empty() || !host.chars().all(allowed) || mistyped || port == 0 {
            return Err(bad());
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }

    /// Whether the host is an address and not a name.
    pub fn is_address(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_ok()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Scheme, host and port: what decides who may see credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Authority {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port, the default port filled in.
    pub host_port: HostPort,
}

impl Authority {
    /// The authority of a URL; what follows the authority is ignored.
    ///
    /// # Errors
    /// [`UrlError`] if it is no http or https URL with a host, or holds credentials.
    pub fn of_url(text: &str) -> Result<Self, UrlError> {
        // `hub.example.com:443` would be read as a scheme and a path.
        if !text.contains("://") {
            return Err(UrlError::Syntax("http:// or https:// is missing in front".to_owned()));
        }
        let parsed = ::url::Url::parse(text).map_err(|e| UrlError::Syntax(e.to_string()))?;
        let scheme = match parsed.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(UrlError::Scheme(other.to_owned())),
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(UrlError::Credentials);
        }
        let host = parsed.host_str().ok_or_else(|| UrlError::Syntax("no host".to_owned()))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = parsed.port().unwrap_or(scheme.default_port());
        if port == 0 {
            return Err(UrlError::Syntax("port 0".to_owned()));
        }
        Ok(Self { scheme, host_port: HostPort { host, port } })
    }

    /// The `Host` header: the port is left out where it is the scheme's own.
    pub fn host_header(&self) -> String {
        if self.host_port.port != self.scheme.default_port() {
            self.host_port.to_string()
        } else if self.host_port.host.contains(':') {
            format!("[{}]", self.host_port.host)
        } else {
            self.host_port.host.clone()
        }
    }

    /// Whether it can only be this machine.
    pub fn is_loopback(&self) -> bool {
        let host = &self.host_port.host;
        host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host_header())
    }
}

/// A registry's public URL: an authority and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct PublicUrl(Authority);

impl PublicUrl {
    /// Reads a public URL.
    ///
    /// # Errors
    /// [`UrlError`]: not http or https, with credentials, or with anything after the host.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let authority = Authority::of_url(text)?;
        let parsed = ::url::Url::parse(text).map_err(|e| UrlError::Syntax(e.to_string()))?;
        if !matches!(parsed.path(), "" | "/")
            || parsed.query().is_some()
            || parsed.fragment().is_some()
        {
            // A query may hold a token: only that there is one is said.
            let path = parsed.path();
            let query = parsed.query().map_or("", |_| "?…");
            let fragment = parsed.fragment().map_or("", |_| "#…");
            return Err(UrlError::Path(format!("{path}{query}{fragment}")));
        }
        Ok(Self(authority))
    }

    /// Its authority.
    pub fn authority(&self) -> &Authority {
        &self.0
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_form_are_read() {
        let cases = [
            ("10.0.0.1:8443", "10.0.0.1:8443"),
            ("10.0.0.1", "10.0.0.1:443"),
            ("[fd00::1]:444", "[fd00::1]:444"),
            ("[fd00::1]", "[fd00::1]:443"),
            ("fd00::1", "[fd00::1]:443"),
            ("Node-A.internal", "node-a.internal:443"),
        ];
        for (text, expected) in cases {
            assert_eq!(HostPort::parse(text, 443).map(|a| a.to_string()), Ok(expected.to_owned()));
        }
        for bad in [
            "",
            ":443",
            "a:b",
            "a:0",
            "a:70000",
            "[zz]:1",
            "a b:1",
            "h/p:1",
            "[::1]x",
            "10.0.0.300:1",
        ] {
            assert!(HostPort::parse(bad, 443).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        for text in ["https://u:hunter2@h", "https://h/?token=hunter2", "https://h/#hunter2"] {
            let error = PublicUrl::parse(text).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = HostPort::parse("u:hunter2@h:443", 443).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_public_url_is_an_authority_and_nothing_else() {
        for good in ["https://hub.example.com", "https://hub.example.com/", "http://[::1]:5000"] {
            assert!(PublicUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "hub",
            "hub.example.com:443",
            "ftp://h",
            "https://u:p@h",
            "https://h/v2",
            "https://h/?q",
            "https://h/#f",
        ] {
            assert!(PublicUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_host_header_leaves_out_the_default_port_only() {
        for (url, host) in [
            ("https://h:443", "h"),
            ("https://h:8443", "h:8443"),
            ("http://h", "h"),
            ("http://[::1]:80", "[::1]"),
            ("http://[::1]:81", "[::1]:81"),
        ] {
            assert_eq!(Authority::of_url(url).map(|a| a.host_header()), Ok(host.to_owned()));
        }
    }
}
