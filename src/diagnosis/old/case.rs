//! The round under examination, with the book of which finding explains what.
//!
//! Every refused pair and every failed flow is explained by exactly one finding; the first rule
//! that claims it keeps it. What nobody claims becomes `unexplained-refusal`.

use std::collections::BTreeMap;

use super::super::catalogue;
use super::super::statistics;
use crate::model::{
    BackendFacts, BackendName, BalancerRun, Cell, CellResult, Confidence, Earlier, Family, Finding,
    FindingName, Flow, KeyId, Outcome, Refusal, Round, Route, Severity, Share, Skipped,
};

/// What a finding does to users, from which its severity follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Impact {
    /// Tokens are refused between backends: critical if the balancer's users meet it.
    Refusals,
    /// A backend fails by itself: critical if the balancer still sends users there.
    BackendLoss,
    /// The way through the balancer itself fails.
    Balancer,
    /// People in a browser are failed now and then; clients of the registry are not.
    WebPages,
    /// This fails where a request meets these backends: critical if the balancer leads there.
    Served(&'static str),
    /// It fails what users do not see at once, as this says.
    Beside(&'static str),
    /// Nobody is failed now; somebody will be on failover, or soon.
    Latent,
    /// Worth knowing.
    Note,
}

/// A finding before severity, effect and remedies are filled in.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: FindingName,
    pub(super) confidence: Confidence,
    pub(super) impact: Impact,
    pub(super) backends: Vec<BackendName>,
    pub(super) summary: String,
    pub(super) evidence: Vec<String>,
    pub(super) alternatives: Vec<FindingName>,
}

/// The round with what is concluded so far.
pub(super) struct Case<'a> {
    pub(super) round: &'a Round,
    /// What earlier rounds left behind.
    pub(super) earlier: &'a Earlier,
    pub(super) shares: Vec<Share>,
    pub(super) expected: Option<f64>,
    pub(super) findings: Vec<Finding>,
    /// Which finding explains a cell of the matrix, by index.
    cells: BTreeMap<usize, usize>,
    /// Which finding explains a route's failed flow, by index.
    flows: BTreeMap<usize, usize>,
}

impl<'a> Case<'a> {
    pub(super) fn new(round: &'a Round, earlier: &'a Earlier) -> Self {
        let shares = statistics::shares(round);
        let expected = statistics::expected(round, &shares);
        Self {
            round,
            earlier,
            shares,
            expected,
            findings: Vec::new(),
            cells: BTreeMap::new(),
            flows: BTreeMap::new(),
        }
    }

    /// Adds a finding that explains these cells and flows, or those of them that nothing explains
    /// yet.
    pub(super) fn add(&mut self, draft: Draft, cells: &[usize], flows: &[usize]) -> usize {
        let index = self.findings.len();
        let family = self.common_family();
        let severity = self.severity(draft.impact, &draft.backends);
        self.findings.push(Finding {
            finding: draft.name,
            severity,
            confidence: draft.confidence,
            since: self.earlier.since(draft.name, &draft.backends).unwrap_or(self.round.started),
            backends: draft.backends,
            summary: draft.summary,
            effect: self.effect(draft.impact),
            evidence: draft.evidence,
            remedies: catalogue::remedies(draft.name, family),
            alternatives: draft.alternatives,
            confirm: catalogue::confirm(draft.name).to_owned(),
            explains: 0,
        });
        self.explain(index, cells, flows);
        index
    }

    /// Attaches more consequences to a finding.
    pub(super) fn explain(&mut self, finding: usize, cells: &[usize], flows: &[usize]) {
        for cell in cells {
            if self.round.matrix.cells[*cell].refusal().is_some() {
                self.cells.entry(*cell).or_insert(finding);
            }
        }
        for flow in flows {
            if self.round.flows[*flow].failure().is_some() {
                self.flows.entry(*flow).or_insert(finding);
            }
        }
        let count = self.cells.values().chain(self.flows.values()).filter(|f| **f == finding);
        self.findings[finding].explains = u32::try_from(count.count()).unwrap_or(u32::MAX);
    }

    /// Makes one finding of two that are one cause: `from` goes, what it explained and its
    /// evidence belong to `into`.
    pub(super) fn absorb(&mut self, into: usize, from: usize) {
        let gone = self.findings.remove(from);
        let renumber = |index: usize| {
            let index = if index == from { into } else { index };
            if index > from { index - 1 } else { index }
        };
        self.cells.values_mut().chain(self.flows.values_mut()).for_each(|f| *f = renumber(*f));
        let into = renumber(into);
        self.findings[into].evidence.extend(gone.evidence);
        self.findings[into].evidence.dedup();
        self.explain(into, &[], &[]);
    }

