//! Scenarios: files of data that say what is wrong and what ought to be found.

use serde::{Deserialize, Deserializer, de};

use super::balancer::BalancerPlan;
use super::error::LabError;
use super::family::Family;
use super::fault::{Fault, FaultOrder};
use crate::model::{Confidence, FindingName, Severity};

/// A simulated registry with its faults, and what they ought to be called.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its file")]
pub struct Scenario {
    /// Kebab-case name.
    pub name: String,
    /// One line for `lab --list`.
    pub title: String,
    /// The family of every node, unless a fault says otherwise.
    pub family: Family,
    /// How many nodes, named `a`, `b`, `c` and so on.
    #[serde(default = "two")]
    pub nodes: u32,
    /// The balancer.
    #[serde(default)]
    pub balancer: BalancerPlan,
    /// Where tokens come from, for families that do not issue their own.
    #[serde(default)]
    pub tokens: TokenPlan,
    /// Whether the prober is a person's account instead of a robot (Harbor).
    #[serde(default)]
    pub person: bool,
    /// Whether the prober may push to a scratch repository.
    #[serde(default)]
    pub push: bool,
    /// Whether it may list worker pools (Harbor).
    #[serde(default)]
    pub pools: bool,
    /// Whether it has the account of a person in addition to its own (Harbor).
    #[serde(default)]
    pub directory: bool,
    /// The faults of a second installation of one node, which shares only Redis with this one.
    #[serde(default)]
    pub second: Option<Vec<Fault>>,
    /// What is wrong.
    #[serde(default)]
    pub faults: Vec<FaultOrder>,
    /// What a diagnosis must find, and nothing else.
    #[serde(default)]
    pub expect: Vec<Expectation>,
    /// What users feel, in a line.
    pub effect: String,
}

/// Where tokens for plain distribution nodes come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenPlan {
    /// A token endpoint on each node, under the public name.
    #[default]
    EachNode,
    /// One token server with an address of its own.
    Server,
}

/// A finding that a scenario must lead to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The cause.
    #[serde(deserialize_with = "finding")]
    pub finding: FindingName,
    /// How bad.
    #[serde(deserialize_with = "severity")]
    pub severity: Severity,
    /// How sure.
    #[serde(deserialize_with = "confidence")]
    pub confidence: Confidence,
    /// The backends at fault; empty if none is.
    #[serde(default)]
    pub backends: Vec<String>,
}

fn two() -> u32 {
    2
}

fn finding<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FindingName, D::Error> {
    let text = String::deserialize(deserializer)?;
    FindingName::named(&text)
        .ok_or_else(|| de::Error::custom(format!("no finding is called {text:?}")))
}

fn severity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Severity, D::Error> {
    let text = String::deserialize(deserializer)?;
    let found = Severity::ALL.into_iter().find(|severity| severity.as_str() == text);
    found.ok_or_else(|| de::Error::custom(format!("no severity is called {text:?}")))
}

fn confidence<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Confidence, D::Error> {
    let text = String::deserialize(deserializer)?;
    let found = [Confidence::Suspected, Confidence::Proved]
        .into_iter()
        .find(|confidence| confidence.as_str() == text);
    found.ok_or_else(|| de::Error::custom(format!("no confidence is called {text:?}")))
}

macro_rules! scenarios {
    ($($name:literal,)*) => {
        const FILES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("scenarios/", $name, ".json"))),)*];
    };
}

