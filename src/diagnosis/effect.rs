//! What a finding does to users: its severity, and the sentence that says so. Both follow from the
//! observations that it explains, never from its name; what was not measured is said to be so.

use super::facts::{Facts, ObservationId};
use super::hypothesis::{Hits, Hypothesis};
use super::statistics::wilson;
use super::wording::{list, verb};
use crate::model::{
    Check, ClientKind, ClientView, Flow, MetBy, Observation, ObservationKind as Kind, Ratio, Route,
    SampledFlow, Severity, Step,
};

/// How bad it is.
pub(super) fn severity(facts: &Facts<'_>, h: &Hypothesis, won: &[ObservationId]) -> Severity {
    match h.hits {
        Hits::Nothing | Hits::Over(_) => return Severity::Info,
        // What only the prober meets is no failure of users, unless they are seen to fail.
        Hits::Prober | Hits::WebPages | Hits::Background(_) => return Severity::Warning,
        Hits::Tokens | Hits::Requests | Hits::Some(_) | Hits::Later => {}
    }
    let felt = of_users(facts, won).next().is_some();
    if !felt && is_out_of_service(facts, h) {
        return Severity::Info;
    }
    let certain = matches!(h.hits, Hits::Some(_)) && facts.may_lead_users_to(&h.backends);
    if felt || certain || is_one_of_several(facts, h) {
        Severity::Critical
    } else {
        Severity::Warning
    }
}

/// Whether this cause too makes users' tokens fail, although another cause explains the refusals:
/// because of it nodes refuse tokens, and the balancer leads users to these nodes.
fn is_one_of_several(facts: &Facts<'_>, h: &Hypothesis) -> bool {
    let refused =
        |seen: &Observation| matches!(seen.kind, Kind::SampleRefused | Kind::ClientRefused);
    let led = |name| facts.share_of(name).is_some_and(|share| share > 0.0);
    h.hits == Hits::Tokens
        && h.claims.iter().any(|(id, _)| facts.observation(*id).kind == Kind::PairRefused)
        && h.backends.iter().any(led)
        && facts.observed(refused).next().is_some()
}

/// Whether it concerns only backends that get no requests of users, such as a pod that starts and
/// is not ready yet.
fn is_out_of_service(facts: &Facts<'_>, h: &Hypothesis) -> bool {
    let idle = |name| facts.round.backend(name).is_some_and(|backend| !backend.ready);
    !h.backends.is_empty() && h.backends.iter().all(idle)
}

fn of_users<'f>(
    facts: &'f Facts<'_>,
    won: &'f [ObservationId],
) -> impl Iterator<Item = &'f Observation> {
    won.iter().map(|id| facts.observation(*id)).filter(|seen| seen.met_by == MetBy::Users)
}

/// The sentence about users.
pub(super) fn sentence(facts: &Facts<'_>, h: &Hypothesis, won: &[ObservationId]) -> String {
    match h.hits {
        Hits::Nothing => return "No user request is affected.".to_owned(),
        Hits::Background(what) | Hits::Over(what) => return what.to_owned(),
        Hits::WebPages => {
            return "Web logins and changes on web pages fail when the load balancer changes the \
                    node. docker login, pull and push work."
                .to_owned();
        }
        Hits::Prober => {
            return "Not measured: the prober itself cannot see what users see.".to_owned();
        }
        Hits::Tokens | Hits::Requests | Hits::Some(_) | Hits::Later => {}
    }
    let felt: Vec<&Observation> = of_users(facts, won).collect();
    if felt.is_empty() && is_one_of_several(facts, h) {
        let fail = clients(facts)
            .unwrap_or_else(|| "Fresh tokens are refused through the load balancer".to_owned());
        return format!("{fail}. This is one of several causes.");
    }
    if felt.is_empty() && is_out_of_service(facts, h) {
        let is = verb(h.backends.len(), "is", "are");
        let it = verb(h.backends.len(), "it", "them");
        return format!(
            "{} {is} not ready, so Kubernetes sends {it} no user request.",
            list(&h.backends)
        );
    }
    if felt.is_empty() {
        return unfelt(facts, h);
    }
    let mut parts = Vec::new();
    parts.extend(sampled(facts, &felt));
    parts.extend(own_flow(&felt));
    parts.extend(pairs(&felt));
    parts.extend(checks(&felt));
    let lead = plainly(facts, h, &felt).map_or(String::new(), |lead| format!("{lead}. "));
    format!("{lead}Through the load balancer {}.", join(&parts))
}

