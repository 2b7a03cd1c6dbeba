//! All integration tests in one binary, so that they link once.
#![cfg(test)]

mod dashboard;
mod operations;
mod promql;
