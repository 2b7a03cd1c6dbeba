//! What a reader may choose of an output.

/// What a reader may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Whether text and JSON also say what became of every cause that was considered.
    pub trace: bool,
    /// Columns of a line of text.
    pub width: usize,
}

impl Default for Form {
    fn default() -> Self {
        Self { trace: false, width: 80 }
    }
}
