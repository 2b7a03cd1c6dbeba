//! One round of one registry, from the first request to the finished [`Round`].

use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use futures_util::future::{join, join_all, join3};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::client::{Client, request_ids};
use super::clocks::Clocks;
use super::extra_samples::ExtraSamples;
use super::memory::{Memories, Memory};
use super::pace::Side;
use super::redact::Redactor;
use super::request::Token;
use super::settings::{KnownSettings, NotedSettings};
use super::suspicion::HeldTokens;
use super::{balancer, caller, check, clock, facts, flow, matrix, plain, suspicion};
use crate::clock::Clock;
use crate::config::{self, Backend};
use crate::model::{
    AccessScheme, Account, BackendFacts, BackendName, BalancerRun, Checks, Flow, ForeignToken,
    HeldToken, KeyCensus, Matrix, Outcome, Ratio, Round, Route,
};
use crate::transport::Wire;

/// How far a round has come, for people who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Token flows over a number of routes.
    Flows(usize),
    /// A number of pairs.
    Matrix(usize),
    /// A number of refused pairs are asked again.
    Ladder(usize),
    /// Everything is measured.
    Done,
}

/// Probes one registry, round after round. Between rounds it remembers sessions and pace of each
/// route, the clocks of the backends, and how many rounds there were.
pub struct Prober {
    registry: Arc<config::Registry>,
    wire: Arc<dyn Wire>,
    /// Shared with twins and guests: to the registry they are one client.
    memory: Arc<Memories>,
    side: Side,
    clocks: Clocks,
    held: HeldTokens,
    checks: check::LastResults,
    extra_samples: ExtraSamples,
    /// Shared with twins, so that what has just changed counts for none of them.
    settings: Arc<Mutex<KnownSettings>>,
    /// Shared too: what a server gave to one, another may send back.
    redactor: Arc<Redactor>,
    rounds: u64,
    seeds: StdRng,
}

impl Prober {
    /// A prober of this registry over this wire.
    pub fn new(registry: Arc<config::Registry>, wire: Arc<dyn Wire>) -> Self {
        Self::seeded(registry, wire, rand::random())
    }

    /// The same with a seed from which all its chance follows, so that a simulation can be
    /// repeated.
    pub fn seeded(registry: Arc<config::Registry>, wire: Arc<dyn Wire>, seed: u64) -> Self {
        let redactor = Arc::new(Redactor::new(&registry));
        Self {
            registry,
            wire,
            memory: Arc::default(),
            side: Side::Own,
            clocks: Clocks::default(),
            held: HeldTokens::default(),
            checks: check::LastResults::default(),
            extra_samples: ExtraSamples::default(),
            settings: Arc::default(),
            redactor,
            rounds: 0,
            seeds: StdRng::seed_from_u64(seed),
        }
    }

    /// A prober that starts again in the place of this one. What the checks found last remains, and
    /// so do sessions and pace of each route.
    #[must_use]
    pub fn twin(&self) -> Self {
        let anew = Self::new(Arc::clone(&self.registry), Arc::clone(&self.wire));
        let (settings, memory) = (Arc::clone(&self.settings), Arc::clone(&self.memory));
        let redactor = Arc::clone(&self.redactor);
        let checks = self.checks.twin();
        Self { checks, settings, memory, redactor, side: self.side, ..anew }
    }

    /// A prober for rounds on demand, next to those of this one and its twins. It runs only the
    /// checks of every round, and reports what the others found last. No route is asked more often
    /// for it: what it sends, the others may not, and they go first.
    #[must_use]
    pub fn on_demand(&self) -> Self {
        Self { checks: self.checks.on_demand(), side: Side::Guest, ..self.twin() }
    }

