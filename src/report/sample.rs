//! Snapshots built by hand for the tests of this room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;

use crate::model::sample::remedy;
use crate::model::{
    AccessScheme, Account, Answer, Assessment, BackendFacts, BackendName, BalancerRun, BodyLimit,
    Caller, Cell, CellResult, Checked, Checks, ClientKind, ClientRun, ClientView, ClockInterval,
    ClockReading, ClockSource, ComponentHealth, Confidence, Content, ContentAt, ContentFound,
    CsrfVerdict, Estimate, Failure, Family, Finding, FindingName, Flow, FlowResult, Issuer, Judged,
    KeyId, Matrix, Named, OfPair, OfRoute, Outcome, Phase, ProgramFacts, Ratio, Reason, Refusal,
    RegistryName, RegistryState, Reproduction, Round, Route, SampleFailure, SampledFlow, Setting,
    Severity, Share, Skipped, Snapshot, Status, Step, StepReport, Timeline, TokenFacts, Told,
    UploadVerdict, Uploads, UrlSaid,
};

const GOOD_KEY: &str = "ROZD:ZLAK:BIJH:7DHL:6KGU:MRHU:CSG3:JQUX:P4QU:EQIE:ABJS:MSDK";
const OTHER_KEY: &str = "Q2YD:PV7X:LHSM:4KAU:WZ3T:6BNC:FEJO:RI5G:2DKX:TMQ7:YHVA:U4LP";

/// The name of the n-th backend, from 1.
pub(super) fn backend(number: usize) -> BackendName {
    BackendName::parse(&format!("harbor-{number:02}")).unwrap()
}

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn step(step: Step, milliseconds: u64) -> StepReport {
    let timeline = Timeline::default()
        .then(Phase::Connect, millis(1))
        .then(Phase::Wait, millis(milliseconds - 1));
    StepReport { step, answer: None, failure: None, timeline }
}

fn token(key: &str) -> TokenFacts {
    TokenFacts {
        length: 700,
        kid: Some(KeyId::from_wire(key)),
        alg: "RS256".to_owned(),
        has_chain: false,
        issuer: None,
        subject: Some("robot$prober".to_owned()),
        audience: vec!["harbor-registry".to_owned()],
        audience_is_list: false,
        issued_at: None,
        not_before: None,
        expires_at: None,
        expires_in: None,
        access: Vec::new(),
    }
}

fn flow(route: Route) -> Flow {
    Flow {
        scheme: AccessScheme::Token,
        issuer: Some(Issuer::Route(route.clone())),
        route,
        steps: vec![step(Step::Challenge, 8), step(Step::Token, 46), step(Step::Access, 12)],
        challenge: Outcome::Skipped(Skipped::Disabled),
        token: Outcome::Measured(token(GOOD_KEY)),
        result: FlowResult::Success,
        other_method: None,
        lost_before: None,
    }
}

fn reading(backend: BackendName, source: ClockSource, middle: f64) -> ClockReading {
    let interval = ClockInterval::between(middle - 0.26, middle + 0.26);
    ClockReading { samples: 12, ..ClockReading::new(backend, source, interval) }
}

/// A round of a number of backends in which everything is right.
pub(super) fn healthy(backends: usize) -> Judged {
    let names: Vec<BackendName> = (1..=backends).map(backend).collect();
    let routes: Vec<Route> =
        names.iter().cloned().map(Route::Backend).chain([Route::Balancer]).collect();
    let cell = |issuer: &Route, verifier: &Route| Cell {
        issuer: Issuer::Route(issuer.clone()),
        verifier: verifier.clone(),
        key: Some(KeyId::from_wire(GOOD_KEY)),
        age_seconds: 0.1,
        result: CellResult::Accepted,
    };
    let cells = routes.iter().flat_map(|i| routes.iter().map(move |v| cell(i, v))).collect();
    let clocks = names.iter().flat_map(|name| {
        [
            reading(name.clone(), ClockSource::Date, 0.012),
            reading(name.clone(), ClockSource::Iat, 0.2),
        ]
    });
    #[expect(clippy::cast_precision_loss, reason = "a handful of backends")]
    let share = 1.0 / backends as f64;
    let shares = names.iter().map(|name| Share {
        backend: Some(name.clone()),
        share,
        interval: None,
        distinct: true,
    });
    Judged {
        round: Round {
            registry: RegistryName::parse("main").unwrap(),
            url: "https://hub.example.com".to_owned(),
            scope: None,
            account: Account::Robot,
            caller: Caller::default(),
            started: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
            seconds: 1.234_567_8,
            request_ids: "registry-prober-00000000000000ff-".to_owned(),
            discovery_error: None,
            backends: Vec::new(),
            flows: routes.iter().cloned().map(flow).collect(),
            matrix: Matrix { cells },
            balancer: Outcome::Measured(BalancerRun {
                pairs: Ratio { events: 0, trials: 20 },
                client_flows: Ratio { events: 0, trials: 10 },
                ..BalancerRun::default()
            }),
            key_census: Vec::new(),
            foreign_tokens: Vec::new(),
            traffic: Vec::new(),
            held_tokens: Vec::new(),
            checks: Checks {
                authorization_header: Checked {
                    at: DateTime::from_timestamp(1_790_000_000, 0),
                    requests: 4,
                    found: Outcome::Measured(Vec::new()),
                },
                ..Checks::default()
            },
            clocks: clocks.collect(),
            clock_step_seconds: None,
            processor_wait_seconds: 0.0,
            certificates: Vec::new(),
            responses: Vec::new(),
        },
        assessment: Assessment {
            status: Status::Ok,
            findings: Vec::new(),
            shares: shares.collect(),
            expected_unauthorized: Some(0.0),
            unauthorized_interval: Some((0.0, 0.161_125)),
            clients: ClientKind::ALL.map(|kind| client(kind, 0, 0.0)).into(),
            ..Assessment::default()
        },
    }
}

