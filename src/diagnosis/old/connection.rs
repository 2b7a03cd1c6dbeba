//! Routes that do not answer, or not as they should: the network, certificates, wrong protocol
//! (H1, H2, unreachable).

use super::case::{Case, Draft, Impact, list};
use crate::model::{BackendName, Confidence, FindingName, Flow, Phase, Reason, Route, Step};

pub(super) fn examine(case: &mut Case<'_>) {
    unreachable(case);
    refused_certificates(case);
    wrong_protocol(case);
    differing_certificates(case);
}

/// The backends among routes; the balancer is nobody's fault by itself.
fn backends<'f>(flows: impl Iterator<Item = &'f Flow>) -> Vec<BackendName> {
    flows.filter_map(|flow| flow.route.backend().cloned()).collect()
}

fn impact(flows: &[(usize, &Flow)]) -> Impact {
    let lb = flows.iter().any(|(_, flow)| flow.route == Route::Balancer);
    if lb { Impact::Balancer } else { Impact::BackendLoss }
}

fn matching<'a>(case: &Case<'a>, wanted: impl Fn(&Flow, Reason) -> bool) -> Vec<(usize, &'a Flow)> {
    let fits = |flow: &Flow| flow.failure().is_some_and(|(_, why)| wanted(flow, why.reason));
    case.open_flows().into_iter().filter(|(_, flow)| fits(flow)).collect()
}

fn evidence(flows: &[(usize, &Flow)]) -> Vec<String> {
    let line = |flow: &Flow| {
        let (step, failure) = flow.failure()?;
        Some(format!("{}: {} failed, {failure}", flow.route, step.as_str()))
    };
    flows.iter().filter_map(|(_, flow)| line(flow)).collect()
}

fn unreachable(case: &mut Case<'_>) {
    let mut gone = matching(case, |_, reason| {
        matches!(
            reason,
            Reason::DnsFailed
                | Reason::ConnectionRefused
                | Reason::ConnectionReset
                | Reason::Unreachable
                | Reason::Timeout
                | Reason::DeadlineReached
                | Reason::Truncated
        )
    });
    // Whoever answers a challenge is there: a token that takes too long is another cause, unless
    // the balancer leads to a backend that is gone.
    let dead = gone.iter().any(|(_, flow)| flow.route.backend().is_some() && !token_hangs(flow));
    gone.retain(|(_, flow)| !token_hangs(flow) || (dead && flow.route == Route::Balancer));
    if gone.is_empty() {
        return;
    }
    let indexes: Vec<usize> = gone.iter().map(|(index, _)| *index).collect();
    let names = backends(gone.iter().map(|(_, flow)| *flow));
    let summary = if names.is_empty() && case.round.backends.is_empty() {
        "The public name does not lead to an answer, and no backend is known.".to_owned()
    } else if names.is_empty() {
        "The load balancer's address does not answer, while every backend does.".to_owned()
    } else {
        format!("{} did not answer, and not when asked again.", list(&names))
    };
    case.add(
        Draft {
            name: FindingName::BackendUnreachable,
            confidence: Confidence::Proved,
            impact: impact(&gone),
            backends: names,
            summary,
            evidence: evidence(&gone),
            alternatives: Vec::new(),
        },
        &[],
        &indexes,
    );
}

/// Whether the challenge was answered and the token was not, in time.
pub(super) fn token_hangs(flow: &Flow) -> bool {
    flow.failure().is_some_and(|(step, why)| step == Step::Token && why.reason == Reason::Timeout)
}