    /// Forgets what was learned of backends that have another address than before: they are other
    /// machines under an old name.
    pub fn forget_moved(&mut self, before: &[Backend], now: &[Backend]) {
        let stays = |backend: &&Backend| {
            before.iter().all(|old| old.name != backend.name || old.address == backend.address)
        };
        let names: Vec<BackendName> =
            now.iter().filter(stays).map(|backend| backend.name.clone()).collect();
        if names.len() == now.len() {
            return;
        }
        self.clocks.keep(&names);
        self.held.retain(|name, _| names.contains(name));
        self.checks.forget_others(&names);
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).keep(&names);
    }

    /// Measures everything once and always ends by `deadline`: what was not reached by then is
    /// said to be skipped.
    pub async fn round(
        &mut self,
        backends: &[Backend],
        clock: Clock,
        deadline: Instant,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Round {
        let began = Instant::now();
        let number = self.rounds;
        self.rounds += 1;
        let registry = Arc::clone(&self.registry);
        let limit = registry.max_requests_per_second;
        let memory = Memory::of(&self.memory, &routes(backends), limit, self.side);
        let names: Vec<BackendName> = backends.iter().map(|backend| backend.name.clone()).collect();
        let stepped = self.clocks.begin(clock, &names);
        let seed = self.seeds.random();
        let redactor = Arc::clone(&self.redactor);
        let _under_way = redactor.round();
        self.held.values().for_each(|token| token.learned_by(&redactor));
        memory.learned_by(&redactor);
        let remembered = (&memory, &self.clocks, &*redactor);
        let client =
            Client::new(&registry, backends, &*self.wire, remembered, clock, deadline, seed);

        let kept = (&mut self.held, &mut self.checks);
        let plan =
            RoundPlan { rounds_before: number, sample_times: self.extra_samples.times(began) };
        let mut measured = client.processor.watch(measure(&client, kept, plan, progress)).await;
        let processor_wait_seconds = client.processor.longest_wait().as_secs_f64();
        self.extra_samples.note(began, &measured.balancer);
        progress(Progress::Done);
        let mut records = client.finish();
        if let Outcome::Measured(run) = &mut measured.balancer {
            run.outside = outside_samples(run, records.sent(&Route::Balancer));
        }
        let settings = std::mem::take(&mut records.settings);
        self.learn_settings(&mut measured.backends, settings, began);
        let (clocks, stepped) = match self.clocks.end() {
            Ok(clocks) => (clocks, stepped),
            Err(stepped) => (Vec::new(), Some(stepped)),
        };
        Round {
            registry: registry.name.clone(),
            url: registry.url.to_string(),
            scope: registry.scope.as_ref().map(config::Scope::text),
            account: account(&registry),
            caller: caller::caller(&registry, backends),
            started: clock.at(began),
            seconds: began.elapsed().as_secs_f64(),
            request_ids: request_ids(seed),
            discovery_error: None,
            backends: measured.backends,
            flows: measured.flows,
            matrix: measured.matrix,
            balancer: measured.balancer,
            key_census: measured.key_census,
            foreign_tokens: measured.foreign_tokens,
            held_tokens: measured.held_tokens,
            checks: measured.checks,
            clocks,
            processor_wait_seconds,
            clock_step_seconds: stepped.map(TimeDelta::as_seconds_f64),
            responses: records.response_counts(),
            traffic: records.traffic(),
            certificates: records.certificates.into_values().collect(),
        }
    }

    /// Gives each backend the settings that it showed in this round or in one before.
    fn learn_settings(&self, backends: &mut [BackendFacts], shown: NotedSettings, began: Instant) {
        let mut known = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        // A round on demand may have found no backends, and what is forgotten here is forgotten for
        // all.
        if self.side == Side::Own {
            let names: Vec<BackendName> = backends.iter().map(|facts| facts.name.clone()).collect();
            known.keep(&names);
        }
        let mut settings = known.learn(shown, began);
        for facts in backends {
            facts.settings = settings.remove(&facts.name).unwrap_or_default();
        }
    }
}

/// Every way to reach the registry.
fn routes(backends: &[Backend]) -> Vec<Route> {
    let single = backends.iter().map(|backend| Route::Backend(backend.name.clone()));
    single.chain([Route::Balancer]).collect()
}

/// The requests through the load balancer that belong to no sample. Where tokens come from a server
/// of its own, this counts too few rather than too many.
fn outside_samples(run: &BalancerRun, sent: Ratio) -> Ratio {
    Ratio {
        events: sent.events.saturating_sub(run.lost_to_network()),
        trials: sent.trials.saturating_sub(run.requests()),
    }
}

