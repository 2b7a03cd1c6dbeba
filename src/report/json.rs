//! `check --output=json`: a contract with programs.
//!
//! The shapes are this file's own and not the model's, so that a change inside the program
//! changes no field by accident. `deploy/schema/check.schema.json` is generated from them, and a
//! test holds the shipped file to the code. Fields may be added; none is renamed or dropped. Every
//! field is always there; what was not measured is `null` or an empty list.

use chrono::SecondsFormat;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::Serialize;
use serde_json::Value;

use super::backends::{BackendReport, UrlReport, backends, public_urls};
use super::checks::{CheckMatrices, CheckReport, CheckValues, checks, matrices, values};
use super::clients::{ClientReport, client};
use super::observed::{
    Missing, Observed, SampleLoss, Traced, failures, missing, observations, trace,
};
use super::pair::PairResult;
use super::wording::{clean, micros};
use crate::model::{
    self, CellResult, ClockSource, Confidence, Evidence, FindingName, Judged, Reason, RegistryName,
    RegistryState, Remedy, Reproduction, Severity, Snapshot, Status, Step,
};

/// The diagnosis of one or more container registries.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "registry-prober check --output=json")]
pub struct Document {
    /// Version of the program.
    pub version: &'static str,
    /// The worst status of all registries; `unknown` where nothing was measured.
    pub status: Status,
    /// Every registry, sorted by name.
    pub registries: Vec<Registry>,
}

/// One registry.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Registry {
    /// Its name in the configuration.
    pub name: String,
    /// Its public URL.
    pub url: String,
    /// The worst severity of its findings, or `unknown` where too little was measured to say that
    /// it is less than critical.
    pub status: Status,
    /// When the round began, by the prober's clock, in UTC; null without a round.
    #[schemars(extend("format" = "date-time"))]
    pub started: Option<String>,
    /// How long the round took, in seconds; null without a round.
    pub seconds: Option<f64>,
    /// Named causes, worst first. A healthy registry has none.
    pub findings: Vec<Finding>,
    /// What the backends tell of themselves: family, version, settings.
    pub backends: Vec<BackendReport>,
    /// One token flow over each route, backends first.
    pub routes: Vec<Route>,
    /// Tokens carried from each issuer to each verifier.
    pub matrix: Vec<Pair>,
    /// The extra checks, and why any did not run.
    pub checks: Vec<CheckReport>,
    /// Where the challenges of each route send clients, under `/v2/` and under a repository.
    pub public_url: Vec<UrlReport>,
    /// Cookies, sessions and uploads carried from each issuer to each verifier, by the check that
    /// did it; empty lists where it did not run.
    pub check_matrices: CheckMatrices,
    /// What checks found at each backend or route; empty lists where they did not run.
    pub check_values: CheckValues,
    /// Clocks, by backend and source.
    pub clocks: Vec<Clock>,
    /// The key that signed the token which each backend's flow was given.
    pub keys: Vec<Key>,
    /// The sampling through the load balancer; null if it was not done.
    pub balancer: Option<Balancer>,
    /// Everything that a sound registry does not show, each with the finding that explains it.
    pub observations: Vec<Observed>,
    /// What had to be measured and was not.
    pub unmeasured: Vec<Missing>,
    /// Every cause that was considered and what became of it; null unless it was asked for.
    pub trace: Option<Vec<Traced>>,
}

/// One named cause.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Finding {
    /// Its name.
    pub finding: FindingName,
    /// How bad it is for users.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// The backends at fault; empty if the cause lies elsewhere or cannot be placed.
    pub backends: Vec<String>,
    /// Since when it lasts, RFC 3339; a single check knows of no earlier round.
    pub since: String,
    /// What is wrong, and where, in one sentence.
    pub summary: String,
    /// What it does to users.
    pub effect: String,
    /// What was measured, one fact an entry.
    pub evidence: Vec<Evidence>,
    /// What to do, best first.
    pub remedies: Vec<Remedy>,
    /// Other causes that fit the same evidence; empty if it is proved.
    pub alternatives: Vec<FindingName>,
    /// What would confirm it.
    pub confirm: String,
    /// How many refused pairs and failed flows of the round it explains.
    pub explains: u32,
    /// Commands that show them: failed flows and pairs, those through the load balancer only where no
    /// node failed; at most 144.
    pub reproduce: Vec<Reproduction>,
    /// The path of its runbook page at a running daemon.
    pub runbook: String,
}

