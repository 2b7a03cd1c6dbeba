//! Integration tests: one binary, one module for each subject.

#[cfg(test)]
mod lab_truth;
#[cfg(test)]
mod lab_world;
