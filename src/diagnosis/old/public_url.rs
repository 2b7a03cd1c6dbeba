//! Challenges that send clients elsewhere under one path only, and what else a route says of the
//! public URL (C1, C2).

use super::case::{Case, Draft, Impact, list};
use crate::model::{
    BackendName, Confidence, FindingName, Named, OfRoute, Outcome, RedirectTarget, Route, UrlSaid,
};

pub(super) fn examine(case: &mut Case<'_>) {
    let said = case.round.checks.public_url.measured().map_or(&[][..], Vec::as_slice);
    let odd: Vec<Odd<'_>> = said.iter().filter_map(|at| odd(case, said, at)).collect();
    let (astray, merely_other): (Vec<_>, Vec<_>) = odd.into_iter().partition(|odd| !odd.to.allowed);
    leads_away(case, &astray);
    differs(case, said, &merely_other);
    add_evidence(case, said);
}

/// A route whose repositories name something else than its `/v2/`.
struct Odd<'a> {
    route: &'a Route,
    base: &'a Named,
    to: &'a Named,
}

impl Odd<'_> {
    fn evidence(&self) -> String {
        format!("{}: /v2/ names {}, a repository {}", self.route, words(self.base), words(self.to))
    }
}

fn words(named: &Named) -> String {
    let service = named.service.as_deref().unwrap_or("none");
    format!("{} for service {service}", named.realm)
}

/// What is odd about a route, if it is by itself: where the load balancer went to another node for
/// the second question, that node is, or both its paths say the same.
fn odd<'a>(
    case: &Case<'a>,
    all: &'a [OfRoute<UrlSaid>],
    at: &'a OfRoute<UrlSaid>,
) -> Option<Odd<'a>> {
    let said = at.value.measured()?;
    let to = said.other().filter(|_| said.base.allowed && is_current(case, &at.route, said))?;
    let node_says_so = |other: &OfRoute<UrlSaid>| {
        other.route.backend().is_some()
            && other
                .value
                .measured()
                .is_some_and(|node| node.base == *to || node.repository.measured() == Some(to))
    };
    let by_itself = at.route.backend().is_some() || !all.iter().any(node_says_so);
    by_itself.then_some(Odd { route: &at.route, base: &said.base, to })
}

/// Whether `/v2/` still says what it did when the check was made: its last result stands for a
/// while, and what was put right meanwhile is no finding.
fn is_current(case: &Case<'_>, route: &Route, said: &UrlSaid) -> bool {
    let now = case.round.flow(route).and_then(|flow| flow.challenge.measured());
    now.is_some_and(|now| {
        now.realm.as_ref() == Some(&said.base.realm) && now.service == said.base.service
    })
}

fn backends(odd: &[Odd<'_>]) -> Vec<BackendName> {
    odd.iter().filter_map(|odd| odd.route.backend().cloned()).collect()
}

fn asked(said: &[OfRoute<UrlSaid>]) -> usize {
    let backend = |at: &&OfRoute<UrlSaid>| {
        at.route.backend().is_some()
            && at.value.measured().is_some_and(|said| said.repository.measured().is_some())
    };
    said.iter().filter(backend).count()
}

/// Repositories name a token endpoint that nobody may use, and `/v2/` does not.
fn leads_away(case: &mut Case<'_>, odd: &[Odd<'_>]) {
    if odd.is_empty() {
        return;
    }
    let mut backends = backends(odd);
    let everywhere = backends.len() == case.round.backends.len();
    let summary = if backends.is_empty() {
        "Through the load balancer a repository's challenge names another token endpoint than \
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
            list(&backends)
        )
    };
    if everywhere {
        backends.clear();
    }
    let impact = if backends.is_empty() {
        Impact::Balancer
    } else {
        Impact::Served("A pull by containerd or Kubernetes")
    };
    case.add(
        Draft {
            name: FindingName::RealmWrongEndpoint,
            confidence: Confidence::Proved,
            impact,
            backends,
            summary,
            evidence: evidence(case, odd),
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

/// Both are allowed and they are not the same.
fn differs(case: &mut Case<'_>, said: &[OfRoute<UrlSaid>], odd: &[Odd<'_>]) {
    // A token for the one may be good for the other too, or not.
    let explained = |finding: FindingName| case.findings.iter().any(|f| f.finding == finding);
    if odd.is_empty()
        || explained(FindingName::RealmWrongEndpoint)
        || explained(FindingName::IssuerAudienceMismatch)
    {
        return;
    }
    let backends = backends(odd);
    let drift = !backends.is_empty() && backends.len() < asked(said);
    let (name, confidence, alternatives) = if drift {
        (FindingName::SettingsDiffer, Confidence::Proved, Vec::new())
    } else {
        let others = vec![FindingName::IssuerAudienceMismatch];
        (FindingName::RealmWrongEndpoint, Confidence::Suspected, others)
    };
    let summary = if drift {
        format!("{} names another token endpoint for repositories than for /v2/.", list(&backends))
    } else if backends.is_empty() {
        "Through the load balancer repositories name another token endpoint or service than /v2/."
            .to_owned()
    } else {
        "Every node names another token endpoint or service for repositories than for /v2/."
            .to_owned()
    };
    case.add(
        Draft {
            name,
            confidence,
            impact: Impact::Latent,
            backends: if drift { backends } else { Vec::new() },
            summary,
            evidence: evidence(case, odd),
            alternatives,
        },
        &[],
        &[],
    );
}

fn evidence(case: &Case<'_>, odd: &[Odd<'_>]) -> Vec<String> {
    let mut evidence: Vec<String> = odd.iter().map(Odd::evidence).collect();
    evidence.push(format!("expected {}, or an authority in allowed_realms", case.round.url));
    evidence
}

/// What belongs to a wrong realm or `Location` and proves neither: nginx writes the scheme of its
/// own port where `/v2` lacks its slash, which is http wherever TLS ends before it.
fn add_evidence(case: &mut Case<'_>, said: &[OfRoute<UrlSaid>]) {
    let url = &case.round.url;
    let astray = |at: &OfRoute<UrlSaid>| {
        let Outcome::Measured(RedirectTarget { to, public: false }) = &at.value.measured()?.slash else {
            return None;
        };
        Some(format!("{}: /v2 without its slash leads to {to}; expected {url}", at.route))
    };
    let lines: Vec<String> = said.iter().filter_map(astray).collect();
    let concerned = [FindingName::RealmWrongEndpoint, FindingName::UploadLocationWrong];
    for finding in case.findings.iter_mut().filter(|f| concerned.contains(&f.finding)) {
        finding.evidence.extend(lines.iter().cloned());
    }
}
