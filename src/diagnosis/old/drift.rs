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
