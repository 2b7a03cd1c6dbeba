//! Finds out why a highly-available container registry answers 401.

pub mod cli;
pub mod clock;
pub mod config;
pub mod diagnosis;
pub mod discovery;
pub mod lab;
pub mod metrics;
pub mod model;
pub mod probe;
pub mod registry;
pub mod report;
pub mod schedule;
pub mod transport;
pub mod web;
