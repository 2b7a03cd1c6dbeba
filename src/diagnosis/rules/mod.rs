//! One file a cause, or a group of causes that look at the same evidence. No rule sees another's
//! result; what several look at is in [`super::facts`].

use super::hypothesis::Rule;

/// Every rule. The order says nothing: [`super::precedence`] decides.
pub(super) const ALL: &[Rule] = &[
    // The network, and what answers.
    // The challenge, and who is let in.
    // Time and keys.
    // Content and writes.
    // Harbor's parts and its web pages.
    // Differences between nodes, and what stands in front of them.
];
