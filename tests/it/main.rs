//! Integration tests, one module for each subject, in one binary.

// Clippy knows by the attribute that a module holds tests, where a panic is a failure.
#[cfg(test)]
mod config;
