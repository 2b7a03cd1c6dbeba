//! Finds out why a highly-available container registry answers 401.
//!
//! Every node of such a registry may be well alone and the whole still refuse one request in
//! three: another signing key on one node, a clock that is off, a realm that leads elsewhere. This
//! program behaves like a docker client on every node and through the load balancer, carries each
//! node's token to every other node, reads every clock, and names the cause, the node at fault and
//! the fix. This page is the guide to the house; `ARCHITECTURE.md` gives the reasons.
//!
//! # Rooms
//!
//! | room | what it does |
//! | --- | --- |
//! | [`findings`] | one place for each finding: name, meaning, remedies, how to confirm, page |
//! | [`model`] | the nouns: names, routes, outcomes, rounds, matrices, findings, the snapshot |
//! | [`config`] | from a file with positions to a [`Config`](config::Config) in which every rule holds |
//! | [`discovery`] | which backends a registry has right now |
//! | [`registry`] | the protocol as pure functions: challenges, tokens, error bodies, families |
//! | [`transport`] | opens sockets outward: pinned links, phase times, limits, classified failures |
//! | [`clock`] | asks what time it is, and makes intervals of other machines' timestamps |
//! | [`probe`] | sends the requests of a round and writes down what came back |
//! | [`diagnosis`] | pure: from a round to findings |
//! | [`history`] | what is kept of rounds that are over: since when, which key, incidents and their rounds; on disk |
//! | [`schedule`] | timers, reload, the end; publishes the snapshot |
//! | [`metrics`] | Prometheus' view of the snapshot, and the counters |
//! | [`web`] | status page, metrics, API, probes on demand, health, reload |
//! | [`report`] | what `check` prints: text, JSON, `JUnit`, Nagios |
//! | [`lab`] | a simulated registry with faults to order |
//! | [`cli`] | one file for each command; the only room that prints |
//!
//! # Arrows
//!
//! ```text
//!  config ───────┐
//!  registry ─────┤
//!  transport ────┼──> probe ──> schedule ──> watch: Arc<Snapshot> ──> metrics
//!  clock ────────┘                 ^                             ├──> web
//!   discovery, diagnosis, history ─┘                             └──> report
//!
//!  findings, model: below all of them      lab: uses model alone      cli, main: above
//! ```
//!
//! What measures does not judge, what judges does not measure, and what shows does neither.
//! `metrics`, `web` and `report` see `model` and `findings` and nothing else; where the web server needs a probe
//! or a reload, `cli` hands it a `Program`. `registry` and `transport` do not know each other, and
//! the lab shares no parser with `registry`, so that a common mistake cannot hide itself. `discovery`
//! asks resolvers and the API server of a cluster through `transport`. ARCHITECTURE lists every arrow. Some
//! foreign crates belong to one room: reqwest to `transport`, the metrics library to `metrics`,
//! YAML to `config`. The test `tests/it/arrows.rs` reads the sources and fails on any other arrow.
//!
//! # The flow
//!
//! 1. [`config::load`] reads the file; every problem is said at once, with line and column.
//! 2. [`schedule::Daemon`] gives each registry a task and a timer. Each run of a
//!    [`schedule::Runner`] asks its [`discovery::Finder`], lets [`probe::Prober`] measure a
//!    [`Round`](model::Round), and lets [`diagnosis::assess_after`] conclude, with what [`history`]
//!    kept of the rounds before.
//! 3. The [`Judged`](model::Judged) round replaces the one before in the
//!    [`Snapshot`](model::Snapshot), which every output reads. Nothing is computed twice, so the
//!    page, the metric and the JSON cannot disagree.
//!
//! `check` is one run of the same runner, and so is `/probe`; `demo` is `run` next to a lab.
//!
//! # Words
//!
//! - **registry**: one logical registry with one public URL. **backend**: one of its nodes, at its
//!   own address. **route**: a way to reach the registry, each backend and `lb`.
//! - **token flow**: challenge, token, access and, with a scope, repository. It ends in success or
//!   in exactly one *(step, reason)*, both from closed lists.
//! - **issuer**, **verifier**: where a token came from and where it is shown. A **pair** of them
//!   is a cell of the **matrix**.
//! - **round**: everything measured of one registry in one interval; immutable.
//! - **finding**: a named cause with subjects, evidence and remedies, from a closed vocabulary.
//!
//! A failed measurement is data: [`Outcome`](model::Outcome) is measured, failed or skipped, each
//! with its reason. `Result` is for what this program itself could not do.
//!
//! # Where to add
//!
//! - **a measurement**: its noun in `model` and a field of [`Round`](model::Round), its requests in
//!   a file of `probe` that `round.rs` calls, its parsing in `registry`.
//! - **a finding**: its page in `deploy/runbooks`, whose facts become its name and definition in
//!   [`findings`]; a rule in `diagnosis/rules` and its line in the table there; its place in
//!   `diagnosis/precedence.rs`; and a scenario in `lab/scenarios` that expects it. CONTRIBUTING.md
//!   has an example.
//! - **a metric**: a line in [`metrics::names`] and a family in the collector.
//! - **a setting**: a documented key in `config::file`, its check in `resolve`, its line in `show`.
//! - **a command**: a file in `cli` and a variant of its enum.
//! - **a room**: a folder here, a row in the table above and in `tests/it/arrows.rs`.

// A test is as long as the cases that it lists.
#![cfg_attr(test, allow(clippy::too_many_lines))]

pub mod cli;
pub mod clock;
pub mod config;
pub mod diagnosis;
pub mod discovery;
pub mod findings;
pub mod history;
pub mod lab;
pub mod metrics;
pub mod model;
pub mod probe;
pub mod registry;
pub mod report;
pub mod schedule;
pub mod transport;
pub mod web;
