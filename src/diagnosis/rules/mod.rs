//! One file a cause, or a group of causes that look at the same evidence. No rule sees another's
//! result; what several look at is in [`super::facts`].

mod clock_skew;
mod core_registry_password_mismatch;
mod lb_affinity_hides_mismatch;
mod prober_clock_suspect;
mod token_key_mismatch;
mod token_key_rotation_window;
mod token_lifetime_too_short;
mod unknown_backend;
mod verifiers;

use super::hypothesis::Rule;

/// Every rule. The order says nothing: [`super::precedence`] decides.
pub(super) const ALL: &[Rule] = &[
    // The network, and what answers.
    // The challenge, and who is let in.
    // Time and keys.
    clock_skew::rule,
    prober_clock_suspect::rule,
    token_lifetime_too_short::rule,
    core_registry_password_mismatch::rule,
    verifiers::rule,
    token_key_mismatch::rule,
    token_key_rotation_window::rule,
    // Content and writes.
    // Harbor's parts and its web pages.
    // Differences between nodes, and what stands in front of them.
    unknown_backend::rule,
    lb_affinity_hides_mismatch::rule,
];
