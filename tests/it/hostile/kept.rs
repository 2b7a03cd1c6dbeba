//! What a client does goes over one connection as long as the server keeps it; where the server
//! ends each, with a word or without one, so it does to clients.

use registry_prober::config::Scheme;
use registry_prober::model::Outcome;

use super::rounds::{PUBLIC, asks, registry, round, well};
use super::server::{Act, Server};

/// A registry that is well and ends each connection after an answer, with these headers.
async fn ending(header: &'static str, end: Option<Act>) -> Server {
    Server::start(None, move |request| {
        let Some(request) = request else { return Vec::new() };
        let mut acts = well(asks(request));
        if let Some(Act::Send(answer)) = acts.first_mut() {
            let text = String::from_utf8(std::mem::take(answer)).unwrap();
            *answer = text.replacen("\r\n", &format!("\r\n{header}"), 1).into_bytes();
        }
        acts.extend(end.clone());
        acts
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn client_like_flows_count_however_a_server_ends_its_connections() {
    for (name, header, end) in [
        ("kept", "", None),
        ("ended with a word", "Connection: close\r\n", Some(Act::Close)),
        ("ended without one", "", Some(Act::Close)),
    ] {
        let server = ending(header, end).await;
        let round = round(registry(PUBLIC, Scheme::Http, &[&server]), None).await;
        let Outcome::Measured(run) = &round.balancer else { panic!("{name}: {round:?}") };
        assert_eq!((run.pairs.trials, run.pairs.events), (2, 0), "{name}");
        assert!(run.client_flows.trials > 0, "{name}: {run:?}");
        assert_eq!((run.client_flows.events, run.lost()), (0, 0), "{name}: {run:?}");
    }
}