/// What a kind of client feels of a round: this number of its ten logins failed.
fn client(client: ClientKind, failed: u32, images: f64) -> ClientView {
    let run = ClientRun { logins: Ratio { events: failed, trials: 10 }, ..ClientRun::of(client) };
    let around =
        |value: f64| Estimate { value, lower: value / 2.0, upper: value + (1.0 - value) / 2.0 };
    let (login, image) = (around(f64::from(failed) / 10.0), Some(around(images)));
    ClientView { run, login, pull: image, push: image }
}

/// Lets the backends tell these settings, and every route these realms.
pub(super) fn tell(judged: &mut Judged, settings: &[(Setting, &str)], realm: &str) {
    let told = |(setting, value): &(Setting, &str)| {
        (*setting, Told { value: (*value).to_owned(), settled: true })
    };
    let named = |realm: &str| Named {
        realm: realm.to_owned(),
        service: Some("harbor-registry".to_owned()),
        allowed: true,
    };
    let round = &mut judged.round;
    let names = round.flows.iter().filter_map(|flow| flow.route.backend());
    round.backends = names
        .map(|name| BackendFacts {
            name: name.clone(),
            address: "10.0.0.1:443".to_owned(),
            ready: true,
            family: Family::Harbor2,
            version: Outcome::Measured(None),
            settings: settings.iter().map(told).collect(),
        })
        .collect();
    let said = |flow: &Flow| OfRoute {
        route: flow.route.clone(),
        value: Outcome::Measured(UrlSaid {
            base: named(realm),
            repository: Outcome::Measured(named(realm)),
            slash: Outcome::Skipped(Skipped::NotSampled),
        }),
    };
    let found = Outcome::Measured(round.flows.iter().map(said).collect());
    round.checks.public_url = Checked { at: Some(round.started), requests: 8, found };
}

/// A finding with every text filled in plainly.
pub(super) fn finding(
    name: FindingName,
    severity: Severity,
    confidence: Confidence,
    at_fault: &[usize],
) -> Finding {
    Finding {
        finding: name,
        severity,
        confidence,
        backends: at_fault.iter().copied().map(backend).collect(),
        since: DateTime::from_timestamp(1_795_000_000, 0).unwrap(),
        summary: String::new(),
        effect: String::new(),
        evidence: Vec::new(),
        remedies: Vec::new(),
        alternatives: Vec::new(),
        confirm: String::new(),
        explains: 0,
        reproduce: Vec::new(),
    }
}

/// Adds a finding and the status that follows.
pub(super) fn add(judged: &mut Judged, finding: Finding) {
    judged.assessment.findings.push(finding);
    judged.assessment.status = Status::of(&judged.assessment.findings);
}

/// Changes the result of every pair for which the function gives one, by names of issuer and
/// verifier.
pub(super) fn pairs(judged: &mut Judged, change: impl Fn(&str, &str) -> Option<CellResult>) {
    for cell in &mut judged.round.matrix.cells {
        if let Some(result) = change(cell.issuer.as_str(), cell.verifier.as_str()) {
            cell.result = result;
        }
    }
}

/// A refusal, for good or until the token was accepted.
pub(super) fn refused(healed_after: Option<f64>) -> CellResult {
    CellResult::Refused(Refusal {
        answer: Answer { status: 401, ..Answer::default() },
        tries: if healed_after.is_some() { 4 } else { 5 },
        healed_after,
        refused_until: healed_after.map_or(5.0, |seconds| seconds - 1.0),
    })
}

