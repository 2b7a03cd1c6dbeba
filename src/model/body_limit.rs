//! How large a request body a route lets through.

use std::fmt;

use serde::Serialize;

/// How a route answered bodies of which only the length was declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BodyLimit {
    /// The greatest length that was not refused, below the smallest that was; 0 if none is known.
    pub passes: u64,
    /// The smallest length that was refused with 413, twice; none if none was.
    pub refused: Option<u64>,
}

/// A number of bytes for people: `1 MiB`, `1048577 bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        let unit =
            units.into_iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size));
        match unit {
            Some((name, size)) => write!(f, "{} {name}", self.0 / size),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_the_unit_that_leaves_no_rest() {
        for (bytes, text) in [
            (20 << 30, "20 GiB"),
            (1536 << 20, "1536 MiB"),
            (1 << 20, "1 MiB"),
            (64 << 10, "64 KiB"),
            ((1 << 20) + 1, "1048577 bytes"),
            (0, "0 bytes"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
