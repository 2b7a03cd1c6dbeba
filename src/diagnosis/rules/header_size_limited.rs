//! A proxy with small header buffers: a request with a token is refused for its size, and the same
//! request without one passes.

use super::server_errors::lines;
use crate::diagnosis::facts::{Facts, backends_of};
use crate::diagnosis::hypothesis::Hypothesis;
use crate::diagnosis::wording::{subject, verb};
use crate::model::{Answer, FindingName, Flow, Observation, ObservationKind, Page, Step};

const NAME: FindingName = FindingName::HeaderSizeLimited;

/// `Authorization: Bearer `, before the token.
const BEFORE_TOKEN: usize = 22;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let found = facts.flows_that(|flow, step, _| {
        flow.answer(step).is_some_and(|answer| {
            is_known(answer) || (carries_token(step) && is_bad_request(answer))
        })
    });
    let through = facts.through_balancer(|seen| {
        let after = seen.step.is_some_and(carries_token);
        seen.answer.as_ref().is_some_and(|it| is_known(it) || (after && is_bad_request(it)))
    });
    let pairs: Vec<_> = facts
        .observed(|seen| of_pair(seen) && !seen.place.involves_balancer())
        .map(|(id, _)| id)
        .collect();
    if found.is_empty() && through.is_empty() {
        return Vec::new();
    }
    let backends = backends_of(found.iter().map(|(_, flow)| *flow));
    let known = found.iter().all(|(_, flow)| {
        let answer = flow.failure().and_then(|(step, _)| flow.answer(step));
        answer.is_some_and(is_known)
    });
    let too_long = found.iter().any(|(_, flow)| {
        let answer = flow.failure().and_then(|(step, _)| flow.answer(step));
        answer.is_some_and(|answer| answer.page == Some(Page::UrlTooLong))
    });
    let refuses = verb(backends.len(), "refuses", "refuse");
    let summary = if too_long {
        format!("{} {refuses} a request because its URL is too long.", subject(&backends))
    } else {
        match found.iter().filter_map(|(_, flow)| header(flow)).max() {
            Some(bytes) => format!(
                "{} {refuses} a request because its headers are too large: the token's header has \
                 {bytes} bytes.",
                subject(&backends)
            ),
            None => {
                format!("{} {refuses} requests whose headers are too large.", subject(&backends))
            }
        }
    };
    vec![
        Hypothesis::new(NAME, backends, summary)
            .proved_if(known && !found.is_empty(), &[FindingName::NotARegistry])
            .evidence(lines(&found))
            .evidence(facts.round.flows.iter().filter_map(size))
            .flows(&found)
            .explains(pairs)
            .fits(through),
    ]
}

fn carries_token(step: Step) -> bool {
    matches!(step, Step::Access | Step::Repository)
}

/// Whether the answer says so itself.
fn is_known(answer: &Answer) -> bool {
    matches!(answer.page, Some(Page::HeadersTooLarge | Page::UrlTooLong))
}

/// A refusal without a reason, and not in a registry's words: some proxies say no more.
fn is_bad_request(answer: &Answer) -> bool {
    // The request has no body that could be too large.
    matches!(answer.status, 400 | 413)
        && answer.error_code.is_none()
        && !answer.request_id
        && answer.page.is_none()
}

fn of_pair(seen: &Observation) -> bool {
    seen.kind == ObservationKind::PairFailed
        && seen.answer.as_ref().is_some_and(|answer| is_known(answer) || is_bad_request(answer))
}

/// The size of the header in which a flow sends its token.
fn header(flow: &Flow) -> Option<usize> {
    let token = flow.token.measured()?;
    (token.length > 0).then_some(token.length + BEFORE_TOKEN)
}

/// What passed and what did not, by its size.
fn size(flow: &Flow) -> Option<String> {
    let bytes = header(flow)?;
    let passed = if flow.passed(Step::Access)? { "passes" } else { "does not pass" };
    let without = flow.passed(Step::Challenge)? && passed == "does not pass";
    let without = if without { ", the same request without it does" } else { "" };
    Some(format!("{}: Authorization with {bytes} bytes {passed}{without}", flow.route))
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::verdict::judge;
    use crate::model::sample::{changed, fail};
    use crate::model::{
        Answer, Confidence, Earlier, FindingName, Outcome, Page, Reason, Round, Severity, Step,
    };

    fn refuse(round: &mut Round, routes: &[&str], answer: &Answer) {
        for flow in &mut round.flows {
            if let Outcome::Measured(token) = &mut flow.token {
                token.length = 5_000;
            }
        }
        // What the pairs met is another test's.
        round.matrix.cells.clear();
        for at in routes {
            fail(round, at, Step::Access, Reason::UnexpectedStatus);
        }
        for flow in round.flows.iter_mut().filter(|flow| routes.contains(&flow.route.as_str())) {
            flow.steps[2].answer = Some(answer.clone());
        }
    }

    #[test]
    fn a_token_that_is_refused_for_its_size_is_named_with_its_size() {
        let known = Answer {
            status: 400,
            html: true,
            page: Some(Page::HeadersTooLarge),
            ..Answer::default()
        };
        let silent = Answer { status: 400, html: true, ..Answer::default() };
        for (routes, answer, confidence, severity) in [
            (&["lb"][..], &known, Confidence::Proved, Severity::Critical),
            (&["lb"], &silent, Confidence::Suspected, Severity::Critical),
            (&["a", "b", "lb"], &known, Confidence::Proved, Severity::Critical),
            (&["b"], &known, Confidence::Proved, Severity::Warning),
        ] {
            let judged =
                judge(&changed(&["a", "b"], |r| refuse(r, routes, answer)), &Earlier::default());
            let [finding] = judged.findings.as_slice() else { panic!("{judged:#?}") };
            assert_eq!(
                (finding.finding, finding.confidence, finding.severity),
                (FindingName::HeaderSizeLimited, confidence, severity)
            );
            assert!(finding.summary.contains("5022 bytes"), "{}", finding.summary);
            let sizes = finding.evidence.iter().filter(|line| line.contains("5022 bytes"));
            assert_eq!(sizes.count(), 3, "{:?}", finding.evidence);
        }
    }

    #[test]
    fn a_bad_request_in_a_registrys_own_words_is_about_something_else() {
        let own = Answer {
            status: 400,
            api_version: true,
            error_code: Some("TAG_INVALID".into()),
            ..Answer::default()
        };
        let judged =
            judge(&changed(&["a", "b"], |r| refuse(r, &["lb"], &own)), &Earlier::default());
        assert!(judged.findings.iter().all(|f| f.finding != FindingName::HeaderSizeLimited));
    }
}
