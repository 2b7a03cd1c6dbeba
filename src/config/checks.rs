//! The checks in addition to the token flow: which ones, how often, and what they may write.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::file::{ChecksEntry, PushEntry};
use super::node::{Node, Value};
use super::pace::duration;
use super::problem::{Mistake, Place, Problems, did_you_mean, quoted};
use super::read::{At, Read, good};
use super::scope::Scope;
use crate::model::{Check, Privilege};

/// Time between two runs of the checks that do not run in every round.
const INTERVAL: Duration = Duration::from_secs(5 * 60);

/// The checks of one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckSettings {
    /// Time between two runs of the checks that do not run in every round.
    pub interval: Duration,
    /// Checks that never run.
    pub disabled: BTreeSet<Check>,
    /// Resolvers that are asked for the public name in addition to the system's.
    pub dns_resolvers: Vec<SocketAddr>,
    /// What may be written; nothing unless configured.
    pub push: Option<PushSettings>,
}

impl Default for CheckSettings {
    fn default() -> Self {
        Self {
            interval: INTERVAL,
            disabled: BTreeSet::new(),
            dns_resolvers: Vec::new(),
            push: None,
        }
    }
}

impl CheckSettings {
    /// Whether a check may run at all.
    pub fn allows(&self, check: Check) -> bool {
        let may_write = check.privilege() != Privilege::Push || self.push.is_some();
        may_write && !self.disabled.contains(&check)
    }
}

/// Where the checks that push may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushSettings {
    /// The scratch repository.
    pub repository: String,
}

impl Read for Check {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = match &node.value {
            Value::Text(text) => text.as_str(),
            _ => "",
        };
        let check = Self::ALL.iter().find(|check| check.as_str() == text);
        if check.is_none() {
            let names: Vec<&str> = Self::ALL.iter().map(|check| check.as_str()).collect();
            let mistake = Mistake::UnknownCheck {
                found: node.shown(),
                meant: did_you_mean(text, &names),
                known: names.join(", "),
            };
            problems.add(node.place, mistake);
        }
        check.copied()
    }
}

/// The settings of an entry.
pub(super) fn settings(at: Option<&At<ChecksEntry>>, problems: &mut Problems) -> CheckSettings {
    let mut settings = CheckSettings::default();
    let Some((entry, _)) = good(at) else { return settings };
    if let Some((text, place)) = good(entry.interval.as_ref()) {
        let expected = "a duration from 1s to 1d, for instance 5m";
        let interval = problems.note(place, duration(&text.0, Duration::from_secs(1), expected));
        settings.interval = interval.unwrap_or(INTERVAL);
    }
    let disabled = good(entry.disabled.as_ref()).into_iter().flat_map(|(list, _)| list);
    settings.disabled = disabled.filter_map(|at| at.value).collect();
    let resolvers = good(entry.dns_resolvers.as_ref()).into_iter().flat_map(|(list, _)| list);
    settings.dns_resolvers = resolvers
        .filter_map(|at| {
            let (text, place) = good(Some(at))?;
            problems.note(place, resolver(text))
        })
        .collect();
    settings.push = good(entry.push.as_ref()).and_then(|(entry, at)| push(entry, at, problems));
    settings
}

/// An address with the port of DNS unless it has one.
fn resolver(text: &str) -> Result<SocketAddr, Mistake> {
    let address = text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53));
    address.or_else(|_| text.parse()).map_err(|_| {
        let expected = "an address, for instance 10.0.0.53 or [fd00::53]:5353";
        Mistake::Expected { expected, found: quoted(text) }
    })
}

fn push(entry: &PushEntry, at: Place, problems: &mut Problems) -> Option<PushSettings> {
    let enabled = good(entry.enabled.as_ref()).is_some_and(|(enabled, _)| *enabled);
    if enabled && entry.repository.is_none() {
        problems.add(at, Mistake::Missing { thing: "push", key: "repository" });
    }
    let repository = good(entry.repository.as_ref()).and_then(|(name, place)| {
        let expected = "a repository name in lower case, for instance probe/scratch";
        let mistake = Mistake::Expected { expected, found: quoted(name) };
        let scope = Scope::parse(&format!("repository:{name}:push")).ok_or(mistake);
        problems.note(place, scope).map(|scope| scope.repository)
    })?;
    enabled.then_some(PushSettings { repository })
}
