//! From an error's chain of causes to one reason and a sentence for people. By type, never by
//! text: what an error prints changes between versions.

use std::error::Error;
use std::io;

use crate::model::{Failure, Phase, Reason};

use super::handshake::refusal;
use super::stamps::Noted;

/// Classifies an error of reqwest that was met in `phase`. The error's own text may hold a URL
/// with an account in its query and is never used.
pub(super) fn classify(error: &reqwest::Error, phase: Phase, noted: &Noted) -> Failure {
    let failure =
        |reason, detail: &str| Failure { phase: Some(phase), reason, detail: detail.to_owned() };
    if let Some(own) = own_limit(error) {
        return Failure { phase: Some(phase), ..own };
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        let (reason, detail) = refusal(tls, noted);
        return failure(reason, &detail);
    }
    let found = of_connection(error, phase);
    // Some peers close the connection in place of an alert.
    if found.reason == Reason::ConnectionReset
        && phase <= Phase::Wait
        && noted.client_certificate == Some(false)
    {
        return failure(
            Reason::TlsClientCertificate,
            "the peer asked for a client certificate, got none and closed the connection",
        );
    }
    found
}

fn of_connection(error: &reqwest::Error, phase: Phase) -> Failure {
    let failure =
        |reason, detail: &str| Failure { phase: Some(phase), reason, detail: detail.to_owned() };
    if let Some(io) = find_io(error) {
        let found = match io.kind() {
            io::ErrorKind::ConnectionRefused => {
                Some((Reason::ConnectionRefused, "nothing listens there"))
            }
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => {
                Some((Reason::ConnectionReset, "the peer reset the connection"))
            }
            io::ErrorKind::UnexpectedEof if phase == Phase::Transfer => {
                Some((Reason::Truncated, "the body ended early"))
            }
            io::ErrorKind::UnexpectedEof => {
                Some((Reason::ConnectionReset, "the peer closed the connection early"))
            }
            io::ErrorKind::TimedOut => Some((Reason::Timeout, "the operating system gave up")),
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::PermissionDenied => {
                Some((Reason::Unreachable, "the network does not reach it"))
            }
            _ => None,
        };
        if let Some((reason, detail)) = found {
            return failure(reason, detail);
        }
    }
    // The innermost: a request that was given up carries the reason inside.
    if let Some(http) = chain(error).filter_map(|cause| cause.downcast_ref::<hyper::Error>()).last()
    {
        if http.is_parse_too_large() {
            return failure(Reason::TooLarge, "the headers are more than can be read");
        }
        if http.is_parse() {
            return failure(Reason::NotHttp, "the answer is not HTTP");
        }
        if http.is_incomplete_message() || http.is_canceled() || http.is_closed() {
            let reason =
                if phase == Phase::Transfer { Reason::Truncated } else { Reason::ConnectionReset };
            return failure(reason, "the connection was closed before the answer was complete");
        }
        if phase == Phase::Wait {
            // Neither socket, end nor parser is to blame: bytes came before a request was sent.
            return failure(Reason::NotHttp, "the server spoke before it was asked");
        }
    }
    if phase == Phase::Transfer {
        return failure(Reason::Truncated, "the body could not be read to its end");
    }
    failure(Reason::Unreachable, "the connection failed")
}

/// What this host had none left of, if that is why a socket could not be opened: then nothing was
/// learned of the peer. The numbers are those of Linux.
pub(super) fn own_limit(error: &(dyn Error + 'static)) -> Option<Failure> {
    let codes = chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
    let detail = codes.filter_map(what_ran_out).last()?;
    Some(Failure { phase: None, reason: Reason::ProberLimit, detail: detail.to_owned() })
}

fn what_ran_out(code: i32) -> Option<&'static str> {
    Some(match code {
        // EMFILE and ENFILE.
        24 => "this process has no file descriptor left",
        23 => "this host has no file descriptor left",
        // EADDRNOTAVAIL.
        99 => "this host has no local port or address left",
        // ENOBUFS and ENOMEM.
        105 | 12 => "this host has no memory left for a connection",
        // EAGAIN: no thread or socket at the moment.
        11 => "this host has no thread or socket left",
        _ => return None,
    })
}

/// Walks the causes; an io error may carry the next one inside instead of as its source.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && let Some(inner) = io.get_ref()
        {
            let inner: &(dyn Error + 'static) = inner;
            return Some(inner);
        }
        error.source()
    })
    // A chain is a handful of links; a cycle would be a bug elsewhere and must not hang here.
    .take(32)
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|cause| cause.downcast_ref::<E>())
}

/// The innermost io error that is not a mere wrapper.
fn find_io<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    chain(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .filter(|io| io.kind() != io::ErrorKind::Other)
        .last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_host_ran_out_of_is_no_fault_of_the_peer() {
        for (code, own) in
            [(24, true), (23, true), (99, true), (105, true), (12, true), (11, true), (111, false)]
        {
            let inner = io::Error::from_raw_os_error(code);
            let wrapped = io::Error::other(io::Error::other(inner));
            let found = own_limit(&wrapped).map(|failure| failure.reason);
            assert_eq!(found, own.then_some(Reason::ProberLimit), "{code}");
        }
    }
}
