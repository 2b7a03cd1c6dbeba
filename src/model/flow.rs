//! One token flow over one route.

use serde::Serialize;

use super::{Answer, Challenge, Failure, Issuer, Outcome, Route, Step, Timeline, TokenFacts};

/// One step of a flow as it went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    /// Which step.
    pub step: Step,
    /// The answer, if one arrived, right or not.
    pub answer: Option<Answer>,
    /// Nothing if the step passed.
    pub failure: Option<Failure>,
    /// How long each phase took; of the last request, where redirects were followed.
    pub timeline: Timeline,
}

/// How a registry lets clients in, as all its routes say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessScheme {
    /// By a token that a challenge leads to.
    #[default]
    Token,
    /// By name and password with each request.
    Basic,
    /// Whoever asks.
    Open,
}

/// What became of asking for a token by the method that is not configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OtherMethod {
    /// Whether that was POST (`OAuth2`), else GET.
    pub by_post: bool,
    /// Whether a token came.
    pub works: bool,
}

/// How a flow ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowResult {
    /// Every step passed, and the token was what was asked for.
    Success,
    /// Exactly one step failed, for exactly one reason.
    Failed {
        /// The step.
        step: Step,
        /// The reason, with evidence.
        failure: Failure,
    },
}

/// A whole token flow: challenge, token, access and, with a scope, repository.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flow {
    /// The route it took.
    pub route: Route,
    /// How the registry lets clients in; [`AccessScheme::Token`] where the routes do not agree.
    pub scheme: AccessScheme,
    /// Every step that ran, in order.
    pub steps: Vec<StepReport>,
    /// The Bearer challenge of the first step.
    pub challenge: Outcome<Challenge>,
    /// What the token says, if one was issued and decodes, good or not.
    pub token: Outcome<TokenFacts>,
    /// Who was asked for the token, once the challenge is known.
    pub issuer: Option<Issuer>,
    /// How it ended.
    pub result: FlowResult,
    /// Whether a token is had by the method that is not configured; asked where the configured one
    /// is answered with something else.
    pub other_method: Option<OtherMethod>,
    /// Whether an earlier try in this round was lost to the network, and what that try met.
    pub lost_before: Option<Failure>,
}

impl Flow {
    /// Whether every step passed.
    pub fn succeeded(&self) -> bool {
        self.result == FlowResult::Success
    }

    /// The failed step and why, if the flow failed.
    pub fn failure(&self) -> Option<(Step, &Failure)> {
        match &self.result {
            FlowResult::Success => None,
            FlowResult::Failed { step, failure } => Some((*step, failure)),
        }
    }

    /// The report of a step, if it ran.
    pub fn step(&self, step: Step) -> Option<&StepReport> {
        self.steps.iter().find(|report| report.step == step)
    }

    /// The answer to a step, if one arrived.
    pub fn answer(&self, step: Step) -> Option<&Answer> {
        self.step(step)?.answer.as_ref()
    }

    /// Whether a step passed; `None` if it did not run.
    pub fn passed(&self, step: Step) -> Option<bool> {
        self.step(step).map(|report| report.failure.is_none())
    }

    /// Whether the token endpoint gives tokens by one method and not by the other.
    pub fn knows_one_method(&self) -> bool {
        self.other_method.is_some_and(|other| other.works)
    }

    /// The sum of all steps, in seconds.
    pub fn seconds(&self) -> f64 {
        self.steps.iter().map(|report| report.timeline.total().as_secs_f64()).sum()
    }
}
