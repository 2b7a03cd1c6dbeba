//! A load balancer that misjudges its nodes: too strict, it finds none though all are well; blind,
//! it keeps one that has failed for a while.

use chrono::{DateTime, TimeDelta, Utc};

use super::verifiers::token_without_key;
use crate::diagnosis::facts::Facts;
use crate::diagnosis::hypothesis::{Hits, Hypothesis};
use crate::diagnosis::wording::{list, verb};
use crate::model::{
    Answer, BackendName, BalancerRun, FindingName, Flow, Observation, ObservationKind as Kind,
    Reason, Route, Step,
};

const NAME: FindingName = FindingName::LbHealthCheckWrong;

/// Every health check has taken a node out by then: three failures, ten seconds apart, twice over.
const PATIENCE: TimeDelta = TimeDelta::seconds(60);

/// More losses than a node that is being taken out causes.
const LOST: u32 = 2;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    too_strict(facts).into_iter().chain(blind(facts)).collect()
}

/// The balancer says that it has no node, and every node passes its own flow.
fn too_strict(facts: &Facts<'_>) -> Option<Hypothesis> {
    let mut backends = facts.round.flows.iter().filter(|flow| flow.route.backend().is_some());
    let count = backends.clone().count();
    if count == 0 || !backends.all(Flow::succeeded) {
        return None;
    }
    let lb = facts.flows_that(|flow, step, reason| {
        flow.route == Route::Balancer && step == Step::Challenge && reason == Reason::Unavailable
    });
    let (id, flow) = lb.first()?;
    let answer = flow.answer(Step::Challenge).filter(|answer| is_balancers(answer))?;
    if leads_to_nodes(facts) {
        return None;
    }
    let who = answer.server.as_ref().map_or_else(String::new, |name| format!(" ({name:?})"));
    let sampled = facts.through_balancer(|seen| {
        seen.step == Some(Step::Challenge) && seen.reason() == Reason::Unavailable
    });
    let summary = "The load balancer uses no node, although every node passes the whole token \
                   flow. The health check of the load balancer expects the wrong answer.";
    let words = [
        format!("the load balancer itself{who} answers 503 to GET /v2/"),
        format!("{count} of {count} backends pass their flow"),
    ];
    let h = Hypothesis::new(NAME, Vec::new(), summary.to_owned());
    let h = h.suspected(&[FindingName::ServerErrors]).evidence(words);
    Some(h.explains([*id]).fits(sampled))
}

/// Whether a request through the balancer reached a node: one was answered, or a sample shows a token
/// there, which it has got there.
fn leads_to_nodes(facts: &Facts<'_>) -> bool {
    let answered = |run: &BalancerRun| run.pairs.trials + run.client_flows.trials > 0;
    let has_token = |seen: &Observation| {
        let of_flow = matches!(
            seen.kind,
            Kind::SampleRefused | Kind::SampleFailed | Kind::ClientRefused | Kind::ClientFailed
        );
        of_flow && seen.step > Some(Step::Token)
    };
    facts.sampling().is_some_and(answered) || !facts.through_balancer(has_token).is_empty()
}

/// Whether a 503 was written in front of the nodes: neither core nor distribution answered.
fn is_balancers(answer: &Answer) -> bool {
    !answer.request_id && !answer.api_version && answer.error_code.is_none()
}

/// A backend that fails, since when, and by which finding of earlier rounds.
struct Lasting {
    backend: BackendName,
    since: DateTime<Utc>,
    name: FindingName,
}

/// A backend has failed for longer than any health check needs, and users are still led there.
fn blind(facts: &Facts<'_>) -> Option<Hypothesis> {
    let lasting: Vec<Lasting> = facts
        .failed_flows()
        .into_iter()
        .filter_map(|(_, flow)| lasting(facts, flow))
        .filter(|one| facts.round.started - one.since >= PATIENCE)
        .collect();
    let since = lasting.iter().map(|one| one.since).max()?;
    let lost = lost(facts);
    if facts.lb_fails() || !users_are_failed(facts) {
        return None;
    }
    let backends: Vec<BackendName> = lasting.iter().map(|one| one.backend.clone()).collect();
    let led: Vec<BackendName> =
        backends.iter().filter(|name| is_led_to(facts, name)).cloned().collect();
    if led.is_empty() && lost < LOST {
        return None;
    }
    let told = lasting.iter().map(|one| {
        let since = one.since.format("%H:%M:%S UTC");
        format!("{} has been failing since {since} ({})", one.backend, one.name)
    });
    let sampled =
        (lost > 0).then(|| format!("{lost} requests through the load balancer were lost"));
    let named = (!led.is_empty())
        .then(|| format!("the load balancer still led the prober to {}", list(&led)));
    let summary = format!(
        "The load balancer still sends users to {}, which {} failed for {} s. The health check of \
         the load balancer does not see this.",
        list(&backends),
        verb(backends.len(), "has", "have"),
        (facts.round.started - since).num_seconds()
    );
    let effect = "The load balancer keeps sending requests to a node that fails. The finding about \
                  that node says how many requests fail.";
    Some(
        Hypothesis::new(NAME, Vec::new(), summary)
            .hits(Hits::Background(effect))
            .evidence(told)
            .evidence(sampled)
            .evidence(named)
            .alone(),
    )
}