/// The token flow over one route.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Route {
    /// A backend's name, or `lb` for the public URL through the load balancer.
    pub route: String,
    /// Whether every step passed.
    pub success: bool,
    /// The step that failed; null on success.
    #[schemars(schema_with = "step_word")]
    pub step: Option<&'static str>,
    /// Why it failed; null on success.
    #[schemars(schema_with = "reason_word")]
    pub reason: Option<&'static str>,
    /// For people: what was found, and what was expected; null on success.
    pub detail: Option<String>,
    /// The time of all steps that ran, in seconds.
    pub seconds: f64,
}

/// One cell of the matrix: a token of one issuer shown to one verifier.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Pair {
    /// The route whose token endpoint issued the token, or the authority of a separate token
    /// server.
    pub issuer: String,
    /// The route that was shown the token.
    pub verifier: String,
    /// What came of it. A pair that was refused first and accepted later is `refused`.
    pub result: PairResult,
    /// Why it was refused (`unauthorized`, `forbidden`), failed (a reason as in `routes`) or
    /// skipped; null if it was accepted.
    pub reason: Option<&'static str>,
    /// Seconds after the first try at which the same token was accepted; null if it never was
    /// refused or never healed.
    pub healed_after_seconds: Option<f64>,
}

/// The clock of one backend by one source: backend minus prober.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Clock {
    /// Whose clock.
    pub backend: String,
    /// Where it was read: the `Date` header, `iat` of a token, the CSRF cookie, system information,
    /// or the state of an upload.
    #[schemars(schema_with = "source_word")]
    pub source: &'static str,
    /// The middle of the interval, in seconds; positive means ahead of the prober.
    pub offset_seconds: f64,
    /// The least offset that the samples allow, in seconds.
    pub lower_bound_seconds: f64,
    /// The greatest offset that the samples allow, in seconds.
    pub upper_bound_seconds: f64,
    /// How many samples.
    pub samples: u32,
    /// Whether the samples exclude each other: the clock stepped, or several clocks answer.
    pub contradiction: bool,
    /// What became of the clock since the round before: `new`, `ok`, `step`, `slewing`, `multiple`
    /// or `inconsistent`.
    pub status: &'static str,
    /// How fast it runs against the prober's, in parts per million; null where that is not known.
    pub drift_ppm: Option<f64>,
}

/// A signing key.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Key {
    /// The backend whose flow was given a token of this key.
    pub backend: String,
    /// `kid` of the token; null where the token carries a certificate instead.
    pub kid: Option<String>,
    /// `alg` of the token.
    pub alg: String,
}

/// Flows through the load balancer. Independent flows and those of clients are never mixed in one
/// figure.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Balancer {
    /// Independent flows: token and access each on a connection of their own.
    pub flows: u32,
    /// How many of them were answered 401 with a fresh token.
    pub unauthorized: u32,
    /// `unauthorized` over `flows`, 0 to 1; null without flows.
    pub unauthorized_ratio: Option<f64>,
    /// The 95 % Wilson interval of that ratio: lower bound, upper bound; null without flows.
    pub unauthorized_ratio_interval: Option<(f64, f64)>,
    /// The ratio that the matrix and the shares predict; null if they cannot.
    pub expected_unauthorized_ratio: Option<f64>,
    /// The 95 % interval of that prediction: lower bound, upper bound; null without one.
    pub expected_unauthorized_ratio_interval: Option<(f64, f64)>,
    /// What each kind of client feels.
    pub clients: Vec<ClientReport>,
    /// Requests that were lost or failed otherwise than by a refused token; they are in none of the
    /// figures above.
    pub lost: u32,
    /// Those requests by flow, step and reason.
    pub failures: Vec<SampleLoss>,
    /// Who answered.
    pub shares: Vec<Share>,
}

