//! Nodes that sign the state of uploads with different secrets (F1).

use super::super::facts::{Facts, ObservationId, list, verb};
use super::super::hypothesis::{Hits, Hypothesis};
use super::partition::{Partition, Shared};
use crate::model::{
    BackendName, Check, FindingName, OfPair, Outcome, Place, PushStep, Route, UploadVerdict,
    Uploads,
};

/// At most so many pairs are quoted.
const QUOTED: usize = 4;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let Some(uploads) = facts.round.checks.upload.measured() else { return Vec::new() };
    // What is well signed and unknown is of another storage, not of another secret.
    let secrets = Partition::of(&uploads.pairs, Shared::NeitherRefuses, |verdict| {
        Some(*verdict != UploadVerdict::Invalid)
    });
    if !secrets.is_split() {
        return Vec::new();
    }
    let names = secrets.at_fault();
    let ids = facts.met_between(Check::Upload, &uploads.pairs, is_invalid);
    let (pushes, line) = lost_pushes(facts);
    let found = Hypothesis::new(FindingName::HttpSecretMismatch, names, summary(&secrets))
        .proved_if(secrets.is_proved(), &[])
        .hits(Hits::Some("Pushes"))
        .evidence(evidence(uploads, &secrets))
        .evidence(line)
        .explains(ids)
        .fits(pushes);
    vec![found]
}

fn is_invalid(pair: &OfPair<UploadVerdict>) -> bool {
    pair.value == Outcome::Measured(UploadVerdict::Invalid)
}

fn summary(secrets: &Partition) -> String {
    let names: Vec<BackendName> = secrets.at_fault();
    if !secrets.is_proved() {
        let refuses = verb(
            names.len(),
            "refuses the uploads that it began itself",
            "refuse the uploads that they began themselves",
        );
        return format!(
            "{} {refuses}: replicas behind one address may sign them with different secrets.",
            list(&names)
        );
    }
    if secrets.majority {
        let signs = verb(names.len(), "signs", "sign");
        return format!(
            "{} {signs} uploads with another secret than the other nodes.",
            list(&names)
        );
    }
    format!("{} sign uploads with different secrets.", list(&names))
}

fn evidence(uploads: &Uploads, secrets: &Partition) -> Vec<String> {
    let line = |pair: &OfPair<UploadVerdict>| {
        format!(
            "an upload begun at {} is BLOB_UPLOAD_INVALID at {}, twice",
            pair.issuer, pair.verifier
        )
    };
    let invalid = uploads.pairs.iter().filter(|pair| is_invalid(pair));
    let mut lines: Vec<String> = invalid.take(QUOTED).map(line).collect();
    if secrets.own_refused.is_empty() {
        lines.push("each node goes on with its own uploads".to_owned());
    }
    lines
}

/// A push through the balancer that failed after its upload began.
fn lost_pushes(facts: &Facts<'_>) -> (Vec<ObservationId>, Option<String>) {
    let pushed = facts.round.checks.push.measured();
    let by = pushed.and_then(|pushed| pushed.by.iter().find(|by| by.route == Route::Balancer));
    let failed = by.and_then(|by| by.value.measured()?.failed.as_ref());
    let Some(failed) =
        failed.filter(|failed| matches!(failed.step, PushStep::Blob | PushStep::Manifest))
    else {
        return (Vec::new(), None);
    };
    let line = format!("a push through the load balancer failed: {}", failed.failure);
    (facts.met(Check::Push, &Place::route(&Route::Balancer)), Some(line))
}
