//! Finds out why a highly-available container registry answers 401.

pub mod config;
pub mod lab;
pub mod model;
