//! Challenges that send clients to a token endpoint that is not the registry's, on every path or
//! for repositories only.

use super::drift::words;
use crate::diagnosis::facts::{Facts, ObservationId, backends_of, flow_lines};
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::diagnosis::observe::is_current;
use crate::diagnosis::wording::{list, subject, verb};
use crate::model::{
    BackendName, Challenge, Check, FindingName, Flow, Named, Observation, ObservationKind, OfRoute,
    Outcome, Reason, RedirectTarget, Round, Route, Setting, Step, UrlSaid,
};

const NAME: FindingName = FindingName::RealmWrongEndpoint;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let (astray, merely_other): (Vec<_>, Vec<_>) =
        odd_routes(facts.round).into_iter().partition(|odd| !odd.to.allowed);
    let mut all: Vec<Hypothesis> =
        [unusable(facts), no_token(facts), wrong_realm(facts), leads_away(facts, &astray)]
            .into_iter()
            .flatten()
            .collect();
    if all.is_empty() {
        all.extend(differs(facts, &merely_other));
    }
    let context = context(facts.round);
    all.into_iter().map(|h| h.evidence(context.iter().cloned())).collect()
}

fn authority(challenge: &Challenge) -> &str {
    let realm = challenge.realm.as_deref().unwrap_or_default();
    let end = realm.find("://").map_or(0, |at| at + 3);
    let tail = realm.get(end..).unwrap_or_default();
    let length = tail.find(['/', '?', '#']).unwrap_or(tail.len());
    realm.get(..end + length).unwrap_or(realm)
}

/// No client can use the realm: it is no URL. Behind a proxy it is put together from headers.
fn unusable(facts: &Facts<'_>) -> Option<Hypothesis> {
    let bad = facts.flows_that(|_, _, reason| reason == Reason::RealmUnusable);
    let sampled = facts.through_balancer(|seen| seen.reason() == Reason::RealmUnusable);
    if bad.is_empty() && sampled.is_empty() {
        return None;
    }
    let mut backends = backends_of(bad.iter().map(|(_, flow)| *flow));
    let everywhere = bad.len() == facts.round.flows.len();
    let whose = if everywhere {
        backends.clear();
        "Every route".to_owned()
    } else {
        subject(&backends)
    };
    let summary = format!(
        "{whose} {} a token endpoint that no client can use. A usual cause is an X-Forwarded-Host \
         that already has the port, or an external_url without its scheme.",
        verb(backends.len(), "names", "name")
    );
    let line = |flow: &Flow| {
        let (_, failure) = flow.failure()?;
        Some(format!("{}: {}", flow.route, failure.detail))
    };
    let h = Hypothesis::new(NAME, backends, summary)
        .proved_if(!bad.is_empty(), &[FindingName::UnknownBackend])
        .evidence(bad.iter().filter_map(|(_, flow)| line(flow)))
        .fits(sampled);
    Some(if everywhere { h.explains(bad.iter().map(|(id, _)| *id)) } else { h.flows(&bad) })
}

/// Whether a token endpoint gave something else than a token, and no refusal either: all is well
/// and no token, nothing there, or no such method.
fn gives_something_else(flow: &Flow, step: Step, reason: Reason) -> bool {
    let Some(answer) = flow.answer(step).filter(|_| step == Step::Token) else { return false };
    // In other words than a registry's it is a stranger that answers: see `not_a_registry`.
    let of_registry = answer.api_version || answer.request_id || answer.error_code.is_some();
    let in_place = match reason {
        Reason::BadTokenResponse => !answer.html,
        Reason::NotFound => of_registry,
        Reason::UnexpectedStatus => {
            of_registry && matches!(answer.status, 100..=299 | 400 | 405 | 410 | 415)
        }
        _ => false,
    };
    in_place && answer.page.is_none() && !flow.knows_one_method()
}

