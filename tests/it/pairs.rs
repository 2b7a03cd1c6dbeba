//! Two faults at once: on different nodes both are named and no other node is; on the same node the
//! one that a client meets first is.

use registry_prober::lab::{CertificateFault, Family, Fault, FaultOrder, Options, Scenario};
use registry_prober::model::{BackendName, Confidence, Finding, FindingName, Severity};

use crate::support::simulated::{Conditions, Simulation, everywhere, paused};

/// A fault of one node and what it is called.
#[derive(Clone)]
struct Single {
    fault: Fault,
    finding: FindingName,
    /// How far a client comes: 0 the connection, 1 the first answer, 2 the challenge, 3 the token,
    /// 4 the access; 5 where nothing is refused.
    reach: u8,
}

/// Every fault that one node of this family can have for itself.
fn singles(family: Family) -> Vec<Single> {
    let old = family == Family::Harbor210;
    let skew = if old { -3.0 } else { 90.0 };
    let clock = Fault::Clock {
        offset_seconds: skew,
        drift_ppm: 0.0,
        step_seconds: 0.0,
        step_after_seconds: 0.0,
    };
    let slow = Fault::Slow { min_ms: 2_800, max_ms: 3_200, path: "/service/token".to_owned() };
    let other = Fault::Family(if old { Family::Harbor215 } else { Family::Harbor210 });
    let mut all = vec![
        (Fault::Unreachable, FindingName::BackendUnreachable, 0),
        (Fault::Hang, FindingName::TokenEndpointSlow, 0),
        (Fault::PlainHttp, FindingName::HttpHttpsMismatch, 0),
        (Fault::Certificate(CertificateFault::Expired), FindingName::CertificateInvalid, 0),
        (Fault::CoreDown, FindingName::ServerErrors, 1),
        (Fault::StaleUpstream, FindingName::NotARegistry, 1),
        (Fault::KeyUnreadable, FindingName::SigningKeyUnusable, 3),
        (Fault::RobotDisabled, FindingName::AnonymousDowngrade, 3),
        (Fault::DatabaseDown, FindingName::DatabaseUnavailable, 3),
        (Fault::DatabaseSplit, FindingName::ContentDiffers, 3),
        (Fault::OtherKey, FindingName::TokenKeyMismatch, 4),
        (clock, FindingName::ClockSkewNbf, 4),
        (Fault::RegistryPassword, FindingName::CoreRegistryPasswordMismatch, 4),
        (Fault::RegistryDown, FindingName::ServerErrors, 4),
        (slow, FindingName::TokenEndpointSlow, 3),
        (Fault::TokenLifetime(600), FindingName::SettingsDiffer, 5),
        (Fault::CsrfKey, FindingName::CsrfKeyMismatch, 5),
        (Fault::RedisSplit, FindingName::SessionStoreNotShared, 5),
        // Another version tolerates other differences and answers otherwise: it decides what else
        // is to be seen.
        (other, FindingName::MixedVersions, 2),
    ];
    if old {
        let url = "https://harbor-b.lab.invalid:8443".to_owned();
        all.push((Fault::ExternalUrl(url), FindingName::RealmWrongEndpoint, 2));
    }
    all.into_iter().map(|(fault, finding, reach)| Single { fault, finding, reach }).collect()
}

struct Pair {
    family: Family,
    nodes: u32,
    seed: u64,
    one: Single,
    other: Single,
}

impl Pair {
    fn all(same_node: bool) -> Vec<Self> {
        let mut pairs = Vec::new();
        for family in [Family::Harbor210, Family::Harbor215] {
            let singles = singles(family);
            for nodes in [3, 5] {
                for (at, one) in singles.iter().enumerate() {
                    for other in singles.iter().skip(at + 1) {
                        let seed = pairs.len() as u64 + 1;
                        let (one, other) = (one.clone(), other.clone());
                        pairs.push(Self { family, nodes, seed, one, other });
                    }
                }
            }
        }
        if same_node {
            // What keeps a connection from opening hides all the rest alike.
            pairs.retain(|pair| pair.one.reach > 0 || pair.other.reach > 0);
        }
        pairs
    }

    fn title(&self) -> String {
        format!("{} {} {:?} {:?}", self.family, self.nodes, self.one.fault, self.other.fault)
    }

