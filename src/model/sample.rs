//! Rounds for tests: a healthy one, and ways to bend it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    AccessScheme, Account, Answer, Assessment, AuthScheme, BackendFacts, BackendName, BalancerRun,
    Caller, Cell, CellResult, Certificate, Challenge, ClockInterval, ClockReading, ClockSource,
    Confidence, Failure, Family, Finding, FindingName, Flow, FlowResult, Issuer, Judged, KeyCount,
    KeyId, Leeway, Matrix, Outcome, Phase, ProgramFacts, Ratio, Reason, Refusal, RegistryName,
    RegistryState, Remedy, Reproduction, ResponseCount, Round, Route, SampledFlow, Severity, Share,
    Snapshot, Status, Step, StepReport, Timeline, TokenFacts, Version,
};

/// A key id in libtrust's form.
pub(crate) const KEY: &str = "ROZD:ZLAK:BIJH:7DHL:6KGU:MRHU:CSG3:JQUX:P4QU:EQIE:ABJS:MSDK";
/// Another one.
pub(crate) const OTHER_KEY: &str = "Q2AW:W5TJ:JHGP:KF4B:ZZZA:6NIQ:OPI3:YXVC:2Q7T:LHMB:4S5D:77XA";

pub(crate) fn backend(name: &str) -> BackendName {
    BackendName::parse(name).expect("a backend's name")
}

pub(crate) fn registry(name: &str) -> RegistryName {
    RegistryName::parse(name).expect("a registry's name")
}

/// `lb` is the load balancer, anything else a backend.
pub(crate) fn route(name: &str) -> Route {
    if name == "lb" { Route::Balancer } else { Route::Backend(backend(name)) }
}

/// The moment at which every sample round began.
pub(crate) fn started() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).expect("a moment")
}

fn token() -> TokenFacts {
    let now = started().timestamp();
    TokenFacts {
        length: 700,
        kid: Some(KeyId::from_wire(KEY)),
        alg: "RS256".into(),
        has_chain: false,
        issuer: Some("harbor-token-issuer".into()),
        subject: Some("robot$prober".into()),
        audience: vec!["harbor-registry".into()],
        audience_is_list: false,
        issued_at: Some(now),
        not_before: Some(now),
        expires_at: Some(now + 1800),
        expires_in: Some(1800),
        access: Vec::new(),
    }
}

fn timeline(milliseconds: u64) -> Timeline {
    [Phase::Dns, Phase::Connect, Phase::Tls, Phase::Wait, Phase::Transfer]
        .into_iter()
        .fold(Timeline::default(), |line, phase| {
            line.then(phase, Duration::from_millis(milliseconds))
        })
}

fn flow(route: Route) -> Flow {
    let challenge = Challenge {
        scheme: AuthScheme::Bearer,
        realm: Some("https://hub.example.com/service/token".into()),
        service: Some("harbor-registry".into()),
        scope: None,
        error: None,
    };
    let step = |step, status| StepReport {
        step,
        answer: Some(Answer { status, ..Answer::default() }),
        failure: None,
        timeline: timeline(2),
    };
    Flow {
        scheme: AccessScheme::Token,
        issuer: Some(Issuer::Route(route.clone())),
        route,
        steps: vec![step(Step::Challenge, 401), step(Step::Token, 200), step(Step::Access, 200)],
        challenge: Outcome::Measured(challenge),
        token: Outcome::Measured(token()),
        result: FlowResult::Success,
        other_method: None,
        lost_before: None,
    }
}

fn responses(route: &Route) -> [ResponseCount; 3] {
    [(Step::Challenge, 401, false), (Step::Token, 200, false), (Step::Access, 200, true)].map(
        |(step, code, authenticated)| ResponseCount {
            route: route.clone(),
            step,
            code,
            authenticated,
            count: 1,
        },
    )
}

