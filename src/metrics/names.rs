//! Every metric of the program: name, type, labels and help, in the order of the page.
//!
//! This table is a contract with dashboards and rules. A label value is a name from the
//! configuration, a word from a closed list, or a text that was cleaned and bounded where it
//! came from the wire (key id, address, version).

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only ever grows while the program runs.
    Counter,
    /// The state of the newest round.
    Gauge,
    /// Observations by upper bounds, in seconds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The word of the `# TYPE` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Definition {
    /// The whole name, prefix included.
    pub name: &'static str,
    /// One sentence for people who meet it in Prometheus.
    pub help: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels, in the order of the values.
    pub labels: &'static [&'static str],
}

/// Bounds for one request: from a LAN to the time-out. Few, since each is a series.
const REQUEST: &[f64] = &[0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 5.0];
/// Bounds for a whole round.
const ROUND: &[f64] = &[1.0, 2.5, 5.0, 10.0, 15.0, 30.0];

macro_rules! metrics {
    ($($id:ident = $name:literal, $kind:expr, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Definition = Definition {
                name: concat!("registry_prober_", $name),
                help: $help,
                kind: $kind,
                labels: &[$($label),*],
            };
        )*

        /// Every metric of the program's own, in the order of the page. The process metrics come
        /// from the metrics library and keep its names.
        pub const ALL: &[Definition] = &[$($id,)*];
    };
}

