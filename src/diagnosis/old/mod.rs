//! From a round to findings. Pure: no clock, no I/O, no async, and no measuring.
//!
//! [`assess`] lets each group of causes examine the round in turn, in the order in which a person
//! would: is it reachable, who answers, where does it send us, did it give a token, whose keys,
//! whose clock, what of the repository, what of the balancer. A rule claims the refused pairs and
//! failed flows that it explains, so that one cause is one finding and its consequences hang on
//! it. What is left at the end is `unexplained-refusal`.
//!
//! To add a rule: a function in the file of its group, its name in `model::FindingName`, its
//! remedies in `catalogue`, its page in `deploy/runbooks`, and a scenario in the lab.

mod balancer;
mod blob_redirect;
mod body_size;
mod case;
mod challenge;
mod columns;
mod components;
mod connection;
mod consequences;
mod credential;
mod directory;
mod dns;
mod drift;
mod gateway;
mod header;
mod health_check;
mod jobs;
mod keys;
mod public_url;
mod replicas;
mod repository;
mod skew;
mod storage;
mod time;
mod unexplained;
mod uploads;
mod versions;
mod web_state;

use super::leeway;
use super::statistics::wilson;
use case::Case;

use crate::model::{Assessment, Earlier, Round, Status};

/// Judges a round by itself.
pub(super) fn assess(round: &Round) -> Assessment {
    assess_after(round, &Earlier::default())
}

/// Judges a round with what earlier rounds left behind.
pub(super) fn assess_after(round: &Round, earlier: &Earlier) -> Assessment {
    let mut case = Case::new(round, earlier);
    connection::examine(&mut case);
    health_check::too_strict(&mut case);
    gateway::examine(&mut case);
    challenge::examine(&mut case);
    header::examine(&mut case);
    credential::examine(&mut case);
    replicas::examine(&mut case);
    time::examine(&mut case);
    keys::examine(&mut case);
    storage::examine(&mut case);
    repository::examine(&mut case);
    storage::databases(&mut case);
    uploads::examine(&mut case);
    consequences::examine(&mut case);
    header::deduced(&mut case);
    balancer::examine(&mut case);
    health_check::blind(&mut case);
    dns::examine(&mut case);
    components::examine(&mut case);
    web_state::examine(&mut case);
    body_size::examine(&mut case);
    blob_redirect::examine(&mut case);
    public_url::examine(&mut case);
    versions::examine(&mut case);
    drift::examine(&mut case);
    directory::examine(&mut case);
    jobs::examine(&mut case);
    skew::examine(&mut case);
    unexplained::examine(&mut case);

    let (mut findings, shares, expected_unauthorized) = (case.findings, case.shares, case.expected);
    findings.sort_by_key(|finding| {
        (std::cmp::Reverse(finding.severity), std::cmp::Reverse(finding.explains), finding.finding)
    });
    let measured = round.balancer.measured();
    Assessment {
        status: Status::of(&findings),
        findings,
        shares,
        expected_unauthorized,
        unauthorized_interval: measured.and_then(|run| wilson(run.pairs)),
        leeways: round.backends.iter().map(|b| (b.name.clone(), leeway::leeway(b))).collect(),
        clock_margin: leeway::margin(round),
        clock_words: skew::words(round),
        ..Assessment::default()
    }
}