/// A round of the registry `main` in which nothing is wrong.
pub(crate) fn round(backends: &[&str]) -> Round {
    let names: Vec<BackendName> = backends.iter().map(|name| backend(name)).collect();
    let routes: Vec<Route> =
        names.iter().cloned().map(Route::Backend).chain([Route::Balancer]).collect();
    let cells = routes.iter().flat_map(|issuer| {
        routes.iter().map(|verifier| Cell {
            issuer: Issuer::Route(issuer.clone()),
            verifier: verifier.clone(),
            key: Some(KeyId::from_wire(KEY)),
            age_seconds: 0.01,
            result: CellResult::Accepted,
        })
    });
    let clock = |name: &BackendName, source| ClockReading {
        samples: 12,
        ..ClockReading::new(name.clone(), source, ClockInterval::between(-0.4, 0.2))
    };
    Round {
        registry: registry("main"),
        url: "https://hub.example.com".into(),
        scope: None,
        account: Account::Robot,
        caller: Caller { username: Some("robot$prober".into()), ..Caller::default() },
        started: started(),
        seconds: 1.5,
        request_ids: "registry-prober-00000000000000ff-".into(),
        discovery_error: None,
        backends: names
            .iter()
            .zip(1..)
            .map(|(name, n)| BackendFacts {
                name: name.clone(),
                address: format!("10.0.0.{n}:443"),
                ready: true,
                family: Family::Harbor2,
                version: Outcome::Measured(Some(Version { major: 2, minor: 10, patch: 3 })),
                settings: super::Settings::new(),
            })
            .collect(),
        flows: routes.iter().cloned().map(flow).collect(),
        matrix: Matrix { cells: cells.collect() },
        balancer: Outcome::Measured(BalancerRun {
            pairs: Ratio { events: 0, trials: 20 },
            client_flows: Ratio { events: 0, trials: 20 },
            keys: vec![KeyCount { key: KeyId::from_wire(KEY), tokens: 40 }],
            ..BalancerRun::default()
        }),
        key_census: Vec::new(),
        foreign_tokens: Vec::new(),
        traffic: Vec::new(),
        held_tokens: Vec::new(),
        checks: super::Checks::default(),
        clocks: names
            .iter()
            .flat_map(|name| [clock(name, ClockSource::Date), clock(name, ClockSource::Iat)])
            .collect(),
        clock_step_seconds: None,
        processor_wait_seconds: 0.0,
        certificates: routes
            .iter()
            .map(|route| Certificate {
                route: route.clone(),
                fingerprint: "5d".repeat(32),
                not_before: started() - Duration::from_secs(275 * 86_400),
                not_after: started() + Duration::from_secs(90 * 86_400),
                names: vec!["hub.example.com".into()],
                chain_length: 2,
                invalid: None,
            })
            .collect(),
        responses: routes.iter().flat_map(responses).collect(),
    }
}

/// The healthy round after `change`.
pub(crate) fn changed(backends: &[&str], change: impl FnOnce(&mut Round)) -> Round {
    let mut round = round(backends);
    change(&mut round);
    round
}

/// Lets a verifier refuse an issuer's token, for good, with 401.
pub(crate) fn refuse(round: &mut Round, issuer: &str, verifier: &str) {
    set_cell(
        round,
        issuer,
        verifier,
        CellResult::Refused(Refusal {
            answer: Answer { status: 401, ..Answer::default() },
            tries: 5,
            healed_after: None,
            refused_until: 8.5,
        }),
    );
}

/// Gives a pair another result.
pub(crate) fn set_cell(round: &mut Round, issuer: &str, verifier: &str, result: CellResult) {
    let (issuer, verifier) = (Issuer::Route(route(issuer)), route(verifier));
    let cell = round
        .matrix
        .cells
        .iter_mut()
        .find(|cell| cell.issuer == issuer && cell.verifier == verifier);
    cell.expect("a pair of the round").result = result;
}

/// Lets a route's flow fail at a step; later steps did not run.
pub(crate) fn fail(round: &mut Round, at: &str, step: Step, reason: Reason) {
    let failure = Failure { phase: None, reason, detail: "as ordered".into() };
    let at = route(at);
    let flow = round.flows.iter_mut().find(|flow| flow.route == at).expect("a route");
    flow.steps.retain(|report| report.step <= step);
    if let Some(report) = flow.steps.last_mut() {
        report.failure = Some(failure.clone());
    }
    if step <= Step::Token {
        flow.token = Outcome::Failed(failure.clone());
    }
    flow.result = FlowResult::Failed { step, failure };
}

