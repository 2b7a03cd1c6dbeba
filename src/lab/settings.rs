//! How one replica of a node is set up, after the faults that are ordered for it.

use std::time::Duration;

use super::Family;
use super::fault::{CertificateFault, Fault};

/// Everything that a replica is configured with. Numbers name keys, secrets and stores: equal
/// numbers are the same thing, 0 is what all nodes share.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault that is there or not")]
pub(super) struct Settings {
    pub(super) family: Family,
    /// The number of its own keys, secrets and stores; another one for every replica.
    pub(super) own: u32,
    pub(super) signing_key: u32,
    pub(super) verifying_key: u32,
    pub(super) key_readable: bool,
    pub(super) rotates_at: Option<Duration>,
    pub(super) other_kid_form: bool,
    pub(super) robot_secret_is_token: bool,
    pub(super) issuer_claim: Option<String>,
    pub(super) audience_claim: Option<String>,
    pub(super) expected_issuer: Option<String>,
    pub(super) expected_audience: Option<String>,
    pub(super) clock: Clock,
    pub(super) token_lifetime: Option<i64>,
    /// Age of the canary's project at the start, nanoseconds.
    pub(super) project_age: i64,
    pub(super) external_url: String,
    pub(super) realm: Option<String>,
    pub(super) forwarded_http: bool,
    pub(super) stale_upstream: bool,
    /// The beginning of a path, and the `Host` that core gets under it.
    pub(super) host_under: Option<(String, String)>,
    pub(super) auth_mode: String,
    pub(super) strict_transport: bool,
    pub(super) secret_changed: bool,
    pub(super) robot_disabled: bool,
    pub(super) permission_missing: bool,
    pub(super) project_missing: bool,
    pub(super) failing_logins: Option<Duration>,
    pub(super) people_refused: Option<Duration>,
    pub(super) people_slow: Duration,
    pub(super) registry_password: bool,
    pub(super) database: u32,
    pub(super) database_up: bool,
    pub(super) database_slow: Duration,
    pub(super) database_writes: bool,
    pub(super) csrf_key: u32,
    pub(super) foreign_origin: bool,
    pub(super) redis: u32,
    pub(super) redis_up: bool,
    pub(super) http_secret: u32,
    pub(super) storage: u32,
    /// How long others' writes stay unseen, nanoseconds.
    pub(super) storage_lag: i64,
    pub(super) blobs_lost: bool,
    pub(super) storage_up: bool,
    pub(super) read_only: bool,
    pub(super) blob_redirect: Option<String>,
    pub(super) foreign_workers: u32,
    pub(super) replication_refused: bool,
    pub(super) unhealthy: Vec<String>,
    pub(super) core_up: bool,
    pub(super) registry_up: bool,
    pub(super) health_check: bool,
    pub(super) network: Network,
}

/// What is wrong between the client and the processes of a node, or of the balancer.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault that is there or not")]
pub(super) struct Network {
    pub(super) unreachable: bool,
    pub(super) hang: bool,
    pub(super) stalled_handshake: bool,
    pub(super) plain_http: bool,
    pub(super) reset: f64,
    pub(super) garbage: bool,
    pub(super) truncated: bool,
    pub(super) html: bool,
    pub(super) slow: Vec<(u64, u64, String)>,
    pub(super) statuses: Vec<(u16, f64, String)>,
    pub(super) certificate: Option<CertificateFault>,
    /// The largest body, bytes.
    pub(super) body_limit: Option<u64>,
}

impl Network {
    /// Whether a body of this number of bytes, sent or only declared, is refused.
    pub(super) fn refuses_body(&self, length: u64) -> bool {
        self.body_limit.is_some_and(|limit| length > limit)
    }
}

/// A clock, relative to the true time.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock {
    shifts: Vec<Shift>,
}

#[derive(Debug, Clone)]
struct Shift {
    since: Duration,
    offset: f64,
    drift_ppm: f64,
    step: f64,
    step_after: f64,
}

impl Clock {
    /// How far the clock is ahead, in nanoseconds, when this much time has passed in the lab.
    pub(super) fn offset(&self, elapsed: Duration) -> i64 {
        let seconds: f64 = self
            .shifts
            .iter()
            .map(|shift| {
                let age = elapsed.saturating_sub(shift.since).as_secs_f64();
                let step = if age >= shift.step_after { shift.step } else { 0.0 };
                shift.offset + step + age * shift.drift_ppm / 1e6
            })
            .sum();
        nanoseconds(seconds)
    }
}

