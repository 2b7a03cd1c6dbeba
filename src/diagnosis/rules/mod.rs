//! One file a cause, or a group of causes that look at the same evidence. No rule sees another's
//! result; what several look at is in [`super::facts`].

mod answered_by_a_cache;
mod authorization_header_dropped;
mod backend_unreachable;
mod blob_redirect_unreachable;
mod body_size_limited;
mod certificate_expires_soon;
mod certificate_invalid;
mod clock_skew;
mod component_unhealthy;
mod components;
mod content;
mod content_differs;
mod core_registry_password_mismatch;
mod credential_refused;
mod csrf_key_mismatch;
mod csrf_origin_rejected;
mod database_unavailable;
mod directory_login;
mod dns_address_not_a_backend;
mod drift;
mod foreign_jobservice;
mod header_size_limited;
mod http_https_mismatch;
mod http_secret_mismatch;
mod lb_affinity_hides_mismatch;
mod lb_health_check_wrong;
mod mixed_versions;
mod not_a_registry;
mod prober_clock_suspect;
mod project_newer_than_token;
mod rate_limited;
mod read_only_mode;
mod realm_wrong_endpoint;
mod redis_unavailable;
mod refused_at_some;
mod replication_refused;
mod repository;
mod repository_access_denied;
mod request_filtered;
mod server_errors;
mod session_store_not_shared;
mod settings_differ;
mod shared;
mod storage_not_shared;
mod storage_stale_reads;
mod tls_handshake_refused;
mod token_endpoint_slow;
mod token_key_mismatch;
mod token_key_rotation_window;
mod token_lifetime_too_short;
mod token_method;
mod unknown_backend;
mod upload_location_wrong;
mod verifiers;

use super::hypothesis::Rule;

/// Every rule. The order says nothing: [`super::precedence`] decides.
pub(super) const ALL: &[Rule] = &[
    // The network, and what answers.
    backend_unreachable::rule,
    certificate_invalid::rule,
    certificate_expires_soon::rule,
    http_https_mismatch::rule,
    tls_handshake_refused::rule,
    rate_limited::rule,
    request_filtered::rule,
    header_size_limited::rule,
    not_a_registry::rule,
    answered_by_a_cache::rule,
    server_errors::rule,
    token_endpoint_slow::rule,
    // The challenge, and who is let in.
    realm_wrong_endpoint::rule,
    token_method::rule,
    authorization_header_dropped::rule,
    credential_refused::rule,
    refused_at_some::rule,
    database_unavailable::rule,
    // Time and keys.
    clock_skew::rule,
    prober_clock_suspect::rule,
    token_lifetime_too_short::rule,
    core_registry_password_mismatch::rule,
    verifiers::rule,
    token_key_mismatch::rule,
    token_key_rotation_window::rule,
    // Content and writes.
    read_only_mode::rule,
    content_differs::rule,
    storage_not_shared::rule,
    storage_stale_reads::rule,
    project_newer_than_token::rule,
    repository_access_denied::rule,
    http_secret_mismatch::rule,
    upload_location_wrong::rule,
    body_size_limited::rule,
    blob_redirect_unreachable::rule,
    // Harbor's parts and its web pages.
    redis_unavailable::rule,
    component_unhealthy::rule,
    csrf_origin_rejected::rule,
    csrf_key_mismatch::rule,
    session_store_not_shared::rule,
    directory_login::rule,
    foreign_jobservice::rule,
    replication_refused::rule,
    // Differences between nodes, and what stands in front of them.
    unknown_backend::rule,
    lb_affinity_hides_mismatch::rule,
    mixed_versions::rule,
    settings_differ::rule,
    lb_health_check_wrong::rule,
    dns_address_not_a_backend::rule,
];
