//! Certificates that clients refuse, or that one node has for itself alone.

use crate::diagnosis::facts::{Facts, backends_of, flow_lines};
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::diagnosis::wording::{list, verb};
use crate::model::{BackendName, Certificate, FindingName, Flow, Reason};

const NAME: FindingName = FindingName::CertificateInvalid;

/// How the transport words a certificate whose authority is not among those that are trusted.
const UNTRUSTED: [&str; 2] = ["signed by", "the certificate of an authority"];

/// How it words one that names another host.
const OTHER_NAME: [&str; 1] = ["for another name"];

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    [refused(facts), tolerated(facts), differing(facts)].into_iter().flatten().collect()
}

fn refused(facts: &Facts<'_>) -> Option<Hypothesis> {
    let bad = facts.flows_that(|_, _, reason| reason == Reason::TlsCertificate);
    if bad.is_empty() {
        return None;
    }
    let everywhere = bad.len() == facts.round.flows.len();
    let named = backends_of(bad.iter().map(|(_, flow)| *flow));
    let evidence = flow_lines(&bad).into_iter().chain(invalid_lines(facts));
    let all_are = |words: &[&str]| {
        bad.iter().all(|(_, flow)| {
            let told = flow.failure().map_or("", |(_, failure)| failure.detail.as_str());
            words.iter().any(|start| told.starts_with(start))
        })
    };
    if everywhere {
        // An authority that is unknown on every route is one that the prober lacks. A name that no
        // certificate has is one that users do not use.
        let (summary, hits) = if all_are(&UNTRUSTED) {
            let cure = "No route presents a certificate that the prober trusts. Pass the \
                        certificate of its authority, or the certificate itself, with --ca-file \
                        (tls.ca_file).";
            (cure, Hits::Prober)
        } else if all_are(&OTHER_NAME) {
            let cure = "No route presents a certificate for the name in the URL: use a name that \
                        the certificate has.";
            (cure, Hits::Prober)
        } else {
            let told =
                "No route presents a certificate that the prober trusts for the public name.";
            (told, Hits::Requests)
        };
        let h = Hypothesis::new(NAME, Vec::new(), summary.to_owned());
        let h = h.suspected(&[]).hits(hits).evidence(evidence);
        return Some(h.explains(bad.iter().map(|(id, _)| *id)));
    }
    let summary = if named.is_empty() {
        "The load balancer presents a certificate that clients refuse.".to_owned()
    } else {
        presents(&named, "a certificate that clients refuse.")
    };
    let lost = facts.through_balancer(|seen| seen.reason() == Reason::TlsCertificate);
    Some(Hypothesis::new(NAME, named, summary).evidence(evidence).flows(&bad).fits(lost))
}

fn presents(names: &[BackendName], what: &str) -> String {
    format!("{} {} {what}", list(names), verb(names.len(), "presents", "present"))
}

fn invalid_lines(facts: &Facts<'_>) -> Vec<String> {
    let line = |certificate: &Certificate| {
        let why = certificate.invalid.as_ref()?;
        Some(format!(
            "{}: certificate {}, for {}, valid until {}: {why}",
            certificate.route,
            certificate.fingerprint.get(..12).unwrap_or_default(),
            certificate.names.join(", "),
            certificate.not_after.format("%Y-%m-%d"),
        ))
    };
    facts.round.certificates.iter().filter_map(line).collect()
}

/// With verification switched off every flow passes and the verdicts are still known. Where a flow
/// failed for a certificate it is on: one that passed next to an invalid certificate met another
/// backend at its second try.
fn tolerated(facts: &Facts<'_>) -> Option<Hypothesis> {
    let refused = facts.flows_that(|_, _, reason| reason == Reason::TlsCertificate);
    let passes = |c: &&Certificate| facts.round.flow(&c.route).is_some_and(Flow::succeeded);
    let invalid = facts.round.certificates.iter().filter(|c| c.invalid.is_some());
    let tolerated: Vec<&Certificate> = invalid.filter(passes).collect();
    if !refused.is_empty() || tolerated.is_empty() || tolerated.len() == facts.round.flows.len() {
        return None;
    }
    let names: Vec<BackendName> =
        tolerated.iter().filter_map(|c| c.route.backend().cloned()).collect();
    let summary = if names.is_empty() {
        "The load balancer presents a certificate that clients refuse.".to_owned()
    } else {
        presents(&names, "a certificate that clients refuse.")
    };
    let h = Hypothesis::new(NAME, names, summary).hits(Hits::Later);
    Some(h.evidence(invalid_lines(facts)).alone())
}

/// Backends that present different certificates, all of them valid: a note, since some sites give
/// each node its own.
fn differing(facts: &Facts<'_>) -> Option<Hypothesis> {
    // A node that missed a renewal has another certificate because of that.
    let is_meant_to_stay =
        |c: &Certificate| c.invalid.is_none() && !c.expires_soon(facts.round.started);
    let certificates = facts.round.certificates.iter();
    let of_backends: Vec<_> =
        certificates.filter(|c| c.route.backend().is_some() && is_meant_to_stay(c)).collect();
    let mut kinds: Vec<(&str, Vec<BackendName>)> = Vec::new();
    for certificate in &of_backends {
        let name = certificate.route.backend().cloned();
        match kinds.iter_mut().find(|(known, _)| *known == certificate.fingerprint) {
            Some((_, names)) => names.extend(name),
            None => kinds.push((&certificate.fingerprint, name.into_iter().collect())),
        }
    }
    kinds.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    let majority = kinds.first().is_some_and(|(_, names)| names.len() * 2 > of_backends.len());
    if kinds.len() < 2 || !majority {
        return None;
    }
    let odd: Vec<BackendName> = kinds.iter().skip(1).flat_map(|(_, names)| names.clone()).collect();
    let line = |(print, names): &(&str, Vec<BackendName>)| {
        format!("certificate {}: {}", print.get(..12).unwrap_or_default(), list(names))
    };
    let summary = presents(&odd, "a different certificate than the other backends; all are valid.");
    let h = Hypothesis::new(NAME, odd, summary).hits(Hits::Nothing);
    Some(h.evidence(kinds.iter().map(line)).alone())
}
