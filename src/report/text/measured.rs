//! Routes, clocks, keys, the load balancer and single values of checks, as they were measured.

use super::super::clients::words;
use super::super::wording::{count, list, percent};
use super::page::{BAD, BOLD, Field, GOOD, PLAIN, Page};
use crate::model::{
    BackendName, BalancerRun, Bytes, Checks, ClockReading, ClockSource, Flow, Judged, KeyId,
    Outcome, Ratio, Round, Route, Share, Step,
};

/// Rows of a table that people still read at a glance.
const MOST: usize = 12;

/// How each route's flow went. Of many routes, the failed ones and the load balancer's.
pub(super) fn routes(page: &mut Page, round: &Round) {
    let few = round.flows.len() <= MOST;
    let telling = |flow: &&Flow| few || !flow.succeeded() || flow.route == Route::Balancer;
    let mut shown: Vec<&Flow> = round.flows.iter().filter(telling).collect();
    if shown.len() > MOST {
        // The load balancer's route comes last and is what users take.
        let rest = shown.split_off(MOST);
        shown.extend(rest.last());
    }
    if shown.is_empty() {
        return;
    }
    let ran = |step: &Step| shown.iter().any(|flow| flow.step(*step).is_some());
    let steps: Vec<Step> = Step::ALL.into_iter().filter(ran).collect();
    let names = steps.iter().map(|step| Field::number(step.as_str()));
    let blank = || Field::word("", PLAIN);
    let mut table = vec![[blank(), blank()].into_iter().chain(names).collect::<Vec<_>>()];
    table.extend(shown.iter().map(|flow| route_row(flow, &steps)));
    page.heading("Routes", "milliseconds of each step");
    page.table(&table);
    let hidden = || round.flows.iter().filter(|flow| !shown.iter().any(|s| s.route == flow.route));
    let failed = hidden().filter(|flow| !flow.succeeded()).count();
    if hidden().next().is_some() {
        let others = count(hidden().count(), "more route");
        let well =
            if failed == 0 { "all ok".to_owned() } else { format!("{failed} of them failed") };
        page.paragraph("  ", PLAIN, &format!("{others}, {well}"));
    }
    for flow in shown {
        notes(page, flow);
    }
}

fn route_row(flow: &Flow, steps: &[Step]) -> Vec<Field> {
    let result = match flow.failure() {
        None => Field::word("ok", GOOD),
        Some((step, failure)) => {
            Field::word(&format!("failed at {}: {}", step.as_str(), failure.reason), BAD)
        }
    };
    let times = steps.iter().map(|step| {
        let took = flow.step(*step).map(|report| report.timeline.total().as_secs_f64());
        Field::number(&took.map_or("-".to_owned(), |took| format!("{:.0}", took * 1000.0)))
    });
    [Field::word(flow.route.as_str(), BOLD), result].into_iter().chain(times).collect()
}

fn notes(page: &mut Page, flow: &Flow) {
    if let Some((_, failure)) = flow.failure() {
        page.paragraph(&format!("  {}: ", flow.route), PLAIN, &failure.to_string());
    }
    if let Some(lost) = &flow.lost_before {
        let text = format!("an earlier try was lost: {lost}");
        page.paragraph(&format!("  {}: ", flow.route), PLAIN, &text);
    }
}

/// Clock offsets by backend and source. Of many backends, those that are furthest off.
pub(super) fn clocks(page: &mut Page, judged: &Judged) {
    let round = &judged.round;
    let mut backends: Vec<&BackendName> = round.clocks.iter().map(|c| &c.backend).collect();
    backends.dedup();
    if backends.is_empty() {
        return;
    }
    let all = backends.len();
    if all > MOST {
        let rank = |name: &BackendName| {
            let readings = || round.clocks.iter().filter(|clock| clock.backend == *name);
            let off = readings().map(|c| c.interval.middle().abs()).fold(0.0, f64::max);
            (readings().any(|clock| clock.contradiction), off)
        };
        backends.sort_by(|a, b| {
            let (a, b) = (rank(a), rank(b));
            b.0.cmp(&a.0).then(b.1.total_cmp(&a.1))
        });
        backends.truncate(MOST / 2);
    }
    let has = |source: &ClockSource| round.clocks.iter().any(|clock| clock.source == *source);
    let sources: Vec<ClockSource> = ClockSource::ALL.into_iter().filter(has).collect();
    let reading = |name: &BackendName, source: ClockSource| {
        round.clocks.iter().find(|clock| clock.backend == *name && clock.source == source)
    };
    let names = sources.iter().map(|source| Field::number(source.as_str()));
    let mut table = vec![[Field::word("", PLAIN)].into_iter().chain(names).collect::<Vec<_>>()];
    for name in &backends {
        let offsets = sources.iter().map(|source| offset(reading(name, *source)));
        table.push([Field::word(name.as_str(), BOLD)].into_iter().chain(offsets).collect());
    }
    page.heading("Clocks", "milliseconds, backend minus prober, by source");
    page.table(&table);
    if all > backends.len() {
        let more = count(all - backends.len(), "more backend");
        page.paragraph("  ", PLAIN, &format!("{more}, none of them further off"));
    }
    for clock in round.clocks.iter().filter(|c| c.contradiction && backends.contains(&&c.backend)) {
        let text = format!(
            "the samples of {} exclude each other: the clock stepped, or several clocks answer",
            clock.source.as_str()
        );
        page.paragraph(&format!("  {}: ", clock.backend), PLAIN, &text);
    }
    for clock in round.clocks.iter().filter(|clock| !clock.contradiction) {
        if let Some(step) = clock.step {
            let (from, to) = (step.lower(), step.upper());
            let text = format!("jumped by {from:+.3} to {to:+.3} s since the previous round");
            page.paragraph(
                &format!("  {} {}: ", clock.backend, clock.source.as_str()),
                PLAIN,
                &text,
            );
        }
    }
    for line in &judged.assessment.clock_words {
        page.paragraph("  ", PLAIN, line);
    }
}

