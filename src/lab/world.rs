//! The simulated registry: its nodes as the faults leave them, its stores, its balancer. What it
//! does with connections and requests is in [`super::traffic`].

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::balancer::{Balancer, BalancerFaults};
use super::call::{KeyRing, Memory};
use super::credentials::Login;
use super::error::LabError;
use super::fault::{Fault, FaultOrder};
use super::jwt::{self, Claims, HeaderOrder};
use super::keys::{KeyKind, SigningKey};
use super::options::{Options, PUBLIC_HOST, SECOND_HOST};
use super::scenario::{Scenario, TokenPlan};
use super::settings::{ROTATED_KEY, Settings};
use super::stores::Stores;

/// The key that old robot secrets were signed with.
const LOST_KEY: u32 = 600_000;

/// The number of the node of the second installation.
pub(super) const SECOND: u32 = 250_000;

/// A fault that is switched on.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveFault {
    /// What and where.
    pub order: FaultOrder,
    /// Since when, in the lab's time.
    pub since: Duration,
}

/// A node: its name and its replicas, of which the first is the one without `replicas` faults.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    /// Whether a configuration names it.
    known: bool,
    pub(super) replicas: Vec<(Arc<Settings>, Memory)>,
}

/// A simulated registry.
#[derive(Debug)]
pub struct World {
    pub(super) began: i64,
    pub(super) public_host: String,
    pub(super) scenario: Scenario,
    pub(super) nodes: Vec<Node>,
    pub(super) token_server: Option<(Arc<Settings>, Memory)>,
    pub(super) token_realm: String,
    pub(super) balancer: Balancer,
    pub(super) stores: Stores,
    kind: KeyKind,
    pub(super) keys: KeyRing,
    pub(super) pool_owners: Vec<(u32, u32)>,
    faults: Vec<ActiveFault>,
    pub(super) rng: SmallRng,
}

/// Names of the nodes: `a`, `b`, `c` and so on, then `n27`, `n28`.
pub(super) fn node_names(count: u32) -> Vec<String> {
    (0..count)
        .map(|index| match u8::try_from(index) {
            Ok(letter @ 0..26) => char::from(b'a' + letter).to_string(),
            _ => format!("n{}", index + 1),
        })
        .collect()
}

impl World {
    /// Builds the registry of a scenario.
    ///
    /// # Errors
    /// [`LabError`] if keys cannot be generated or a fault names a place that does not exist.
    pub fn new(scenario: &Scenario, options: &Options) -> Result<Self, LabError> {
        let mut scenario = scenario.clone();
        scenario.family = options.family.unwrap_or(scenario.family);
        scenario.nodes = options.nodes.unwrap_or(scenario.nodes);
        scenario.balancer.kind = options.balancer.unwrap_or(scenario.balancer.kind);
        scenario.balancer.layer = options.layer.unwrap_or(scenario.balancer.layer);
        scenario.faults.extend(options.faults.iter().cloned());
        let orders = std::mem::take(&mut scenario.faults);
        let public_host = options.public_host.clone().unwrap_or_else(|| PUBLIC_HOST.to_owned());
        let mut world = Self {
            began: options.began,
            token_realm: format!("https://{public_host}/auth"),
            public_host,
            nodes: Vec::new(),
            token_server: None,
            balancer: Balancer::new(scenario.balancer.clone()),
            stores: Stores::default(),
            kind: options.keys,
            keys: KeyRing::new(options.keys),
            pool_owners: Vec::new(),
            faults: orders
                .into_iter()
                .map(|order| ActiveFault { order, since: Duration::ZERO })
                .collect(),
            rng: SmallRng::seed_from_u64(options.seed),
            scenario,
        };
        world.rebuild()?;
        Ok(world)
    }

    /// The public host, with its port unless that is 443.
    pub fn public_host(&self) -> &str {
        &self.public_host
    }

    /// The names of the nodes that a configuration would list, in their order.
    pub fn node_names(&self) -> Vec<String> {
        self.nodes.iter().filter(|node| node.known).map(|node| node.name.clone()).collect()
    }

    /// The place of the node of the second installation, if there is one.
    pub fn second(&self) -> Option<usize> {
        self.scenario.second.as_ref()?;
        self.nodes.len().checked_sub(1)
    }

    /// Whether there is a token server with an address of its own.
    pub fn has_token_server(&self) -> bool {
        self.token_server.is_some()
    }

