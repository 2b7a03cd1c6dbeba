//! What a round met that a sound registry does not show, and what could not be measured at all.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, BackendName, Check, Failure, Issuer, Reason, Route, Step};

/// The kind of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObservationKind {
    /// A route's token flow did not end in success.
    FlowFailed,
    /// A fresh token was refused where it was shown.
    PairRefused,
    /// Showing a fresh token gave no answer about it.
    PairFailed,
    /// Through the load balancer a fresh token was refused at the next request.
    SampleRefused,
    /// A request of an independent pair through the load balancer failed otherwise.
    SampleFailed,
    /// A client-like flow through the load balancer was refused with 401.
    ClientRefused,
    /// A client-like flow through the load balancer failed otherwise.
    ClientFailed,
    /// Challenges through the load balancer named a token endpoint that no credentials may go to.
    RealmForeign,
    /// A token held since an earlier round was refused by its own issuer while it was still valid.
    HeldTokenRefused,
    /// A check met a refusal, or something other than what a sound server shows.
    CheckRefused,
    /// A request of a check was lost, or its answer was none that it can use.
    CheckFailed,
    /// A node loses more requests than a sound network does, and each passed when it was sent again.
    RequestsLost,
}

impl ObservationKind {
    /// The word of the JSON contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FlowFailed => "flow_failed",
            Self::PairRefused => "pair_refused",
            Self::PairFailed => "pair_failed",
            Self::SampleRefused => "sample_refused",
            Self::SampleFailed => "sample_failed",
            Self::ClientRefused => "client_refused",
            Self::ClientFailed => "client_failed",
            Self::RealmForeign => "realm_foreign",
            Self::HeldTokenRefused => "held_token_refused",
            Self::CheckRefused => "check_refused",
            Self::CheckFailed => "check_failed",
            Self::RequestsLost => "requests_lost",
        }
    }
}

/// Who met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetBy {
    /// Whoever comes through the load balancer, as users do.
    Users,
    /// Who asks a node directly; users meet it where the load balancer leads them there.
    Node,
    /// The prober alone.
    Prober,
}

impl MetBy {
    /// The word of the JSON contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Node => "node",
            Self::Prober => "prober",
        }
    }
}

/// Where something was observed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Place {
    /// On one route.
    Route {
        /// The route.
        route: Route,
    },
    /// Where something of one route was shown to another.
    Pair {
        /// Where it came from.
        issuer: Issuer,
        /// Where it was shown.
        verifier: Route,
    },
}

impl Place {
    /// A place on one route.
    pub fn route(route: &Route) -> Self {
        Self::Route { route: route.clone() }
    }

    /// Where something of one backend was shown to another.
    pub fn between(issuer: &BackendName, verifier: &BackendName) -> Self {
        let issuer = Issuer::Route(Route::Backend(issuer.clone()));
        Self::Pair { issuer, verifier: Route::Backend(verifier.clone()) }
    }

    /// The route that answered.
    pub fn answering(&self) -> &Route {
        match self {
            Self::Route { route } => route,
            Self::Pair { verifier, .. } => verifier,
        }
    }

    /// The backend that answered, if it was asked directly.
    pub fn backend(&self) -> Option<&BackendName> {
        self.answering().backend()
    }

    /// Whether a backend takes part, as the one that answered or the one that issued.
    pub fn involves(&self, name: &BackendName) -> bool {
        let issued = match self {
            Self::Route { .. } => None,
            Self::Pair { issuer, .. } => issuer.backend(),
        };
        self.backend() == Some(name) || issued == Some(name)
    }

    /// Whether the way through the load balancer takes part.
    pub fn involves_balancer(&self) -> bool {
        let issued = match self {
            Self::Route { .. } => false,
            Self::Pair { issuer, .. } => *issuer == Issuer::Route(Route::Balancer),
        };
        issued || *self.answering() == Route::Balancer
    }
}

/// Something that a sound registry does not show, with where it was met and how often.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Observation {
    /// The kind.
    pub kind: ObservationKind,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// Who met it.
    pub met_by: MetBy,
    /// The step of the token flow, if it is of one.
    pub step: Option<Step>,
    /// The check that met it, if one did.
    pub check: Option<Check>,
    /// What failed, and why.
    pub failure: Failure,
    /// How often it happened.
    pub count: u32,
    /// How often it could have happened.
    pub of: u32,
    /// The answer, if one arrived.
    #[serde(skip)]
    pub answer: Option<Answer>,
    /// Whether it was met over the last minutes rather than in this round alone.
    pub windowed: bool,
}

impl Observation {
    /// One event at a place, out of one.
    pub fn single(kind: ObservationKind, place: Place, failure: Failure) -> Self {
        let met_by = if place.involves_balancer() { MetBy::Users } else { MetBy::Node };
        Self {
            kind,
            place,
            met_by,
            step: None,
            check: None,
            failure,
            count: 1,
            of: 1,
            answer: None,
            windowed: false,
        }
    }

    /// Why it failed, in one word.
    pub fn reason(&self) -> Reason {
        self.failure.reason
    }

    /// Whether nothing came back that could be judged: the network, the transport or a gateway.
    pub fn is_loss(&self) -> bool {
        self.failure.reason.is_network() || self.failure.reason.is_server_error()
    }
}

/// Something that had to be measured and was not, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unmeasured {
    /// What: for instance `flow`, `tokens`, `keys` or `matrix`, or the name of a check.
    pub what: String,
    /// On which route, if on one.
    pub route: Option<String>,
    /// Why, and what to do about it.
    pub why: String,
    /// Whether the status cannot be `ok` without it.
    pub essential: bool,
}

/// What became of a hypothesis, so that "why not X?" has an answer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TraceEntry {
    /// The cause that was considered.
    pub hypothesis: super::FindingName,
    /// The backends at fault, by this hypothesis.
    pub backends: Vec<String>,
    /// How many observations it would explain.
    pub claims: u32,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
}

/// What became of a hypothesis.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Fate {
    /// It is a finding.
    Kept,
    /// It belongs to the same cause as another, which reports it.
    MergedInto {
        /// The finding that tells it.
        finding: super::FindingName,
    },
    /// It follows from another cause.
    SuppressedBy {
        /// The cause.
        finding: super::FindingName,
    },
    /// All that it would explain is explained by these.
    ExplainedBy {
        /// The findings.
        findings: Vec<super::FindingName>,
    },
    /// Some of it fits, and this evidence is missing.
    Lacks {
        /// What is missing.
        evidence: Vec<String>,
    },
}