/// Since when a backend fails as it does in this round. A node that began to fail later has no
/// share in the time of another.
fn lasting(facts: &Facts<'_>, flow: &Flow) -> Option<Lasting> {
    let backend = flow.route.backend()?.clone();
    let here = [backend.clone()];
    let since = |name: &FindingName| Some((facts.earlier.since(*name, &here)?, *name));
    let (since, name) = names(flow).iter().filter_map(since).min()?;
    Some(Lasting { backend, since, name })
}

/// The findings by which a backend may be lost that fails in this way.
fn names(flow: &Flow) -> &'static [FindingName] {
    let Some((step, failure)) = flow.failure() else { return &[] };
    match failure.reason {
        Reason::Timeout => &[FindingName::BackendUnreachable, FindingName::TokenEndpointSlow],
        reason if reason.is_network() => &[FindingName::BackendUnreachable],
        _ if token_without_key(flow) => &[FindingName::SigningKeyUnusable],
        reason if reason.is_server_error() => {
            &[FindingName::ServerErrors, FindingName::CoreRegistryPasswordMismatch]
        }
        Reason::Html => &[FindingName::NotARegistry],
        Reason::Unauthorized if step >= Step::Access => {
            &[FindingName::CoreRegistryPasswordMismatch]
        }
        _ => &[],
    }
}

/// Whether an answer of this backend was recognised among the balancer's in this round.
fn is_led_to(facts: &Facts<'_>, name: &BackendName) -> bool {
    let mut shares = facts.shares.iter();
    shares.any(|share| share.distinct && share.share > 0.0 && share.backend.as_ref() == Some(name))
}

fn of_samples(seen: &Observation) -> bool {
    matches!(
        seen.kind,
        Kind::SampleFailed | Kind::ClientFailed | Kind::SampleRefused | Kind::ClientRefused
    )
}

fn users_are_failed(facts: &Facts<'_>) -> bool {
    facts.observed(of_samples).next().is_some()
}

