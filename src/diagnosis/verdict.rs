//! Puts the three steps together: from a round to its assessment.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Facts, ObservationId};
use super::hypothesis::{Hits, Hypothesis};
use super::{
    clocks, coverage, drain, effect, fill, leeway, reproduce, resolve, rules, statistics,
    unexplained,
};
use crate::findings::{self, Product, Setup, Where};
use crate::model::{
    Assessment, BackendName, Confidence, Earlier, Family, Finding, Remedy, Round, Severity, Status,
    Unmeasured,
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
    let pods = facts.round.caller.namespace.is_some();
    let mut remedies = remedies(&h, facts.common_family(), pods);
    let alone = drain::alone(facts, &h, broken);
    fill::fill(facts.round, &h.backends, broken, alone, &mut remedies);
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
        confirm: fill::sentence(facts.round, h.name.definition().confirm),
        explains: u32::try_from(won.len()).unwrap_or(u32::MAX),
        reproduce: reproduce::reproduce(facts, won),
        backends: h.backends,
    }
}

/// What to do about a cause where servers of a family run; an unknown one is taken for Harbor.
fn remedies(h: &Hypothesis, family: Family, pods: bool) -> Vec<Remedy> {
    let product = match family {
        Family::Distribution2 | Family::Distribution3 => Product::Distribution,
        Family::Harbor1 | Family::Harbor2 | Family::Unknown => Product::Harbor,
    };
    let all = h.name.definition().remedies.iter();
    let fits = |remedy: &&findings::Remedy| remedy.setup.is_of(product) && helps(h, remedy.at);
    let mut fitting: Vec<&findings::Remedy> = all.filter(fits).collect();
    if h.hits == Hits::Prober {
        // What only the prober meets is put right at the prober.
        fitting.sort_by_key(|remedy| remedy.at != Where::Prober);
    }
    // Harbor's pods come from its chart; else nothing tells how it is installed.
    if pods && fitting.iter().any(|remedy| remedy.setup == Setup::Helm) {
        fitting.retain(|remedy| remedy.setup != Setup::Compose);
    }
    let setups: BTreeSet<Option<&str>> =
        fitting.iter().map(|remedy| remedy.setup.title()).collect();
    let several = setups.iter().flatten().count() > 1;
    let text = |remedy: &findings::Remedy| match remedy.setup.title() {
        Some(setup) if several => format!("{setup}: {}", remedy.text),
        _ => remedy.text.to_owned(),
    };
    let words = |text: &&str| (*text).to_owned();
    let owned = |remedy: &findings::Remedy| Remedy {
        text: text(remedy),
        commands: remedy.commands.iter().map(words).collect(),
    };
    fitting.into_iter().map(owned).collect()
}

/// Whether a remedy helps where a cause lies.
fn helps(h: &Hypothesis, at: Where) -> bool {
    match at {
        Where::Anywhere | Where::Prober => true,
        Where::Nodes => !h.at_balancer,
        Where::SomeNodes => !h.backends.is_empty(),
        Where::EveryNode => h.backends.is_empty() && !h.at_balancer,
        Where::Balancer => h.backends.is_empty(),
    }
}

/// What began or ended in mid-round is not proved by that round; the next one judges it. Nor is
/// anything proved of a backend that may be none any more.
fn hold_back(facts: &Facts<'_>, h: &mut Hypothesis) {
    if let Some(error) = facts.round.discovery_error.as_ref().filter(|_| !h.backends.is_empty()) {
        h.confidence = Confidence::Suspected;
        h.evidence.push(
            format!(
                "discovery fails, so {} may have gone or have another address: {error}",
                super::wording::list(&h.backends)
            )
            .into(),
        );
    }
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
    use crate::model::{Evidence, FindingName, Reason, Step, sample};

    #[test]
    fn what_to_do_fits_the_place_of_the_cause() {
        let texts = |backends: &[&str], at_balancer| {
            let backends = backends.iter().map(|name| sample::backend(name)).collect();
            let name = FindingName::RealmWrongEndpoint;
            let h = Hypothesis::new(name, backends, String::new()).at_balancer(at_balancer);
            let all = remedies(&h, Family::Harbor2, false).into_iter();
            let begin =
                |remedy: Remedy| remedy.text.split(' ').take(4).collect::<Vec<_>>().join(" ");
            all.map(begin).collect::<Vec<_>>()
        };
        let (node, balancer) = ("Set the public URL", "Let the load balancer");
        assert_eq!(texts(&["b"], false), [node, "If the token server"]);
        assert_eq!(texts(&[], true), [balancer, "If the token server"]);
        assert_eq!(texts(&[], false), [node, balancer, "If the token server"]);
    }

    #[test]
    fn nothing_is_proved_of_a_node_that_discovery_cannot_find_again() {
        let of = |error: Option<&str>| {
            let round = sample::changed(&["a", "b"], |round| {
                sample::fail(round, "b", Step::Challenge, Reason::ConnectionRefused);
                round.discovery_error = error.map(str::to_owned);
            });
            judge(&round, &Earlier::default()).findings.remove(0)
        };
        assert_eq!(of(None).confidence, Confidence::Proved);
        let stale = of(Some("the API answered 403"));
        assert_eq!(stale.confidence, Confidence::Suspected);
        let said = |fact: &Evidence| fact.text.contains("b may have gone");
        assert!(stale.evidence.iter().any(said), "{:#?}", stale.evidence);
    }

    #[test]
    fn what_to_do_fits_the_servers_that_run() {
        let commands = |family| {
            let h = Hypothesis::new(FindingName::TokenKeyMismatch, Vec::new(), String::new());
            let all = remedies(&h, family, false);
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
