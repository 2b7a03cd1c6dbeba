//! Which registries of a file this prober takes, where several share them.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::model::RegistryName;

/// One part of all registries: `I/N` with I from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u64,
    count: u64,
}

impl Default for Shard {
    /// All of them.
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

impl Shard {
    /// Reads `I/N`, or `auto/N`, for which I is the number at the end of the host's name: that of a
    /// pod of a `StatefulSet`.
    ///
    /// # Errors
    /// What is wrong, and what is allowed.
    pub fn parse(text: &str, host: Option<&str>) -> Result<Self, String> {
        let wrong =
            || "expected I/N or auto/N, with I from 0 to N-1 and N from 1 to 1000".to_owned();
        let (index, count) = text.split_once('/').ok_or_else(wrong)?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u64>().ok().filter(|_| digits)
        };
        let index = if index == "auto" {
            let ordinal = host.and_then(|host| number(host.rsplit('-').next()?));
            ordinal.ok_or_else(|| {
                let host = host.unwrap_or("unknown");
                format!("auto needs a host name that ends in a number, as a pod of a StatefulSet has; this one is {host}")
            })?
        } else {
            number(index).ok_or_else(wrong)?
        };
        let count = number(count).filter(|count| (1..=1000).contains(count)).ok_or_else(wrong)?;
        if index >= count {
            return Err(wrong());
        }
        Ok(Self { index, count })
    }

    /// Whether a registry belongs to it. A name belongs to the same shard everywhere and always.
    pub fn takes(&self, registry: &RegistryName) -> bool {
        let digest = Sha256::digest(registry.as_str().as_bytes());
        let number = digest.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        number % self.count == self.index
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registry_belongs_to_exactly_one_shard_and_they_are_about_even() {
        let names: Vec<_> =
            (0..300).map(|n| RegistryName::parse(&format!("hub-{n}")).unwrap()).collect();
        let shards: Vec<_> =
            (0..3).map(|n| Shard::parse(&format!("{n}/3"), None).unwrap()).collect();
        for name in &names {
            assert_eq!(shards.iter().filter(|shard| shard.takes(name)).count(), 1, "{name}");
        }
        for shard in &shards {
            let taken = names.iter().filter(|name| shard.takes(name)).count();
            assert!((70..130).contains(&taken), "{shard}: {taken}");
        }
        assert!(names.iter().all(|name| Shard::default().takes(name)));
    }

    #[test]
    fn the_ordinal_of_a_pod_is_its_shard() {
        let auto = |host| Shard::parse("auto/3", host).map(|shard| shard.to_string());
        assert_eq!(auto(Some("prober-2")).unwrap(), "2/3");
        assert!(auto(Some("prober-3")).is_err(), "more replicas than shards");
        assert!(auto(Some("prober-x7k2p")).unwrap_err().contains("this one is prober-x7k2p"));
        assert!(auto(None).is_err());
        for wrong in ["", "1", "3/3", "-1/3", "+1/3", "0/0", "0/1001", "a/b", "/"] {
            assert!(Shard::parse(wrong, None).is_err(), "{wrong}");
        }
    }
}