metrics! {
    FLOWS = "flows_total", Kind::Counter, ["registry", "route"],
        "Token flows tried, by route.";
    FLOW_FAILURES = "flow_failures_total", Kind::Counter, ["registry", "route", "step", "reason"],
        "Token flows that failed, by route, by the step that failed and by the reason.";
    CLIENT_FLOWS = "client_flows_total", Kind::Counter, ["registry", "client"],
        "Logins through the load balancer as a kind of client makes them: docker, podman, containerd.";
    CLIENT_FLOW_FAILURES = "client_flow_failures_total", Kind::Counter, ["registry", "client"],
        "Logins through the load balancer that failed, after all retries of this kind of client.";
    FLOW_SUCCESS = "flow_success", Kind::Gauge, ["registry", "route"],
        "Whether the newest token flow over this route passed every step.";
    STEP_SUCCESS = "step_success", Kind::Gauge, ["registry", "route", "step"],
        "Whether this step of the newest token flow passed; absent if it did not run.";
    FLOW_SECONDS = "flow_seconds_total", Kind::Counter, ["registry", "route"],
        "Total time of token flows over fresh connections; divide it by the number of flows for the mean.";
    STEP_DURATION = "step_duration_seconds", Kind::Histogram(REQUEST), ["registry", "step"],
        "Time of one step of a token flow over a fresh connection, on every route.";
    PHASE_SECONDS = "phase_seconds_total", Kind::Counter, ["registry", "phase"],
        "Time spent in each phase of the requests of token flows, on every route.";
    RESPONSES = "responses_total", Kind::Counter, ["registry", "route", "code"],
        "Answers by HTTP status, the expected 401 of the challenge included.";
    AUTHENTICATED_RESPONSES = "authenticated_responses_total", Kind::Counter,
        ["registry", "route", "code"],
        "Answers to requests that carried a token just issued to the prober; a 401 here is always wrong.";
    UNAUTHORIZED_RATIO = "unauthorized_ratio", Kind::Gauge, ["registry"],
        "Share of fresh tokens refused with 401 through the load balancer in the newest round.";
    EXPECTED_UNAUTHORIZED_RATIO = "expected_unauthorized_ratio", Kind::Gauge, ["registry"],
        "Share of refusals that the matrix and the shares of the backends predict.";
    BALANCER_SHARE = "balancer_share", Kind::Gauge, ["registry", "backend"],
        "Share of the answers through the load balancer that came from this backend.";
    TOKEN_CROSS_VALID = "token_cross_valid", Kind::Gauge, ["registry", "issuer", "verifier"],
        "Whether the verifier accepted a fresh token of the issuer; absent if not known. With more than 12 backends only refusals.";
    TOKEN_CROSS_CHECKS = "token_cross_checks_total", Kind::Counter, ["registry", "verifier"],
        "Tokens that the verifier accepted or refused.";
    TOKEN_CROSS_REFUSALS = "token_cross_refusals_total", Kind::Counter, ["registry", "verifier"],
        "Fresh tokens that the verifier refused.";
    TOKEN_KEY_INFO = "token_key_info", Kind::Gauge, ["registry", "backend", "kid", "alg"],
        "The key with which this backend signs its tokens.";
    TOKEN_KEYS = "token_keys", Kind::Gauge, ["registry"],
        "Distinct keys that signed tokens in the newest round; more than one needs a reason.";
    TOKEN_KEY_LAST_CHANGE = "token_key_last_change_timestamp_seconds", Kind::Gauge,
        ["registry", "backend"],
        "When this backend last changed its signing key; 0 if never since the start.";
    TOKEN_LIFETIME = "token_lifetime_seconds", Kind::Gauge, ["registry", "backend"],
        "How long the tokens of this backend live.";
    CLOCK_OFFSET = "clock_offset_seconds", Kind::Gauge, ["registry", "backend", "source"],
        "Clock of the backend minus clock of the prober, the middle of the interval. Sources other than date only where they disagree with it.";
    CLOCK_OFFSET_LOWER = "clock_offset_lower_bound_seconds", Kind::Gauge,
        ["registry", "backend", "source"],
        "Lower bound of the clock offset.";
    CLOCK_OFFSET_UPPER = "clock_offset_upper_bound_seconds", Kind::Gauge,
        ["registry", "backend", "source"],
        "Upper bound of the clock offset.";
    CLOCK_LEEWAY = "clock_leeway_seconds", Kind::Gauge, ["registry", "backend"],
        "Clock difference that this verifier tolerates; absent if not known.";
    CLOCK_MARGIN = "clock_margin_seconds", Kind::Gauge, ["registry"],
        "Smallest remaining clock tolerance of all pairs; negative means that tokens are refused.";
    COMPONENT_HEALTHY = "component_healthy", Kind::Gauge, ["registry", "backend", "component"],
        "Whether this backend's own health page reports the component healthy; the page tests no passwords or keys. The label value all means all healthy components.";
    CLOCK_STEPS = "clock_steps_total", Kind::Counter, ["registry"],
        "Rounds in which the prober's own clock was stepped.";
    CSRF_CROSS_VALID = "csrf_cross_valid", Kind::Gauge, ["registry", "issuer", "verifier"],
        "Whether the verifier could read the issuer's CSRF cookie when last asked; only refusals and each backend's own cookie.";
    SESSION_CROSS_VALID = "session_cross_valid", Kind::Gauge, ["registry", "issuer", "verifier"],
        "Whether the verifier knew the issuer's session when last asked; only refusals and each backend's own session.";
    UPLOAD_CROSS_VALID = "upload_cross_valid", Kind::Gauge, ["registry", "issuer", "verifier"],
        "Whether an upload begun at the issuer can go on at the verifier; only refusals and each backend's own upload.";
    CONTENT_PRESENT = "content_present", Kind::Gauge, ["registry", "backend"],
        "Whether the backend has the canary's content, the same as the others; absent if not known.";
    CERTIFICATE_NOT_AFTER = "certificate_not_after_timestamp_seconds", Kind::Gauge,
        ["registry", "route"],
        "When the certificate presented on this route expires.";
    FINDING_ACTIVE = "finding_active", Kind::Gauge,
        ["registry", "finding", "severity", "backend"],
        "A cause found in the newest round, one series for each backend at fault.";
    FINDING_INFO = "finding_info", Kind::Gauge,
        ["registry", "finding", "meaning", "first_step", "command"],
        "What each active finding means, what to do first, and the command for it; always 1.";
    FINDINGS = "findings", Kind::Gauge, ["registry", "severity"],
        "Number of findings in the newest round.";
    BACKEND_INFO = "backend_info", Kind::Gauge,
        ["registry", "backend", "address", "family", "version"],
        "Address, product and version of a backend.";
    ROUND_DURATION = "round_duration_seconds", Kind::Histogram(ROUND), ["registry"],
        "Time of a whole round.";
    ROUNDS = "rounds_total", Kind::Counter, ["registry"],
        "Rounds finished.";
    ROUNDS_OVERRUN = "rounds_overrun_total", Kind::Counter, ["registry"],
        "Rounds skipped because the previous one was still running.";
    LAST_ROUND = "last_round_timestamp_seconds", Kind::Gauge, ["registry"],
        "When the newest round ended.";
    INTERVAL = "interval_seconds", Kind::Gauge, ["registry"],
        "Configured time between two rounds.";
    DISCOVERY_SUCCESS = "discovery_success", Kind::Gauge, ["registry"],
        "Whether the backends of the newest round were found then, and there are any. With 0 those found last are probed. Always 1 where the configuration lists them.";
    BUILD_INFO = "build_info", Kind::Gauge, ["version", "revision", "rustversion"],
        "Version, revision and compiler of the running program.";
    RELOAD_SUCCESSFUL = "config_last_reload_successful", Kind::Gauge, [],
        "Whether the last reload of the configuration succeeded.";
    RELOAD_SUCCESS_TIMESTAMP = "config_last_reload_success_timestamp_seconds", Kind::Gauge, [],
        "Time of the last successful reload.";
}

/// `blackbox_exporter`'s verdict, on pages of one probe only.
pub const PROBE_SUCCESS: Definition = Definition {
    name: "probe_success",
    help: "Whether the round ended in time and found nothing critical.",
    kind: Kind::Gauge,
    labels: &[],
};

/// `blackbox_exporter`'s duration, on pages of one probe only.
pub const PROBE_DURATION: Definition = Definition {
    name: "probe_duration_seconds",
    help: "How long the probe took.",
    kind: Kind::Gauge,
    labels: &[],
};
