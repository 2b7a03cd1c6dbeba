//! What a client does goes over one connection: through a balancer another connection may be
//! another node, so a flow that changed it without the server's word tells nothing of clients.

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
async fn a_flow_whose_connection_changed_counts_only_where_the_server_said_so() {
    for (name, header, end, counted) in [
        ("kept", "", None, true),
        ("ended with a word", "Connection: close\r\n", Some(Act::Close), true),
        ("ended without one", "", Some(Act::Close), false),
    ] {
        let server = ending(header, end).await;
        let round = round(registry(PUBLIC, Scheme::Http, &[&server]), None).await;
        let Outcome::Measured(run) = &round.balancer else { panic!("{name}: {round:?}") };
        assert_eq!((run.pairs.trials, run.pairs.events), (2, 0), "{name}");
        assert_eq!(run.client_flows.trials > 0, counted, "{name}: {run:?}");
        assert_eq!((run.client_flows.events, run.lost), (0, 0), "{name}: {run:?}");
    }
}
