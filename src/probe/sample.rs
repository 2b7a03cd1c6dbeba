//! One flow through the load balancer, and what came of it.

use crate::model::{
    Answer, ClientKind, ClientRun, Failure, KeyId, Ratio, Reason, SampledFlow, Step,
};

/// One sample's result, with what its requests met on the way.
pub(super) struct Sample {
    pub(super) flow: SampledFlow,
    /// The steps that were tried, each with how often.
    pub(super) tried: Vec<(Step, u32)>,
    pub(super) failures: Vec<Unexpected>,
    /// The token came from a cache.
    pub(super) kept_token: bool,
    /// A pair with challenges between token and access.
    pub(super) distant: bool,
    /// What each kind of client felt of a client-like flow.
    pub(super) felt: Vec<Felt>,
    pub(super) end: End,
}

/// A request of a sample that failed.
pub(super) struct Unexpected {
    pub(super) step: Step,
    pub(super) failure: Failure,
    pub(super) answer: Option<Answer>,
}

/// How a sample ended.
pub(super) enum End {
    /// The token was shown, and accepted or refused.
    Answered {
        refusal: Option<Box<Answer>>,
        key: Option<KeyId>,
        certificate: Option<String>,
        realms: Ratio,
    },
    /// A client-like flow whose connection changed without a word of the server: perhaps no
    /// client's flow, and through a balancer another node's.
    Torn { refused: bool },
    /// A step failed otherwise.
    Lost,
}

impl Sample {
    pub(super) fn new(flow: SampledFlow) -> Self {
        let (tried, failures, felt) = (Vec::new(), Vec::new(), Vec::new());
        let (kept_token, distant) = (false, false);
        Self { flow, tried, failures, kept_token, distant, felt, end: End::Lost }
    }

    pub(super) fn step(&mut self, step: Step) {
        self.tried.push((step, 1));
    }

    pub(super) fn fail(&mut self, step: Step, failure: Failure, answer: Option<Answer>) {
        self.failures.push(Unexpected { step, failure, answer });
    }

    pub(super) fn ended(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Whether a request failed, other than one by POST where GET went on.
    pub(super) fn has_failed(&self) -> bool {
        self.failures.iter().any(|failed| failed.failure.reason != Reason::PostRefused)
    }

    /// Whether it got a token without the access that the scope asks for.
    pub(super) fn lacks_access(&self) -> bool {
        self.failures.iter().any(|failed| failed.failure.reason == Reason::MissingAccess)
    }

    pub(super) fn is_lost(&self) -> bool {
        matches!(self.end, End::Lost)
    }

    /// Whether something failed for reasons of the prober's own.
    pub(super) fn is_own(&self) -> bool {
        self.failures.iter().any(|failed| failed.failure.reason.is_own())
    }

    /// Whether it was over before it ended.
    pub(super) fn is_late(&self) -> bool {
        self.failures.iter().any(|failed| failed.failure.reason == Reason::DeadlineReached)
    }

    /// Whether a request got no answer in time.
    pub(super) fn hung(&self) -> bool {
        self.failures.iter().any(|failed| failed.failure.reason == Reason::Timeout)
    }
}

/// What one kind of client felt of a flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Felt {
    pub(super) client: ClientKind,
    pub(super) logged_in: bool,
    /// The step at which its login failed otherwise than by a refused token.
    pub(super) lost: Option<Step>,
    pub(super) pulled: Option<Pulled>,
}

/// How a pull ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulled {
    Passed,
    Refused,
    Lost,
}

impl Felt {
    pub(super) fn of(client: ClientKind) -> Self {
        Self { client, logged_in: false, lost: None, pulled: None }
    }

    /// Counts it.
    pub(super) fn add_to(self, runs: &mut Vec<ClientRun>) {
        let known = runs.iter().position(|run| run.client == self.client);
        let index = known.unwrap_or_else(|| {
            runs.push(ClientRun::of(self.client));
            runs.len() - 1
        });
        let Some(run) = runs.get_mut(index) else { return };
        run.logins.trials += 1;
        run.logins.events += u32::from(!self.logged_in);
        run.lost += u32::from(self.lost.is_some());
        run.without_token += u32::from(self.lost == Some(Step::Token));
        if let Some(pulled) = self.pulled {
            run.pulls.trials += 1;
            run.pulls.events += u32::from(pulled != Pulled::Passed);
            run.lost_pulls += u32::from(pulled == Pulled::Lost);
        }
    }
}
