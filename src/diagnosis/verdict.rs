//! Puts the three steps together: from a round to its assessment.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Facts, ObservationId};
use super::hypothesis::{Hits, Hypothesis};
use super::{
    clocks, coverage, drain, effect, fill, leeway, reproduce, resolve, rules, statistics,
    unexplained,
};
use crate::findings::Product;
use crate::model::{
    Assessment, BackendName, Confidence, Earlier, Family, Finding, FindingName, Remedy, Round,
    Severity, Status, Unmeasured,
};

/// Judges a round.
pub(super) fn judge(round: &Round, earlier: &Earlier) -> Assessment {
    let facts = Facts::new(round, earlier);
    let hypotheses = rules::ALL.iter().flat_map(|rule| rule(&facts)).collect();
    let resolved = resolve::resolve(&facts, hypotheses);
    let mut kept = resolved.kept;
    kept.extend(unexplained::explain(&facts, &resolved.unexplained));

    let broken = broken(&facts, &kept);
    let mut found: Vec<(Finding, Hits, Vec<ObservationId>)> = kept
        .into_iter()
        .map(|(h, won)| (finding(&facts, &h, &won, &broken), h.hits, won))
        .collect();
    // How much a cause explains differs from round to round, and the advice must not.
    found.sort_by(|(f, ..), (g, ..)| {
        let place = |f: &Finding| (Reverse(f.severity), f.finding);
        place(f).cmp(&place(g)).then_with(|| f.backends.cmp(&g.backends))
    });
    let owners: BTreeMap<ObservationId, usize> = found
        .iter()
        .enumerate()
        .flat_map(|(index, (_, _, won))| won.iter().map(move |id| (*id, index)))
        .collect();
    let blind = found.iter().any(|(_, hits, _)| *hits == Hits::Prober);
    let findings: Vec<Finding> = found.into_iter().map(|(finding, ..)| finding).collect();
    let unmeasured = coverage::unmeasured(round);
    let expected = statistics::expected(round, &facts.shares);
    let measured = round.balancer.measured();
    let observations = facts.observations.iter().cloned().enumerate();
    Assessment {
        status: status(&findings, &unmeasured, blind),
        observations: observations
            .filter_map(|(id, seen)| Some((seen, *owners.get(&ObservationId(id))?)))
            .collect(),
        findings,
        unmeasured,
        trace: resolved.trace,
        expected_unauthorized: expected,
        expected_interval: statistics::expected_interval(round, &facts.shares),
        unauthorized_interval: measured.and_then(|run| statistics::wilson(run.pairs)),
        leeways: round.backends.iter().map(|b| (b.name.clone(), leeway::leeway(b))).collect(),
        clients: facts.clients,
        clock_margin: leeway::margin(round),
        clock_words: clocks::words(round),
        shares: facts.shares,
    }
}

/// The worst of what was found; `unknown` where too little was seen to say less.
fn status(findings: &[Finding], unmeasured: &[Unmeasured], blind: bool) -> Status {
    let worst = Status::of(findings);
    if blind || unmeasured.iter().any(|missing| missing.essential) {
        return worst.max(Status::Unknown);
    }
    worst
}

/// The nodes at which something fails for users, whatever it is.
fn broken(facts: &Facts<'_>, kept: &[(Hypothesis, Vec<ObservationId>)]) -> BTreeSet<BackendName> {
    let critical =
        kept.iter().filter(|(h, won)| effect::severity(facts, h, won) == Severity::Critical);
    critical.flat_map(|(h, _)| h.backends.iter().cloned()).collect()
}

fn finding(
    facts: &Facts<'_>,
    h: &Hypothesis,
    won: &[ObservationId],
    broken: &BTreeSet<BackendName>,
) -> Finding {
    let mut h = h.clone();
    hold_back(facts, &mut h);
    let severity = effect::severity(facts, &h, won);
    let effect = effect::sentence(facts, &h, won);
    let mut remedies = remedies(h.name, facts.common_family());
    fill::fill(facts.round, &h.backends, broken, &mut remedies);
    let remedies = drain::first(facts, &h, severity, broken, remedies);
    Finding {
        finding: h.name,
        severity,
        confidence: h.confidence,
        since: facts.earlier.since(h.name, &h.backends).unwrap_or(facts.round.started),
        summary: h.summary,
        effect,
        evidence: h.evidence,
        remedies,
        alternatives: h.alternatives,
        confirm: h.name.definition().confirm.to_owned(),
        explains: u32::try_from(won.len()).unwrap_or(u32::MAX),
        reproduce: reproduce::reproduce(facts, won),
        backends: h.backends,
    }
}

/// What to do about a cause where servers of a family run; an unknown one is taken for Harbor.
fn remedies(name: FindingName, family: Family) -> Vec<Remedy> {
    let product = match family {
        Family::Distribution2 | Family::Distribution3 => Product::Distribution,
        Family::Harbor1 | Family::Harbor2 | Family::Unknown => Product::Harbor,
    };
    let all = name.definition().remedies.iter();
    let fitting = all.filter(|remedy| remedy.setup.is_of(product));
    let words = |text: &&str| (*text).to_owned();
    fitting
        .map(|remedy| Remedy {
            text: remedy.text.to_owned(),
            commands: remedy.commands.iter().map(words).collect(),
        })
        .collect()
}

/// What began or ended in mid-round is not proved by that round; the next one judges it.
fn hold_back(facts: &Facts<'_>, h: &mut Hypothesis) {
    // Where replicas disagree behind one address, the next request simply met another.
    let moves = |name: &BackendName| {
        facts.changed_meanwhile(name) && !super::keys::hides_replicas(facts, name)
    };
    let moving: Vec<_> = h.backends.iter().filter(|name| moves(name)).cloned().collect();
    if h.confidence == Confidence::Suspected || moving.is_empty() || h.hits == Hits::Nothing {
        return;
    }
    h.confidence = Confidence::Suspected;
    let names = super::wording::list(&moving);
    h.evidence.push(
        format!(
            "{names} changed during this check: the same request passed and failed; check again"
        )
        .into(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_fits_the_servers_that_run() {
        let commands = |family| {
            let all = remedies(FindingName::TokenKeyMismatch, family);
            all.into_iter().flat_map(|remedy| remedy.commands).collect::<Vec<_>>().join("\n")
        };
        for family in [Family::Harbor1, Family::Harbor2, Family::Unknown] {
            let text = commands(family);
            assert!(text.contains("docker restart harbor-core") && text.contains("helm upgrade"));
            assert!(!text.contains("docker-registry"), "{family}: {text}");
        }
        for family in [Family::Distribution2, Family::Distribution3] {
            let text = commands(family);
            assert!(text.contains("systemctl restart docker-registry"), "{family}: {text}");
            assert!(!text.contains("harbor"), "{family}: {text}");
        }
    }
}