/// What fails, in the words of those who feel it; the figures come after it.
fn plainly(facts: &Facts<'_>, h: &Hypothesis, felt: &[&Observation]) -> Option<String> {
    if let Hits::Some(what) = h.hits {
        return Some(some_fail(facts, h, what));
    }
    let Some(own) = felt.iter().find(|seen| seen.kind == Kind::FlowFailed) else {
        return felt.iter().any(|seen| is_of_clients(seen)).then(|| clients(facts)).flatten();
    };
    if facts.some_logins_pass() {
        return clients(facts);
    }
    let nodes_work = facts.round.flows.iter().any(Flow::succeeded);
    if nodes_work && facts.clients.is_empty() {
        // One request alone may have met the one bad node.
        return None;
    }
    let but = if nodes_work { "; direct requests to at least one node succeed" } else { "" };
    Some(match own.step {
        Some(Step::Repository) => format!("Logins work, and pulls and pushes fail{but}"),
        _ => format!("Logins, pulls and pushes fail{but}"),
    })
}

/// `Pulls that reach b fail; logins work. b gets 33 % of the requests`.
pub(super) fn some_fail(facts: &Facts<'_>, h: &Hypothesis, what: &str) -> String {
    let where_to = if h.backends.is_empty() {
        String::new()
    } else {
        format!(" that reach {}", list(&h.backends))
    };
    let works = works(facts, what);
    let share: f64 = h.backends.iter().filter_map(|name| facts.share_of(name)).sum();
    let gets = if share > 0.0 {
        let get = verb(h.backends.len(), "gets", "get");
        format!(". {} {get} {} of the requests", list(&h.backends), percent(share))
    } else {
        String::new()
    };
    format!("{what}{where_to} fail{works}{gets}")
}

/// What works all the same, by the prober's own flow through the load balancer.
fn works(facts: &Facts<'_>, what: &str) -> &'static str {
    let flow = facts.round.flow(&Route::Balancer);
    let passes = |step| flow.is_some_and(|flow| flow.passed(step) == Some(true));
    match what {
        _ if !passes(Step::Access) => "",
        // Its account is the registry's own.
        _ if what.starts_with("Logins of") => "; the prober's own account can log in",
        _ if what.starts_with("Logins") => "",
        "Pushes" if passes(Step::Repository) => "; logins and pulls work",
        _ => "; logins work",
    }
}

/// Whether it is what every client meets, and not what a check did.
fn is_of_clients(seen: &Observation) -> bool {
    matches!(
        seen.kind,
        Kind::SampleRefused | Kind::ClientRefused | Kind::ClientFailed | Kind::FlowFailed
    )
}

/// What each kind of client feels: `docker: 53 % of logins fail, 97 % of pulls of ten layers`. Where
/// none of them failed, it says of how many, for a few show little.
fn clients(facts: &Facts<'_>) -> Option<String> {
    let sound = |view: &ClientView| {
        view.login.value <= 0.0 && view.pull.is_none_or(|pull| pull.value <= 0.0)
    };
    if facts.clients.iter().all(sound) {
        // Flows that keep their connection tell of both kinds that do.
        let own = |view: &&ClientView| view.run.client != ClientKind::Podman;
        let logins: u32 = facts.clients.iter().filter(own).map(|it| it.run.logins.trials).sum();
        return (logins > 0).then(|| format!("None of {logins} logins failed in this check"));
    }
    let words = facts.clients.iter().map(|view| {
        let who = view.run.client.who();
        let some = view.login.value > 0.0;
        let logins = if some {
            format!("{} of logins fail", percent(view.login.value))
        } else {
            format!("none of {} logins failed", view.run.logins.trials)
        };
        if !some && view.pull.is_some_and(|pull| pull.upper <= 0.0) {
            return format!("{who}: {logins}, and pulls work");
        }
        let Some(pull) = view.pull.filter(|pull| pull.value > 0.0) else {
            return format!("{who}: {logins}");
        };
        let layers = if view.run.client == ClientKind::Docker { " of ten layers" } else { "" };
        let pulls = format!("{} of pulls{layers}", percent(pull.value));
        if some {
            format!("{who}: {logins}, {pulls}")
        } else {
            format!("{who}: {logins}, but {pulls} fail")
        }
    });
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| words.join("; "))
}

fn join(parts: &[String]) -> String {
    match parts {
        [] => "requests fail".to_owned(),
        [first, rest @ ..] => rest.iter().fold(first.clone(), |all, part| format!("{all}; {part}")),
    }
}

fn percent(part: f64) -> String {
    match part * 100.0 {
        p if p > 0.0 && p < 1.0 => format!("{p:.1} %"),
        p => format!("{p:.0} %"),
    }
}

/// `10 of 20 (50 %, between 30 and 70 %)`.
fn share(events: u32, trials: u32) -> String {
    let Some((low, high)) = wilson(Ratio { events, trials }) else {
        return format!("{events} of {trials}");
    };
    let part = f64::from(events) / f64::from(trials);
    format!(
        "{events} of {trials} ({}, 95 % interval {} to {})",
        percent(part),
        percent(low),
        percent(high)
    )
}

