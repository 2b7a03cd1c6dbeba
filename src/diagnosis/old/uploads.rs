//! Pushes: the secret that signs uploads (F1), where they are sent on to (C2), read-only (F5).

use std::collections::{BTreeMap, BTreeSet};

use super::case::{Case, Draft, Impact, list};
use super::keys::odd_ones;
use crate::model::{
    BackendName, Begun, Confidence, FindingName, OfPair, Outcome, PushStep, Route, UploadVerdict,
    Uploads,
};

pub(super) fn examine(case: &mut Case<'_>) {
    read_only(case);
    secrets(case);
    locations(case);
}

fn secrets(case: &mut Case<'_>) {
    let Some(uploads) = case.round.checks.upload.measured() else { return };
    // An upload that its own node refuses says nothing of the others.
    let invalid: Vec<&OfPair<UploadVerdict>> = pairs(uploads)
        .filter(|(_, verdict)| *verdict == UploadVerdict::Invalid)
        .map(|(pair, _)| pair)
        .filter(|pair| is_sound(uploads, &pair.issuer))
        .collect();
    if invalid.is_empty() {
        return;
    }
    let invalid_between = |a: &BackendName, b: &BackendName| {
        invalid
            .iter()
            .any(|p| (&p.issuer, &p.verifier) == (a, b) || (&p.issuer, &p.verifier) == (b, a))
    };
    let (odd, majority) = odd(uploads, invalid_between);
    let mut evidence: Vec<String> = invalid
        .iter()
        .take(4)
        .map(|pair| {
            format!(
                "an upload begun at {} is BLOB_UPLOAD_INVALID at {}, twice",
                pair.issuer, pair.verifier
            )
        })
        .collect();
    evidence.push("each node goes on with its own uploads".to_owned());
    evidence.extend(lost_pushes(case));
    let summary = if majority {
        format!("{} signs uploads with another secret than the other nodes.", list(&odd))
    } else {
        format!("{} sign uploads with different secrets.", list(&odd))
    };
    case.add(
        Draft {
            name: FindingName::HttpSecretMismatch,
            confidence: Confidence::Proved,
            impact: Impact::Served("A push"),
            backends: odd,
            summary,
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

/// Verdicts that were given.
pub(super) fn pairs(
    uploads: &Uploads,
) -> impl Iterator<Item = (&OfPair<UploadVerdict>, UploadVerdict)> {
    uploads.pairs.iter().filter_map(|pair| Some((pair, *pair.value.measured()?)))
}

/// Whether a node goes on with its own uploads.
pub(super) fn is_sound(uploads: &Uploads, name: &BackendName) -> bool {
    pairs(uploads)
        .any(|(pair, verdict)| pair.issuer == *name && pair.verifier == *name && verdict.accepted())
}

/// The nodes outside of the largest group whose members agree, and whether there is such a group.
pub(super) fn odd(
    uploads: &Uploads,
    disagree: impl Fn(&BackendName, &BackendName) -> bool,
) -> (Vec<BackendName>, bool) {
    let names: BTreeSet<&BackendName> =
        uploads.pairs.iter().flat_map(|pair| [&pair.issuer, &pair.verifier]).collect();
    let mut group: BTreeMap<&BackendName, &BackendName> = names.iter().map(|n| (*n, *n)).collect();
    // Equal in either direction is equal: one group takes the other's name.
    for (pair, verdict) in pairs(uploads) {
        if !verdict.accepted() || disagree(&pair.issuer, &pair.verifier) {
            continue;
        }
        let (Some(from), Some(to)) =
            (group.get(&pair.issuer).copied(), group.get(&pair.verifier).copied())
        else {
            continue;
        };
        group.values_mut().filter(|name| **name == from).for_each(|name| *name = to);
    }
    let mut groups: BTreeMap<&BackendName, Vec<BackendName>> = BTreeMap::new();
    for (name, of) in group {
        groups.entry(of).or_default().push(name.clone());
    }
    let total = names.len();
    odd_ones(&groups, total)
}

/// Pushes through the balancer that failed at a blob.
fn lost_pushes(case: &Case<'_>) -> Option<String> {
    let pushed = case.round.checks.push.measured()?;
    let by = pushed.by.iter().find(|by| by.route == Route::Balancer)?;
    let failed = by.value.measured()?.failed.as_ref()?;
    let blob = matches!(failed.step, PushStep::Blob | PushStep::Manifest);
    blob.then(|| format!("a push through the load balancer failed: {}", failed.failure))
}

/// Uploads that are sent on to another scheme, host or port than the public ones.
fn locations(case: &mut Case<'_>) {
    let Some(uploads) = case.round.checks.upload.measured() else { return };
    let public = case.round.url.trim_end_matches('/').to_owned();
    let at = uploads.begun.iter().filter_map(|begun| match &begun.value {
        Outcome::Measured(Begun::At(at)) => Some((&begun.route, at.as_deref())),
        _ => None,
    });
    let (wrong, right): (Vec<_>, Vec<_>) =
        at.partition(|(_, at)| at.is_some_and(|at| at != public));
    if wrong.is_empty() {
        return;
    }
    let through = wrong.iter().any(|(route, _)| **route == Route::Balancer);
    let names: Vec<BackendName> =
        wrong.iter().filter_map(|(route, _)| route.backend().cloned()).collect();
    let all_backends = !right.iter().any(|(route, _)| route.backend().is_some());
    let repaired = right.iter().any(|(route, _)| **route == Route::Balancer);
    if all_backends && repaired {
        // The balancer rewrites what the nodes say, and clients come through it.
        return;
    }
    let evidence = wrong
        .iter()
        .chain(right.iter().take(2))
        .map(|(route, at)| format!("{route}: uploads go on at {}", at.unwrap_or("the same place")))
        .chain([format!("public URL: {public}")])
        .collect();
    let backends = if all_backends { Vec::new() } else { names };
    let (impact, summary) = if backends.is_empty() {
        let summary = "Uploads are sent on to another scheme, host or port than the public URL.";
        (if through { Impact::Balancer } else { Impact::Latent }, summary.to_owned())
    } else {
        let to = "sends uploads on to another scheme, host or port than the public URL";
        (Impact::Served("A push"), format!("{} {to}.", list(&backends)))
    };
    case.add(
        Draft {
            name: FindingName::UploadLocationWrong,
            confidence: Confidence::Proved,
            impact,
            backends,
            summary,
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

fn read_only(case: &mut Case<'_>) {
    let checks = &case.round.checks;
    let begun = checks.upload.measured().into_iter().flat_map(|uploads| &uploads.begun);
    let begun = begun.filter_map(|begun| match &begun.value {
        Outcome::Measured(value) => Some((&begun.route, *value == Begun::ReadOnly)),
        _ => None,
    });
    let pushed = checks.push.measured().into_iter().flat_map(|pushed| &pushed.by);
    let pushed = pushed.filter_map(|by| {
        let failed = by.value.measured()?.failed.as_ref();
        Some((&by.route, failed.is_some_and(|failed| failed.read_only)))
    });
    let told: Vec<(&Route, bool)> = begun.chain(pushed).collect();
    let backends = |refuses: bool| -> BTreeSet<BackendName> {
        let of = told.iter().filter(|(_, read_only)| *read_only == refuses);
        of.filter_map(|(route, _)| route.backend().cloned()).collect()
    };
    let (refusing, writing) = (backends(true), backends(false));
    if refusing.is_empty() {
        return;
    }
    let everywhere = writing.is_empty();
    let names: Vec<BackendName> = refusing.into_iter().collect();
    let evidence = vec![format!("writes are refused as read-only at {}", list(&names))];
    case.add(
        Draft {
            name: FindingName::ReadOnlyMode,
            confidence: Confidence::Proved,
            impact: Impact::Served("Every push"),
            summary: if everywhere {
                "The registry takes no writes.".to_owned()
            } else {
                format!("{} takes no writes.", list(&names))
            },
            backends: if everywhere { Vec::new() } else { names },
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}
