//! What can go wrong in TLS, and that it is charged to the handshake.

use std::sync::Arc;

use registry_prober::model::{Phase, Reason};
use registry_prober::transport::{ClientPem, HttpClient, Tls};
use secrecy::SecretString;

use super::server::{Act, Authority, Server, answer, self_signed, send};
use super::{End, LONG, client, destination, get};

fn good() -> Vec<Act> {
    vec![answer("200 OK", "", "{}")]
}

fn once_asked(acts: Vec<Act>) -> impl Fn(Option<&str>) -> Vec<Act> + Send + Sync {
    move |request| request.map(|_| acts.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_does_not_speak_tls_fails_in_the_handshake() {
    let client = client(None, false);
    for (name, acts, reason) in [
        // This guards the hooks by which the end of connect and of TLS are distinguished.
        ("a stalled handshake", vec![Act::Hang], Reason::Timeout),
        ("a dripping handshake", vec![Act::Drip(b"\x16\x03\x03\x40\0".to_vec())], Reason::Timeout),
        ("plain HTTP", vec![answer("400 Bad Request", "", "no"), Act::Close], Reason::NotTls),
        ("an SSH banner", vec![send("SSH-2.0-OpenSSH_9.2p1\r\n"), Act::Hang], Reason::NotTls),
        ("an alert", vec![send(b"\x15\x03\x03\0\x02\x02\x28"), Act::Close], Reason::TlsVersion),
        ("an end", vec![Act::Take, Act::Close], Reason::ConnectionReset),
        ("a reset", vec![Act::Take, Act::Reset], Reason::ConnectionReset),
    ] {
        let server = Server::start(None, move |request| match request {
            None => acts.clone(),
            Some(_) => Vec::new(),
        })
        .await;
        let expected = End::Fails(Phase::Tls, reason);
        let exchange = get(&client, &destination(true, server.address), expected.patience()).await;
        assert_eq!(End::of(&exchange), expected, "{name}");
        let phases: Vec<Phase> = exchange.timeline.phases().iter().map(|(it, _)| *it).collect();
        assert_eq!(phases, [Phase::Connect, Phase::Tls], "{name}: connect is over");
        assert!(exchange.certificate.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_at_a_tls_port_is_no_http_or_the_servers_own_complaint() {
    let authority = Authority::new("lab");
    let config = authority.server(&["hub.test"], |_| {});
    let server = Server::start(Some(config), once_asked(good())).await;
    let client = client(None, false);
    let exchange = get(&client, &destination(false, server.address), LONG).await;
    assert_eq!(End::of(&exchange), End::Fails(Phase::Wait, Reason::NotHttp));

    // As Go's servers have it (tests/captures/distribution-2.8.2/73-plain-http-to-tls-port.http).
    let text = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    let server = Server::saying(vec![send(text), Act::Close]).await;
    let exchange = get(&client, &destination(false, server.address), LONG).await;
    assert_eq!(End::of(&exchange), End::Status(400));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_good_is_named_and_kept() {
    let authority = Authority::new("lab");
    let (stranger, namesake) = (Authority::new("stranger"), Authority::new("lab"));
    let roots = authority.pem();
    let (strict, lax) = (client(Some(&roots), false), client(Some(&roots), true));
    for (name, config, problem) in [
        ("good", authority.server(&["hub.test"], |_| {}), None),
        (
            "expired",
            authority.server(&["hub.test"], |params| {
                params.not_after = rcgen::date_time_ymd(2001, 1, 1);
            }),
            Some("expired"),
        ),
        (
            "not valid yet",
            authority.server(&["hub.test"], |params| {
                params.not_before = rcgen::date_time_ymd(2999, 1, 1);
            }),
            Some("not valid yet"),
        ),
        ("another name", authority.server(&["other.test"], |_| {}), Some("for another name")),
        ("the address", authority.server(&["127.0.0.1"], |_| {}), Some("for another name")),
        ("unknown", stranger.server(&["hub.test"], |_| {}), Some("signed by an unknown authority")),
        ("made anew", namesake.server(&["hub.test"], |_| {}), Some("signed by another authority")),
    ] {
        let server = Server::start(Some(config), once_asked(good())).await;
        let to = destination(true, server.address);
        for (client, expected) in [
            (
                &strict,
                problem
                    .map_or(End::Status(200), |_| End::Fails(Phase::Tls, Reason::TlsCertificate)),
            ),
            (&lax, End::Status(200)),
        ] {
            let exchange = get(client, &to, LONG).await;
            assert_eq!(End::of(&exchange), expected, "{name}");
            let certificate = exchange.certificate.expect("kept, good or not");
            let invalid = certificate.invalid.as_deref();
            assert!(
                invalid.is_some() == problem.is_some()
                    && invalid.unwrap_or_default().starts_with(problem.unwrap_or_default()),
                "{name}: {invalid:?}"
            );
            assert!(certificate.validity().is_some(), "{name}");
        }
        assert_eq!(server.requests().len(), if problem.is_some() { 1 } else { 2 }, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_handshake_a_failure_is_no_longer_the_handshakes() {
    let authority = Authority::new("lab");
    let client = client(Some(&authority.pem()), false);
    let config = authority.server(&["hub.test"], |_| {});
    let head = "HTTP/1.1 200 OK\r\n";
    for (name, acts, phase, reason) in [
        ("silence", vec![Act::Hang], Phase::Wait, Reason::Timeout),
        ("an end", vec![Act::Close], Phase::Wait, Reason::ConnectionReset),
        ("a reset", vec![Act::Reset], Phase::Wait, Reason::ConnectionReset),
        ("no HTTP", vec![send("hello\r\n\r\n"), Act::Hang], Phase::Wait, Reason::NotHttp),
        (
            "a cut body",
            vec![send(format!("{head}Content-Length: 9\r\n\r\n123")), Act::Close],
            Phase::Transfer,
            Reason::Truncated,
        ),
        // Without a length only the TLS end tells that the body is whole.
        (
            "a body that may be cut",
            vec![send(format!("{head}\r\n123")), Act::Close],
            Phase::Transfer,
            Reason::Truncated,
        ),
    ] {
        let server = Server::start(Some(config.clone()), once_asked(acts)).await;
        let expected = End::Fails(phase, reason);
        let exchange = get(&client, &destination(true, server.address), expected.patience()).await;
        assert_eq!(End::of(&exchange), expected, "{name}: {:?}", exchange.result);
        assert!(exchange.certificate.is_some());
    }
}

/// What a person reads; never how the library writes it for its developers.
fn words(exchange: &registry_prober::transport::Exchange) -> String {
    let text = match &exchange.result {
        Ok(_) => String::new(),
        Err(failure) => failure.detail.clone(),
    };
    for code in ["(\"", "::", "Failure", "Invalid", "Context", "Other(", "UNIX", "{", "_{"] {
        assert!(!text.contains(code), "{text}");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_of_an_authority_is_good_where_it_is_given_itself() {
    let (own, config) = self_signed(&["hub.test"], |_| {});
    let (other, _) = self_signed(&["hub.test"], |_| {});
    let (named_otherwise, of_another) = self_signed(&["other.test"], |_| {});
    let (old, expired) = self_signed(&["hub.test"], |params| {
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    let (early, not_yet) = self_signed(&["hub.test"], |params| {
        params.not_before = rcgen::date_time_ymd(2998, 1, 1);
        params.not_after = rcgen::date_time_ymd(2999, 1, 1);
    });
    for (name, roots, config, told) in [
        ("given itself", &own, &config, ""),
        ("another of the same names", &other, &config, "of an authority (CA:TRUE)"),
        (
            "of another name",
            &named_otherwise,
            &of_another,
            "for another name: it is for other.test",
        ),
        ("expired", &old, &expired, "expired on 2001-01-01"),
        ("not valid yet", &early, &not_yet, "not valid yet, only from 2998-01-01 on"),
    ] {
        let server = Server::start(Some(Arc::clone(config)), once_asked(good())).await;
        let to = destination(true, server.address);
        let exchange = get(&client(Some(roots), false), &to, LONG).await;
        let text = words(&exchange);
        if told.is_empty() {
            assert_eq!(End::of(&exchange), End::Status(200), "{name}: {text}");
            assert_eq!(exchange.certificate.unwrap().invalid, None, "{name}");
        } else {
            let refused = End::Fails(Phase::Tls, Reason::TlsCertificate);
            assert_eq!(End::of(&exchange), refused, "{name}");
            assert!(text.contains(told), "{name}: {text}");
            assert_eq!(server.requests(), Vec::<String>::new(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_an_answer_of_something_that_speaks_tls_and_said_in_words() {
    let client = client(None, false);
    for (alert, reason, told) in [
        (40, Reason::TlsVersion, "accepts nothing of what was offered (alert handshake_failure)"),
        (70, Reason::TlsVersion, "no version of TLS in common (alert protocol_version)"),
        (71, Reason::TlsVersion, "alert insufficient_security"),
        (80, Reason::TlsHandshake, "ended the handshake (alert internal_error)"),
        (112, Reason::TlsName, "does not serve the public name (alert unrecognized_name)"),
        (116, Reason::TlsClientCertificate, "wants a client certificate"),
        (200, Reason::TlsHandshake, "alert number 200"),
    ] {
        let acts = vec![Act::Take, send([0x15, 3, 3, 0, 2, 2, alert]), Act::Close];
        let server = Server::start(None, move |request| match request {
            None => acts.clone(),
            Some(_) => Vec::new(),
        })
        .await;
        let exchange = get(&client, &destination(true, server.address), LONG).await;
        assert_eq!(End::of(&exchange), End::Fails(Phase::Tls, reason), "{alert}");
        let text = words(&exchange);
        assert!(text.contains(told), "{alert}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_that_is_wanted_is_named_and_given() {
    let authority = Authority::new("lab");
    let stranger = Authority::new("stranger");
    let roots = authority.pem();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = Server::start(Some(authority.asking(version)), once_asked(good())).await;
        let to = destination(true, server.address);
        let exchange = get(&client(Some(&roots), false), &to, LONG).await;
        let failure = exchange.result.as_ref().unwrap_err();
        assert_eq!(failure.reason, Reason::TlsClientCertificate, "{version:?}: {failure}");
        assert!(words(&exchange).contains("client certificate"), "{version:?}: {failure}");
        for (of, passes) in [(&authority, true), (&stranger, false)] {
            let (chain, key) = of.leaf(&["prober.test"], |_| {});
            let key = SecretString::from(key);
            let pem = ClientPem { certificates: chain.as_bytes(), key: &key };
            let tls = Tls::prepare(Some(roots.as_bytes()), Some(&pem), false).unwrap();
            let exchange = get(&HttpClient::new(tls, "registry-prober/test"), &to, LONG).await;
            if passes {
                assert_eq!(End::of(&exchange), End::Status(200), "{version:?}");
            } else {
                let failure = exchange.result.as_ref().unwrap_err();
                let reason = failure.reason;
                // The alert may be overtaken by the end of the connection.
                let known = [Reason::TlsClientCertificate, Reason::ConnectionReset];
                assert!(known.contains(&reason), "{version:?}: {failure}");
                words(&exchange);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_docker_reads_lose_no_answer() {
    let client = client(None, false);
    for header in ["X-Long: one\r\n  two\r\n", "Set-Cookie: a=\u{1}b\r\n", "X-Blank : x\r\n"] {
        let server = Server::saying(vec![answer("200 OK", header, "{}")]).await;
        let exchange = get(&client, &destination(false, server.address), LONG).await;
        assert_eq!(End::of(&exchange), End::Status(200), "{header:?}: {:?}", exchange.result);
    }
}