/// Lets a route fail at a step.
pub(super) fn fail(judged: &mut Judged, route: &Route, at: Step, failure: Failure) {
    let flow = judged.round.flows.iter_mut().find(|flow| flow.route == *route).unwrap();
    flow.steps.retain(|report| report.step <= at);
    if at <= Step::Token {
        flow.token = Outcome::Skipped(Skipped::EarlierStepFailed);
    }
    flow.result = FlowResult::Failed { step: at, failure };
}

/// A command that shows a token of one backend to another.
fn shown((issuer, verifier): (usize, usize)) -> Reproduction {
    let (from, to) = (backend(issuer), backend(verifier));
    let curl = |address: usize| {
        format!(
            "curl -sS -g -m 10 --noproxy '*' \
             -H 'X-Request-Id: registry-prober-00000000000000ff-curl-{issuer}' \
             --resolve hub.example.com:443:10.0.0.{address}"
        )
    };
    Reproduction {
        text: format!("show a token of {from} to {to}: status 401"),
        status: Some(401),
        command: format!(
            "TOKEN=$({} -u 'robot$prober' -G --data-urlencode service=harbor-registry \
             https://hub.example.com/service/token | \
             grep -oE '\"(access_)?token\" *: *\"[^\"]+\"' | head -n 1 | cut -d '\"' -f 4); \
             {} -H @- -o /dev/null -w '%{{http_code}}\\n' https://hub.example.com/v2/ <<< \
             \"Authorization: Bearer ${{TOKEN:?no token came}}\"",
            curl(issuer),
            curl(verifier)
        ),
    }
}

/// One backend of several signs and checks with another key.
pub(super) fn key_mismatch(backends: usize, at_fault: usize) -> Judged {
    let mut judged = healthy(backends);
    let odd = backend(at_fault);
    pairs(&mut judged, |issuer, verifier| {
        ((issuer == odd.as_str()) != (verifier == odd.as_str())).then(|| refused(None))
    });
    for flow in &mut judged.round.flows {
        if flow.route.backend() == Some(&odd) {
            flow.token = Outcome::Measured(token(OTHER_KEY));
        }
    }
    let refusal = Failure::of_answer(Reason::Unauthorized, "401 where 200 was due: invalid_token");
    fail(&mut judged, &Route::Balancer, Step::Access, refusal);
    judged.round.balancer = Outcome::Measured(BalancerRun {
        pairs: Ratio { events: 9, trials: 20 },
        client_flows: Ratio { events: 6, trials: 10 },
        failures: vec![SampleFailure {
            flow: SampledFlow::Pair,
            step: Step::Access,
            failure: Failure {
                phase: Some(Phase::Wait),
                reason: Reason::ConnectionReset,
                detail: "closed after 0 bytes".to_owned(),
            },
            answer: None,
            count: 1,
        }],
        ..BalancerRun::default()
    });
    judged.assessment.expected_unauthorized = Some(0.444_444_4);
    judged.assessment.unauthorized_interval = Some((0.258_2, 0.657_9));
    judged.assessment.clients = vec![
        client(ClientKind::Docker, 5, 0.97),
        client(ClientKind::Podman, 6, 0.97),
        client(ClientKind::Containerd, 0, 0.0),
    ];
    let cause = Finding {
        summary: format!("{odd} signs and checks tokens with another key than the other backends"),
        effect: "docker logins: 50 % fail; a docker pull of ten layers: 97 %; podman logins: 60 % \
                 fail; a podman pull of ten layers: 97 %; Kubernetes nodes (containerd) logins: none \
                 of 10 failed. Through the load balancer 9 of 20 (45 %, 95 % interval 26 to 66 %) \
                 fresh tokens were refused"
            .to_owned(),
        evidence: vec![
            format!("key id {} at {odd}, {} at the others", &OTHER_KEY[..9], &GOOD_KEY[..9]).into(),
            "the same token is still refused after 5 s, so waiting does not help".into(),
        ],
        reproduce: (1..=backends)
            .filter(|number| *number != at_fault)
            .flat_map(|number| [(number, at_fault), (at_fault, number)])
            .map(shown)
            .collect(),
        remedies: vec![
            remedy(
                &format!("Copy the key file of a good backend to {odd} and restart core there:"),
                &[
                    &format!(
                        "scp harbor-01:/data/secret/core/private_key.pem {odd}:/data/secret/core/"
                    ),
                    &format!("ssh {odd} docker compose restart core"),
                ],
            ),
            remedy(&format!("Until then take {odd} out of the load balancer"), &[]),
        ],
        confirm: format!("sha256sum of private_key.pem differs between {odd} and the others"),
        explains: 7,
        ..finding(
            FindingName::TokenKeyMismatch,
            Severity::Critical,
            Confidence::Proved,
            &[at_fault],
        )
    };
    add(&mut judged, cause);
    judged
}