/// What a round does because of those before it.
#[derive(Clone, Copy)]
struct RoundPlan {
    /// How many rounds there were.
    rounds_before: u64,
    /// How many times as many samples it takes.
    sample_times: u32,
}

struct Measured {
    backends: Vec<BackendFacts>,
    flows: Vec<Flow>,
    matrix: Matrix,
    balancer: Outcome<BalancerRun>,
    key_census: Vec<KeyCensus>,
    foreign_tokens: Vec<ForeignToken>,
    held_tokens: Vec<HeldToken>,
    checks: Checks,
}

async fn measure(
    client: &Client<'_>,
    (held, kept): (&mut HeldTokens, &mut check::LastResults),
    plan: RoundPlan,
    progress: &(dyn Fn(Progress) + Sync),
) -> Measured {
    let routes = client.routes();
    progress(Progress::Flows(routes.len()));
    let flows = routes.iter().map(|route| flow::boxed(flow::flow(client, route)));
    let (mut flows, tokens): (Vec<Flow>, Vec<_>) = join_all(flows).await.into_iter().unzip();
    let scheme = plain::scheme(&flows);
    if scheme != AccessScheme::Token {
        flows = plain::flows(client, scheme).await;
    }

    let clocks = clock::measure(client, &flows, plan.rounds_before == 0);
    // What a node that hangs leaves of the round is little: the checks do not wait for the matrix.
    let checks = check::run_due(client, kept, &flows);
    let rest = rest(client, held, plan, progress, &flows, tokens);
    let ((), checks, mut measured) =
        join3(flow::boxed(clocks), flow::boxed(checks), flow::boxed(rest)).await;
    (measured.flows, measured.checks) = (flows, checks);
    measured
}

/// Everything after the flows but the clocks and the checks.
async fn rest(
    client: &Client<'_>,
    held: &mut HeldTokens,
    plan: RoundPlan,
    progress: &(dyn Fn(Progress) + Sync),
    flows: &[Flow],
    tokens: Vec<Option<Token>>,
) -> Measured {
    let rows = matrix::rows(client, flows);
    progress(Progress::Matrix(rows.len() * flows.len()));
    let own = |backend: &Backend| flows.iter().find(|f| f.route.backend() == Some(&backend.name));
    let facts = client.backends.iter().map(|b| flow::boxed(facts::facts(client, b, own(b))));
    let backends = join_all(facts).await;
    let (mut matrix, refused) = matrix::first_pass(client, &rows, flows, plan.rounds_before).await;
    let foreign_tokens = suspicion::foreign_tokens(client, &rows, flows).await;
    let held_tokens = suspicion::held_tokens(client, held, tokens).await;
    let mut key_census = suspicion::key_census(client, &rows, &matrix).await;

    progress(Progress::Ladder(refused.len()));
    let scheme = flows.first().map_or(AccessScheme::Token, |flow| flow.scheme);
    let sampling = async {
        match scheme {
            AccessScheme::Token => balancer::sample(client, flows, plan.sample_times).await,
            _ => plain::sample(client, scheme).await,
        }
    };
    let ladder = flow::boxed(matrix::ladder(client, &mut matrix, refused));
    let (balancer, ()) = join(flow::boxed(sampling), ladder).await;
    suspicion::key_census_of_strangers(client, &rows, (flows, &balancer), &mut key_census).await;
    let (flows, checks) = (Vec::new(), Checks::default());
    Measured { backends, flows, matrix, balancer, key_census, foreign_tokens, held_tokens, checks }
}

/// Harbor's prefix of robot names, and the beginning of every JWT.
fn account(registry: &config::Registry) -> Account {
    match &registry.credentials {
        None => Account::Anonymous,
        Some(credentials) if credentials.password.expose_secret().starts_with("eyJ") => {
            Account::JwtRobot
        }
        Some(credentials) if credentials.username.starts_with("robot$") => Account::Robot,
        Some(_) => Account::User,
    }
}
