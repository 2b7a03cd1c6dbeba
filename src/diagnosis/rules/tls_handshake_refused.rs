//! Something that speaks TLS and ends the handshake: it wants a client certificate, has no version
//! or cipher in common, or does not serve the public name. What is wrong with its own certificate is
//! another cause, and so is what speaks no TLS at all.

use std::collections::BTreeMap;

use crate::diagnosis::facts::{Facts, ObservationId, backends_of, flow_lines};
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::diagnosis::wording::{subject, verb};
use crate::model::{FindingName, Flow, Page, Reason, Route};

const NAME: FindingName = FindingName::TlsHandshakeRefused;

/// What the peer does not like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    ClientCertificate,
    Version,
    Name,
    Other,
}

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let mut causes: BTreeMap<Cause, Vec<(ObservationId, &Flow)>> = BTreeMap::new();
    for (id, flow) in facts.failed_flows() {
        if let Some(cause) = cause(flow) {
            causes.entry(cause).or_default().push((id, flow));
        }
    }
    causes.into_iter().map(|(cause, flows)| refused(facts, cause, &flows)).collect()
}

fn cause(flow: &Flow) -> Option<Cause> {
    let (step, failure) = flow.failure()?;
    let page = flow.answer(step).and_then(|answer| answer.page);
    match (failure.reason, page) {
        (Reason::TlsClientCertificate, _)
        | (_, Some(Page::ClientCertificateMissing | Page::ClientCertificateRefused)) => {
            Some(Cause::ClientCertificate)
        }
        (Reason::TlsVersion, _) => Some(Cause::Version),
        (Reason::TlsName, _) => Some(Cause::Name),
        (Reason::TlsHandshake, _) => Some(Cause::Other),
        _ => None,
    }
}

fn refused(facts: &Facts<'_>, cause: Cause, flows: &[(ObservationId, &Flow)]) -> Hypothesis {
    let mut backends = backends_of(flows.iter().map(|(_, flow)| *flow));
    let users = flows.iter().any(|(_, flow)| flow.route == Route::Balancer);
    let every_node = !backends.is_empty() && backends.len() == facts.round.backends.len();
    let everywhere = flows.len() == facts.round.flows.len();
    // Where every route refuses, or every node but not the balancer, the prober lacks what others
    // have.
    // A client certificate that the balancer wants is one that its users have.
    let own = everywhere || if users { cause == Cause::ClientCertificate } else { every_node };
    let who = match (everywhere, every_node && !users) {
        (true, _) => "Every route".to_owned(),
        (_, true) => "Every node".to_owned(),
        _ => subject(&backends),
    };
    let several = !own && backends.len() > 1;
    let form = |one, many| verb(if several { 2 } else { 1 }, one, many);
    let summary = match cause {
        Cause::ClientCertificate if own => format!(
            "{who} wants a client certificate, and this prober has none. Pass one with --cert-file \
             and --key-file (tls.cert_file and tls.key_file). Clients without one fail as the \
             prober does."
        ),
        Cause::ClientCertificate => {
            format!(
                "{who} {} a client certificate, and other routes do not.",
                form("wants", "want")
            )
        }
        Cause::Version => format!(
            "{who} {} no TLS version or cipher in common with today's clients.",
            form("has", "have")
        ),
        Cause::Name if own => format!(
            "{who} serves other names than the one in the URL: use the name that clients use."
        ),
        Cause::Name => {
            format!("{who} {} other names than the public one.", form("serves", "serve"))
        }
        Cause::Other => format!("{who} {} the TLS handshake.", form("ends", "end")),
    };
    if everywhere {
        backends.clear();
    }
    let reason = flows.first().and_then(|(_, flow)| Some(flow.failure()?.1.reason));
    let lost = facts.through_balancer(|seen| Some(seen.reason()) == reason);
    let h = Hypothesis::new(NAME, backends, summary)
        .hits(if own { Hits::Prober } else { Hits::Requests })
        .evidence(flow_lines(flows));
    let h = if everywhere { h.explains(flows.iter().map(|(id, _)| *id)) } else { h.flows(flows) };
    h.fits(lost)
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::verdict::judge;
    use crate::model::sample::{changed, fail};
    use crate::model::{Answer, Earlier, FindingName, Page, Reason, Round, Severity, Status, Step};

    fn judged(change: impl FnOnce(&mut Round)) -> (String, Severity, Status) {
        let judged = judge(&changed(&["a", "b"], change), &Earlier::default());
        let [finding] = judged.findings.as_slice() else { panic!("{judged:#?}") };
        assert_eq!(finding.finding, FindingName::TlsHandshakeRefused);
        (finding.summary.clone(), finding.severity, judged.status)
    }

    const ALL: [&str; 3] = ["a", "b", "lb"];

    #[test]
    fn what_every_route_refuses_is_for_the_prober_to_cure_and_named_with_its_option() {
        let (summary, severity, status) = judged(|r| {
            for at in ALL {
                fail(r, at, Step::Challenge, Reason::TlsClientCertificate);
            }
        });
        assert!(summary.contains("--cert-file") && summary.contains("tls.key_file"), "{summary}");
        assert_eq!((severity, status), (Severity::Warning, Status::Unknown));
        for (reason, words) in
            [(Reason::TlsVersion, "version or cipher"), (Reason::TlsName, "other names")]
        {
            let (summary, _, status) = judged(|r| {
                for at in ALL {
                    fail(r, at, Step::Challenge, reason);
                }
            });
            assert!(summary.contains(words), "{summary}");
            assert_eq!(status, Status::Unknown);
        }
    }

    #[test]
    fn nginx_asks_for_a_client_certificate_by_a_page() {
        let (summary, _, _) = judged(|r| {
            for at in ALL {
                fail(r, at, Step::Challenge, Reason::Html);
            }
            for flow in &mut r.flows {
                let page = Some(Page::ClientCertificateMissing);
                flow.steps[0].answer =
                    Some(Answer { status: 400, html: true, page, ..Answer::default() });
            }
        });
        assert!(summary.contains("--cert-file"), "{summary}");
    }

    #[test]
    fn one_route_that_users_meet_fails_them() {
        let (summary, severity, _) = judged(|r| fail(r, "lb", Step::Challenge, Reason::TlsVersion));
        assert!(summary.starts_with("The load balancer has no TLS version"), "{summary}");
        assert_eq!(severity, Severity::Critical);
        let (summary, severity, _) =
            judged(|r| fail(r, "b", Step::Challenge, Reason::TlsHandshake));
        assert_eq!((summary.as_str(), severity), ("b ends the TLS handshake.", Severity::Warning));
    }
}
