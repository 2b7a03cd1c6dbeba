//! Settings that the answers of nodes show, compared: values that one template would make equal on
//! every node.

use std::collections::BTreeMap;

use super::super::facts::{Facts, list, odd_ones, verb};
use super::super::hypothesis::{Hits, Hypothesis};
use super::content::Seen;
use super::mixed_versions::other_versions;
use crate::model::{
    BackendName, Certificate, Challenge, Check, FindingName, Named, Reason, Setting, Step,
    TokenFacts,
};

/// A token that lives less than this has a finding of its own, in seconds.
const SHORT_LIFE_SECONDS: i64 = 300;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Realm,
    Service,
    Lifetime,
    Issuer,
    /// One that answers show by the way.
    Told(Setting),
}

impl Field {
    fn all() -> impl Iterator<Item = Self> {
        let of_flows = [Self::Realm, Self::Service, Self::Lifetime, Self::Issuer];
        // Versions have a finding of their own.
        let told = Setting::ALL.iter().filter(|setting| **setting != Setting::HarborVersion);
        of_flows.into_iter().chain(told.copied().map(Self::Told))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Realm => "realm",
            Self::Service => "service",
            Self::Lifetime => "token lifetime",
            Self::Issuer => "token issuer",
            Self::Told(setting) => setting.as_str(),
        }
    }

    /// What a node said of it in this round; none if nothing that has settled.
    fn read(self, facts: &Facts<'_>, name: &BackendName) -> Option<String> {
        match self {
            Self::Realm => challenge(facts, name, |c| c.realm.clone()),
            Self::Service => challenge(facts, name, |c| c.service.clone()),
            Self::Lifetime => {
                token(facts, name, |t| t.lifetime().map(|seconds| format!("{seconds} s")))
            }
            Self::Issuer => token(facts, name, |t| t.issuer.clone()),
            Self::Told(setting) => {
                let told = facts.round.backend(name)?.settings.get(&setting)?;
                told.settled.then(|| told.value.clone())
            }
        }
    }

    /// Whether no client of the registry fails by a difference in this.
    fn is_unnoticed(self) -> bool {
        matches!(self, Self::Told(Setting::TlsVersion | Setting::StrictTransportSecurity))
    }
}

fn challenge(
    facts: &Facts<'_>,
    name: &BackendName,
    read: fn(&Challenge) -> Option<String>,
) -> Option<String> {
    read(facts.round.backend_flow(name)?.challenge.measured()?)
}

fn token(
    facts: &Facts<'_>,
    name: &BackendName,
    read: fn(&TokenFacts) -> Option<String>,
) -> Option<String> {
    read(facts.round.backend_flow(name)?.token.measured()?)
}

/// Where a challenge sends clients, in words.
pub(super) fn words(named: &Named) -> String {
    let service = named.service.as_deref().unwrap_or("none");
    format!("{} for service {service}", named.realm)
}

/// One setting that differs.
struct Difference {
    field: Field,
    odd: Vec<BackendName>,
    majority: bool,
    line: String,
}

/// Settings that differ between nodes, where nothing else brings the difference about.
pub(super) fn told(facts: &Facts<'_>) -> Option<Hypothesis> {
    let brought = Brought::of(facts);
    let all: Vec<Difference> =
        Field::all().filter_map(|field| difference(facts, &brought, field)).collect();
    if all.is_empty() {
        return None;
    }
    let mut odd: Vec<BackendName> = all.iter().flat_map(|one| one.odd.clone()).collect();
    odd.sort();
    odd.dedup();
    let fields: Vec<&str> = all.iter().map(|one| one.field.as_str()).collect();
    let summary = match odd.as_slice() {
        [one] if all.iter().all(|one| one.majority) => {
            format!("{one} differs from the other nodes in {}.", list(&fields))
        }
        odd => {
            format!("{} {} in {}.", list(odd), verb(odd.len(), "differs", "differ"), list(&fields))
        }
    };
    let noticed = all.iter().any(|one| !one.field.is_unnoticed());
    let found = Hypothesis::new(FindingName::SettingsDiffer, odd, summary)
        .hits(if noticed { Hits::Later } else { Hits::Nothing })
        .evidence(all.iter().map(|one| one.line.clone()).collect::<Vec<_>>())
        .evidence(shared(&all))
        .alone();
    Some(found)
}

fn difference(facts: &Facts<'_>, brought: &Brought, field: Field) -> Option<Difference> {
    let mut values: BTreeMap<String, Vec<BackendName>> = BTreeMap::new();
    for backend in &facts.round.backends {
        if brought.about(field, &backend.name) {
            continue;
        }
        if let Some(value) = field.read(facts, &backend.name) {
            values.entry(value).or_default().push(backend.name.clone());
        }
    }
    if values.len() < 2 {
        return None;
    }
    let total = values.values().map(Vec::len).sum();
    let (odd, majority) = odd_ones(&values, total);
    let each = values.iter().map(|(value, names)| format!("{} at {}", value, list(names)));
    let line = format!("{}: {}", field.as_str(), each.collect::<Vec<_>>().join("; "));
    Some(Difference { field, odd, majority, line })
}

