//! Names that cannot be mixed up: registries, backends, routes and issuers.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Serialize, Serializer};
use thiserror::Error;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// The text is empty or longer than 63 characters.
    #[error("a name has 1 to 63 characters, this one has {0}")]
    Length(usize),
    /// A character outside `A-Z a-z 0-9 . _ -`.
    #[error("{0:?} is not allowed in a name; use letters, digits, '.', '_' and '-'")]
    Character(char),
    /// `lb` and `unknown` have a meaning of their own in labels.
    #[error("{0:?} is reserved; it means something else in metrics")]
    Reserved(String),
}

fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() || text.len() > 63 {
        return Err(NameError::Length(text.chars().count()));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// The name as it stands in the configuration.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The name of a registry: one logical registry with one public URL.
    RegistryName
);
name!(
    /// The name of a backend: one node of a registry. Never `lb` or `unknown`.
    BackendName
);

impl RegistryName {
    /// Checks a registry's name.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check(text)?;
        Ok(Self(text.to_owned()))
    }

    /// The name of a registry that is known by its address only: that, as it stands in a URL.
    pub fn of_address(address: IpAddr) -> Self {
        Self(in_url(address))
    }
}

/// An address as it stands in a URL.
fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

impl BackendName {
    /// Checks a backend's name.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check(text)?;
        if matches!(text, "lb" | "unknown") {
            return Err(NameError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name of a node that is known by its address only: that, as it stands in a URL.
    pub fn of_address(address: IpAddr) -> Self {
        Self(in_url(address))
    }

    /// Reads a name that was written down earlier: one of the configuration, or that of an address.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it.
    pub fn recall(text: &str) -> Result<Self, NameError> {
        let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match inside.and_then(|inside| inside.parse::<Ipv6Addr>().ok()) {
            Some(address) => Ok(Self::of_address(address.into())),
            None => Self::parse(text),
        }
    }
}

/// A way to reach the registry: one backend, or the public URL through the load balancer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// Pinned to one backend's address.
    Backend(BackendName),
    /// The public URL through DNS and the load balancer; `lb` in every output.
    Balancer,
}

impl Route {
    /// The backend this route is pinned to, if it is.
    pub fn backend(&self) -> Option<&BackendName> {
        match self {
            Self::Backend(name) => Some(name),
            Self::Balancer => None,
        }
    }

    /// The label value: the backend's name, or `lb`.
    pub fn as_str(&self) -> &str {
        self.backend().map_or("lb", BackendName::as_str)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Route {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Where a token came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Issuer {
    /// The token endpoint of the registry itself, asked by this route.
    Route(Route),
    /// A token server with an authority of its own (`auth.example.com`).
    Server(String),
}

impl Issuer {
    /// The backend that issued, if the token endpoint of one was asked.
    pub fn backend(&self) -> Option<&BackendName> {
        match self {
            Self::Route(route) => route.backend(),
            Self::Server(_) => None,
        }
    }

    /// The label value: the route's, or the token server's authority.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Route(route) => route.as_str(),
            Self::Server(authority) => authority,
        }
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Issuer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_and_reserved_words_are_refused() {
        for good in ["a", "harbor-01", "10.0.0.1_443", "X"] {
            assert!(BackendName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "lb", "unknown", "a b", "a/b", "ä", &"x".repeat(64)] {
            assert!(BackendName::parse(bad).is_err(), "{bad}");
        }
        assert!(RegistryName::parse("lb").is_ok(), "only backends share a label with lb");
    }

    #[test]
    fn a_node_without_a_name_has_that_of_its_address_and_is_known_by_it_again() {
        for (address, name) in
            [("::1", "[::1]"), ("fd00::a", "[fd00::a]"), ("10.0.0.1", "10.0.0.1")]
        {
            let named = BackendName::of_address(address.parse().unwrap());
            assert_eq!(named.as_str(), name);
            assert_eq!(BackendName::recall(name), Ok(named));
        }
        for other in ["[::1", "[x]", "::1", "[]", "lb"] {
            assert!(BackendName::recall(other).is_err(), "{other}");
        }
    }
}