/// The endpoint gives no token where it should: another server is there.
fn no_token(facts: &Facts<'_>) -> Option<Hypothesis> {
    let bad = facts.flows_that(gives_something_else);
    if bad.is_empty() {
        return None;
    }
    let mut backends = backends_of(bad.iter().map(|(_, flow)| *flow));
    let everywhere = bad.len() == facts.round.flows.len();
    let whose = if everywhere {
        backends.clear();
        "every route".to_owned()
    } else if backends.is_empty() {
        "the load balancer".to_owned()
    } else {
        list(&backends)
    };
    let mut statuses: Vec<u16> =
        bad.iter().filter_map(|(_, flow)| Some(flow.answer(Step::Token)?.status)).collect();
    statuses.sort_unstable();
    statuses.dedup();
    let answers = match statuses.as_slice() {
        [200] => "answers 200 without a token".to_owned(),
        [status] => format!("answers {status} in place of a token"),
        _ => "gives no token".to_owned(),
    };
    let summary = format!("The token endpoint of {whose} {answers}.");
    let h = Hypothesis::new(NAME, backends, summary)
        .suspected(&[FindingName::LbMisroutesApiPath, FindingName::ServerErrors])
        .evidence(flow_lines(&bad));
    Some(if everywhere { h.explains(bad.iter().map(|(id, _)| *id)) } else { h.flows(&bad) })
}

/// A separate token server, which every route names and the configuration does not list: the prober
/// lacks only the permission to go there. On the registry's own host, under another scheme or port,
/// it is a fault of the registry.
fn token_server<'a>(facts: &Facts<'a>) -> Option<&'a str> {
    let mut realms = facts.round.flows.iter().map(|flow| flow.challenge.measured().map(authority));
    let first = realms.next()??;
    let host = |url: &'a str| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest.rsplit_once(':').filter(|(_, p)| p.parse::<u16>().is_ok()).map_or(rest, |(h, _)| h)
    };
    let agreed = realms.all(|realm| realm == Some(first));
    (agreed && !host(first).eq_ignore_ascii_case(host(&facts.round.url))).then_some(first)
}

/// The challenge of `/v2/` names a token endpoint elsewhere: in flows, or now and then in samples.
fn wrong_realm(facts: &Facts<'_>) -> Option<Hypothesis> {
    let wrong = facts.flows_that(|_, _, reason| reason == Reason::RealmNotAllowed);
    let sampled = facts.through_balancer(|seen: &Observation| {
        seen.kind == ObservationKind::RealmForeign || seen.reason() == Reason::RealmNotAllowed
    });
    if wrong.is_empty() && sampled.is_empty() {
        return None;
    }
    let mut backends = backends_of(wrong.iter().map(|(_, flow)| *flow));
    let everywhere = wrong.len() == facts.round.flows.len();
    let unlisted = if everywhere { token_server(facts) } else { None };
    let summary = if wrong.is_empty() {
        "Through the load balancer some challenges name a different token endpoint than the nodes \
         do."
        .to_owned()
    } else if backends.is_empty() {
        "Through the load balancer the challenge names a different token endpoint than the nodes \
         do: \
         it rewrites Host."
            .to_owned()
    } else if let Some(server) = unlisted {
        format!(
            "Every route names the token server at {server}, which is not allowed: add \
             --allowed-realm {server} (allowed_realms)."
        )
    } else if everywhere {
        "Every route sends clients to a token endpoint that is not the registry's.".to_owned()
    } else {
        let sends = verb(backends.len(), "sends", "send");
        format!(
            "{} {sends} clients to a token endpoint that is not the registry's.",
            list(&backends)
        )
    };
    let at_balancer = backends.is_empty();
    if everywhere {
        backends.clear();
    }
    let realm = |flow: &Flow| {
        let challenge = flow.challenge.measured()?;
        Some(format!("{}: realm at {}", flow.route, authority(challenge)))
    };
    let told = sampled.iter().map(|id| facts.observation(*id));
    let told = told.filter(|seen| seen.kind == ObservationKind::RealmForeign);
    let h = Hypothesis::new(NAME, backends, summary)
        .proved_if(!wrong.is_empty(), &[FindingName::UnknownBackend])
        .evidence(facts.round.flows.iter().filter_map(realm))
        .evidence(told.map(|seen| format!("samples: {}", seen.failure.detail)))
        .hits(if unlisted.is_some() { Hits::Prober } else { Hits::Requests })
        .at_balancer(at_balancer)
        .fits(sampled);
    Some(if everywhere { h.explains(wrong.iter().map(|(id, _)| *id)) } else { h.flows(&wrong) })
}

