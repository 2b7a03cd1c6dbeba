//! A measurement that may have failed or been left out, each with its reason.

use serde::Serialize;

use super::Failure;

/// What came of a measurement. A failure is data, and an absence says why.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome<T> {
    /// It succeeded, and this is the value.
    Measured(T),
    /// It was tried and failed.
    Failed(Failure),
    /// It was not tried.
    Skipped(Skipped),
}

impl<T> Outcome<T> {
    /// The value, if it was measured.
    pub fn measured(&self) -> Option<&T> {
        match self {
            Self::Measured(value) => Some(value),
            Self::Failed(_) | Self::Skipped(_) => None,
        }
    }
}

/// Why a measurement was not tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Skipped {
    /// An earlier step of the same flow failed.
    EarlierStepFailed,
    /// There is no usable token of this issuer.
    NoToken,
    /// A sampled matrix leaves this pair out of this round.
    NotSampled,
    /// Others have their turn in this round, or it stands for longer than a round.
    NotThisRound,
    /// What else was measured leaves nothing to find out.
    NotNeeded,
    /// The route asked for fewer requests (429, or 503 with `Retry-After`) and gets only the token
    /// flow.
    BackingOff,
    /// The time of the round was over.
    DeadlineReached,
    /// It needs credentials and none are configured.
    NoCredentials,
    /// The configured account may not see it.
    NotPermitted,
    /// It needs a repository scope and none is configured.
    NoScope,
    /// This family of servers does not have it.
    NotApplicable,
    /// Nothing is there that could be looked at: no image was ever pushed.
    NothingPushed,
    /// Another client changed what was looked at in the meantime, as another prober that pushes
    /// does.
    Moved,
    /// Switched off in the configuration.
    Disabled,
}

impl Skipped {
    /// The word used in JSON and on the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EarlierStepFailed => "earlier_step_failed",
            Self::NoToken => "no_token",
            Self::NotSampled => "not_sampled",
            Self::NotThisRound => "not_this_round",
            Self::NotNeeded => "not_needed",
            Self::BackingOff => "backing_off",
            Self::DeadlineReached => "deadline_reached",
            Self::NoCredentials => "no_credentials",
            Self::NotPermitted => "not_permitted",
            Self::NoScope => "no_scope",
            Self::NotApplicable => "not_applicable",
            Self::NothingPushed => "nothing_pushed",
            Self::Moved => "moved",
            Self::Disabled => "disabled",
        }
    }
}
