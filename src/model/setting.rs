//! Settings of a backend that its answers tell by the way. The list is closed: these are compared
//! between backends, and nothing else is kept.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)*) => {
        /// A setting of a backend.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema,
        )]
        pub enum Setting {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $variant,)*
        }

        impl Setting {
            /// Every setting.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in every output.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

settings! {
    /// Harbor: its version; from 2.13 on shown to accounts only.
    HarborVersion = "harbor_version",
    /// Harbor: who knows the users: `db_auth`, `ldap_auth`, `oidc_auth` and so on.
    AuthMode = "auth_mode",
    /// Harbor: whether the login page leads to the identity provider at once.
    PrimaryAuthMode = "primary_auth_mode",
    /// Harbor: whether anyone may create an account.
    SelfRegistration = "self_registration",
    /// Harbor: the URL that the node takes for the public one; shown to accounts only.
    ExternalUrl = "external_url",
    /// Harbor: whether the CSRF cookie is for TLS only, as it is unless `external_url` is http.
    CsrfCookieSecure = "csrf_cookie_secure",
    /// Whether `Strict-Transport-Security` stands in the answer to an accepted token at `/v2/`.
    StrictTransportSecurity = "strict_transport_security",
    /// The version of TLS that the node and the prober agree on.
    TlsVersion = "tls_version",
}

impl Setting {
    /// Whether Harbor keeps it in its database, where every node finds the same.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::AuthMode | Self::PrimaryAuthMode | Self::SelfRegistration)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The value of a setting, as a backend gave it in this round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// At most 120 characters.
    pub value: String,
    /// Whether it has been the same for long enough to be compared. One that changes is left to
    /// settle: the nodes of a Harbor learn of a change within a minute of each other, and an
    /// address with several replicas behind it tells now this and now that.
    pub settled: bool,
}

/// The settings that a backend gave.
pub type Settings = BTreeMap<Setting, Told>;
