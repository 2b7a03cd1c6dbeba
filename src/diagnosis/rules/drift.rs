//! Settings that the answers of nodes show, compared: values that one template would make equal on
//! every node.

use std::collections::BTreeMap;

use super::super::facts::{Facts, odd_ones};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
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

/// Lifetimes of one setting differ by no more, in whole seconds, where a round takes seconds.
const ROUNDING_SECONDS: i64 = 2;

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
    if values.len() < 2 || (field == Field::Lifetime && are_of_one_setting(facts)) {
        return None;
    }
    let total = values.values().map(Vec::len).sum();
    let (odd, majority) = odd_ones(&values, total);
    let each = values.iter().map(|(value, names)| format!("{} at {}", value, list(names)));
    let line = format!("{}: {}", field.as_str(), each.collect::<Vec<_>>().join("; "));
    Some(Difference { field, odd, majority, line })
}

/// Lifetimes that a second more or less makes of one setting: some servers read the clock twice, or
/// write the end of a token alone by it.
fn are_of_one_setting(facts: &Facts<'_>) -> bool {
    let tokens = facts.round.flows.iter().filter(|flow| flow.route.backend().is_some());
    let lives = tokens.filter_map(|flow| flow.token.measured()?.lifetime());
    let (least, most) =
        lives.fold((i64::MAX, i64::MIN), |(least, most), life| (least.min(life), most.max(life)));
    most.saturating_sub(least) <= ROUNDING_SECONDS
}

fn shared(all: &[Difference]) -> Option<String> {
    let of_database = |one: &Difference| match one.field {
        Field::Told(setting) if setting.is_shared() => Some(setting.as_str()),
        _ => None,
    };
    let which: Vec<&str> = all.iter().filter_map(of_database).collect();
    (!which.is_empty()).then(|| {
        format!(
            "Harbor keeps {} in its database: nodes that still differ later do not share the \
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
        let mut realms =
            failing(|_, reason| matches!(reason, Reason::RealmNotAllowed | Reason::RealmUnusable));
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

#[cfg(test)]
pub(super) mod tests {
    use crate::model::sample::{backend, changed};
    use crate::model::{
        BackendName, CellResult, Finding, FindingName, Outcome, Round, Setting, Told, Version,
    };

    fn assess(round: &Round) -> crate::model::Assessment {
        crate::diagnosis::verdict::judge(round, &crate::model::Earlier::default())
    }

    fn realm(round: &mut Round, at: &str, realm: &str) {
        let at = crate::model::sample::route(at);
        for flow in round.flows.iter_mut().filter(|flow| flow.route == at) {
            if let Outcome::Measured(challenge) = &mut flow.challenge {
                challenge.realm = Some(realm.to_owned());
            }
        }
    }

    /// Lets backends tell a setting.
    pub(in super::super) fn tell(round: &mut Round, setting: Setting, values: &[(&str, &str)]) {
        for (name, value) in values {
            let name = backend(name);
            for facts in round.backends.iter_mut().filter(|facts| facts.name == name) {
                let told = Told { value: (*value).to_owned(), settled: true };
                facts.settings.insert(setting, told);
            }
        }
    }

    fn unsettle(round: &mut Round) {
        for told in round.backends.iter_mut().flat_map(|facts| facts.settings.values_mut()) {
            told.settled = false;
        }
    }

    pub(in super::super) fn judged(
        backends: &[&str],
        change: impl FnOnce(&mut Round),
    ) -> Vec<Finding> {
        assess(&changed(backends, change)).findings
    }

    pub(in super::super) fn lines(findings: &[Finding]) -> String {
        let line = |finding: &Finding| {
            let names: Vec<&str> = finding.backends.iter().map(BackendName::as_str).collect();
            let (severity, confidence) = (finding.severity.as_str(), finding.confidence.as_str());
            format!("{} {severity} {confidence} [{}]", finding.finding, names.join(" "))
        };
        findings.iter().map(line).collect::<Vec<_>>().join("; ")
    }

    pub(in super::super) const THREE: &[&str] = &["a", "b", "c"];

    pub(in super::super) type Row = (&'static str, fn(&mut Round), &'static str);

    #[test]
    fn settings_that_differ_are_named_with_the_odd_node() {
        const AUTH: Setting = Setting::AuthMode;
        let rows: [Row; 8] = [
            ("all alike", |round| tell(round, AUTH, &[("a", "db"), ("b", "db"), ("c", "db")]), ""),
            (
                "one is odd",
                |round| tell(round, AUTH, &[("a", "db"), ("b", "db"), ("c", "ldap")]),
                "settings-differ warning proved [c]",
            ),
            (
                "nobody has a majority",
                |round| tell(round, AUTH, &[("a", "db"), ("b", "oidc"), ("c", "ldap")]),
                "settings-differ warning proved [a b c]",
            ),
            ("one told nothing", |round| tell(round, AUTH, &[("a", "db"), ("b", "db")]), ""),
            (
                "two settings of one node are one finding",
                |round| {
                    tell(round, AUTH, &[("a", "db"), ("b", "db"), ("c", "ldap")]);
                    tell(round, Setting::TlsVersion, &[("a", "1.3"), ("b", "1.3"), ("c", "1.2")]);
                },
                "settings-differ warning proved [c]",
            ),
            (
                "still changing",
                |round| {
                    tell(round, AUTH, &[("a", "db"), ("b", "db"), ("c", "ldap")]);
                    unsettle(round);
                },
                "",
            ),
            (
                "a cookie for http at one node",
                |round| {
                    let secure = [("a", "yes"), ("b", "no"), ("c", "yes")];
                    tell(round, Setting::CsrfCookieSecure, &secure);
                },
                "settings-differ warning proved [b]",
            ),
            (
                "all take another URL for the public one",
                |round| {
                    let urls = THREE.iter().map(|name| (*name, "https://other.example.com"));
                    tell(round, Setting::ExternalUrl, &urls.collect::<Vec<_>>());
                },
                "",
            ),
        ];
        for (what, change, expected) in rows {
            assert_eq!(lines(&judged(THREE, change)), expected, "{what}");
        }
    }

    #[test]
    fn what_a_named_cause_brings_about_is_no_drift_of_its_own() {
        let url = |round: &mut Round| {
            let urls = [("a", "https://hub.example.com"), ("b", "http://b.example.com")];
            tell(round, Setting::ExternalUrl, &urls);
            tell(round, Setting::CsrfCookieSecure, &[("a", "yes"), ("b", "no")]);
        };
        assert_eq!(lines(&judged(&["a", "b"], url)), "settings-differ warning proved [a b]");
        let findings = judged(&["a", "b"], |round| {
            url(round);
            realm(round, "b", "http://b.example.com/service/token");
            crate::model::sample::fail(
                round,
                "b",
                crate::model::Step::Token,
                crate::model::Reason::RealmNotAllowed,
            );
            for cell in &mut round.matrix.cells {
                if cell.issuer.as_str() == "b" {
                    let reason = crate::model::Skipped::NoToken;
                    cell.result = CellResult::Skipped { reason };
                }
            }
        });
        let names: Vec<FindingName> = findings.iter().map(|finding| finding.finding).collect();
        assert!(!names.contains(&FindingName::SettingsDiffer), "{findings:#?}");

        let mixed = judged(THREE, |round| {
            round.backends[2].version =
                Outcome::Measured(Some(Version { major: 2, minor: 9, patch: 0 }));
            tell(round, Setting::PrimaryAuthMode, &[("a", "no"), ("b", "no"), ("c", "yes")]);
        });
        assert_eq!(lines(&mixed), "mixed-versions warning proved [c]");
    }
}