    /// Findings above info with the faults at these nodes.
    fn found(&self, at: &str, other_at: &str) -> Vec<Finding> {
        let scenario = Scenario::named("healthy").expect("it is embedded");
        let options = Options {
            family: Some(self.family),
            nodes: Some(self.nodes),
            faults: vec![
                FaultOrder::at(at, self.one.fault.clone()),
                FaultOrder::at(other_at, self.other.fault.clone()),
            ],
            seed: self.seed,
            ..Options::default()
        };
        paused(async {
            let mut lab = Simulation::new(&scenario, &options, Conditions::fair(), |_| {});
            let mut findings = lab.round().await.1.findings;
            findings.retain(|finding| finding.severity > Severity::Info);
            findings
        })
    }

    fn different_nodes(&self) -> Option<String> {
        let found = self.found("b", "c");
        let names = |finding: &Finding, name: &str| {
            finding.backends.iter().any(|backend| backend.as_str() == name)
        };
        let named = |single: &Single, at: &str| {
            found.iter().any(|finding| self.is_called(single, finding) && names(finding, at))
        };
        let invented = found.iter().any(|finding| !self.may_be_found(finding));
        let good = named(&self.one, "b") && named(&self.other, "c") && !invented;
        (!good).then(|| self.complaint(&found))
    }

    /// Whether a finding is the name of a fault. A node that hangs takes the time in which a
    /// database of its own would be distinguished from a credential that is not accepted.
    fn is_called(&self, single: &Single, finding: &Finding) -> bool {
        let hangs = self.one.fault == Fault::Hang || self.other.fault == Fault::Hang;
        finding.finding == single.finding
            || (hangs
                && single.fault == Fault::DatabaseSplit
                && finding.finding == FindingName::AnonymousDowngrade
                && finding.confidence == Confidence::Suspected)
    }

    /// Whether a finding is one of the two, and names no node but theirs.
    fn may_be_found(&self, finding: &Finding) -> bool {
        let ordered = [&self.one, &self.other].iter().any(|s| self.is_called(s, finding));
        let innocent = finding.backends.iter().any(|b| !["b", "c"].contains(&b.as_str()));
        ordered && (!innocent || self.without_majority(finding))
    }

    /// Of three nodes one is not comparable, or all differ: the two that remain cannot tell which
    /// of them is right, and both are named.
    fn without_majority(&self, finding: &Finding) -> bool {
        let compared = matches!(
            finding.finding,
            FindingName::TokenKeyMismatch
                | FindingName::MixedVersions
                | FindingName::SettingsDiffer
                | FindingName::CsrfKeyMismatch
                | FindingName::SessionStoreNotShared
        );
        let silent = self.one.reach < 4 || self.other.reach < 4;
        compared && self.nodes == 3 && silent
    }

    fn same_node(&self) -> Option<String> {
        let found = self.found("b", "b");
        let first = self.one.reach.min(self.other.reach);
        let named = [&self.one, &self.other].iter().any(|single| {
            single.reach == first && found.iter().any(|finding| finding.finding == single.finding)
        });
        let only_b = |backend: &BackendName| backend.as_str() == "b";
        let wrong = found.iter().any(|finding| !finding.backends.iter().all(only_b));
        (!named || wrong).then(|| self.complaint(&found))
    }

    fn complaint(&self, found: &[Finding]) -> String {
        let line = |finding: &Finding| {
            format!("\n  {} {:?} {:?}", finding.finding, finding.backends, finding.evidence)
        };
        format!("{}{}", self.title(), found.iter().map(line).collect::<String>())
    }
}

#[test]
fn two_faults_on_different_nodes_are_both_named_and_nothing_is_invented() {
    let pairs = Pair::all(false);
    let wrong: Vec<String> =
        everywhere(&pairs, Pair::different_nodes).into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), pairs.len(), wrong.join("\n"));
}

#[test]
fn of_two_faults_on_one_node_the_first_to_be_met_is_named_and_no_other_node() {
    let pairs = Pair::all(true);
    let wrong: Vec<String> = everywhere(&pairs, Pair::same_node).into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), pairs.len(), wrong.join("\n"));
}