    /// Refused pairs that nothing explains yet.
    pub(super) fn open_cells(&self) -> Vec<(usize, &'a Cell, &'a Refusal)> {
        let refused = |(index, cell): (usize, &'a Cell)| Some((index, cell, cell.refusal()?));
        let cells = self.round.matrix.cells.iter().enumerate().filter_map(refused);
        cells.filter(|(index, ..)| !self.cells.contains_key(index)).collect()
    }

    /// Failed flows that nothing explains yet.
    pub(super) fn open_flows(&self) -> Vec<(usize, &'a Flow)> {
        let flows = self.round.flows.iter().enumerate();
        flows.filter(|(index, flow)| !flow.succeeded() && !self.flows.contains_key(index)).collect()
    }

    /// Cells that a finding explains, with its index.
    pub(super) fn explained_cells(&self) -> impl Iterator<Item = (&'a Cell, usize)> {
        self.cells.iter().map(|(cell, finding)| (&self.round.matrix.cells[*cell], *finding))
    }

    /// The balancer's sampling, if there was one.
    pub(super) fn sampling(&self) -> Option<&'a BalancerRun> {
        self.round.balancer.measured()
    }

    /// The signing key of the token that a backend issued.
    pub(super) fn key_of(&self, backend: &BackendName) -> Option<&'a KeyId> {
        self.round.backend_flow(backend)?.token.measured()?.kid.as_ref()
    }

    /// The key that a backend is known to verify with: the one that it signs with, or if it issued
    /// no token that of a token which it accepted.
    pub(super) fn verifies(&self, backend: &BackendName) -> Option<&'a KeyId> {
        let took = |cell: &&Cell| {
            cell.verifier.backend() == Some(backend) && cell.accepted() == Some(true)
        };
        let shown = || self.round.matrix.cells.iter().find(took)?.key.as_ref();
        self.key_of(backend).or_else(shown)
    }

    /// What is known of the backend of a route.
    pub(super) fn facts_of(&self, route: &Route) -> Option<&'a BackendFacts> {
        self.round.backend(route.backend()?)
    }

    /// The family of a route: the backend's, or for the balancer that of all.
    pub(super) fn family_of(&self, route: &Route) -> Family {
        self.facts_of(route).map_or_else(|| self.common_family(), |facts| facts.family)
    }

    /// The family that the backends share, if they do.
    pub(super) fn common_family(&self) -> Family {
        let mut known =
            self.round.backends.iter().map(|b| b.family).filter(|f| *f != Family::Unknown);
        match known.next() {
            Some(first) if known.all(|family| family == first) => first,
            _ => Family::Unknown,
        }
    }

    /// Whether tokens are being refused to the balancer's users.
    pub(super) fn users_are_refused(&self) -> bool {
        if let Some(run) = self.sampling()
            && run.pairs.trials + run.client_flows.trials > 0
        {
            return run.pairs.events + run.client_flows.events > 0;
        }
        let lb = |cell: &&Cell| {
            cell.verifier == Route::Balancer || cell.issuer.as_str() == Route::Balancer.as_str()
        };
        let refused = self.round.matrix.cells.iter().filter(lb).any(|c| c.refusal().is_some());
        refused || self.lb_fails()
    }

    /// Whether the balancer leads users to one of these.
    pub(super) fn leads_users_to(&self, backends: &[BackendName]) -> bool {
        self.shares.iter().any(|share| {
            share.share > 0.0 && share.backend.as_ref().is_some_and(|name| backends.contains(name))
        })
    }

    /// Whether the balancer's own flow fails.
    pub(super) fn lb_fails(&self) -> bool {
        self.round.balancer_flow().is_some_and(|flow| !flow.succeeded())
    }

    /// Whether the balancer's users meet errors other than refusals. One lost request is none.
    fn users_are_lost(&self) -> bool {
        let failed = |cell: &&Cell| {
            cell.verifier == Route::Balancer && matches!(cell.result, CellResult::Failed { .. })
        };
        // A pair fails after its second try, a flow that passed may have lost its first.
        let in_matrix = 2 * self.round.matrix.cells.iter().filter(failed).count();
        let no_token = |cell: &Cell| {
            cell.issuer.as_str() == Route::Balancer.as_str()
                && matches!(cell.result, CellResult::Skipped { reason: Skipped::NoToken })
        };
        let lost = in_matrix
            + usize::from(self.round.matrix.cells.iter().any(no_token))
            + self.lost_at_first()
            + self.sampling().map_or(0, |run| usize::try_from(run.lost()).unwrap_or(usize::MAX));
        let misled = |run: &BalancerRun| run.foreign_realms.events > 0;
        self.lb_fails() || lost >= 2 || self.sampling().is_some_and(misled)
    }

    /// What the first try of the balancer's own flow counts for, if it was lost. Where that left no
    /// time for samples, and a backend is lost in the same way, it is more than chance.
    fn lost_at_first(&self) -> usize {
        let lost = |flow: &'a Flow| flow.lost_before.as_ref().map(|failure| failure.reason);
        let Some(reason) = self.round.balancer_flow().and_then(lost) else { return 0 };
        let unsampled = self
            .sampling()
            .is_none_or(|run| run.pairs.trials + run.client_flows.trials + run.lost() == 0);
        let mut backends = self.round.flows.iter().filter(|flow| flow.route.backend().is_some());
        let alike = |flow: &Flow| flow.failure().is_some_and(|(_, why)| why.reason == reason);
        if unsampled && backends.any(alike) { 2 } else { 1 }
    }

    /// Whether the balancer leads its users to one of these backends, as far as is known.
    fn leads_to(&self, backends: &[BackendName]) -> bool {
        let here = |share: &Share| {
            share.share > 0.0 && share.backend.as_ref().is_some_and(|name| backends.contains(name))
        };
        backends.is_empty() || self.shares.is_empty() || self.shares.iter().any(here)
    }

    fn severity(&self, impact: Impact, backends: &[BackendName]) -> Severity {
        let critical = match impact {
            Impact::Balancer => true,
            Impact::Served(_) => self.leads_to(backends),
            Impact::Refusals => self.users_are_refused(),
            Impact::BackendLoss => self.users_are_lost() || self.users_are_refused(),
            Impact::WebPages | Impact::Latent | Impact::Beside(_) => false,
            Impact::Note => return Severity::Info,
        };
        if critical { Severity::Critical } else { Severity::Warning }
    }

    fn effect(&self, impact: Impact) -> String {
        match (impact, self.sampling()) {
            (Impact::Note, _) => "Nobody is failed by it.".to_owned(),
            (Impact::WebPages, _) => {
                "Logins to the web pages and changes made there fail whenever \
                                      the load balancer changes the node; docker login, pull and \
                                      push do not."
                    .to_owned()
            }
            (Impact::Latent, _) => {
                "Nobody is failed now; users will be on failover, or soon.".to_owned()
            }
            (Impact::Balancer, _) => "Every user of the public URL may be failed by it.".to_owned(),
            (Impact::Beside(effect), _) => effect.to_owned(),
            (Impact::Served(what), _) => format!(
                "{what} through the load balancer fails whenever a request meets the wrong node; \
                 logins pass."
            ),
            (Impact::Refusals, Some(run)) if run.pairs.trials > 0 => self.refusal_effect(run),
            (Impact::BackendLoss, Some(run)) if run.foreign_realms.events > 0 => format!(
                "Through the load balancer {} of {} challenges sent clients to the wrong token \
                 endpoint.",
                run.foreign_realms.events, run.foreign_realms.trials
            ),
            (Impact::BackendLoss, Some(run)) if run.lost() > 0 => format!(
                "Through the load balancer {} of {} flows were lost: it still sends users there.",
                run.lost(),
                run.lost() + run.pairs.trials + run.client_flows.trials
            ),
            (Impact::Refusals, _) if self.users_are_refused() => {
                "Logins, pulls and pushes through the load balancer are refused with 401."
                    .to_owned()
            }
            (Impact::Refusals | Impact::BackendLoss, _) => {
                "Users of the load balancer were not failed in this round; those who reach these \
                 nodes, or a failover to them, would be."
                    .to_owned()
            }
        }
    }

    fn refusal_effect(&self, run: &BalancerRun) -> String {
        if run.pairs.events + run.client_flows.events == 0 {
            return format!(
                "None of {} requests through the load balancer was refused in this round; a \
                 failover or another client may meet it.",
                run.pairs.trials + run.client_flows.trials
            );
        }
        let percent = |ratio: f64| format!("{:.0} %", ratio * 100.0);
        let measured = run.pairs.value().map_or_else(String::new, percent);
        let expected =
            self.expected.map_or_else(String::new, |q| format!(", expected {}", percent(q)));
        format!(
            "Through the load balancer {} of {} fresh tokens were refused at the next request \
             ({measured}{expected}), and {} of {} logins made as docker makes them failed. A push \
             makes many requests and nearly always fails. Strict round robin can turn the share \
             into nobody or everybody for one client.",
            run.pairs.events, run.pairs.trials, run.client_flows.events, run.client_flows.trials,
        )
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list<T: ToString>(items: &[T]) -> String {
    let words: Vec<String> = items.iter().map(ToString::to_string).collect();
    match words.split_last() {
        None => "no backend".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// The value that a measured outcome holds, in words.
pub(super) fn version_text(facts: &BackendFacts) -> String {
    match &facts.version {
        Outcome::Measured(Some(version)) => format!("{} {version}", facts.family),
        Outcome::Measured(None) => format!("{} 2.13 or later", facts.family),
        Outcome::Failed(_) | Outcome::Skipped(_) => facts.family.to_string(),
    }
}