/// Samples that were lost, if more than chance loses.
fn lost(facts: &Facts<'_>) -> u32 {
    let lost = facts.observed(|seen| of_samples(seen) && seen.is_loss() && !seen.windowed);
    lost.map(|(_, seen)| seen.count).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::diagnosis::verdict::judge;
    use crate::model::{
        Answer, Confidence, Earlier, Failure, FindingName, KeyCount, KeyId, OpenFinding, Outcome,
        Reason, Round, SampledFlow, Severity, Step, Subject, sample,
    };

    fn subject(finding: FindingName) -> Subject {
        Subject { finding, backend: Some(sample::backend("b")) }
    }

    const NAME: FindingName = FindingName::LbHealthCheckWrong;

    fn has(round: &Round, earlier: &Earlier) -> bool {
        judge(round, earlier).findings.iter().any(|finding| finding.finding == NAME)
    }

    fn no_server(round: &mut Round) {
        sample::fail(round, "lb", Step::Challenge, Reason::Unavailable);
        let lb = round.flows.last_mut().unwrap();
        let answer = lb.steps[0].answer.as_mut().unwrap();
        (answer.status, answer.html) = (503, true);
        if let Outcome::Measured(run) = &mut round.balancer {
            (run.pairs, run.client_flows) = Default::default();
        }
    }

    #[test]
    fn a_balancer_without_a_node_before_sound_nodes_is_too_strict() {
        let mut round = sample::changed(&["a", "b"], no_server);
        assert!(has(&round, &Earlier::default()));
        assert_eq!(judge(&round, &Earlier::default()).findings.len(), 1);
        sample::fail(&mut round, "b", Step::Challenge, Reason::Unavailable);
        assert!(!has(&round, &Earlier::default()), "a node that fails is the cause by itself");
        let mut round = sample::changed(&["a", "b"], no_server);
        let lb = round.flows.last_mut().unwrap();
        lb.steps[0].answer.as_mut().unwrap().request_id = true;
        assert!(!has(&round, &Earlier::default()), "core answered, not the balancer");
        for by_registry in [
            Answer { status: 503, api_version: true, ..Answer::default() },
            Answer { status: 503, error_code: Some("UNAVAILABLE".into()), ..Answer::default() },
        ] {
            let mut round = sample::changed(&["a", "b"], no_server);
            round.flows.last_mut().unwrap().steps[0].answer = Some(by_registry);
            assert!(!has(&round, &Earlier::default()), "the registry answered");
        }
        let later = sample::changed(&["a", "b"], |round| {
            sample::fail(round, "lb", Step::Access, Reason::Unavailable);
        });
        assert!(!has(&later, &Earlier::default()), "the balancer did lead to a node");
        let sometimes = sample::changed(&["a", "b"], |round| {
            no_server(round);
            let Outcome::Measured(run) = &mut round.balancer else { return };
            run.pairs.trials = 14;
            sample::lose(run, 6, Reason::Unavailable);
        });
        assert!(!has(&sometimes, &Earlier::default()), "it leads to nodes at other times");
        let at_access = sample::changed(&["a", "b"], |round| {
            no_server(round);
            let Outcome::Measured(run) = &mut round.balancer else { return };
            sample::lose(run, 6, Reason::Unavailable);
        });
        assert!(!has(&at_access, &Earlier::default()), "who shows a token there has got one there");
        let at_token = sample::changed(&["a", "b"], |round| {
            no_server(round);
            let Outcome::Measured(run) = &mut round.balancer else { return };
            for _ in 0..6 {
                let detail = "as ordered".to_owned();
                let failure = Failure { phase: None, reason: Reason::Unavailable, detail };
                run.fail(SampledFlow::Pair, Step::Token, failure, None);
            }
        });
        assert!(has(&at_token, &Earlier::default()), "a token is asked for without a challenge");
    }

    #[test]
    fn a_node_that_has_failed_for_a_minute_and_still_gets_users_shows_a_blind_check() {
        let round = sample::changed(&["a", "b"], |round| {
            sample::fail(round, "b", Step::Challenge, Reason::ConnectionRefused);
            if let Outcome::Measured(run) = &mut round.balancer {
                sample::lose(run, 9, Reason::ConnectionReset);
            }
        });
        let open = |seconds| {
            let since = sample::started() - Duration::from_secs(seconds);
            let open =
                OpenFinding { since, confidence: Confidence::Proved, severity: Severity::Critical };
            Earlier {
                open: [(subject(FindingName::BackendUnreachable), open)].into(),
                ..Earlier::default()
            }
        };
        assert!(has(&round, &open(75)));
        assert!(has(&round, &open(60)), "that is the time");
        assert!(!has(&round, &open(45)), "a health check needs its time");
        assert!(!has(&round, &Earlier::default()));
        let mut spared = round.clone();
        if let Outcome::Measured(run) = &mut spared.balancer {
            run.failures.clear();
        }
        assert!(!has(&spared, &open(75)), "nobody is led there any more");
        let mut failing = round.clone();
        sample::fail(&mut failing, "lb", Step::Challenge, Reason::ConnectionRefused);
        assert!(!has(&failing, &open(75)), "the balancer itself fails");
    }

    /// A minute ago `b` began to answer requests with a token by 502; its key is its own.
    fn failing_at_access(tokens_of_b: u32, refused: u32) -> bool {
        let round = sample::changed(&["a", "b"], |round| {
            sample::sign_with(round, "b", sample::OTHER_KEY);
            sample::fail(round, "b", Step::Access, Reason::BadGateway);
            if let Outcome::Measured(run) = &mut round.balancer {
                run.pairs.events = refused;
                let key = KeyId::from_wire(sample::OTHER_KEY);
                run.keys.push(KeyCount { key, tokens: tokens_of_b });
            }
        });
        has(&round, &lasting(FindingName::ServerErrors))
    }

    fn lasting(name: FindingName) -> Earlier {
        let since = sample::started() - Duration::from_secs(75);
        let open =
            OpenFinding { since, confidence: Confidence::Proved, severity: Severity::Critical };
        Earlier { open: [(subject(name), open)].into(), ..Earlier::default() }
    }

    #[test]
    fn the_prober_being_led_there_shows_it_too_if_users_are_failed() {
        assert!(failing_at_access(5, 3));
        assert!(!failing_at_access(0, 3), "the balancer leads nobody there");
        assert!(!failing_at_access(5, 0), "no user is failed");
        // Errors of no known node are no node's that a check should have seen.
        let nobodys = sample::changed(&["a", "b"], |round| {
            if let Outcome::Measured(run) = &mut round.balancer {
                sample::lose(run, 9, Reason::BadGateway);
            }
        });
        assert!(!has(&nobodys, &lasting(FindingName::ServerErrors)));
    }
}
