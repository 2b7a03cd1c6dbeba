//! Integration tests, one module for each subject, in one binary.

// A test is as long as the cases that it lists.
#![allow(clippy::too_many_lines)]

// Clippy knows by the attribute that a module holds tests, where a panic is a failure.
#[cfg(test)]
mod arrows;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod circles;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod compose;
#[cfg(test)]
mod config;
#[cfg(test)]
mod container;
#[cfg(test)]
mod counted;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod debian;
mod directory;
#[cfg(test)]
mod drill;
#[cfg(test)]
mod field;
#[cfg(test)]
mod findings;
#[cfg(test)]
mod harmless;
#[cfg(test)]
mod healthy;
#[cfg(test)]
mod history;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod kubernetes;
#[cfg(test)]
mod lab_truth;
#[cfg(test)]
mod lab_world;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod modes;
#[cfg(test)]
mod names;
mod neighbours;
#[cfg(test)]
mod on_call;
#[cfg(test)]
mod on_demand;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod pairs;
#[cfg(test)]
mod port;
#[cfg(test)]
mod precision;
#[cfg(test)]
mod promql;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod real;
#[cfg(test)]
mod real_cases;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod reproduce;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod rollout;
#[cfg(test)]
mod sampling;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod shown;
#[cfg(test)]
mod support;
#[cfg(test)]
mod unknown_faults;
#[cfg(test)]
mod web_config;
#[cfg(test)]
mod web_state;
#[cfg(test)]
mod words;
