//! A token endpoint that gives tokens by one method and not by the other. docker, podman and skopeo
//! ask by GET; containerd, and with it Kubernetes nodes and `BuildKit`, by POST first, and by GET
//! only after 400, 401, 404 or 405.

use super::server_errors::lines;
use crate::diagnosis::facts::{Facts, backends_of};
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::diagnosis::wording::{list, verb};
use crate::model::{ClientKind, ClientRun, Evidence, FindingName, Flow, Reason, Step};

/// The prober's own flows ask by GET and pass; those that ask as containerd does get no token.
fn refuses_post(facts: &Facts<'_>) -> Option<Hypothesis> {
    let refused = facts.through_balancer(|seen| seen.reason() == Reason::PostRefused);
    let first = facts.observation(*refused.first()?);
    // Each flow that asks as containerd does, asks by POST more than once before it says so.
    let of_containerd = |run: &&ClientRun| run.client == ClientKind::Containerd;
    let posts = facts.sampling()?.clients.iter().find(of_containerd)?.logins.trials;
    if first.windowed || first.count < posts {
        return None;
    }
    let summary = "The token endpoint gives tokens by GET and not by POST: docker, podman and \
                   skopeo get one. containerd and Kubernetes nodes ask by POST first and get none.";
    let evidence = Evidence::from(format!(
        "{posts} of {posts} flows like containerd's through the load balancer got no token by any \
         POST, but one by GET: {}",
        first.failure
    ))
    .of_requests(posts, posts);
    let h = Hypothesis::new(FindingName::RealmWrongEndpoint, Vec::new(), summary.to_owned());
    Some(h.hits(Hits::Requests).evidence([evidence]).explains(refused))
}

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let found = facts.flows_that(|flow, step, _| step == Step::Token && flow.knows_one_method());
    let Some((_, first)) = found.first() else {
        return refuses_post(facts).into_iter().collect();
    };
    let by_post = first.other_method.is_some_and(|other| other.by_post);
    let mut backends = backends_of(found.iter().map(|(_, flow)| *flow));
    let only_through = backends.is_empty();
    let everywhere = found.len() == facts.round.flows.len();
    let whose = if everywhere {
        backends.clear();
        "every route".to_owned()
    } else if only_through {
        "the load balancer".to_owned()
    } else {
        list(&backends)
    };
    let (what, hits) = if by_post {
        (
            "gives tokens by POST and not by GET: containerd gets one. docker, podman and skopeo \
             get none",
            Hits::Some("Logins and pulls by docker, podman and skopeo"),
        )
    } else {
        (
            "gives tokens by GET and not by POST: docker, podman and skopeo get one. containerd \
             and Kubernetes nodes ask by POST first and get none",
            Hits::Some("Pulls by containerd and Kubernetes nodes"),
        )
    };
    // In front of nodes that know both, something does not let one of them pass.
    let name = if only_through {
        FindingName::LbMisroutesApiPath
    } else {
        FindingName::RealmWrongEndpoint
    };
    let alike = |flow: &Flow| flow.failure().map(|(_, failure)| failure.reason);
    let reason = alike(first);
    let sampled = facts.through_balancer(|seen| {
        let same = Some(seen.reason()) == reason || seen.reason() == Reason::PostRefused;
        seen.step == Some(Step::Token) && same
    });
    let endpoints = verb(backends.len(), "endpoint", "endpoints");
    let summary = format!("The token {endpoints} of {whose} {what}.");
    let h = Hypothesis::new(name, backends, summary).hits(hits).evidence(lines(&found));
    let h = if everywhere { h.explains(found.iter().map(|(id, _)| *id)) } else { h.flows(&found) };
    vec![h.fits(sampled)]
}
