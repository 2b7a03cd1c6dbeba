//! A simulated highly-available registry with faults to order, true to the real servers.
//!
//! What others call:
//!
//! - [`Scenario::all`], [`Scenario::named`]: files of data with what is wrong and what ought to be
//!   found ([`Scenario::expect`], [`Scenario::effect`]).
//! - [`Cluster::start`]`(&scenario, &options)`: listens on loopback for every node, the balancer
//!   and the token server. [`Cluster::public_url`], [`Cluster::nodes`] (names and addresses),
//!   [`Cluster::balancer`], [`Cluster::ca_pem`], [`Cluster::login`], [`Cluster::config_yaml`] (a
//!   ready configuration), [`Cluster::control`] and [`Cluster::set_faults`] (faults on and off while
//!   it runs). Everything ends when it is dropped.
//! - [`Options`]: another family, number of nodes, balancer, seed, more faults, cheap keys
//!   ([`KeyKind::Fast`]), the wall time at which the lab begins.
//! - [`World`]: the same registry without sockets. [`World::gate`] says what happens to a
//!   connection and where its requests enter; [`World::handle`] takes a request and the time since
//!   the beginning and returns a [`Reaction`]. Nothing in it waits or asks a clock; many thousand
//!   rounds run in virtual time.
//! - [`Issuer`]: a token issuer by itself, for real registries.
//! - [`Fault`], [`FaultOrder`]: what can be wrong and where. A list of them composes.
//!
//! The lab shares no parser with the rooms that probe, so that a common mistake cannot hide
//! itself. Key pairs are generated once per process; everything else follows from the seed.

mod answer;
mod answers;
mod balancer;
mod call;
mod cluster;
mod config_text;
mod content;
mod control;
mod credentials;
mod digest;
mod distribution;
mod error;
mod family;
mod fault;
mod gate;
mod harbor;
mod image;
mod issuer;
mod jwt;
mod keys;
mod mac;
mod options;
mod pki;
mod resource;
mod running;
mod scenario;
mod serve;
mod settings;
mod stores;
mod token_server;
mod traffic;
mod upload;
mod world;

pub use answer::Reaction;
pub use balancer::{BalancerKind, BalancerPlan, Layer};
pub use cluster::Cluster;
pub use credentials::Login;
pub use error::LabError;
pub use family::Family;
pub use fault::{CertificateFault, Fault, FaultOrder};
pub use gate::{Connection, Entry, Gate};
pub use issuer::{Issuer, IssuerSettings, KidForm};
pub use keys::{KeyKind, SigningKey};
pub use options::{Options, PUBLIC_HOST, SECOND_HOST};
pub use running::NodeAddress;
pub use scenario::{Expectation, Scenario, TokenPlan};
pub use world::{ActiveFault, World};
