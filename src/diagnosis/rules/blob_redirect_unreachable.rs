//! Backends that send clients for blobs to a place where they do not get them (F4).

use super::super::facts::Facts;
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use crate::model::{BackendName, BlobWay, Check, FindingName, Outcome, Reason};

/// What became of one backend's redirect.
struct Lost<'a> {
    backend: &'a BackendName,
    to: &'a str,
    why: String,
    /// A server answered, so that no other client fares better.
    answered: bool,
    about_time: bool,
}

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let Some(redirects) = facts.round.checks.blob_redirect.measured() else { return Vec::new() };
    let looked: Vec<(&BackendName, &BlobWay)> = redirects
        .at
        .iter()
        .filter_map(|at| Some((at.route.backend()?, at.value.measured()?)))
        .collect();
    let lost: Vec<Lost<'_>> = looked.iter().filter_map(|(name, way)| lost(name, way)).collect();
    if lost.is_empty() {
        return Vec::new();
    }
    let names: Vec<BackendName> = lost.iter().map(|lost| lost.backend.clone()).collect();
    let everywhere = lost.len() == facts.round.backends.len();
    let evidence = lost
        .iter()
        .map(|lost| format!("{}: blobs are redirected to {}: {}", lost.backend, lost.to, lost.why));
    let others = looked.iter().filter(|(name, _)| !names.contains(name));
    let others = others.map(|(name, way)| match way {
        BlobWay::Served => format!("{name}: serves blobs itself"),
        BlobWay::Redirected { to, .. } => format!(
            "{name}: blobs are redirected to {to}, which \
                                                   gives them"
        ),
    });
    let ids = facts.met_on(Check::BlobRedirect, &redirects.at, |at| {
        at.route.backend().is_some_and(|name| names.contains(name))
    });
    let backends = if everywhere { Vec::new() } else { names.clone() };
    let found = Hypothesis::new(
        FindingName::BlobRedirectUnreachable,
        backends,
        summary(&lost, everywhere, &names),
    )
    // Clients may know a name or an authority that the prober does not.
    .proved_if(lost.iter().all(|lost| lost.answered), &[])
    .hits(Hits::Some("Pulls"))
    .evidence(evidence)
    .evidence(others)
    .explains(ids);
    vec![found]
}

fn summary(lost: &[Lost<'_>], everywhere: bool, names: &[BackendName]) -> String {
    let whose = if everywhere { "Every backend".to_owned() } else { list(names) };
    let sends = if everywhere { "sends" } else { verb(names.len(), "sends", "send") };
    let because = if lost.iter().any(|lost| lost.about_time) {
        ": the time in the signature is wrong by the clock of the store"
    } else {
        ""
    };
    format!("{whose} {sends} clients to a blob store that does not give them the blobs{because}.")
}

fn lost<'a>(backend: &'a BackendName, way: &'a BlobWay) -> Option<Lost<'a>> {
    let BlobWay::Redirected { to, fetched } = way else { return None };
    let (why, answered, about_time) = match fetched {
        Outcome::Measured(fetched) if fetched.is_good() => return None,
        Outcome::Measured(fetched) => {
            (format!("status {}", fetched.status), true, fetched.about_time)
        }
        Outcome::Failed(failure)
            if matches!(
                failure.reason,
                Reason::DeadlineReached | Reason::ProberLimit | Reason::ProberBusy
            ) =>
        {
            return None;
        }
        Outcome::Failed(failure) => (failure.to_string(), false, false),
        Outcome::Skipped(_) => return None,
    };
    Some(Lost { backend, to, why, answered, about_time })
}

#[cfg(test)]
mod tests {
    use crate::model::{
        BackendName, BlobRedirects, BlobWay, Checked, Confidence, Failure, Fetched, Finding,
        OfRoute, Outcome, Reason, Round, Severity, sample,
    };

    fn assess(round: &Round) -> crate::model::Assessment {
        crate::diagnosis::verdict::judge(round, &crate::model::Earlier::default())
    }

    fn answered(status: u16, about_time: bool) -> BlobWay {
        let fetched = Outcome::Measured(Fetched { status, about_time });
        BlobWay::Redirected { to: "https://store.test".into(), fetched }
    }

    fn silent() -> BlobWay {
        let failure = Failure::of_answer(Reason::DnsFailed, "does not resolve");
        let fetched = Outcome::Failed(failure);
        BlobWay::Redirected { to: "https://store.test".into(), fetched }
    }

    fn found(a: BlobWay, b: BlobWay) -> Option<Finding> {
        let set = |round: &mut Round| {
            let of =
                |name, way| OfRoute { route: sample::route(name), value: Outcome::Measured(way) };
            let at = vec![of("a", a), of("b", b)];
            let found = Outcome::Measured(BlobRedirects { digest: "sha256:0".into(), at });
            round.checks.blob_redirect = Checked { found, ..Checked::default() };
        };
        let mut findings = assess(&sample::changed(&["a", "b"], set)).findings;
        assert!(findings.len() <= 1, "{findings:#?}");
        findings.pop()
    }

    #[test]
    fn blobs_that_are_given_somewhere_are_no_finding() {
        for way in [BlobWay::Served, answered(206, false), answered(200, false)] {
            assert_eq!(found(way.clone(), BlobWay::Served), None, "{way:?}");
        }
    }

    #[test]
    fn a_store_that_there_was_no_time_for_is_not_lost() {
        let failure = Failure::of_answer(Reason::DeadlineReached, "the round was over");
        let fetched = Outcome::Failed(failure);
        let late = BlobWay::Redirected { to: "https://store.test".into(), fetched };
        assert_eq!(found(late, BlobWay::Served), None);
    }

    #[test]
    fn an_answer_proves_and_silence_is_suspected() {
        for (a, b, names, confidence) in [
            (BlobWay::Served, answered(403, false), vec!["b"], Confidence::Proved),
            (answered(403, false), answered(500, false), vec![], Confidence::Proved),
            (silent(), silent(), vec![], Confidence::Suspected),
            (answered(403, false), silent(), vec![], Confidence::Suspected),
            (answered(206, false), silent(), vec!["b"], Confidence::Suspected),
        ] {
            let finding = found(a, b).unwrap();
            let found: Vec<_> = finding.backends.iter().map(BackendName::as_str).collect();
            assert_eq!((found, finding.confidence), (names, confidence));
            assert_eq!(finding.severity, Severity::Critical);
            assert_eq!(finding.evidence.len(), 2);
        }
    }

    #[test]
    fn a_store_that_complains_of_the_time_is_quoted() {
        let finding = found(BlobWay::Served, answered(403, true)).unwrap();
        assert!(finding.summary.contains("clock"), "{}", finding.summary);
    }
}
