//! Backends that send clients for a blob to a place where they do not get it (F4).

use super::case::{Case, Draft, Impact, list};
use crate::model::{BackendName, BlobWay, Confidence, FindingName, Outcome, Reason};

/// What became of one backend's redirect.
struct Lost<'a> {
    backend: &'a BackendName,
    to: &'a str,
    why: String,
    /// Somebody answered, so nobody else fares better.
    answered: bool,
    about_time: bool,
}

pub(super) fn examine(case: &mut Case<'_>) {
    let Some(redirects) = case.round.checks.blob_redirect.measured() else { return };
    let looked: Vec<(&BackendName, &BlobWay)> = redirects
        .at
        .iter()
        .filter_map(|at| Some((at.route.backend()?, at.value.measured()?)))
        .collect();
    let lost: Vec<Lost<'_>> = looked.iter().filter_map(|(name, way)| lost(name, way)).collect();
    if lost.is_empty() {
        return;
    }
    let backends: Vec<BackendName> = lost.iter().map(|lost| lost.backend.clone()).collect();
    let everywhere = lost.len() == case.round.backends.len();
    let felt = everywhere || case.leads_users_to(&backends);
    let impact = if felt { Impact::Balancer } else { Impact::Latent };
    let mut evidence: Vec<String> = lost
        .iter()
        .map(|lost| format!("{}: blobs are redirected to {}: {}", lost.backend, lost.to, lost.why))
        .collect();
    for (name, way) in &looked {
        if !backends.contains(name) {
            evidence.push(match way {
                BlobWay::Served => format!("{name}: serves blobs itself"),
                BlobWay::Redirected { to, .. } => {
                    format!("{name}: redirected to {to}, which gives them")
                }
            });
        }
    }
    let whose = if everywhere { "Every backend".to_owned() } else { list(&backends) };
    let verb = if everywhere || backends.len() == 1 { "sends" } else { "send" };
    let because = if lost.iter().any(|lost| lost.about_time) {
        ": by the store's clock the signature's time is wrong"
    } else {
        ""
    };
    let proved = lost.iter().all(|lost| lost.answered);
    case.add(
        Draft {
            name: FindingName::BlobRedirectUnreachable,
            confidence: if proved { Confidence::Proved } else { Confidence::Suspected },
            impact,
            backends: if everywhere { Vec::new() } else { backends },
            summary: format!(
                "{whose} {verb} clients for blobs to a place that gives none{because}."
            ),
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

fn lost<'a>(backend: &'a BackendName, way: &'a BlobWay) -> Option<Lost<'a>> {
    let BlobWay::Redirected { to, fetched } = way else { return None };
    let (why, answered, about_time) = match fetched {
        Outcome::Measured(fetched) if fetched.is_good() => return None,
        Outcome::Measured(fetched) => {
            (format!("status {}", fetched.status), true, fetched.about_time)
        }
        Outcome::Failed(failure) if failure.reason == Reason::DeadlineReached => return None,
        // Clients may know a name or an authority that the prober does not.
        Outcome::Failed(failure) => (failure.to_string(), false, false),
        Outcome::Skipped(_) => return None,
    };
    Some(Lost { backend, to, why, answered, about_time })
}