fn shared(all: &[Difference]) -> Option<String> {
    let of_database = |one: &Difference| match one.field {
        Field::Told(setting) if setting.is_shared() => Some(setting.as_str()),
        _ => None,
    };
    let which: Vec<&str> = all.iter().filter_map(of_database).collect();
    (!which.is_empty()).then(|| {
        format!(
            "Harbor keeps {} in its database: nodes that go on to differ have not the same \
             database or Redis",
            list(&which)
        )
    })
}

/// Nodes at which something else that this round shows brings differences about.
struct Brought {
    /// They run another version.
    versions: Vec<BackendName>,
    /// Their challenge leads to no token.
    challenges: Vec<BackendName>,
    /// They send clients to another token endpoint than the registry's.
    realms: Vec<BackendName>,
    /// Their tokens live too short a time.
    lifetimes: Vec<BackendName>,
    /// They and others refuse each other's tokens.
    tokens: Vec<BackendName>,
    /// Something else ends TLS there.
    certificates: Vec<BackendName>,
    /// They have a database of their own.
    databases: Vec<BackendName>,
}

impl Brought {
    fn of(facts: &Facts<'_>) -> Self {
        let failing = |fits: fn(Step, Reason) -> bool| {
            let flows = facts.flows_that(|_, step, reason| fits(step, reason));
            super::super::facts::backends_of(flows.into_iter().map(|(_, flow)| flow))
        };
        let mut realms = failing(|_, reason| reason == Reason::RealmNotAllowed);
        let astray = facts.of_check(Check::PublicUrl);
        realms.extend(
            astray
                .filter(|(_, seen)| seen.reason() == Reason::RealmNotAllowed)
                .filter_map(|(_, seen)| seen.place.backend().cloned()),
        );
        Self {
            versions: other_versions(facts),
            challenges: failing(|step, reason| {
                matches!(reason, Reason::BadChallenge | Reason::NoChallenge)
                    || (step == Step::Challenge && reason == Reason::Unauthorized)
            }),
            realms,
            lifetimes: short_lives(facts),
            tokens: apart(facts),
            certificates: certificates(facts),
            databases: Seen::of(facts).databases.names(),
        }
    }

    /// Whether a difference of this node in this field is brought about.
    fn about(&self, field: Field, name: &BackendName) -> bool {
        use Setting::{CsrfCookieSecure, ExternalUrl, StrictTransportSecurity, TlsVersion};
        let at = |names: &[BackendName]| names.contains(name);
        let by_field = match field {
            Field::Realm => at(&self.realms) || at(&self.challenges),
            Field::Service | Field::Issuer => at(&self.challenges) || at(&self.tokens),
            Field::Lifetime => at(&self.lifetimes),
            Field::Told(ExternalUrl | CsrfCookieSecure) => at(&self.realms),
            Field::Told(TlsVersion | StrictTransportSecurity) => at(&self.certificates),
            Field::Told(setting) => setting.is_shared() && at(&self.databases),
        };
        by_field || at(&self.versions)
    }
}

fn short_lives(facts: &Facts<'_>) -> Vec<BackendName> {
    let short = |name: &BackendName| {
        let token = facts.round.backend_flow(name)?.token.measured()?;
        Some((1..SHORT_LIFE_SECONDS).contains(&token.lifetime()?))
    };
    let all = facts.round.backends.iter().map(|backend| &backend.name);
    all.filter(|name| short(name) == Some(true)).cloned().collect()
}

/// Backends one of whose tokens is refused elsewhere, or that refuse one.
fn apart(facts: &Facts<'_>) -> Vec<BackendName> {
    let mut names = Vec::new();
    for (_, cell, _) in facts.refused_pairs() {
        names.extend(cell.issuer.backend().cloned());
        names.extend(cell.verifier.backend().cloned());
    }
    names
}

/// Backends whose certificate is not the one of most, or that clients refuse.
fn certificates(facts: &Facts<'_>) -> Vec<BackendName> {
    let of_backends = |certificate: &&Certificate| certificate.route.backend().is_some();
    let mut kinds: BTreeMap<&str, Vec<BackendName>> = BTreeMap::new();
    let mut total = 0;
    for certificate in facts.round.certificates.iter().filter(of_backends) {
        let names = kinds.entry(&certificate.fingerprint).or_default();
        names.extend(certificate.route.backend().cloned());
        total += 1;
    }
    let (mut names, _) = if kinds.len() > 1 { odd_ones(&kinds, total) } else { (Vec::new(), true) };
    let invalid = facts.round.certificates.iter().filter(|one| one.invalid.is_some());
    names.extend(invalid.filter_map(|one| one.route.backend().cloned()));
    let refused = facts.flows_that(|_, _, reason| reason == Reason::TlsCertificate);
    names.extend(super::super::facts::backends_of(refused.into_iter().map(|(_, flow)| flow)));
    names
}
