//! Why TLS failed, in words. By type, never by text: what the library prints is for its developers
//! and changes between versions.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::stamps::Noted;
use crate::model::Reason;

/// What every handshake offers, for the words on a peer that accepts none of it.
const OFFERED: &str = "offered were TLS 1.3 and 1.2 with AES-GCM and ChaCha20-Poly1305, in 1.2 with \
                       an ECDHE key exchange";

/// The reason and the words for an error of TLS.
pub(super) fn refusal(error: &Error, noted: &Noted) -> (Reason, String) {
    let words = |reason, words: &str| (reason, words.to_owned());
    match error {
        Error::InvalidCertificate(problem) => {
            let strict = noted.certificate.as_ref().and_then(|peer| peer.invalid.clone());
            (Reason::TlsCertificate, strict.unwrap_or_else(|| certificate_problem(problem)))
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType)
            if noted.certificate.is_none() =>
        {
            words(Reason::NotTls, "the port does not speak TLS (plain HTTP?)")
        }
        Error::AlertReceived(alert) => alerted(*alert, noted),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => (Reason::TlsVersion, format!("the peer speaks TLS 1.1 or older only; {OFFERED}")),
        Error::PeerIncompatible(_) => {
            (Reason::TlsVersion, format!("the peer lacks a cipher or a feature; {OFFERED}"))
        }
        Error::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge
            | InvalidMessage::CertificatePayloadTooLarge
            | InvalidMessage::MessageTooLarge,
        )
        | Error::PeerSentOversizedRecord => words(
            Reason::TlsHandshake,
            "the peer sent a larger message than TLS clients accept, such as a certificate chain \
             over 64 KiB",
        ),
        Error::NoApplicationProtocol => {
            words(Reason::TlsHandshake, "the peer does not offer HTTP/1.1")
        }
        Error::InvalidMessage(_) => {
            words(Reason::TlsHandshake, "the peer sent a message that is not well-formed")
        }
        Error::DecryptError => {
            words(Reason::TlsHandshake, "a message of the peer could not be decrypted")
        }
        Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_) => {
            words(Reason::TlsHandshake, "the peer does not keep to the rules of TLS")
        }
        _ => words(Reason::TlsHandshake, "the handshake failed on the prober's side"),
    }
}

/// What the peer means by an alert, which depends on how far the handshake had come.
fn alerted(alert: AlertDescription, noted: &Noted) -> (Reason, String) {
    use AlertDescription as Alert;
    let name = alert_name(alert);
    let of_client = matches!(
        alert,
        Alert::HandshakeFailure
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    );
    match (alert, noted.client_certificate) {
        (Alert::CertificateRequired, sent) => client_certificate(sent.unwrap_or(false), &name),
        (_, Some(sent)) if of_client => client_certificate(sent, &name),
        (Alert::UnrecognisedName, _) => {
            (Reason::TlsName, format!("the peer does not serve the public name (alert {name})"))
        }
        (Alert::ProtocolVersion, _) => {
            let told =
                format!("the peer has no version of TLS in common (alert {name}); {OFFERED}");
            (Reason::TlsVersion, told)
        }
        // Before a certificate came nothing but the offer can be what is refused.
        (Alert::HandshakeFailure | Alert::InsufficientSecurity, None)
            if noted.certificate.is_none() =>
        {
            let told = format!("the peer accepts nothing of what was offered (alert {name}); ");
            (Reason::TlsVersion, told + OFFERED)
        }
        _ => (Reason::TlsHandshake, format!("the peer ended the handshake (alert {name})")),
    }
}

/// The peer asked for a client certificate and did not like what it got.
fn client_certificate(sent: bool, alert: &str) -> (Reason, String) {
    let told = if sent {
        format!("the peer refuses the client certificate that was sent (alert {alert})")
    } else {
        format!("the peer wants a client certificate, and none is configured (alert {alert})")
    };
    (Reason::TlsClientCertificate, told)
}

/// The name of an alert, as the standard has it.
fn alert_name(alert: AlertDescription) -> String {
    use AlertDescription as Alert;
    let name = match alert {
        Alert::CloseNotify => "close_notify",
        Alert::UnexpectedMessage => "unexpected_message",
        Alert::BadRecordMac => "bad_record_mac",
        Alert::RecordOverflow => "record_overflow",
        Alert::HandshakeFailure => "handshake_failure",
        Alert::BadCertificate => "bad_certificate",
        Alert::UnsupportedCertificate => "unsupported_certificate",
        Alert::CertificateRevoked => "certificate_revoked",
        Alert::CertificateExpired => "certificate_expired",
        Alert::CertificateUnknown => "certificate_unknown",
        Alert::IllegalParameter => "illegal_parameter",
        Alert::UnknownCA => "unknown_ca",
        Alert::AccessDenied => "access_denied",
        Alert::DecodeError => "decode_error",
        Alert::DecryptError => "decrypt_error",
        Alert::ProtocolVersion => "protocol_version",
        Alert::InsufficientSecurity => "insufficient_security",
        Alert::InternalError => "internal_error",
        Alert::UserCanceled => "user_canceled",
        Alert::MissingExtension => "missing_extension",
        Alert::UnsupportedExtension => "unsupported_extension",
        Alert::UnrecognisedName => "unrecognized_name",
        Alert::CertificateRequired => "certificate_required",
        Alert::NoApplicationProtocol => "no_application_protocol",
        other => return format!("number {}", u8::from(other)),
    };
    name.to_owned()
}

/// Why a certificate is refused, in words.
pub(super) fn certificate_problem(error: &CertificateError) -> String {
    let day = |at: &rustls::pki_types::UnixTime| {
        let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
        let at = chrono::DateTime::from_timestamp(seconds, 0);
        at.map_or_else(|| "an unknown day".to_owned(), |at| at.format("%Y-%m-%d").to_string())
    };
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("expired on {}", day(not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("not valid yet, only from {} on", day(not_before))
        }
        CertificateError::Expired => "expired".to_owned(),
        CertificateError::NotValidYet => "not valid yet".to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "for another name".to_owned()
        }
        CertificateError::UnknownIssuer => "signed by an unknown authority".to_owned(),
        // What remains where an authority was created again under its old name.
        CertificateError::BadSignature => {
            "signed by another authority of the same name as a trusted one".to_owned()
        }
        CertificateError::Revoked => "revoked".to_owned(),
        CertificateError::BadEncoding => "not well-formed".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "not meant for servers (extended key usage)".to_owned()
        }
        CertificateError::UnhandledCriticalExtension => {
            "with a critical extension that is not known".to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "signed in a way that is no longer accepted, such as SHA-1".to_owned()
        }
        _ => "not acceptable for a server".to_owned(),
    }
}