/// Lets a number of sampled requests through the balancer fail.
pub(crate) fn lose(run: &mut BalancerRun, times: u32, reason: Reason) {
    for _ in 0..times {
        let failure = Failure { phase: None, reason, detail: "as ordered".into() };
        run.fail(SampledFlow::Pair, Step::Access, failure, None);
    }
}

/// Lets a route sign with another key.
pub(crate) fn sign_with(round: &mut Round, at: &str, key: &str) {
    let at = route(at);
    for flow in round.flows.iter_mut().filter(|flow| flow.route == at) {
        if let Outcome::Measured(token) = &mut flow.token {
            token.kid = Some(KeyId::from_wire(key));
        }
    }
}

/// One thing to do.
pub(crate) fn remedy(text: &str, commands: &[&str]) -> Remedy {
    let commands = commands.iter().map(|command| (*command).to_owned()).collect();
    Remedy { text: text.to_owned(), commands }
}

/// A finding with every text filled.
pub(crate) fn finding(name: FindingName, severity: Severity, backends: &[&str]) -> Finding {
    Finding {
        finding: name,
        severity,
        confidence: Confidence::Proved,
        backends: backends.iter().map(|name| backend(name)).collect(),
        since: started(),
        summary: format!("Something is wrong with {}.", backends.join(" and ")),
        effect: "A third of all pulls fail.".into(),
        evidence: vec!["a refuses the tokens of b for good".into()],
        remedies: vec![remedy("Copy private_key.pem of a to b and restart core.", &[])],
        alternatives: Vec::new(),
        confirm: "sha256sum private_key.pem on both nodes".into(),
        explains: 1,
        reproduce: vec![Reproduction {
            text: "show a token of b to a: status 401".into(),
            status: Some(401),
            command: "curl -u 'robot$prober' https://hub.example.com/v2/".into(),
        }],
    }
}

/// A round with findings, and the figures that would go with it.
pub(crate) fn judged(round: Round, findings: Vec<Finding>) -> Arc<Judged> {
    let names: Vec<BackendName> = round.backends.iter().map(|facts| facts.name.clone()).collect();
    let count = u32::try_from(names.len()).expect("few backends");
    let assessment = Assessment {
        status: Status::of(&findings),
        findings,
        shares: names
            .iter()
            .map(|name| Share {
                backend: Some(name.clone()),
                share: 1.0 / f64::from(count),
                interval: None,
                distinct: true,
            })
            .collect(),
        expected_unauthorized: Some(0.0),
        unauthorized_interval: Some((0.0, 0.16)),
        leeways: names.into_iter().map(|name| (name, Leeway::Seconds(60.0))).collect(),
        clock_margin: Some(59.4),
        clock_words: vec!["The backends are at most 0.60 s apart.".into()],
        ..Assessment::default()
    };
    Arc::new(Judged { round, assessment })
}

/// The snapshot in which these rounds are the newest.
pub(crate) fn snapshot(rounds: &[Arc<Judged>]) -> Snapshot {
    let state = |judged: &Arc<Judged>| RegistryState {
        url: judged.round.url.clone(),
        interval_seconds: 15.0,
        routes: judged.round.flows.iter().map(|flow| flow.route.clone()).collect(),
        latest: Some(judged.clone()),
    };
    Snapshot {
        registries: rounds.iter().map(|j| (j.round.registry.clone(), state(j))).collect(),
        program: program(),
    }
}

/// The snapshot before the first round of `main` ended.
pub(crate) fn fresh_snapshot(backends: &[&str]) -> Snapshot {
    let state = RegistryState {
        url: "https://hub.example.com".into(),
        interval_seconds: 15.0,
        routes: backends.iter().copied().chain(["lb"]).map(route).collect(),
        latest: None,
    };
    Snapshot { registries: BTreeMap::from([(registry("main"), state)]), program: program() }
}

fn program() -> ProgramFacts {
    ProgramFacts { reload_successful: true, reload_success: started(), reload_error: None }
}