fn offset(reading: Option<&ClockReading>) -> Field {
    let Some(reading) = reading else { return Field::number("-") };
    let half = reading.interval.width() * 500.0;
    // As many digits as are known.
    let digits = usize::from(half < 9.95);
    let unit = if digits == 0 { 1.0 } else { 10.0 };
    // Adding zero turns a rounded -0 into 0.
    let middle = (reading.interval.middle() * 1000.0 * unit).round() / unit + 0.0;
    let mark = if reading.contradiction { " (!)" } else { "" };
    Field::number(&format!("{middle:+.digits$} ± {half:.digits$}{mark}"))
}

/// The signing keys, each with the backends whose flows were given its tokens.
pub(super) fn keys(page: &mut Page, round: &Round) {
    let mut keys: Vec<(Option<&KeyId>, &str, Vec<&BackendName>)> = Vec::new();
    for flow in &round.flows {
        let (Some(backend), Some(token)) = (flow.route.backend(), flow.token.measured()) else {
            continue;
        };
        let (kid, alg) = (token.kid.as_ref(), token.alg.as_str());
        match keys.iter_mut().find(|(k, a, _)| (*k, *a) == (kid, alg)) {
            Some((_, _, backends)) => backends.push(backend),
            None => keys.push((kid, alg, vec![backend])),
        }
    }
    if keys.is_empty() {
        return;
    }
    page.heading("Keys", "by the beginning of their id, with the backends that sign with them");
    for (kid, alg, backends) in &keys {
        let kid = kid.map_or("no key id", KeyId::short);
        page.paragraph(&format!("  {kid:9}  {alg:5}  "), PLAIN, &list(backends));
    }
}

/// What the checks found at single backends and routes, as far as it is not well.
pub(super) fn checks(page: &mut Page, checks: &Checks) {
    let sick = checks.components().filter(|(_, told)| !told.healthy);
    let sick: Vec<String> =
        sick.map(|(backend, told)| format!("{} at {backend}", told.component)).collect();
    let missing = checks.content_present().filter(|(_, found)| found.measured() == Some(&false));
    let missing: Vec<&BackendName> = missing.map(|(backend, _)| backend).collect();
    let limits = checks.body_limit.measured().into_iter().flatten().filter_map(|of| {
        let limit = of.value.measured()?;
        let (route, passes, refused) = (&of.route, Bytes(limit.passes), Bytes(limit.refused?));
        Some(format!("{route} takes {passes} and refuses {refused}"))
    });
    for (lead, what, text) in [
        ("  Components   ", "not healthy: ", list(&sick)),
        ("  Content      ", "missing or different at ", list(&missing)),
        ("  Body limits  ", "", list(&limits.collect::<Vec<_>>())),
    ] {
        if !text.is_empty() {
            page.paragraph(lead, PLAIN, &format!("{what}{text}"));
        }
    }
}

/// The lead of every client but the first.
const CLIENTS: &str = "            ";

/// What the flows through the load balancer met.
pub(super) fn balancer(page: &mut Page, judged: &Judged) {
    let run = match &judged.round.balancer {
        Outcome::Measured(run) => run,
        Outcome::Failed(failure) => {
            page.heading("Load balancer", &format!("could not be sampled: {failure}"));
            return;
        }
        Outcome::Skipped(reason) => {
            page.heading("Load balancer", &format!("not sampled: {}", reason.as_str()));
            return;
        }
    };
    page.heading("Load balancer", "");
    page.paragraph("  Measured  ", PLAIN, &measured(run, judged));
    if let Some(expected) = judged.assessment.expected_unauthorized {
        let text = format!("{} by the matrix and the shares", percent(expected));
        page.paragraph("  Expected  ", PLAIN, &text);
    }
    let views = judged.assessment.clients.iter();
    for (lead, view) in ["  Clients   "].into_iter().chain(std::iter::repeat(CLIENTS)).zip(views) {
        page.paragraph(lead, PLAIN, &words(view));
    }
    if run.lost() > 0 {
        let first = run.first_loss().map_or(String::new(), |loss| format!("; first: {loss}"));
        let lost = usize::try_from(run.lost()).unwrap_or(usize::MAX);
        let text = format!(
            "{} failed for another reason, not counted in any figure above{first}",
            count(lost, "request")
        );
        page.paragraph("  Lost      ", PLAIN, &text);
    }
    if !judged.assessment.shares.is_empty() {
        let mut shares: Vec<&Share> = judged.assessment.shares.iter().collect();
        // Unknown first: in a long list the end is cut off.
        shares.sort_by_key(|share| share.backend.is_some());
        let shares: Vec<String> = shares.into_iter().map(share).collect();
        page.paragraph("  Shares    ", PLAIN, &list(&shares));
    }
}

fn measured(run: &BalancerRun, judged: &Judged) -> String {
    let interval =
        judged.assessment.unauthorized_interval.map_or(String::new(), |(lower, upper)| {
            format!(" [95 %: {} to {}]", percent(lower), percent(upper))
        });
    format!("{}{interval} of independent flows", of(run.pairs))
}

fn of(ratio: Ratio) -> String {
    let value = ratio.value().map_or(String::new(), |value| format!(" = {}", percent(value)));
    format!("401 for {} of {}{value}", ratio.events, ratio.trials)
}

fn share(share: &Share) -> String {
    let name = share.backend.as_ref().map_or("unknown", BackendName::as_str);
    let about = if share.distinct { "" } else { "about " };
    format!("{name} {about}{}", percent(share.share))
}
