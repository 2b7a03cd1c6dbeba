//! What can go wrong with a request or a flow: closed lists that are metric labels.

use std::fmt;

use serde::Serialize;

/// A phase of one HTTP request, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Resolving the name.
    Dns,
    /// Opening the TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// From the request sent to the first byte of the answer.
    Wait,
    /// Reading the body.
    Transfer,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 5] = [Self::Dns, Self::Connect, Self::Tls, Self::Wait, Self::Transfer];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Wait => "wait",
            Self::Transfer => "transfer",
        }
    }
}

/// A step of the token flow, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// `GET /v2/` without a token; 401 with a Bearer challenge is success.
    Challenge,
    /// The token endpoint, GET or OAuth2 POST.
    Token,
    /// `GET /v2/` with the token; 200 is success.
    Access,
    /// `GET /v2/<repository>/tags/list` with the token, where a scope is configured.
    Repository,
    /// Not of the flow: a request of an extra check, or for a clock.
    Check,
}

impl Step {
    /// Every step of a flow, in order.
    pub const ALL: [Self; 4] = [Self::Challenge, Self::Token, Self::Access, Self::Repository];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::Token => "token",
            Self::Access => "access",
            Self::Repository => "repository",
            Self::Check => "check",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a step failed: one word from a closed list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The label value.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    /// The name did not resolve.
    DnsFailed = "dns_failed",
    /// Nothing listens at the address.
    ConnectionRefused = "connection_refused",
    /// The peer closed or reset the connection before an answer was complete.
    ConnectionReset = "connection_reset",
    /// No route, network down or another error of the operating system.
    Unreachable = "unreachable",
    /// The deadline passed; the failure's phase says where.
    Timeout = "timeout",
    /// The certificate is expired, for another name or from an unknown authority.
    TlsCertificate = "tls_certificate",
    /// The port does not speak TLS: what answered was no handshake.
    NotTls = "not_tls",
    /// No version of TLS, cipher or feature in common.
    TlsVersion = "tls_version",
    /// The peer does not serve the public name.
    TlsName = "tls_name",
    /// The peer wants a client certificate, or refuses the one that was sent.
    TlsClientCertificate = "tls_client_certificate",
    /// The handshake failed for another reason.
    TlsHandshake = "tls_handshake",
    /// The answer is not HTTP.
    NotHttp = "not_http",
    /// The body ended early.
    Truncated = "truncated",
    /// Body over 1 MiB, headers over 64 KiB or a token over 64 KiB.
    TooLarge = "too_large",
    /// A content coding that was not asked for.
    UnexpectedEncoding = "unexpected_encoding",
    /// HTML where the registry's own answer was due.
    Html = "html",
    /// A redirect to another authority or scheme, or more than five.
    Redirected = "redirected",
    /// 401.
    Unauthorized = "unauthorized",
    /// 403.
    Forbidden = "forbidden",
    /// 404.
    NotFound = "not_found",
    /// 429.
    RateLimited = "rate_limited",
    /// 500 or another 5xx that is not one of the next three.
    ServerError = "server_error",
    /// 502.
    BadGateway = "bad_gateway",
    /// 503.
    Unavailable = "unavailable",
    /// 504.
    GatewayTimeout = "gateway_timeout",
    /// Any other status.
    UnexpectedStatus = "unexpected_status",
    /// No authentication was asked for where it must be: 200 without a token.
    NoChallenge = "no_challenge",
    /// The challenge cannot be used: no Bearer, no realm, or not parseable.
    BadChallenge = "bad_challenge",
    /// The realm's authority is neither the registry's nor in `allowed_realms`.
    RealmNotAllowed = "realm_not_allowed",
    /// The realm is no URL that a client can use.
    RealmUnusable = "realm_unusable",
    /// The token response is not JSON with a token.
    BadTokenResponse = "bad_token_response",
    /// The token is anonymous although credentials were sent.
    AnonymousToken = "anonymous_token",
    /// The token names another account than the credentials do.
    WrongSubject = "wrong_subject",
    /// The token's audience is not the challenge's service.
    WrongAudience = "wrong_audience",
    /// The token's times make no sense: expired when issued, or no lifetime.
    BadTokenTimes = "bad_token_times",
    /// The token lacks the requested actions.
    MissingAccess = "missing_access",
    /// The token endpoint refuses POST in a way after which containerd does not ask by GET.
    PostRefused = "post_refused",
    /// The time of the round was over.
    DeadlineReached = "deadline_reached",
    /// The prober's own host has no descriptor, port or memory left for a connection.
    ProberLimit = "prober_limit",
    /// The prober's own host gave it no processor time while it waited.
    ProberBusy = "prober_busy",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Reason {
    /// Whether the network or the transport failed, so that nothing was learned about tokens,
    /// keys or clocks.
    pub fn is_network(self) -> bool {
        matches!(
            self,
            Self::DnsFailed
                | Self::ConnectionRefused
                | Self::ConnectionReset
                | Self::Unreachable
                | Self::Timeout
                | Self::TlsCertificate
                | Self::NotTls
                | Self::TlsVersion
                | Self::TlsName
                | Self::TlsClientCertificate
                | Self::TlsHandshake
                | Self::NotHttp
                | Self::Truncated
                | Self::TooLarge
                | Self::UnexpectedEncoding
                | Self::DeadlineReached
                | Self::ProberLimit
                | Self::ProberBusy
        )
    }

    /// Whether the prober itself could not ask, for reasons of its own host: nothing is learned of
    /// the registry.
    pub fn is_own(self) -> bool {
        matches!(
            self,
            Self::DeadlineReached | Self::ProberLimit | Self::ProberBusy | Self::DnsFailed
        )
    }

    /// Whether this host lacks something that more of it would cure.
    pub fn is_shortage(self) -> bool {
        matches!(self, Self::ProberLimit | Self::ProberBusy)
    }

    /// Whether a token endpoint says by it that it does not take the credential.
    pub fn refuses_credential(self) -> bool {
        matches!(
            self,
            Self::Unauthorized | Self::Forbidden | Self::AnonymousToken | Self::WrongSubject
        )
    }

    /// Whether a gateway or the server behind it failed: 5xx.
    pub fn is_server_error(self) -> bool {
        matches!(
            self,
            Self::ServerError | Self::BadGateway | Self::Unavailable | Self::GatewayTimeout
        )
    }

    /// The reason for a status that is not the expected one.
    pub fn of_status(status: u16) -> Self {
        match status {
            300..=399 => Self::Redirected,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            429 => Self::RateLimited,
            502 => Self::BadGateway,
            503 => Self::Unavailable,
            504 => Self::GatewayTimeout,
            500..=599 => Self::ServerError,
            _ => Self::UnexpectedStatus,
        }
    }
}

/// One failed request or check, with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// The phase in which the request died; none if an answer arrived and was not the right one.
    pub phase: Option<Phase>,
    /// The word from the closed list.
    pub reason: Reason,
    /// For people: what was found and what was expected. Never holds a secret or a URL's query.
    pub detail: String,
}

impl Failure {
    /// A failure judged from a complete answer.
    pub fn of_answer(reason: Reason, detail: impl Into<String>) -> Self {
        Self { phase: None, reason, detail: detail.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if let Some(phase) = self.phase {
            write!(f, " in {}", phase.as_str())?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}