/// One backend has a CSRF key of its own, a limit on bodies and a component that is not well; the
/// check of uploads found nothing wrong.
pub(super) fn check_refused() -> Judged {
    let mut judged = healthy(3);
    let names = [backend(1), backend(2), backend(3)];
    let odd = &names[1];
    let csrf = of_pairs(&names, |issuer, verifier| match (issuer == odd, verifier == odd) {
        (true, true) | (false, false) => Outcome::Measured(CsrfVerdict::Accepted),
        _ if *verifier == backend(3) => Outcome::Failed(Failure::of_answer(Reason::BadGateway, "")),
        _ => Outcome::Measured(CsrfVerdict::UnknownKey),
    });
    let upload = of_pairs(&names, |_, verifier| {
        Outcome::Measured(if verifier == odd {
            UploadVerdict::KnownLate { after_ms: 500 }
        } else {
            UploadVerdict::Known
        })
    });
    let told = |name: &BackendName| {
        let redis = ComponentHealth { component: "redis".to_owned(), healthy: name != odd };
        let route = Route::Backend(name.clone());
        OfRoute { route, value: Outcome::Measured(vec![redis]) }
    };
    let limit = |name: &BackendName| OfRoute {
        route: Route::Backend(name.clone()),
        value: Outcome::Measured(if name == odd {
            BodyLimit { passes: 1 << 20, refused: Some((1 << 20) + 1) }
        } else {
            BodyLimit { passes: 20 << 30, refused: None }
        }),
    };
    let content = Content {
        repository: "probe/canary".to_owned(),
        tag: "canary".to_owned(),
        digest: "sha256:aa".to_owned(),
        config: None,
        at: names.iter().map(|name| content_at(name, name != odd)).collect(),
        through: Outcome::Measured(()),
    };
    let checks = &mut judged.round.checks;
    checks.csrf = made(csrf);
    checks.upload = made(Uploads { pairs: upload, ..Uploads::default() });
    checks.health = made(names.iter().map(told).collect());
    checks.body_limit = made(names.iter().map(limit).collect());
    checks.content = made(content);
    let cause = Finding {
        summary: "harbor-02 makes and reads CSRF cookies with another key".to_owned(),
        ..finding(FindingName::CsrfKeyMismatch, Severity::Warning, Confidence::Proved, &[2])
    };
    add(&mut judged, cause);
    judged
}

fn of_pairs<T>(
    names: &[BackendName],
    value: impl Fn(&BackendName, &BackendName) -> Outcome<T>,
) -> Vec<OfPair<T>> {
    let mut pairs = Vec::new();
    for (issuer, verifier) in names.iter().flat_map(|i| names.iter().map(move |v| (i, v))) {
        let value = value(issuer, verifier);
        pairs.push(OfPair { issuer: issuer.clone(), verifier: verifier.clone(), value });
    }
    pairs
}

fn content_at(name: &BackendName, there: bool) -> ContentAt {
    let found = ContentFound {
        listed: true,
        tagged: there.then(|| "sha256:aa".to_owned()),
        manifest: there,
        ..ContentFound::default()
    };
    ContentAt { backend: name.clone(), found: Outcome::Measured(found) }
}

fn made<T>(found: T) -> Checked<T> {
    let at = DateTime::from_timestamp(1_790_000_000, 0);
    Checked { at, requests: 9, found: Outcome::Measured(found) }
}

/// A snapshot of judged registries.
pub(super) fn snapshot(judged: impl IntoIterator<Item = Judged>) -> Snapshot {
    let states = judged.into_iter().map(|judged| {
        let state = RegistryState {
            url: judged.round.url.clone(),
            interval_seconds: 15.0,
            routes: judged.round.flows.iter().map(|flow| flow.route.clone()).collect(),
            latest: Some(Arc::new(judged)),
        };
        (state.latest.as_ref().unwrap().round.registry.clone(), state)
    });
    of_states(states.collect())
}

/// A snapshot of a registry before its first round.
pub(super) fn unmeasured() -> Snapshot {
    let state = RegistryState {
        url: "https://hub.example.com".to_owned(),
        interval_seconds: 15.0,
        routes: vec![Route::Backend(backend(1)), Route::Balancer],
        latest: None,
    };
    of_states(BTreeMap::from([(RegistryName::parse("main").unwrap(), state)]))
}

fn of_states(registries: BTreeMap<RegistryName, RegistryState>) -> Snapshot {
    let program = ProgramFacts {
        reload_successful: true,
        reload_success: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
        reload_error: None,
    };
    Snapshot { registries, program }
}
