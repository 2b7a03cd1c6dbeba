//! Tokens that pass `/v2/` and not the repository (B3, D8, D9, G3).

use super::case::{Case, Draft, Impact, list};
use super::credential::is_database_error;
use crate::model::{
    Answer, AuthScheme, BackendName, Confidence, Family, FindingName, Flow, Outcome, Reason, Step,
    Version,
};

/// The first Harbor that compares a token's age with the project's (2.13.5).
const COMPARES_PROJECT_AGE: Version = Version { major: 2, minor: 13, patch: 5 };

pub(super) fn examine(case: &mut Case<'_>) {
    database(case);
    missing_access(case);
    refused(case);
}

struct At<'a> {
    index: usize,
    flow: &'a Flow,
    answer: Option<&'a Answer>,
    line: String,
}

fn failing<'a>(case: &Case<'a>, wanted: impl Fn(Step, Reason) -> bool) -> Vec<At<'a>> {
    let at = |(index, flow): (usize, &'a Flow)| {
        let (step, failure) = flow.failure()?;
        let line = format!("{}: {} failed, {failure}", flow.route, step.as_str());
        let fits = wanted(step, failure.reason);
        fits.then(|| At { index, flow, answer: flow.answer(step), line })
    };
    case.open_flows().into_iter().filter_map(at).collect()
}

fn backends(found: &[At<'_>]) -> Vec<BackendName> {
    found.iter().filter_map(|at| at.flow.route.backend().cloned()).collect()
}

/// How many backends came as far as this step.
fn reached(case: &Case<'_>, step: Step) -> usize {
    let reached = |flow: &&Flow| flow.route.backend().is_some() && flow.step(step).is_some();
    case.round.flows.iter().filter(reached).count()
}

fn database(case: &mut Case<'_>) {
    let found: Vec<At<'_>> = failing(case, |step, _| step >= Step::Access)
        .into_iter()
        .filter(|at| at.answer.is_some_and(is_database_error))
        .collect();
    if found.is_empty() {
        return;
    }
    let names = backends(&found);
    let everywhere = names.len() == reached(case, Step::Repository);
    let indexes: Vec<usize> = found.iter().map(|at| at.index).collect();
    let known = FindingName::DatabaseUnavailable;
    if let Some(index) = case.findings.iter().position(|finding| finding.finding == known) {
        // The token endpoint, or another node, has told the same already.
        let finding = &mut case.findings[index];
        finding.evidence.extend(found.iter().map(|at| at.line.clone()));
        if !finding.backends.is_empty() {
            finding.backends.extend(names);
            finding.backends.sort();
            finding.backends.dedup();
        }
        case.explain(index, &[], &indexes);
        return;
    }
    case.add(
        Draft {
            name: FindingName::DatabaseUnavailable,
            confidence: Confidence::Proved,
            impact: if everywhere { Impact::Balancer } else { Impact::BackendLoss },
            summary: format!("The database does not answer {}.", list(&names)),
            backends: if everywhere { Vec::new() } else { names },
            evidence: found.iter().map(|at| at.line.clone()).collect(),
            alternatives: Vec::new(),
        },
        &[],
        &indexes,
    );
}

/// The token names us and lacks the action.
fn missing_access(case: &mut Case<'_>) {
    let found =
        failing(case, |step, reason| step == Step::Token && reason == Reason::MissingAccess);
    if found.is_empty() {
        return;
    }
    let names = backends(&found);
    let everywhere = names.len() == reached(case, Step::Token);
    let evidence: Vec<String> = found.iter().map(|at| at.line.clone()).collect();
    let indexes: Vec<usize> = found.iter().map(|at| at.index).collect();
    let scope = case.round.scope.clone().unwrap_or_default();
    let draft = if everywhere {
        Draft {
            name: FindingName::RepositoryAccessDenied,
            confidence: Confidence::Proved,
            impact: Impact::Balancer,
            backends: Vec::new(),
            summary: format!("No node grants {scope}: permission or project is missing."),
            evidence,
            alternatives: Vec::new(),
        }
    } else {
        split(names, evidence, &format!("grants {scope}"))
    };
    case.add(draft, &[], &indexes);
}

/// What one node has and another lacks: they do not share a database.
fn split(names: Vec<BackendName>, mut evidence: Vec<String>, what: &str) -> Draft {
    evidence.push(format!("other nodes have it: one of them {what}"));
    Draft {
        name: FindingName::ContentDiffers,
        confidence: Confidence::Suspected,
        impact: Impact::BackendLoss,
        summary: format!(
            "{} lacks what other nodes have: accounts or content are not shared.",
            list(&names)
        ),
        backends: names,
        evidence,
        alternatives: vec![FindingName::RepositoryAccessDenied, FindingName::DatabaseUnavailable],
    }
}

fn refused(case: &mut Case<'_>) {
    let found = failing(case, |step, reason| {
        step == Step::Repository
            && matches!(reason, Reason::Unauthorized | Reason::Forbidden | Reason::NotFound)
    });
    if found.is_empty() {
        return;
    }
    let names = backends(&found);
    if names.is_empty() {
        // Only the balancer: a consequence of what the backends do, or of the balancer; see there.
        return;
    }
    let scope = case.round.scope.clone().unwrap_or_default();
    let evidence: Vec<String> = found.iter().map(|at| at.line.clone()).collect();
    let indexes: Vec<usize> = found.iter().map(|at| at.index).collect();
    let everywhere = names.len() == reached(case, Step::Repository);
    let at_backends = || found.iter().filter(|at| at.flow.route.backend().is_some());
    let granted_and_refused = at_backends().all(|at| {
        let harbor = case.family_of(&at.flow.route) == Family::Harbor2;
        let basic = at
            .answer
            .and_then(|answer| answer.challenge.as_ref())
            .is_some_and(|challenge| challenge.scheme == AuthScheme::Basic);
        harbor && basic && at.flow.passed(Step::Token) == Some(true) && compares_age(case, at.flow)
    });
    let draft = if granted_and_refused {
        Draft {
            name: FindingName::ProjectNewerThanToken,
            confidence: Confidence::Suspected,
            impact: if everywhere { Impact::Balancer } else { Impact::BackendLoss },
            summary: format!(
                "The token grants {scope}, /v2/ accepts it, and the repository refuses it: the \
                 project is younger than the token by the clocks involved."
            ),
            backends: if everywhere { Vec::new() } else { names },
            evidence,
            alternatives: vec![FindingName::RepositoryAccessDenied],
        }
    } else if everywhere {
        Draft {
            name: FindingName::RepositoryAccessDenied,
            confidence: Confidence::Proved,
            impact: Impact::Balancer,
            backends: Vec::new(),
            summary: format!(
                "Every node accepts the token and none gives {scope}: permission, project or \
                 repository is missing."
            ),
            evidence,
            alternatives: Vec::new(),
        }
    } else {
        split(names, evidence, &format!("gives {scope}"))
    };
    case.add(draft, &[], &indexes);
}

fn compares_age(case: &Case<'_>, flow: &Flow) -> bool {
    match case.facts_of(&flow.route).map(|facts| &facts.version) {
        Some(Outcome::Measured(Some(version))) => *version >= COMPARES_PROJECT_AGE,
        // Hidden: 2.13 or later.
        Some(Outcome::Measured(None)) => true,
        _ => false,
    }
}