/// A route whose repositories name something else than its `/v2/`.
struct Odd<'a> {
    route: &'a Route,
    base: &'a Named,
    to: &'a Named,
}

impl Odd<'_> {
    fn evidence(&self) -> String {
        format!(
            "{}: /v2/ names {}, and the challenge of a repository names {}",
            self.route,
            words(self.base),
            words(self.to)
        )
    }
}

fn said(round: &Round) -> &[OfRoute<UrlSaid>] {
    round.checks.public_url.measured().map_or(&[][..], Vec::as_slice)
}

/// Routes that are odd by themselves: where the load balancer went to another node for the second
/// question, that node is, or both its paths say the same.
fn odd_routes(round: &Round) -> Vec<Odd<'_>> {
    said(round).iter().filter_map(|at| odd(round, at)).collect()
}

fn odd<'a>(round: &'a Round, at: &'a OfRoute<UrlSaid>) -> Option<Odd<'a>> {
    let here = at.value.measured()?;
    let to = here.other().filter(|_| here.base.allowed && is_current(round, &at.route, here))?;
    let node_says_so = |other: &OfRoute<UrlSaid>| {
        let node = other.value.measured().filter(|_| other.route.backend().is_some());
        node.is_some_and(|node| node.base == *to || node.repository.measured() == Some(to))
    };
    let by_itself = at.route.backend().is_some() || !said(round).iter().any(node_says_so);
    by_itself.then_some(Odd { route: &at.route, base: &here.base, to })
}

fn backends(odd: &[Odd<'_>]) -> Vec<BackendName> {
    odd.iter().filter_map(|odd| odd.route.backend().cloned()).collect()
}

/// Repositories name a token endpoint that is not allowed, and `/v2/` names one that is.
fn leads_away(facts: &Facts<'_>, odd: &[Odd<'_>]) -> Option<Hypothesis> {
    if odd.is_empty() {
        return None;
    }
    let mut named = backends(odd);
    let everywhere = named.len() == facts.round.backends.len();
    let summary = if named.is_empty() {
        "Through the load balancer a repository's challenge names a different token endpoint than \
         /v2/ does: it treats the path in its own way."
            .to_owned()
    } else if everywhere {
        "On every node a repository's challenge names a token endpoint that is not the \
         registry's, and /v2/ does not."
            .to_owned()
    } else {
        format!(
            "A repository's challenge at {} names a token endpoint that is not the registry's, \
             and /v2/ does not.",
            list(&named)
        )
    };
    let at_balancer = named.is_empty();
    if everywhere {
        named.clear();
    }
    let seen = |id: &(ObservationId, &Observation)| id.1.reason() == Reason::RealmNotAllowed;
    let (through, direct): (Vec<_>, Vec<_>) = facts
        .of_check(Check::PublicUrl)
        .filter(seen)
        .partition(|(_, seen)| seen.place.involves_balancer());
    Some(
        Hypothesis::new(NAME, named, summary)
            .hits(Hits::Some("Pulls by containerd or Kubernetes"))
            .at_balancer(at_balancer)
            .evidence(odd.iter().map(Odd::evidence))
            .explains(direct.into_iter().map(|(id, _)| id))
            .fits(through.into_iter().map(|(id, _)| id)),
    )
}

