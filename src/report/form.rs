//! What a reader may choose of an output.

/// What a reader may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Whether text and JSON also say what became of every cause that was considered.
    pub trace: bool,
    /// Whether text has everything that was measured, not only what to know and do first.
    pub verbose: bool,
    /// Columns of a line of text.
    pub width: usize,
}

impl Default for Form {
    fn default() -> Self {
        Self { trace: false, verbose: true, width: 80 }
    }
}
