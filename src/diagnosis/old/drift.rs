//! Nodes that should be alike and are not, though nothing fails by it yet (J2).

use std::collections::BTreeMap;

use super::case::{Case, Draft, Impact, list};
use super::keys::odd_ones;
use crate::model::{BackendName, Confidence, Finding, FindingName, Setting, TokenFacts};

pub(super) fn examine(case: &mut Case<'_>) {
    settings(case);
    public_urls(case);
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Realm,
    Service,
    Lifetime,
    Issuer,
    /// One that answers tell by the way.
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
    fn read(self, case: &Case<'_>, name: &BackendName) -> Option<String> {
        match self {
            Self::Realm => challenge(case, name, |c| c.realm.clone()),
            Self::Service => challenge(case, name, |c| c.service.clone()),
            Self::Lifetime => {
                token(case, name, |t| t.lifetime().map(|seconds| format!("{seconds} s")))
            }
            Self::Issuer => token(case, name, |t| t.issuer.clone()),
            Self::Told(setting) => {
                let told = case.round.backend(name)?.settings.get(&setting)?;
                told.settled.then(|| told.value.clone())
            }
        }
    }
}

/// Values that one template would make equal on every node.
fn settings(case: &mut Case<'_>) {
    let (mut odd, mut evidence): (Vec<BackendName>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut fields, mut shared) = (Vec::new(), Vec::new());
    let (mut majority, mut noticed) = (true, false);
    for field in Field::all() {
        let mut values: BTreeMap<String, Vec<BackendName>> = BTreeMap::new();
        for backend in &case.round.backends {
            if is_explained(case, field, &backend.name) {
                continue;
            }
            if let Some(value) = field.read(case, &backend.name) {
                values.entry(value).or_default().push(backend.name.clone());
            }
        }
        if values.len() < 2 {
            continue;
        }
        let total = values.values().map(Vec::len).sum();
        let (others, most_agree) = odd_ones(&values, total);
        odd.extend(others);
        majority &= most_agree;
        noticed |= !is_unnoticed(field);
        let each = values.iter().map(|(value, names)| format!("{} at {}", value, list(names)));
        evidence.push(format!("{}: {}", field.as_str(), each.collect::<Vec<_>>().join("; ")));
        fields.push(field.as_str());
        if let Field::Told(setting) = field
            && setting.is_shared()
        {
            shared.push(setting.as_str());
        }
    }
    if evidence.is_empty() {
        return;
    }
    if !shared.is_empty() {
        let which = list(&shared);
        evidence.push(format!(
            "Harbor keeps {which} in its database: nodes that go on to differ have not the same \
             database or Redis"
        ));
    }
    odd.sort();
    odd.dedup();
    case.add(
        Draft {
            name: FindingName::SettingsDiffer,
            confidence: Confidence::Proved,
            impact: if noticed { Impact::Latent } else { Impact::Note },
            summary: match odd.as_slice() {
                [one] if majority => {
                    format!("{one} differs from the other nodes in {}.", list(&fields))
                }
                odd => format!("{} differ in {}.", list(odd), list(&fields)),
            },
            backends: odd,
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

/// Whether no client of the registry fails by a difference in this.
fn is_unnoticed(field: Field) -> bool {
    matches!(field, Field::Told(Setting::TlsVersion | Setting::StrictTransportSecurity))
}

/// Whether a cause that is named already brings the difference of this node about.
fn is_explained(case: &Case<'_>, field: Field, name: &BackendName) -> bool {
    use Setting::{CsrfCookieSecure, ExternalUrl, StrictTransportSecurity, TlsVersion};
    case.findings.iter().any(|finding| {
        let brings = match (finding.finding, field) {
            (FindingName::MixedVersions, _)
            // A challenge that leads nowhere is called a drift of settings too.
            | (FindingName::SettingsDiffer, Field::Realm | Field::Service | Field::Issuer)
            // Key ids of two forms are of two versions.
            | (FindingName::KeyIdFormatMismatch, Field::Told(_))
            | (
                FindingName::RealmWrongEndpoint,
                Field::Realm | Field::Told(ExternalUrl | CsrfCookieSecure),
            )
            | (FindingName::TokenLifetimeTooShort, Field::Lifetime)
            | (FindingName::IssuerAudienceMismatch, Field::Service | Field::Issuer)
            // Something else ends TLS there.
            | (
                FindingName::CertificateInvalid,
                Field::Told(TlsVersion | StrictTransportSecurity),
            ) => true,
            // Another database has other settings.
            (FindingName::ContentDiffers, Field::Told(setting)) => setting.is_shared(),
            _ => false,
        };
        brings && (finding.backends.is_empty() || finding.backends.contains(name))
    })
}

/// A wrong realm is explained by what the nodes take for their public URL. By itself that proves
/// nothing: people may know a registry by another name than the prober does, and Harbor from 2.14
/// on takes the realm's host from the request.
fn public_urls(case: &mut Case<'_>) {
    let wrong = |finding: &Finding| finding.finding == FindingName::RealmWrongEndpoint;
    let Some(index) = case.findings.iter().position(wrong) else { return };
    let mut lines = Vec::new();
    for backend in &case.round.backends {
        let told = |setting| backend.settings.get(&setting).map(|told| told.value.as_str());
        if let Some(url) = told(Setting::ExternalUrl).filter(|url| *url != case.round.url) {
            lines.push(format!("{}: external_url is {url}", backend.name));
        }
        if case.round.url.starts_with("https://") && told(Setting::CsrfCookieSecure) == Some("no") {
            lines
                .push(format!("{}: its CSRF cookie is for http: so is external_url", backend.name));
        }
    }
    case.findings[index].evidence.extend(lines);
}

fn challenge(
    case: &Case<'_>,
    name: &BackendName,
    read: fn(&crate::model::Challenge) -> Option<String>,
) -> Option<String> {
    read(case.round.backend_flow(name)?.challenge.measured()?)
}

fn token(
    case: &Case<'_>,
    name: &BackendName,
    read: fn(&TokenFacts) -> Option<String>,
) -> Option<String> {
    read(case.round.backend_flow(name)?.token.measured()?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::assess;
    use super::super::tests::realm;
    use crate::model::sample::{backend, bent};
    use crate::model::{
        BackendName, CellResult, Finding, FindingName, Outcome, Round, Setting, Told, Version,
    };

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
        bend: impl FnOnce(&mut Round),
    ) -> Vec<Finding> {
        assess(&bent(backends, bend)).findings
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
        for (what, bend, expected) in rows {
            assert_eq!(lines(&judged(THREE, bend)), expected, "{what}");
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
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_eq!(findings[0].finding, FindingName::RealmWrongEndpoint);
        let evidence = findings[0].evidence.join("\n");
        assert!(evidence.contains("b: external_url is http://b.example.com"), "{evidence}");
        assert!(evidence.contains("b: its CSRF cookie is for http"), "{evidence}");
        assert!(!evidence.contains("a: external_url"), "{evidence}");

        let mixed = judged(THREE, |round| {
            round.backends[2].version =
                Outcome::Measured(Some(Version { major: 2, minor: 9, patch: 0 }));
            tell(round, Setting::PrimaryAuthMode, &[("a", "no"), ("b", "no"), ("c", "yes")]);
        });
        assert_eq!(lines(&mixed), "mixed-versions warning proved [c]");
    }
}