/// Both are allowed and they are not the same, alike on all nodes or through the load balancer
/// only. A token for the one may be good for the other too, or not.
fn differs(facts: &Facts<'_>, odd: &[Odd<'_>]) -> Option<Hypothesis> {
    let named = backends(odd);
    let asked = |at: &&OfRoute<UrlSaid>| {
        at.route.backend().is_some()
            && at.value.measured().is_some_and(|said| said.repository.measured().is_some())
    };
    let some_only =
        !named.is_empty() && named.len() < said(facts.round).iter().filter(asked).count();
    // Where tokens are refused there is more to see than a name.
    if odd.is_empty() || some_only || !facts.refused_pairs().is_empty() {
        return None;
    }
    let summary = if named.is_empty() {
        "Through the load balancer repositories name another token endpoint or service than /v2/."
    } else {
        "Every node names another token endpoint or service for repositories than for /v2/."
    };
    Some(
        Hypothesis::new(NAME, Vec::new(), summary.to_owned())
            .suspected(&[FindingName::IssuerAudienceMismatch])
            .hits(Hits::Later)
            .evidence(odd.iter().map(Odd::evidence))
            .alone(),
    )
}

/// What explains a wrong realm and proves none: what the nodes take for their public URL, for
/// people may know a registry by another name than the prober does, and Harbor from 2.14 on takes
/// the realm's host from the request; and the scheme that nginx writes where `/v2` lacks its slash,
/// which is http wherever TLS ends before it.
fn context(round: &Round) -> Vec<String> {
    let url = &round.url;
    let mut lines = vec![format!("expected {url}, or an authority in allowed_realms")];
    for backend in &round.backends {
        let told = |setting| backend.settings.get(&setting).map(|told| told.value.as_str());
        if let Some(other) = told(Setting::ExternalUrl).filter(|other| other != url) {
            lines.push(format!("{}: external_url is {other}", backend.name));
        }
        if url.starts_with("https://") && told(Setting::CsrfCookieSecure) == Some("no") {
            let name = &backend.name;
            lines.push(format!("{name}: its CSRF cookie and its external_url are for http"));
        }
    }
    let slash = |at: &OfRoute<UrlSaid>| {
        let Outcome::Measured(RedirectTarget { to, public: false }) = &at.value.measured()?.slash
        else {
            return None;
        };
        Some(format!("{}: /v2 without its slash leads to {to}; expected {url}", at.route))
    };
    lines.extend(said(round).iter().filter_map(slash));
    lines
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::verdict::judge;
    use crate::model::sample::{changed, route};
    use crate::model::{
        BackendName, Checked, Earlier, Failure, Finding, Named, OfRoute, Outcome, Reason,
        RedirectTarget, Round, Skipped, UrlSaid,
    };

    const REALM: &str = "https://hub.example.com/service/token";
    const CORE: &str = "https://core/service/token";
    const MIRROR: &str = "https://auth.example.com/token";

    fn named(realm: &str) -> Named {
        let service = Some("harbor-registry".to_owned());
        Named { realm: realm.to_owned(), service, allowed: realm != CORE }
    }

    /// What every route says, given as `/v2/` and repository of it.
    fn said(round: &mut Round, routes: &[(&str, &str, &str)]) {
        let slash = RedirectTarget { to: "https://hub.example.com".into(), public: true };
        let of = |(at, base, repository): &(&str, &str, &str)| OfRoute {
            route: route(at),
            value: Outcome::Measured(UrlSaid {
                base: named(base),
                repository: Outcome::Measured(named(repository)),
                slash: Outcome::Measured(slash.clone()),
            }),
        };
        let found = Outcome::Measured(routes.iter().map(of).collect());
        round.checks.public_url = Checked { found, ..Checked::default() };
    }

    fn judged(change: impl FnOnce(&mut Round)) -> Vec<Finding> {
        judge(&changed(&["a", "b", "c"], change), &Earlier::default()).findings
    }

    fn lines(findings: &[Finding]) -> String {
        let line = |finding: &Finding| {
            let names: Vec<&str> = finding.backends.iter().map(BackendName::as_str).collect();
            let (severity, confidence) = (finding.severity.as_str(), finding.confidence.as_str());
            format!("{} {severity} {confidence} [{}]", finding.finding, names.join(" "))
        };
        findings.iter().map(line).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_named_with_its_node() {
        let good = |at| (at, REALM, REALM);
        let core = |at| (at, REALM, CORE);
        let mirror = |at| (at, REALM, MIRROR);
        for (what, routes, expected) in [
            ("all alike", vec![good("a"), good("b"), good("c"), good("lb")], ""),
            (
                "one node",
                vec![good("a"), core("b"), good("c"), good("lb")],
                "realm-wrong-endpoint critical proved [b]",
            ),
            (
                "one node, which the load balancer met",
                vec![good("a"), core("b"), good("c"), core("lb")],
                "realm-wrong-endpoint critical proved [b]",
            ),
            (
                "the load balancer",
                vec![good("a"), good("b"), good("c"), core("lb")],
                "realm-wrong-endpoint critical proved []",
            ),
            (
                "every node",
                vec![core("a"), core("b"), core("c"), core("lb")],
                "realm-wrong-endpoint critical proved []",
            ),
            (
                "every node, and clients may go there",
                vec![mirror("a"), mirror("b"), mirror("c"), mirror("lb")],
                "realm-wrong-endpoint warning suspected []",
            ),
            (
                "the load balancer, and clients may go there",
                vec![good("a"), good("b"), good("c"), mirror("lb")],
                "realm-wrong-endpoint warning suspected []",
            ),
            (
                "the load balancer went to another node that is odd in both paths",
                vec![good("a"), ("b", MIRROR, MIRROR), good("c"), mirror("lb")],
                "",
            ),
        ] {
            assert_eq!(lines(&judged(|round| said(round, &routes))), expected, "{what}");
        }
    }

    #[test]
    fn what_was_put_right_since_the_check_was_made_is_no_finding() {
        let stale = [("a", REALM, REALM), ("b", MIRROR, CORE), ("c", REALM, REALM)];
        assert_eq!(lines(&judged(|round| said(round, &stale))), "");
    }

    #[test]
    fn a_repository_that_gives_no_challenge_names_no_realm() {
        let refused = Outcome::Failed(Failure::of_answer(Reason::NotFound, "status 404"));
        for (repository, found) in [
            (refused, "unexplained-refusal warning suspected [b]"),
            (Outcome::Skipped(Skipped::BackingOff), ""),
        ] {
            let findings = judged(|round| {
                said(round, &[("a", REALM, REALM), ("b", REALM, CORE), ("c", REALM, REALM)]);
                if let Outcome::Measured(all) = &mut round.checks.public_url.found
                    && let Outcome::Measured(b) = &mut all[1].value
                {
                    b.repository = repository;
                }
            });
            assert_eq!(lines(&findings), found);
        }
    }

    #[test]
    fn where_v2_leads_without_its_slash_is_evidence_and_never_a_finding() {
        let plain = |round: &mut Round| {
            if let Outcome::Measured(all) = &mut round.checks.public_url.found {
                for at in all {
                    if let Outcome::Measured(said) = &mut at.value {
                        let to = "http://hub.example.com".to_owned();
                        said.slash = Outcome::Measured(RedirectTarget { to, public: false });
                    }
                }
            }
        };
        let good = [("a", REALM, REALM), ("b", REALM, REALM), ("c", REALM, REALM)];
        let findings = judged(|round| {
            said(round, &good);
            plain(round);
        });
        assert_eq!(lines(&findings), "");
        let findings = judged(|round| {
            said(round, &[good[0], ("b", REALM, CORE), good[2]]);
            plain(round);
        });
        let evidence = &findings[0].evidence;
        let about = evidence.iter().filter(|line| line.contains("/v2 without its slash leads to"));
        assert_eq!(about.count(), 3, "{evidence:?}");
    }
}