scenarios! {
    "healthy",
    "healthy-push",
    "token-key-mismatch",
    "token-key-mismatch-odd-one",
    "replicas-disagree",
    "token-key-rotation-window",
    "signing-key-unusable",
    "root-crt-of-another-key",
    "key-id-format-mismatch",
    "issuer-audience-mismatch",
    "robot-token-of-old-key",
    "clock-skew-nbf",
    "clock-skew-nbf-beyond-leeway",
    "clock-skew-exp",
    "project-newer-than-token",
    "token-lifetime-too-short",
    "realm-wrong-endpoint",
    "realm-host-rewritten",
    "realm-wrong-on-repository-path",
    "realm-wrong-on-repository-path-at-one-node",
    "unknown-backend",
    "lb-misroutes-api-path",
    "lb-health-check-wrong",
    "authorization-header-dropped",
    "body-size-limited",
    "body-size-limited-at-one-node",
    "not-a-registry",
    "lb-affinity-hides-mismatch",
    "credential-refused",
    "anonymous-downgrade",
    "login-locked",
    "directory-unavailable",
    "directory-refused-at-once",
    "directory-slow-at-one-node",
    "secretkey-mismatch",
    "core-registry-password-mismatch",
    "repository-access-denied",
    "project-missing",
    "database-unavailable",
    "database-unavailable-at-one-node",
    "csrf-key-mismatch",
    "csrf-origin-rejected",
    "session-store-not-shared",
    "upload-location-wrong",
    "location-scheme-lost",
    "http-secret-mismatch",
    "storage-not-shared",
    "storage-not-shared-push",
    "storage-stale-reads",
    "storage-late",
    "blob-redirect-unreachable",
    "read-only-mode",
    "read-only-at-one-node",
    "foreign-jobservice-on-shared-redis",
    "foreign-jobservice-of-a-neighbour",
    "neighbour-with-its-own-redis",
    "replication-target-refuses",
    "redis-unavailable",
    "content-differs",
    "content-behind",
    "certificate-expires-soon",
    "certificate-invalid",
    "certificate-invalid-passed-on",
    "http-https-mismatch",
    "token-endpoint-slow",
    "database-slow",
    "rate-limited",
    "server-errors",
    "registry-behind-core-down",
    "backend-unreachable",
    "backend-silent",
    "mixed-versions",
    "mixed-versions-told-to-accounts",
    "settings-differ",
    "settings-differ-auth-mode",
    "settings-differ-external-url",
    "component-unhealthy",
    "prober-clock-suspect",
    "two-faults",
}

impl Scenario {
    /// Every scenario, in the order of the catalogue.
    ///
    /// # Errors
    /// [`LabError::Scenario`] if an embedded file is not a scenario (a test sees to it).
    pub fn all() -> Result<Vec<Self>, LabError> {
        FILES.iter().map(|(name, text)| Self::parse(name, text)).collect()
    }

    /// The names of all scenarios.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(name, _)| *name)
    }

    /// The scenario of that name.
    ///
    /// # Errors
    /// [`LabError::UnknownScenario`] with the names there are.
    pub fn named(name: &str) -> Result<Self, LabError> {
        let (name, text) = FILES.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            LabError::UnknownScenario {
                name: name.to_owned(),
                known: FILES.iter().map(|(known, _)| (*known).to_owned()).collect(),
            }
        })?;
        Self::parse(name, text)
    }

    /// Reads a scenario from the text of a file.
    ///
    /// # Errors
    /// [`LabError::Scenario`] with the place and the reason.
    pub fn parse(name: &str, text: &str) -> Result<Self, LabError> {
        serde_json::from_str(text).map_err(|error| LabError::Scenario {
            name: name.to_owned(),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_file_is_a_scenario_under_its_own_name() {
        let all = Scenario::all().unwrap();
        for (scenario, (name, _)) in all.iter().zip(FILES) {
            assert_eq!(scenario.name, *name);
            assert!(!scenario.title.is_empty() && !scenario.effect.is_empty(), "{name}");
            assert!((1..=26).contains(&scenario.nodes), "{name}");
        }
    }

    #[test]
    fn what_is_expected_lies_at_a_node_that_the_scenario_has() {
        for scenario in Scenario::all().unwrap() {
            let names = super::super::world::node_names(scenario.nodes);
            for place in scenario.faults.iter().flat_map(|order| &order.at) {
                let known =
                    names.contains(place) || ["*", "lb", "token-server"].contains(&place.as_str());
                assert!(known, "{}: {place}", scenario.name);
            }
            for backend in scenario.expect.iter().flat_map(|expected| &expected.backends) {
                assert!(names.contains(backend), "{}: {backend}", scenario.name);
            }
        }
    }

    #[test]
    fn misspelt_files_are_refused_with_the_reason() {
        for (text, reason) in [
            (r#"{"name":"x","title":"t","family":"harbor-2.15","effect":"e","nods":3}"#, "nods"),
            (r#"{"name":"x","title":"t","family":"harbor-9","effect":"e"}"#, "harbor-9"),
            (
                r#"{"name":"x","title":"t","family":"harbor-2.15","effect":"e",
                "faults":[{"at":["a"],"fault":"key-lost"}]}"#,
                "key-lost",
            ),
            (
                r#"{"name":"x","title":"t","family":"harbor-2.15","effect":"e",
                "expect":[{"finding":"no-such","severity":"info","confidence":"proved"}]}"#,
                "no-such",
            ),
        ] {
            let error = Scenario::parse("x", text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