    /// Tells the nodes where the token server listens: scheme, host and port.
    pub fn set_token_server(&mut self, url: &str) {
        if self.has_token_server() {
            self.token_realm = format!("{url}/auth");
        }
    }

    /// The account of the prober. The registry may refuse it, if a fault says so.
    ///
    /// # Errors
    /// [`LabError::Key`] if no key can be generated for a secret that is a token.
    pub fn login(&self) -> Result<Login, LabError> {
        if self.scenario.push {
            return Ok(Login::pusher());
        }
        if self.scenario.person || !self.scenario.family.is_harbor() {
            return Ok(Login::person());
        }
        let login = Login::prober();
        let token = |active: &ActiveFault| active.order.fault == Fault::RobotSecretIsToken;
        if !self.faults.iter().any(token) {
            return Ok(login);
        }
        // Written a month ago, by a key that is gone.
        let key = SigningKey::numbered(self.kind, LOST_KEY)?;
        let now = self.began.div_euclid(1_000_000_000);
        let claims = Claims {
            iss: "harbor-token-defaultIssuer".to_owned(),
            sub: None,
            aud: String::new(),
            exp: now + 300 * 86_400,
            nbf: now - 30 * 86_400,
            iat: now - 30 * 86_400,
            jti: "1".to_owned(),
            access: None,
        };
        let password = jwt::issue(&key, "", HeaderOrder::AlgTyp, &claims)
            .ok_or_else(|| LabError::Key("a robot's secret was not signed".to_owned()))?;
        Ok(Login { password, ..login })
    }

    /// How many uploads, blobs, manifests and tags the registry's storages hold.
    pub fn counts(&self) -> [usize; 4] {
        self.stores.counts()
    }

