//! Sends the requests of a round and writes down what came back. Judges nothing.
//!
//! [`Prober::round`] is the one entrance: flows over every route, the matrix with its retry
//! ladder, the sampling through the load balancer, and what the answers say of clocks, versions
//! and certificates, assembled into a [`Round`](crate::model::Round).

mod answer;
mod balancer;
mod caller;
mod check;
mod claims;
mod client;
mod client_flow;
mod clock;
mod clocks;
mod endpoint;
mod extra_samples;
mod facts;
mod flow;
mod matrix;
mod memory;
mod pace;
mod path;
mod plain;
mod processor;
mod records;
mod redact;
mod request;
mod round;
mod sample;
mod settings;
mod suspicion;
mod token;

pub use round::{Prober, Progress};
