//! Nodes that sign the state of uploads with different secrets (F1).

use super::super::facts::{Facts, ObservationId};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use super::shared::{Division, Shared};
use crate::model::{
    BackendName, Check, FindingName, OfPair, Outcome, Place, PushStep, Route, UploadVerdict,
    Uploads,
};

/// The most pairs that are quoted.
const QUOTED: usize = 4;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let Some(uploads) = facts.round.checks.upload.measured() else { return Vec::new() };
    // What is well signed and unknown is of another storage, not of another secret.
    let secrets = Division::of(&uploads.pairs, Shared::NeitherRefuses, |verdict| {
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

fn summary(secrets: &Division) -> String {
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
            "{} {signs} uploads with a different secret than the other nodes.",
            list(&names)
        );
    }
    format!("{} sign uploads with different secrets.", list(&names))
}

fn evidence(uploads: &Uploads, secrets: &Division) -> Vec<String> {
    let line = |pair: &OfPair<UploadVerdict>| {
        format!(
            "an upload begun at {} is BLOB_UPLOAD_INVALID at {}, twice",
            pair.issuer, pair.verifier
        )
    };
    let invalid = uploads.pairs.iter().filter(|pair| is_invalid(pair));
    let mut lines: Vec<String> = invalid.take(QUOTED).map(line).collect();
    if secrets.own_refused.is_empty() {
        lines.push("each node accepts its own uploads".to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Begun, Checked, OfRoute, Round, Severity, sample};

    fn assess(round: &Round) -> crate::model::Assessment {
        crate::diagnosis::verdict::judge(round, &crate::model::Earlier::default())
    }

    fn name(text: &str) -> BackendName {
        BackendName::parse(text).unwrap()
    }

    /// A round with uploads among a, b and c; each entry is issuer, verifier and verdict.
    fn round(verdicts: &[(&str, &str, UploadVerdict)], begun: &[(Route, Begun)]) -> Round {
        let pair = |(issuer, verifier, verdict): &(&str, &str, UploadVerdict)| OfPair {
            issuer: name(issuer),
            verifier: name(verifier),
            value: Outcome::Measured(*verdict),
        };
        let begun = begun.iter().map(|(route, begun)| OfRoute {
            route: route.clone(),
            value: Outcome::Measured(begun.clone()),
        });
        let pairs = verdicts.iter().map(pair).collect();
        let uploads = Uploads { begun: begun.collect(), pairs, ..Uploads::default() };
        sample::changed(&["a", "b", "c"], |round| {
            let found = Outcome::Measured(uploads);
            round.checks.upload = Checked { at: None, requests: 9, found };
        })
    }

    /// Findings of the round as `name [backends]`.
    fn found(round: &Round) -> Vec<String> {
        let findings = assess(round).findings;
        let above = findings.iter().filter(|finding| finding.severity > Severity::Info);
        above.map(|f| format!("{} [{}]", f.finding, list(&f.backends))).collect()
    }

    #[test]
    fn who_agrees_with_nobody_is_the_odd_one() {
        use UploadVerdict::{Invalid, Known, Unknown};
        let sound = [("a", "a", Known), ("b", "b", Known), ("c", "c", Known)];
        for (others, expected) in [
            (vec![("a", "b", Known), ("b", "c", Known), ("c", "a", Known)], vec![]),
            (
                vec![("a", "b", Invalid), ("b", "c", Invalid), ("c", "a", Known)],
                vec!["http-secret-mismatch [b]"],
            ),
            (
                vec![("a", "b", Invalid), ("b", "c", Invalid), ("c", "a", Invalid)],
                vec!["http-secret-mismatch [a, b and c]"],
            ),
            (
                vec![("a", "b", Unknown), ("b", "c", Unknown), ("c", "a", Known)],
                vec!["storage-not-shared [b]"],
            ),
        ] {
            let verdicts: Vec<_> = sound.iter().chain(&others).copied().collect();
            assert_eq!(found(&round(&verdicts, &[])), expected, "{others:?}");
        }
        // A node that refuses its own uploads says nothing of the others.
        let own = [("a", "a", Invalid), ("a", "b", Invalid), ("b", "b", Known)];
        assert_eq!(found(&round(&own, &[])), ["http-secret-mismatch [a]"]);
    }

    #[test]
    fn where_uploads_go_on_is_compared_with_the_public_url() {
        let public = round(&[], &[]).url;
        let at = |text: &str| Begun::At(Some(text.to_owned()));
        let [a, b] = ["a", "b"].map(|text| Route::Backend(name(text)));
        let wrong = "upload-location-wrong";
        for (begun, expected) in [
            (vec![(a.clone(), at(&public)), (Route::Balancer, Begun::At(None))], vec![]),
            (
                vec![(a.clone(), at(&public)), (b.clone(), at("http://x"))],
                vec![format!("{wrong} [b]")],
            ),
            (
                vec![(a.clone(), at(&public)), (Route::Balancer, at("http://x"))],
                vec![format!("{wrong} [no backend]")],
            ),
            // The balancer corrects what the nodes say.
            (
                vec![(a, at("http://x")), (b, at("http://x")), (Route::Balancer, at(&public))],
                vec![],
            ),
        ] {
            assert_eq!(found(&round(&[], &begun)), expected, "{begun:?}");
        }
    }
}