/// The share of one backend in the load balancer's answers.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Share {
    /// The backend's name; `unknown` for answers of none that is configured.
    pub backend: String,
    /// 0 to 1.
    pub share: f64,
    /// Its 95 % interval: lower bound, upper bound; null where it is not known.
    pub interval: Option<(f64, f64)>,
}

/// The contract's view of a snapshot, with the trace of the diagnosis if that is asked for. Texts
/// that came from servers hold no control characters.
pub fn document(snapshot: &Snapshot, with_trace: bool) -> Document {
    Document {
        version: env!("CARGO_PKG_VERSION"),
        status: snapshot.status(),
        registries: snapshot
            .registries
            .iter()
            .map(|(name, state)| registry(name, state, with_trace))
            .collect(),
    }
}

/// The JSON Schema of [`Document`], as shipped in `deploy/schema/check.schema.json`.
pub fn schema_json() -> String {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    pretty(&generator.into_root_schema_for::<Document>())
}

pub(super) fn render(snapshot: &Snapshot, with_trace: bool) -> String {
    pretty(&document(snapshot, with_trace))
}

#[expect(clippy::expect_used, reason = "structs with named fields always serialise to a string")]
fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("named fields") + "\n"
}

fn registry(name: &RegistryName, state: &RegistryState, with_trace: bool) -> Registry {
    let empty = Registry {
        name: name.to_string(),
        url: clean(&state.url),
        status: Status::Unknown,
        started: None,
        seconds: None,
        findings: Vec::new(),
        backends: Vec::new(),
        routes: Vec::new(),
        matrix: Vec::new(),
        checks: Vec::new(),
        public_url: Vec::new(),
        check_matrices: CheckMatrices::default(),
        check_values: CheckValues::default(),
        clocks: Vec::new(),
        keys: Vec::new(),
        balancer: None,
        observations: Vec::new(),
        unmeasured: Vec::new(),
        trace: None,
    };
    let Some(judged) = state.latest.as_deref() else { return empty };
    let round = &judged.round;
    Registry {
        status: judged.assessment.status,
        started: Some(round.started.to_rfc3339_opts(SecondsFormat::Millis, true)),
        seconds: Some(micros(round.seconds)),
        findings: judged.assessment.findings.iter().map(finding).collect(),
        backends: backends(round),
        routes: round.flows.iter().map(route).collect(),
        matrix: round.matrix.cells.iter().map(pair).collect(),
        checks: checks(round),
        public_url: public_urls(round),
        check_matrices: matrices(round),
        check_values: values(round),
        clocks: round.clocks.iter().map(clock).collect(),
        keys: round.flows.iter().filter_map(key).collect(),
        balancer: balancer(judged),
        observations: observations(&judged.assessment),
        unmeasured: missing(&judged.assessment.unmeasured),
        trace: with_trace.then(|| trace(&judged.assessment.trace)),
        ..empty
    }
}

fn finding(finding: &model::Finding) -> Finding {
    Finding {
        finding: finding.finding,
        severity: finding.severity,
        confidence: finding.confidence,
        backends: finding.backends.iter().map(ToString::to_string).collect(),
        since: finding.since.to_rfc3339_opts(SecondsFormat::Secs, true),
        summary: clean(&finding.summary),
        effect: clean(&finding.effect),
        evidence: finding.evidence.iter().map(evidence).collect(),
        remedies: finding.remedies.iter().map(remedy).collect(),
        alternatives: finding.alternatives.clone(),
        confirm: clean(&finding.confirm),
        explains: finding.explains,
        reproduce: finding.reproduce.iter().map(reproduction).collect(),
        runbook: format!("/runbooks/{}", finding.finding),
    }
}

fn evidence(fact: &Evidence) -> Evidence {
    let numbers = fact.numbers.iter().map(|(name, number)| (*name, micros(*number)));
    Evidence { text: clean(&fact.text), numbers: numbers.collect() }
}