/// Whole nanoseconds of a time in seconds.
#[expect(clippy::cast_possible_truncation, reason = "a saturating cast is what is wanted")]
fn nanoseconds(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64
}

/// A duration from data: negative and unreal values are zero.
pub(super) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

impl Settings {
    /// A node without faults.
    pub(super) fn healthy(family: Family, own: u32, public_host: &str) -> Self {
        Self {
            family,
            own,
            signing_key: 0,
            verifying_key: 0,
            key_readable: true,
            rotates_at: None,
            other_kid_form: false,
            robot_secret_is_token: false,
            issuer_claim: None,
            audience_claim: None,
            expected_issuer: None,
            expected_audience: None,
            clock: Clock::default(),
            token_lifetime: None,
            project_age: nanoseconds(90.0 * 86_400.0),
            external_url: format!("https://{public_host}"),
            realm: None,
            forwarded_http: false,
            stale_upstream: false,
            host_under: None,
            auth_mode: "db_auth".to_owned(),
            strict_transport: false,
            secret_changed: false,
            robot_disabled: false,
            permission_missing: false,
            project_missing: false,
            failing_logins: None,
            people_refused: None,
            people_slow: Duration::ZERO,
            registry_password: true,
            database: 0,
            database_up: true,
            database_slow: Duration::ZERO,
            database_writes: true,
            csrf_key: 0,
            foreign_origin: false,
            redis: 0,
            redis_up: true,
            http_secret: 0,
            storage: 0,
            storage_lag: 0,
            blobs_lost: false,
            storage_up: true,
            read_only: false,
            blob_redirect: None,
            foreign_workers: 0,
            replication_refused: false,
            unhealthy: Vec::new(),
            core_up: true,
            registry_up: true,
            health_check: true,
            network: Network::default(),
        }
    }

    /// Lets a fault act, from `since` on.
    pub(super) fn apply_fault(&mut self, fault: &Fault, since: Duration) {
        match fault {
            Fault::OtherKey => {
                self.signing_key = self.own;
                self.verifying_key = self.own;
            }
            Fault::KeyRotated { after_seconds } => {
                self.rotates_at = Some(since + duration(*after_seconds));
            }
            Fault::KeyUnreadable => self.key_readable = false,
            Fault::VerifierKey => self.verifying_key = VERIFIER_KEYS + self.own,
            Fault::OtherKidForm => self.other_kid_form = true,
            Fault::RobotSecretIsToken => self.robot_secret_is_token = true,
            Fault::IssuerClaim(text) => self.issuer_claim = Some(text.clone()),
            Fault::AudienceClaim(text) => self.audience_claim = Some(text.clone()),
            Fault::ExpectedIssuer(text) => self.expected_issuer = Some(text.clone()),
            Fault::ExpectedAudience(text) => self.expected_audience = Some(text.clone()),
            Fault::Clock { offset_seconds, drift_ppm, step_seconds, step_after_seconds } => {
                self.clock.shifts.push(Shift {
                    since,
                    offset: *offset_seconds,
                    drift_ppm: *drift_ppm,
                    step: *step_seconds,
                    step_after: *step_after_seconds,
                });
            }
            Fault::TokenLifetime(seconds) => self.token_lifetime = Some(*seconds),
            Fault::ProjectCreated { seconds_ago } => self.project_age = nanoseconds(*seconds_ago),
            Fault::ExternalUrl(url) => self.external_url.clone_from(url),
            Fault::Realm(url) => self.realm = Some(url.clone()),
            Fault::ForwardedProtoHttp => self.forwarded_http = true,
            Fault::StaleUpstream => self.stale_upstream = true,
            Fault::RewritesHostUnder { path, host } => {
                self.host_under = Some((path.clone(), host.clone()));
            }
            Fault::AuthMode(mode) => self.auth_mode.clone_from(mode),
            Fault::StrictTransportSecurity => self.strict_transport = true,
            Fault::SecretChanged => self.secret_changed = true,
            Fault::RobotDisabled => self.robot_disabled = true,
            Fault::PermissionMissing => self.permission_missing = true,
            Fault::ProjectMissing => self.project_missing = true,
            Fault::FailingLogins { every_seconds } => {
                self.failing_logins = Some(duration(every_seconds.max(0.001)));
            }
            Fault::PeopleSlow { seconds } => self.people_slow = duration(*seconds),
            Fault::PeopleRefused { after_seconds } => {
                self.people_refused = Some(duration(*after_seconds));
            }
            Fault::Family(family) => self.family = *family,
            other => self.suffer_process(other),
        }
    }

