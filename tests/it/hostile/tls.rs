//! What can go wrong in TLS, and that it is charged to the handshake.

use registry_prober::model::{Phase, Reason};

use super::server::{Act, Authority, Server, answer, send};
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
        // This guards the hooks by which the end of connect and of TLS are told apart.
        ("a stalled handshake", vec![Act::Hang], Reason::Timeout),
        ("a dripping handshake", vec![Act::Drip(b"\x16\x03\x03\x40\0".to_vec())], Reason::Timeout),
        ("plain HTTP", vec![answer("400 Bad Request", "", "no"), Act::Close], Reason::TlsHandshake),
        ("an SSH banner", vec![send("SSH-2.0-OpenSSH_9.2p1\r\n"), Act::Hang], Reason::TlsHandshake),
        ("an alert", vec![send(b"\x15\x03\x03\0\x02\x02\x28"), Act::Close], Reason::TlsHandshake),
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
