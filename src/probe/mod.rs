//! Sends the requests of a round and writes down what came back. Judges nothing.
//!
//! [`Prober::round`] is the one entrance: flows over every route, the matrix with its retry
//! ladder, the sampling through the load balancer, and what the answers say of clocks, versions
//! and certificates, assembled into a [`Round`](crate::model::Round).

mod ask;
mod balancer;
mod check;
mod clock;
mod facts;
mod flow;
mod matrix;
mod pace;
mod path;
mod plain;
mod redact;
mod round;
mod settings;
mod suspicion;
mod token;
mod unease;

pub use round::{Prober, Progress};