    /// The faults of processes, stores and secrets.
    fn suffer_process(&mut self, fault: &Fault) {
        match fault {
            Fault::RegistryPassword => self.registry_password = false,
            Fault::DatabaseDown => self.database_up = false,
            Fault::DatabaseSlow { ms } => self.database_slow = Duration::from_millis(*ms),
            Fault::DatabaseReadOnly => self.database_writes = false,
            Fault::DatabaseSplit => self.database = self.own,
            Fault::ContentBehind => {
                self.database = REPLICAS + self.own;
                self.storage = REPLICAS + self.own;
            }
            Fault::CsrfKey => self.csrf_key = self.own,
            Fault::ForeignOrigin => self.foreign_origin = true,
            Fault::RedisSplit => self.redis = self.own,
            Fault::RedisDown => self.redis_up = false,
            Fault::HttpSecret => self.http_secret = self.own,
            Fault::StorageSplit => self.storage = self.own,
            Fault::StorageLag(seconds) => self.storage_lag = nanoseconds(*seconds),
            Fault::BlobsLost => self.blobs_lost = true,
            Fault::StorageDown => self.storage_up = false,
            Fault::ReadOnly => self.read_only = true,
            Fault::BlobRedirect(url) => self.blob_redirect = Some(url.clone()),
            Fault::ReplicationRefused => self.replication_refused = true,
            Fault::ForeignWorkers(count) => self.foreign_workers = *count,
            Fault::ComponentUnhealthy(name) => self.unhealthy.push(name.clone()),
            Fault::CoreDown => self.core_up = false,
            Fault::RegistryDown => self.registry_up = false,
            Fault::HealthCheckFailed => self.health_check = false,
            other => self.network.apply_fault(other),
        }
    }
}

/// Keys above this number verify only; no node signs with them.
const VERIFIER_KEYS: u32 = 500_000;

/// Stores above this number hold what was replicated some time ago.
pub(super) const REPLICAS: u32 = 800_000;

/// The key that all nodes rotate to.
pub(super) const ROTATED_KEY: u32 = 400_000;

impl Network {
    /// Lets a fault of the network act; others leave it as it is.
    pub(super) fn apply_fault(&mut self, fault: &Fault) {
        match fault {
            Fault::Unreachable => self.unreachable = true,
            Fault::Hang => self.hang = true,
            Fault::StalledHandshake => self.stalled_handshake = true,
            Fault::PlainHttp => self.plain_http = true,
            Fault::Reset { probability } => self.reset = *probability,
            Fault::Garbage => self.garbage = true,
            Fault::TruncatedBody => self.truncated = true,
            Fault::Html => self.html = true,
            Fault::Slow { min_ms, max_ms, path } => {
                self.slow.push((*min_ms, *max_ms, path.clone()));
            }
            Fault::Status { code, probability, path } => {
                self.statuses.push((*code, *probability, path.clone()));
            }
            Fault::Certificate(fault) => self.certificate = Some(*fault),
            Fault::BodyLimit(bytes) => self.body_limit = Some(*bytes),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_adds_offset_drift_and_step() {
        let mut settings = Settings::healthy(Family::Harbor215, 1, "h");
        let second = 1_000_000_000;
        assert_eq!(settings.clock.offset(Duration::from_secs(9)), 0);
        settings.apply_fault(
            &Fault::Clock {
                offset_seconds: -3.0,
                drift_ppm: 100.0,
                step_seconds: 10.0,
                step_after_seconds: 50.0,
            },
            Duration::from_secs(100),
        );
        assert_eq!(settings.clock.offset(Duration::from_secs(100)), -3 * second);
        assert_eq!(settings.clock.offset(Duration::from_secs(140)), -3 * second + 4_000_000);
        assert_eq!(settings.clock.offset(Duration::from_secs(150)), 7 * second + 5_000_000);
    }
}
