//! The nouns of the program: plain data that every other room shares.
//!
//! No I/O, no async and no clock live here, and nothing here depends on another room but the
//! list of findings. The central type is [`Round`]: everything measured of one registry in one
//! interval, immutable once finished. A judged round is a [`Judged`]; the newest of every registry
//! make a [`Snapshot`], and all outputs read nothing else.

mod answer;
mod balancer;
mod body_limit;
mod caller;
mod carried;
mod check;
mod client;
mod clock;
mod content;
mod departed;
mod directory;
mod dns;
mod earlier;
mod failure;
mod finding;
mod flow;
mod incident;
mod kept;
mod matrix;
mod names;
mod neighbour;
mod observation;
mod of_route;
mod outcome;
mod pools;
mod public_url;
mod ratio;
mod redirect;
mod replications;
mod round;
#[cfg(test)]
pub(crate) mod sample;
mod setting;
mod snapshot;
mod text;
mod timeline;
mod token;
mod untested;
mod upload;

pub use answer::{Answer, AuthScheme, Challenge, Family, Page, Version};
pub use balancer::{
    BalancerRun, KeyCount, SampleFailure, SampledFlow, Share, StepCount, more_samples,
};
pub use body_limit::{BodyLimit, Bytes};
pub use caller::Caller;
pub use carried::{Carried, CheckMatrix, CheckPair};
pub use check::{
    Cadence, Check, CheckRun, Checked, Checks, ComponentHealth, CsrfVerdict, HeaderFate, Privilege,
    Reach, Rung, SessionVerdict,
};
pub use client::{ClientKind, ClientRun, ClientView, Estimate};
pub use clock::{ClockDrift, ClockInterval, ClockReading, ClockSource, ClockStatus};
pub use content::{Content, ContentAt, ContentFound};
pub use directory::{DirectoryLogin, LoginVerdict};
pub use dns::{DnsAddress, DnsAnswer, DnsRecord, DnsReport, DnsSeen};
pub use earlier::{Earlier, KeySeen, OpenFinding, Sampled, Subject, WINDOW_SECONDS};
pub use failure::{Failure, Phase, Reason, Step};
pub use finding::{
    Confidence, Evidence, Finding, FindingName, Remedy, Reproduction, Severity, Status, nearest,
};
pub use flow::{AccessScheme, Flow, FlowResult, OtherMethod, StepReport};
pub use incident::{Incident, KeptRounds, RETURNS_WITHIN_SECONDS, UserShare};
pub use kept::{RoundLine, ShownRound, round_id};
pub use matrix::{Cell, CellResult, EVERY_PAIR_UP_TO, Matrix, Refusal};
pub use names::{BackendName, Issuer, NameError, RegistryName, Route};
pub use neighbour::Neighbour;
pub use observation::{Fate, MetBy, Observation, ObservationKind, Place, TraceEntry, Unmeasured};
pub use of_route::{OfPair, OfRoute};
pub use outcome::{Outcome, Skipped};
pub use pools::{PoolsAt, WorkerPools};
pub use public_url::{Named, RedirectTarget, UrlSaid};
pub use ratio::Ratio;
pub use redirect::{BlobRedirects, BlobWay, Fetched};
pub use replications::{FailedTask, LogAt, Replications, TaskLog};
pub use round::{
    Account, BackendFacts, Certificate, ForeignToken, HeldToken, KeyCensus, ResponseCount, Round,
    Traffic,
};
pub use setting::{Setting, Settings, Told};
pub use snapshot::{Assessment, Judged, Leeway, ProgramFacts, RegistryState, Snapshot};
pub use text::one_line;
pub use timeline::Timeline;
pub use token::{AccessEntry, KeyForm, KeyId, TokenFacts};
pub use upload::{
    Begun, PushFailure, PushRun, PushStep, Pushed, ReadBack, SeenAt, UploadVerdict, Uploads,
};
