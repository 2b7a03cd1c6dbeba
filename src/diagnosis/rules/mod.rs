//! One file a cause, or a group of causes that look at the same evidence. No rule sees another's
//! result; what several look at is in [`super::facts`].

mod authorization_header_dropped;
mod backend_unreachable;
mod certificate_invalid;
mod credential_refused;
mod database_unavailable;
mod dns_address_not_a_backend;
mod http_https_mismatch;
mod lb_health_check_wrong;
mod not_a_registry;
mod rate_limited;
mod realm_wrong_endpoint;
mod refused_at_some;
mod server_errors;
mod token_endpoint_slow;

use super::hypothesis::Rule;

/// Every rule. The order says nothing: [`super::precedence`] decides.
pub(super) const ALL: &[Rule] = &[
    // The network, and what answers.
    backend_unreachable::rule,
    certificate_invalid::rule,
    http_https_mismatch::rule,
    rate_limited::rule,
    not_a_registry::rule,
    server_errors::rule,
    token_endpoint_slow::rule,
    // The challenge, and who is let in.
    realm_wrong_endpoint::rule,
    authorization_header_dropped::rule,
    credential_refused::rule,
    refused_at_some::rule,
    database_unavailable::rule,
    // Time and keys.
    // Content and writes.
    // Harbor's parts and its web pages.
    // Differences between nodes, and what stands in front of them.
    lb_health_check_wrong::rule,
    dns_address_not_a_backend::rule,
];
