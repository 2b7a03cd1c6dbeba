//! What the backends tell of themselves, and where every route sends clients, as the JSON contract
//! shows them.

use schemars::JsonSchema;
use serde::Serialize;

use super::wording::clean;
use crate::model::{self, BackendFacts, Named, OfRoute, Round, Setting, UrlSaid};

/// What is known of one backend.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BackendReport {
    /// Its name.
    pub backend: String,
    /// Its address, as configured or found.
    pub address: String,
    /// What kind of server it is, by its answers.
    pub family: &'static str,
    /// The version that it tells; null if it tells none, or not to the prober.
    pub version: Option<String>,
    /// The settings that its answers of this round show, by name.
    pub settings: Vec<SettingReport>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SettingReport {
    /// Which.
    pub setting: Setting,
    /// Its value; `yes` or `no` where it is one or the other.
    pub value: String,
    /// Whether it has been the same for long enough to be compared between backends.
    pub settled: bool,
}

/// Where the challenges of one route send clients for a token.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct UrlReport {
    /// A backend's name, or `lb`.
    pub route: String,
    /// The realm under `/v2/`, when the check ran.
    pub realm: String,
    /// The service under `/v2/`.
    pub service: Option<String>,
    /// The realm under a repository; null if there was no challenge.
    pub repository_realm: Option<String>,
    /// The service under a repository.
    pub repository_service: Option<String>,
    /// Scheme and authority to which `/v2` without its slash leads, `/` if it names none; null if
    /// that was not asked or leads nowhere.
    pub slash_leads_to: Option<String>,
}

/// Every backend of a round.
pub(super) fn backends(round: &Round) -> Vec<BackendReport> {
    round.backends.iter().map(backend).collect()
}

/// What the check of the public URL found on every route that answered it.
pub(super) fn public_urls(round: &Round) -> Vec<UrlReport> {
    round.checks.public_url.measured().into_iter().flatten().filter_map(public_url).collect()
}

fn backend(facts: &BackendFacts) -> BackendReport {
    let to_accounts = facts.settings.get(&Setting::HarborVersion);
    let version = facts.version.measured().copied().flatten().map(|version| version.to_string());
    let setting = |(setting, told): (&Setting, &model::Told)| SettingReport {
        setting: *setting,
        value: clean(&told.value),
        settled: told.settled,
    };
    BackendReport {
        backend: facts.name.to_string(),
        address: clean(&facts.address),
        family: facts.family.as_str(),
        version: version.or_else(|| to_accounts.map(|told| clean(&told.value))),
        settings: facts.settings.iter().map(setting).collect(),
    }
}

fn public_url(at: &OfRoute<UrlSaid>) -> Option<UrlReport> {
    let said = at.value.measured()?;
    let repository = said.repository.measured();
    let service = |named: &Named| named.service.as_deref().map(clean);
    Some(UrlReport {
        route: at.route.to_string(),
        realm: clean(&said.base.realm),
        service: service(&said.base),
        repository_realm: repository.map(|named| clean(&named.realm)),
        repository_service: repository.and_then(service),
        slash_leads_to: said.slash.measured().map(|place| clean(&place.to)),
    })
}