fn remedy(remedy: &Remedy) -> Remedy {
    Remedy {
        text: clean(&remedy.text),
        commands: remedy.commands.iter().map(|command| clean(command)).collect(),
    }
}

fn reproduction(shown: &Reproduction) -> Reproduction {
    let (text, command) = (clean(&shown.text), clean(&shown.command));
    Reproduction { text, command, ..shown.clone() }
}

fn route(flow: &model::Flow) -> Route {
    let failure = flow.failure();
    Route {
        route: flow.route.to_string(),
        success: flow.succeeded(),
        step: failure.map(|(step, _)| step.as_str()),
        reason: failure.map(|(_, failure)| failure.reason.as_str()),
        detail: failure.map(|(_, failure)| clean(&failure.detail)),
        seconds: micros(flow.seconds()),
    }
}

fn pair(cell: &model::Cell) -> Pair {
    Pair {
        issuer: clean(cell.issuer.as_str()),
        verifier: cell.verifier.to_string(),
        result: match cell.result {
            CellResult::Accepted => PairResult::Accepted,
            CellResult::Refused(_) => PairResult::Refused,
            CellResult::Failed { .. } => PairResult::Failed,
            CellResult::Skipped { .. } => PairResult::Skipped,
        },
        reason: cell.reason(),
        healed_after_seconds: cell.refusal().and_then(|r| r.healed_after).map(micros),
    }
}

fn clock(reading: &model::ClockReading) -> Clock {
    Clock {
        backend: reading.backend.to_string(),
        source: reading.source.as_str(),
        offset_seconds: micros(reading.interval.middle()),
        lower_bound_seconds: micros(reading.interval.lower()),
        upper_bound_seconds: micros(reading.interval.upper()),
        samples: reading.samples,
        contradiction: reading.contradiction,
        status: reading.status.as_str(),
        drift_ppm: reading.drift.map(|drift| drift.ppm),
    }
}

fn key(flow: &model::Flow) -> Option<Key> {
    let (backend, token) = (flow.route.backend()?, flow.token.measured()?);
    Some(Key {
        backend: backend.to_string(),
        kid: token.kid.as_ref().map(|kid| clean(kid.as_str())),
        alg: clean(&token.alg),
    })
}

fn balancer(judged: &Judged) -> Option<Balancer> {
    let run = judged.round.balancer.measured()?;
    let assessment = &judged.assessment;
    Some(Balancer {
        flows: run.pairs.trials,
        unauthorized: run.pairs.events,
        unauthorized_ratio: run.pairs.value().map(micros),
        unauthorized_ratio_interval: assessment.unauthorized_interval.map(both),
        expected_unauthorized_ratio: assessment.expected_unauthorized.map(micros),
        expected_unauthorized_ratio_interval: assessment.expected_interval.map(both),
        clients: assessment.clients.iter().map(client).collect(),
        lost: run.lost(),
        failures: failures(run),
        shares: assessment.shares.iter().map(share).collect(),
    })
}

fn share(share: &model::Share) -> Share {
    Share {
        backend: share.backend.as_ref().map_or("unknown", model::BackendName::as_str).to_owned(),
        share: micros(share.share),
        interval: share.interval.map(both),
    }
}

fn both((lower, upper): (f64, f64)) -> (f64, f64) {
    (micros(lower), micros(upper))
}

fn step_word(_: &mut SchemaGenerator) -> Schema {
    nullable(Step::ALL.iter().map(|step| step.as_str()))
}

fn reason_word(_: &mut SchemaGenerator) -> Schema {
    nullable(Reason::ALL.iter().map(|reason| reason.as_str()))
}

fn source_word(_: &mut SchemaGenerator) -> Schema {
    let words = ClockSource::ALL.map(ClockSource::as_str);
    json_schema!({"type": "string", "enum": words})
}

fn nullable(words: impl Iterator<Item = &'static str>) -> Schema {
    let words: Vec<Value> = words.map(Value::from).chain([Value::Null]).collect();
    json_schema!({"type": ["string", "null"], "enum": words})
}