fn refused_certificates(case: &mut Case<'_>) {
    let bad = matching(case, |_, reason| reason == Reason::TlsCertificate);
    // With verification switched off every flow passes and the verdicts are still known. Else a
    // flow that passed beside an invalid certificate met another backend at its second try.
    let tolerated: Vec<&Route> = case
        .round
        .certificates
        .iter()
        .filter(|c| bad.is_empty() && c.invalid.is_some())
        .filter(|c| case.round.flow(&c.route).is_some_and(Flow::succeeded))
        .map(|certificate| &certificate.route)
        .collect();
    let all = case.round.flows.len();
    if bad.is_empty() && (tolerated.is_empty() || tolerated.len() == all) {
        return;
    }
    let indexes: Vec<usize> = bad.iter().map(|(index, _)| *index).collect();
    let mut names = backends(bad.iter().map(|(_, flow)| *flow));
    names.extend(tolerated.iter().filter_map(|route| route.backend().cloned()));
    let mut facts = evidence(&bad);
    for certificate in &case.round.certificates {
        if let Some(why) = &certificate.invalid {
            facts.push(format!(
                "{}: certificate {}, for {}, valid until {}: {why}",
                certificate.route,
                certificate.fingerprint.get(..12).unwrap_or_default(),
                certificate.names.join(", "),
                certificate.not_after.format("%Y-%m-%d"),
            ));
        }
    }
    let everywhere = bad.len() == all;
    let summary = if everywhere {
        "No route presents a certificate that the prober trusts for the public name.".to_owned()
    } else if names.is_empty() {
        "The load balancer presents a certificate that clients refuse.".to_owned()
    } else {
        format!("{} presents a certificate that clients refuse.", list(&names))
    };
    case.add(
        Draft {
            name: FindingName::CertificateInvalid,
            confidence: if everywhere { Confidence::Suspected } else { Confidence::Proved },
            impact: if tolerated.is_empty() { impact(&bad) } else { Impact::Latent },
            backends: if everywhere { Vec::new() } else { names },
            summary,
            evidence: facts,
            alternatives: Vec::new(),
        },
        &[],
        &indexes,
    );
}

fn wrong_protocol(case: &mut Case<'_>) {
    let plain_port = |flow: &Flow| {
        flow.answer(Step::Challenge).is_some_and(|answer| {
            answer.status == 400
                || (answer.status >= 300
                    && answer.status < 400
                    && answer.location.as_deref().is_some_and(|to| to.starts_with("https://")))
        })
    };
    let wrong = matching(case, |flow, reason| {
        matches!(reason, Reason::TlsHandshake | Reason::NotHttp)
            || (matches!(reason, Reason::Html | Reason::UnexpectedStatus | Reason::Redirected)
                && plain_port(flow))
    });
    if wrong.is_empty() {
        return;
    }
    let indexes: Vec<usize> = wrong.iter().map(|(index, _)| *index).collect();
    let names = backends(wrong.iter().map(|(_, flow)| *flow));
    let decisive = wrong.iter().all(|(_, flow)| {
        plain_port(flow)
            || flow.failure().is_some_and(|(_, failure)| {
                failure.reason == Reason::TlsHandshake && failure.phase == Some(Phase::Tls)
            })
    });
    let whose = if names.is_empty() { "The load balancer".to_owned() } else { list(&names) };
    case.add(
        Draft {
            name: FindingName::HttpHttpsMismatch,
            confidence: if decisive { Confidence::Proved } else { Confidence::Suspected },
            impact: impact(&wrong),
            backends: names,
            summary: format!("{whose} speaks another protocol than it is asked in."),
            evidence: evidence(&wrong),
            alternatives: if decisive {
                Vec::new()
            } else {
                vec![FindingName::ServerErrors, FindingName::BackendUnreachable]
            },
        },
        &[],
        &indexes,
    );
}

/// Backends that present different certificates, all of them valid: a note, since some sites give
/// each node its own.
fn differing_certificates(case: &mut Case<'_>) {
    let of_backends: Vec<_> = case
        .round
        .certificates
        .iter()
        .filter(|c| c.route.backend().is_some() && c.invalid.is_none())
        .collect();
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
        return;
    }
    let odd: Vec<BackendName> = kinds.iter().skip(1).flat_map(|(_, names)| names.clone()).collect();
    let evidence = kinds
        .iter()
        .map(|(print, names)| {
            format!("certificate {}: {}", print.get(..12).unwrap_or_default(), list(names))
        })
        .collect();
    case.add(
        Draft {
            name: FindingName::CertificateInvalid,
            confidence: Confidence::Proved,
            impact: Impact::Note,
            summary: format!(
                "{} presents another certificate than the other backends; all are valid.",
                list(&odd)
            ),
            backends: odd,
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}
