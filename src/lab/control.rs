//! The control port of a running lab: plain HTTP on loopback, for drills and for tests of change.
//!
//! `GET /` tells the addresses and the faults; `POST /faults` with
//! `{"on": [order …], "off": [order …]}` or `{"set": [order …]}` changes them, an order being what a
//! scenario file has in `faults`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::answer::with_body;
use super::fault::FaultOrder;
use super::running::{NodeAddress, Running};

/// What is shown in addition to the faults.
pub(super) struct Places {
    pub(super) scenario: String,
    pub(super) nodes: Vec<NodeAddress>,
    pub(super) balancer: SocketAddr,
    pub(super) token_server: Option<SocketAddr>,
}

/// A change of faults.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Change {
    set: Option<Vec<FaultOrder>>,
    on: Vec<FaultOrder>,
    off: Vec<FaultOrder>,
}

/// Serves the control port until the lab ends.
pub(super) async fn serve(shared: Arc<Running>, places: Places, listener: TcpListener) {
    let places = Arc::new(places);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(Arc::clone(&shared), Arc::clone(&places), stream));
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn connection(shared: Arc<Running>, places: Arc<Places>, stream: TcpStream) {
    let service = service_fn(|request| {
        let (shared, places) = (Arc::clone(&shared), Arc::clone(&places));
        async move { Ok::<_, Infallible>(answer(&shared, &places, request).await.map(Full::new)) }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(shared: &Running, places: &Places, request: Request<Incoming>) -> Response<Bytes> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => told(200, &state(shared, places)),
        (&Method::POST, "/faults") => {
            // A web page cannot send this type to another origin without asking first.
            let json = request
                .headers()
                .get("content-type")
                .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
            if !json {
                return told(415, &json!({"error": "the body must be application/json"}));
            }
            let body = Limited::new(request.into_body(), 1 << 20).collect().await;
            let change = body
                .map_err(|error| error.to_string())
                .and_then(|body| {
                    serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string())
                })
                .and_then(|change| apply(shared, change));
            match change {
                Ok(()) => told(200, &state(shared, places)),
                Err(error) => told(400, &json!({"error": error})),
            }
        }
        _ => told(404, &json!({"error": "there is GET / and POST /faults"})),
    }
}

fn apply(shared: &Running, change: Change) -> Result<(), String> {
    let before: Vec<FaultOrder> =
        shared.world().faults().iter().map(|active| active.order.clone()).collect();
    if let Some(missing) = change.off.iter().find(|order| !before.contains(order)) {
        return Err(format!("{missing:?} is not switched on"));
    }
    let mut orders = change.set.unwrap_or(before);
    orders.retain(|order| !change.off.contains(order));
    orders.extend(change.on);
    shared.set_faults(orders).map_err(|error| error.to_string())
}

fn state(shared: &Running, places: &Places) -> Value {
    let faults: Vec<Value> = shared
        .world()
        .faults()
        .iter()
        .map(|active| {
            json!({
                "at": active.order.at,
                "fault": active.order.fault,
                "since_seconds": active.since.as_secs_f64(),
            })
        })
        .collect();
    let nodes: Vec<Value> = places
        .nodes
        .iter()
        .map(|node| json!({"name": node.name, "address": node.address.to_string()}))
        .collect();
    json!({
        "scenario": places.scenario,
        "public_url": format!("https://{}", shared.world().public_host()),
        "nodes": nodes,
        "balancer": places.balancer.to_string(),
        "token_server": places.token_server.map(|address| address.to_string()),
        "elapsed_seconds": shared.elapsed().as_secs_f64(),
        "faults": faults,
    })
}

fn told(status: u16, value: &Value) -> Response<Bytes> {
    with_body(status, "application/json", format!("{value:#}\n"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::lab::{Cluster, Fault, KeyKind, Options, Scenario};

    async fn send(cluster: &Cluster, head: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(cluster.control()).await.unwrap();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    #[tokio::test]
    async fn faults_go_on_and_off_and_wrong_orders_change_nothing() {
        let options = Options { keys: KeyKind::Fast, ..Options::default() };
        let cluster = Cluster::start(&Scenario::named("healthy").unwrap(), &options).unwrap();
        let (status, state) = send(&cluster, "GET /", "").await;
        assert_eq!((status, &state["faults"]), (200, &json!([])));
        assert_eq!(state["balancer"], cluster.balancer().to_string());

        let order = r#"{"at": ["b"], "fault": {"clock": {"offset_seconds": 2}}}"#;
        let (status, state) =
            send(&cluster, "POST /faults", &format!(r#"{{"on": [{order}]}}"#)).await;
        assert_eq!((status, &state["faults"][0]["at"]), (200, &json!(["b"])));
        for wrong in [
            r#"{"on": [{"at": ["z"], "fault": "core-down"}]}"#,
            r#"{"on": [{"at": ["a"], "fault": "core-gone"}]}"#,
            r#"{"off": [{"at": ["a"], "fault": "core-down"}]}"#,
            r#"{"onn": []}"#,
        ] {
            assert_eq!(send(&cluster, "POST /faults", wrong).await.0, 400, "{wrong}");
            assert_eq!(cluster.faults().len(), 1, "{wrong}");
        }
        let (status, _) = send(&cluster, "POST /faults", &format!(r#"{{"off": [{order}]}}"#)).await;
        assert_eq!((status, cluster.faults().len()), (200, 0));
        let (_, _) =
            send(&cluster, "POST /faults", r#"{"set": [{"at": ["*"], "fault": "core-down"}]}"#)
                .await;
        assert_eq!(cluster.faults()[0].order, FaultOrder::at("*", Fault::CoreDown));
    }
}