fn sampled(facts: &Facts<'_>, felt: &[&Observation]) -> Vec<String> {
    let line = |seen: &&Observation| {
        let numbers = share(seen.count, seen.of);
        let when = if seen.windowed { " over the last five minutes" } else { "" };
        match seen.kind {
            Kind::SampleRefused => Some(format!("{numbers} fresh tokens were refused{when}")),
            Kind::ClientRefused => {
                Some(format!("{numbers} client flows got a token that was refused{when}"))
            }
            Kind::RealmForeign => {
                Some(format!("{numbers} challenges sent clients to a wrong token endpoint{when}"))
            }
            Kind::SampleFailed | Kind::ClientFailed => {
                // The same text twice, with other numbers, would contradict itself.
                let whose = if seen.kind == Kind::ClientFailed { " in client flows" } else { "" };
                let (requests, reason) = (requests(seen.step), seen.reason());
                Some(format!("{numbers} {requests}{whose} failed ({reason}){when}"))
            }
            _ => None,
        }
    };
    let mut lines: Vec<String> = felt.iter().filter_map(line).collect();
    let refused = felt.iter().any(|seen| seen.kind == Kind::SampleRefused);
    if refused && let Some(expected) = super::statistics::expected(facts.round, &facts.shares) {
        lines.push(format!("expected from matrix and shares: {}", percent(expected)));
    }
    lines
}

/// The requests of a step, for who does not know the protocol.
fn requests(step: Option<Step>) -> &'static str {
    match step {
        Some(Step::Challenge) => "first requests",
        Some(Step::Token) => "requests for a token",
        Some(Step::Access) => "requests with the new token",
        Some(Step::Repository) => "requests for the canary repository",
        Some(Step::Check) | None => "requests",
    }
}

/// One of them.
fn request(step: Option<Step>) -> &'static str {
    match step {
        Some(Step::Challenge) => "first request",
        Some(Step::Token) => "request for a token",
        Some(Step::Access) => "request with its new token",
        Some(Step::Repository) => "request for the canary repository",
        Some(Step::Check) | None => "request",
    }
}

fn own_flow(felt: &[&Observation]) -> Option<String> {
    let flow = felt.iter().find(|seen| seen.kind == Kind::FlowFailed)?;
    Some(format!("the prober's own {} failed ({})", request(flow.step), flow.reason()))
}

fn pairs(felt: &[&Observation]) -> Option<String> {
    // The samples say the same in figures that mean something.
    if felt.iter().any(|seen| matches!(seen.kind, Kind::SampleRefused | Kind::FlowFailed)) {
        return None;
    }
    let of = |kind| felt.iter().filter(|seen| seen.kind == kind).count();
    let (refused, failed) = (of(Kind::PairRefused), of(Kind::PairFailed));
    match (refused, failed) {
        (0, 0) => None,
        (0, 1) => Some("1 token got no answer".to_owned()),
        (0, failed) => Some(format!("{failed} tokens got no answer")),
        (1, _) => Some("1 token of one node was refused".to_owned()),
        (refused, _) => Some(format!("{refused} tokens of individual nodes were refused")),
    }
}

fn checks(felt: &[&Observation]) -> Option<String> {
    let mut names: Vec<String> = felt
        .iter()
        .filter_map(|seen| seen.check)
        .map(|check| match check {
            Check::Push | Check::Upload => "a push".to_owned(),
            Check::Content | Check::BlobRedirect => "a pull".to_owned(),
            Check::BodyLimit => "an upload of a large layer".to_owned(),
            other => format!("the check {}", other.as_str()),
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| format!("{} failed", list(&names)))
}

/// Nothing of it was met through the balancer: what was looked at there, and what would fail.
fn unfelt(facts: &Facts<'_>, h: &Hypothesis) -> String {
    let what = match h.hits {
        Hits::Later => {
            return format!("{} Requests will fail soon, or after a failover.", seen(facts));
        }
        Hits::Some(what) => return format!("{}.", some_fail(facts, h, what)),
        _ => format!("Requests that reach {} would fail.", place(h)),
    };
    format!("{} {what}", seen(facts))
}

fn place(h: &Hypothesis) -> String {
    if h.backends.is_empty() { "the load balancer".to_owned() } else { list(&h.backends) }
}

/// What the samples through the balancer showed, and what share could fail unseen.
fn seen(facts: &Facts<'_>) -> String {
    let trials = facts.sampling().map_or(0, |run| {
        run.pairs.trials + run.client_flows.trials + run.tried(SampledFlow::Pair, Step::Challenge)
    });
    let flow_failed = facts.round.flow(&Route::Balancer).is_some_and(|flow| !flow.succeeded());
    if flow_failed || facts.observed(|seen| seen.place.involves_balancer()).next().is_some() {
        return "No user request failed because of this in this check.".to_owned();
    }
    if trials == 0 {
        return "Not measured: no request was sampled through the load balancer.".to_owned();
    }
    let hidden = wilson(Ratio { events: 0, trials }).map_or(1.0, |(_, high)| high);
    format!(
        "No user request failed in this check: 0 of {trials} through the load balancer; up to {} \
         could fail unseen.",
        percent(hidden)
    )
}
