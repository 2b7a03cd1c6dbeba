//! Which cause comes first where several would explain the same, and which follow from others.
//! These two tables are the whole of it: no rule knows another.

use crate::model::FindingName::{
    self, AnonymousDowngrade, AuthorizationHeaderDropped, BackendUnreachable,
    BlobRedirectUnreachable, BodySizeLimited, CertificateExpiresSoon, CertificateInvalid,
    ClockSkewExp, ClockSkewNbf, ComponentUnhealthy, ContentDiffers, CoreRegistryPasswordMismatch,
    CredentialRefused, CsrfKeyMismatch, CsrfOriginRejected, DatabaseUnavailable,
    DirectoryUnavailable, DnsAddressNotABackend, ForeignJobserviceOnSharedRedis, HeaderSizeLimited,
    HttpHttpsMismatch, HttpSecretMismatch, IssuerAudienceMismatch, KeyIdFormatMismatch,
    LbAffinityHidesMismatch, LbHealthCheckWrong, LbMisroutesApiPath, LoginLocked, MixedVersions,
    NotARegistry, ProberClockSuspect, ProjectNewerThanToken, RateLimited, ReadOnlyMode,
    RealmWrongEndpoint, RedisUnavailable, ReplicationRefused, RepositoryAccessDenied,
    RequestFiltered, RobotTokenOfOldKey, SecretkeyMismatch, ServerErrors, SessionStoreNotShared,
    SettingsDiffer, SigningKeyUnusable, StorageNotShared, StorageStaleReads, TlsHandshakeRefused,
    TokenEndpointSlow, TokenKeyMismatch, TokenKeyRotationWindow, TokenLifetimeTooShort,
    UnexplainedLoss, UnexplainedRefusal, UnknownBackend, UploadLocationWrong,
};

/// Causes in the order in which they explain an observation that several claim alike: the network
/// before the answer, the answer before the token, the token before the content, and what only the
/// way through the load balancer shows last.
pub(super) const ORDER: &[FindingName] = &[
    // No server answers, or not in the right protocol.
    HttpHttpsMismatch,
    TlsHandshakeRefused,
    CertificateInvalid,
    BackendUnreachable,
    // Something answers that is no registry.
    RequestFiltered,
    HeaderSizeLimited,
    LbHealthCheckWrong,
    RateLimited,
    LbMisroutesApiPath,
    NotARegistry,
    ServerErrors,
    TokenEndpointSlow,
    // The challenge, and the header that answers it.
    RealmWrongEndpoint,
    AuthorizationHeaderDropped,
    // Who is let in.
    DatabaseUnavailable,
    RobotTokenOfOldKey,
    CredentialRefused,
    LoginLocked,
    AnonymousDowngrade,
    // Time.
    ClockSkewExp,
    ClockSkewNbf,
    ProberClockSuspect,
    TokenLifetimeTooShort,
    // Keys, and what else a verifier looks at.
    CoreRegistryPasswordMismatch,
    KeyIdFormatMismatch,
    SigningKeyUnusable,
    IssuerAudienceMismatch,
    TokenKeyMismatch,
    TokenKeyRotationWindow,
    // Content and writes.
    ReadOnlyMode,
    ContentDiffers,
    StorageNotShared,
    StorageStaleReads,
    ProjectNewerThanToken,
    RepositoryAccessDenied,
    HttpSecretMismatch,
    UploadLocationWrong,
    BodySizeLimited,
    BlobRedirectUnreachable,
    // Harbor's parts and its web pages.
    RedisUnavailable,
    ComponentUnhealthy,
    CsrfOriginRejected,
    CsrfKeyMismatch,
    SessionStoreNotShared,
    DirectoryUnavailable,
    SecretkeyMismatch,
    ForeignJobserviceOnSharedRedis,
    ReplicationRefused,
    // What is well still and will not be.
    CertificateExpiresSoon,
    // Differences between nodes, and what stands in front of them.
    MixedVersions,
    SettingsDiffer,
    DnsAddressNotABackend,
    UnknownBackend,
    LbAffinityHidesMismatch,
    // What is left.
    UnexplainedRefusal,
    UnexplainedLoss,
];

/// Where a cause stands in [`ORDER`].
pub(super) fn rank(name: FindingName) -> usize {
    ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len())
}

/// What becomes of the consequence of a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// It is not said: it follows from the cause.
    Suppresses,
    /// It is the same cause seen from another side: its evidence and claims go to the cause.
    Absorbs,
}

/// Where the consequence has to be for the relation to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All backends of the consequence are among those of the cause, or the cause names none.
    SameBackends,
    /// Anywhere.
    Anywhere,
}

/// Causes and what follows from them: cause, relation, consequence, scope.
pub(super) const RELATIONS: &[(FindingName, Relation, FindingName, Scope)] = &[
    // One clock that is off by half an hour shows in both directions.
    (ClockSkewExp, Relation::Absorbs, ClockSkewNbf, Scope::SameBackends),
    // Tokens come late because core waits for Redis first.
    (RedisUnavailable, Relation::Absorbs, TokenEndpointSlow, Scope::SameBackends),
    // Or do not come at all.
    (RedisUnavailable, Relation::Absorbs, BackendUnreachable, Scope::SameBackends),
    // A database of its own comes with a storage of its own.
    (ContentDiffers, Relation::Absorbs, StorageNotShared, Scope::SameBackends),
    // Parts are called unhealthy at a backend that a worse cause names.
    (DatabaseUnavailable, Relation::Suppresses, ComponentUnhealthy, Scope::SameBackends),
    (ServerErrors, Relation::Suppresses, ComponentUnhealthy, Scope::SameBackends),
    (CoreRegistryPasswordMismatch, Relation::Suppresses, ComponentUnhealthy, Scope::SameBackends),
    (BackendUnreachable, Relation::Suppresses, ComponentUnhealthy, Scope::SameBackends),
    (NotARegistry, Relation::Suppresses, ComponentUnhealthy, Scope::SameBackends),
    // Where the form of key ids tells the versions apart, the form is the cause that is named.
    (KeyIdFormatMismatch, Relation::Suppresses, MixedVersions, Scope::Anywhere),
    // What foreign workers try is refused.
    (ForeignJobserviceOnSharedRedis, Relation::Suppresses, ReplicationRefused, Scope::Anywhere),
    // Nodes that differ now have worse trouble than old tokens.
    (TokenKeyMismatch, Relation::Suppresses, TokenKeyRotationWindow, Scope::Anywhere),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_place_in_the_order_once() {
        for name in FindingName::ALL {
            let times = ORDER.iter().filter(|known| *known == name).count();
            assert_eq!(times, 1, "{name}");
        }
        assert_eq!(ORDER.len(), FindingName::ALL.len());
    }

    #[test]
    fn no_two_causes_follow_from_each_other() {
        for (cause, _, consequence, _) in RELATIONS {
            let back = |row: &&(FindingName, Relation, FindingName, Scope)| {
                (row.0, row.2) == (*consequence, *cause)
            };
            assert_ne!(cause, consequence);
            assert_eq!(RELATIONS.iter().find(back), None, "{cause} and {consequence}");
        }
    }
}