    /// The repository that the prober may push to, if it may.
    pub fn scratch(&self) -> Option<&'static str> {
        self.scenario.push.then_some(super::stores::SCRATCH)
    }

    /// The account that lists worker pools, if one may.
    pub fn system_login(&self) -> Option<Login> {
        (self.scenario.pools && self.scenario.family.is_harbor()).then(Login::pools)
    }

    /// The person in the directory, if the prober has the account.
    pub fn directory_login(&self) -> Option<Login> {
        (self.scenario.directory && self.scenario.family.is_harbor()).then(Login::person)
    }

    /// The faults that are switched on.
    pub fn faults(&self) -> &[ActiveFault] {
        &self.faults
    }

    /// Replaces the faults; those that stay keep the time since when they are on.
    ///
    /// # Errors
    /// [`LabError`] as [`World::new`]; the faults are then as they were.
    pub fn set_faults(
        &mut self,
        orders: Vec<FaultOrder>,
        elapsed: Duration,
    ) -> Result<(), LabError> {
        let faults = orders
            .into_iter()
            .map(|order| {
                let before = self.faults.iter().find(|active| active.order == order);
                let since = before.map_or(elapsed, |active| active.since);
                ActiveFault { order, since }
            })
            .collect();
        let old = std::mem::replace(&mut self.faults, faults);
        self.rebuild().inspect_err(|_| self.faults = old)
    }

    /// Works out every node's settings from the faults.
    fn rebuild(&mut self) -> Result<(), LabError> {
        let names = node_names(self.scenario.nodes);
        self.check_places(&names)?;
        let mut nodes: Vec<Node> = (1_u32..)
            .zip(names)
            .map(|(number, name)| self.build_node(number, name, true, &[]))
            .collect();
        self.add_strays(&mut nodes);
        nodes.extend(self.build_second());
        keep_memories(&mut nodes, &mut self.nodes);
        self.nodes = nodes;
        self.token_server = self.build_token_server();
        self.apply_balancer_faults();
        self.prepare_keys()
    }

    /// Refuses faults at places that do not exist.
    fn check_places(&self, names: &[String]) -> Result<(), LabError> {
        for place in self.faults.iter().flat_map(|active| &active.order.at) {
            if !names.contains(place) && !["*", "lb", "token-server"].contains(&place.as_str()) {
                let known = names.to_vec();
                return Err(LabError::UnknownPlace { place: place.clone(), known });
            }
        }
        Ok(())
    }

    fn faults_of(&self, place: &str) -> impl Iterator<Item = &ActiveFault> {
        self.faults.iter().filter(move |active| active.order.concerns(place))
    }

    /// Nodes that only the balancer knows.
    fn add_strays(&self, nodes: &mut Vec<Node>) {
        for active in self.faults_of("lb") {
            let Fault::UnknownNode { faults } = &active.order.fault else { continue };
            let number = 200_000 + u32::try_from(nodes.len()).unwrap_or(0);
            let faults: Vec<Fault> =
                std::iter::once(Fault::OtherKey).chain(faults.iter().cloned()).collect();
            nodes.push(self.build_node(number, format!("stray{number}"), false, &faults));
        }
    }

    /// The node of the second installation, which shares only Redis with this one.
    fn build_second(&self) -> Option<Node> {
        let faults = self.scenario.second.as_ref()?;
        let own = [
            Fault::ExternalUrl(format!("https://{SECOND_HOST}")),
            Fault::OtherKey,
            Fault::ContentBehind,
            Fault::HttpSecret,
            Fault::CsrfKey,
        ];
        let faults: Vec<Fault> = own.into_iter().chain(faults.iter().cloned()).collect();
        Some(self.build_node(SECOND, "second".to_owned(), false, &faults))
    }

    fn build_token_server(&self) -> Option<(Arc<Settings>, Memory)> {
        if self.scenario.family.is_harbor() || self.scenario.tokens != TokenPlan::Server {
            return None;
        }
        let mut settings = Settings::healthy(self.scenario.family, 300_000, &self.public_host);
        for active in self.faults_of("token-server") {
            settings.apply_fault(&active.order.fault, active.since);
        }
        Some((Arc::new(settings), Memory::default()))
    }

    fn apply_balancer_faults(&mut self) {
        let mut mangling = BalancerFaults::default();
        for active in self.faults_of("lb") {
            if !matches!(active.order.fault, Fault::UnknownNode { .. }) {
                mangling.apply_fault(&active.order.fault, active.since);
            }
        }
        let mut settings = Settings::healthy(self.scenario.family, 0, "");
        for (fault, since) in &mangling.clock_faults {
            settings.apply_fault(fault, *since);
        }
        self.balancer.clock = settings.clock;
        self.balancer.mangling = mangling;
    }

    /// Makes every key that a node signs or verifies with.
    fn prepare_keys(&mut self) -> Result<(), LabError> {
        let replicas = self.nodes.iter().flat_map(|node| &node.replicas).chain(&self.token_server);
        let all: Vec<Arc<Settings>> = replicas.map(|(settings, _)| Arc::clone(settings)).collect();
        self.pool_owners = all.iter().map(|settings| (settings.own, settings.redis)).collect();
        for settings in all {
            self.keys.prepare(settings.signing_key)?;
            self.keys.prepare(settings.verifying_key)?;
            if settings.rotates_at.is_some() {
                self.keys.prepare(ROTATED_KEY)?;
            }
        }
        Ok(())
    }

    fn build_node(&self, number: u32, name: String, known: bool, own: &[Fault]) -> Node {
        let mut replicas = Vec::new();
        let mut build = |own_number: u32, extra: &[Fault], since: Duration| {
            let mut settings =
                Settings::healthy(self.scenario.family, own_number, &self.public_host);
            for active in self.faults.iter().filter(|a| known && a.order.concerns_node(&name)) {
                settings.apply_fault(&active.order.fault, active.since);
            }
            for fault in extra {
                settings.apply_fault(fault, since);
            }
            if !settings.family.is_harbor() && !settings.registry_up {
                settings.network.unreachable = true;
            }
            replicas.push((Arc::new(settings), Memory::default()));
        };
        build(number, own, Duration::ZERO);
        let mut next = number * 1_000;
        for active in self.faults.iter().filter(|a| known && a.order.concerns_node(&name)) {
            if let Fault::Replicas { count, faults } = &active.order.fault {
                for _ in 0..*count {
                    next += 1;
                    build(next, faults, active.since);
                }
            }
        }
        Node { name, known, replicas }
    }
}

/// What a core keeps in its memory survives a change of faults.
fn keep_memories(nodes: &mut [Node], before: &mut [Node]) {
    for (new, old) in nodes.iter_mut().zip(before) {
        for ((_, memory), (_, kept)) in new.replicas.iter_mut().zip(&mut old.replicas) {
            *memory = std::mem::take(kept);
        }
    }
}
