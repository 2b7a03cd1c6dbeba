//! What was observed, what was not measured, and what became of each hypothesis: their part of the
//! JSON contract.

use schemars::JsonSchema;
use serde::Serialize;

use super::wording::clean;
use crate::model::{
    Assessment, Fate, FindingName, MetBy, Observation, ObservationKind, Place, SampleFailure,
    SampledFlow, Step, TraceEntry, Unmeasured,
};

/// Something that a sound registry does not show.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Observed {
    /// Its kind.
    pub kind: ObservationKind,
    /// The route that met it; null where a token or cookie of one was shown to another.
    pub route: Option<String>,
    /// Where what was shown came from; null with a `route`.
    pub issuer: Option<String>,
    /// Where it was shown; null with a `route`.
    pub verifier: Option<String>,
    /// Who met it: `users` come through the load balancer, `node` is asked directly.
    pub met_by: MetBy,
    /// The step of the token flow; null for a check.
    pub step: Option<&'static str>,
    /// The check that met it; null for a token flow.
    pub check: Option<&'static str>,
    /// Why it failed, in the words of `routes`.
    pub reason: &'static str,
    /// How often it happened.
    pub count: u32,
    /// How often it could have happened.
    pub of: u32,
    /// Whether these are the figures of the last five minutes rather than of this round.
    pub windowed: bool,
    /// For people: what was found, and what was expected.
    pub detail: String,
    /// The finding that explains it; null only where no finding does.
    pub finding: Option<FindingName>,
}

/// Something that had to be measured and was not.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Missing {
    /// What: for instance `flow`, `tokens`, `keys` or `matrix`, or the name of a check.
    pub what: String,
    /// On which route; null if on no single one.
    pub route: Option<String>,
    /// Why, and what helps.
    pub why: String,
    /// Whether the status cannot be `ok` without it.
    pub essential: bool,
}

/// A cause that was considered, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Traced {
    /// The cause.
    pub hypothesis: FindingName,
    /// The backends at fault, by this hypothesis.
    pub backends: Vec<String>,
    /// How many observations it would explain.
    pub claims: u32,
    /// What became of it.
    pub fate: FateWord,
    /// The findings that tell, cause or explain it; empty if it is kept or lacks evidence.
    pub by: Vec<FindingName>,
    /// The evidence that is missing; empty otherwise.
    pub lacks: Vec<String>,
}

/// What became of a hypothesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FateWord {
    /// It is a finding.
    Kept,
    /// Another finding of the same cause tells it.
    MergedInto,
    /// It follows from another cause.
    SuppressedBy,
    /// Other findings explain all that it would.
    ExplainedBy,
    /// Evidence is missing.
    Lacks,
}

/// Requests sampled through the load balancer that failed alike.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SampleLoss {
    /// In which kind of flow.
    pub flow: SampledKind,
    /// At which step.
    pub step: &'static str,
    /// Why, in the words of `routes`.
    pub reason: &'static str,
    /// How many failed so.
    pub count: u32,
    /// How many requests of this step flows of this kind sent.
    pub of: u32,
    /// The first of them, for people.
    pub detail: String,
}

/// The kind of a sampled flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SampledKind {
    /// Token and access on connections of their own.
    Pair,
    /// As a client makes it.
    Client,
}

/// Everything unexpected, with the findings that explain it.
pub(super) fn observations(assessment: &Assessment) -> Vec<Observed> {
    let finding = |index: usize| assessment.findings.get(index).map(|finding| finding.finding);
    assessment.observations.iter().map(|(seen, owner)| observed(seen, finding(*owner))).collect()
}

fn observed(seen: &Observation, finding: Option<FindingName>) -> Observed {
    let (route, issuer, verifier) = match &seen.place {
        Place::Route { route } => (Some(route.to_string()), None, None),
        Place::Pair { issuer, verifier } => {
            (None, Some(clean(issuer.as_str())), Some(verifier.to_string()))
        }
    };
    Observed {
        kind: seen.kind,
        route,
        issuer,
        verifier,
        met_by: seen.met_by,
        step: seen.step.filter(|step| *step != Step::Check).map(Step::as_str),
        check: seen.check.map(crate::model::Check::as_str),
        reason: seen.reason().as_str(),
        count: seen.count,
        of: seen.of,
        windowed: seen.windowed,
        detail: clean(&seen.failure.detail),
        finding,
    }
}

/// What was not measured.
pub(super) fn missing(all: &[Unmeasured]) -> Vec<Missing> {
    let one = |missing: &Unmeasured| Missing {
        what: missing.what.clone(),
        route: missing.route.clone(),
        why: clean(&missing.why),
        essential: missing.essential,
    };
    all.iter().map(one).collect()
}

/// What became of each hypothesis.
pub(super) fn trace(all: &[TraceEntry]) -> Vec<Traced> {
    all.iter().map(traced).collect()
}

fn traced(entry: &TraceEntry) -> Traced {
    let (fate, by, lacks) = match &entry.fate {
        Fate::Kept => (FateWord::Kept, Vec::new(), Vec::new()),
        Fate::MergedInto { finding } => (FateWord::MergedInto, vec![*finding], Vec::new()),
        Fate::SuppressedBy { finding } => (FateWord::SuppressedBy, vec![*finding], Vec::new()),
        Fate::ExplainedBy { findings } => (FateWord::ExplainedBy, findings.clone(), Vec::new()),
        Fate::Lacks { evidence } => {
            (FateWord::Lacks, Vec::new(), evidence.iter().map(|text| clean(text)).collect())
        }
    };
    Traced {
        hypothesis: entry.hypothesis,
        backends: entry.backends.clone(),
        claims: entry.claims,
        fate,
        by,
        lacks,
    }
}

/// What failed of a sampling, by step and reason.
pub(super) fn failures(run: &crate::model::BalancerRun) -> Vec<SampleLoss> {
    let one = |failed: &SampleFailure| SampleLoss {
        flow: match failed.flow {
            SampledFlow::Pair => SampledKind::Pair,
            SampledFlow::Client => SampledKind::Client,
        },
        step: failed.step.as_str(),
        reason: failed.failure.reason.as_str(),
        count: failed.count,
        of: run.tried(failed.flow, failed.step).max(failed.count),
        detail: clean(&failed.failure.detail),
    };
    run.failures.iter().map(one).collect()
}
