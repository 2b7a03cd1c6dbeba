//! For those who run the daemon: readiness and reload.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State as Extract};
use axum::http::header::{AUTHORIZATION, FORWARDED, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::state::Shared;
use crate::model::{RegistryState, Snapshot};

/// 200 once every registry has a round, or had the time of one interval for it: a registry that
/// never answers must not keep the daemon out of service.
pub(super) async fn ready(Extract(shared): Extract<Arc<Shared>>) -> (StatusCode, String) {
    match waiting_for(&shared.snapshot(), shared.started.elapsed()) {
        None => (StatusCode::OK, "registry-prober is ready.\n".to_owned()),
        Some(count) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("Not ready: registries whose first round has not finished: {count}.\n"),
        ),
    }
}

/// How many registries are waited for. Health checks need no user, so they name none.
fn waiting_for(snapshot: &Snapshot, running: Duration) -> Option<usize> {
    let waits = |state: &&RegistryState| {
        state.latest.is_none() && running.as_secs_f64() < state.interval_seconds
    };
    let waiting = snapshot.registries.values().filter(waits).count();
    (waiting > 0).then_some(waiting)
}

/// Takes the configuration again, for callers who may.
pub(super) async fn reload(
    Extract(shared): Extract<Arc<Shared>>,
    request: Request,
) -> (StatusCode, String) {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    if !may_reload(peer, request.headers(), shared.state.reload_token.as_ref()) {
        let text = "Reloading is allowed from this machine itself, or with a reload token.\n";
        return (StatusCode::FORBIDDEN, text.to_owned());
    }
    match shared.state.program.reload().await {
        Ok(()) => (StatusCode::OK, "The configuration was reloaded.\n".to_owned()),
        Err(reason) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("The configuration is not valid; the old one stays in use.\n\n{reason}\n"),
        ),
    }
}

fn may_reload(peer: Option<SocketAddr>, headers: &HeaderMap, token: Option<&SecretString>) -> bool {
    if let Some(shown) = bearer(headers) {
        return token.is_some_and(|token| same(token.expose_secret(), shown));
    }
    // Behind a proxy on this machine every request comes from loopback, and so does one that a web
    // page lets the operator's browser send. Both are recognised by the headers that they add.
    let second_hand = [FORWARDED.as_str(), ORIGIN.as_str(), "x-forwarded-for", "x-real-ip", "via"];
    peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
        && second_hand.iter().all(|name| !headers.contains_key(*name))
}

/// The token of a request, if it shows one.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares in a time that depends on neither text: digests hide their lengths.
fn same(expected: &str, shown: &str) -> bool {
    Sha256::digest(expected).ct_eq(&Sha256::digest(shown)).into()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_this_machine_itself_or_the_token_reloads() {
        let token = SecretString::from("correct horse");
        let with = |pairs: &[(&'static str, &'static str)]| {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (name.parse().unwrap(), HeaderValue::from_static(value))
            };
            pairs.iter().map(pair).collect::<HeaderMap>()
        };
        let good = ("authorization", "Bearer correct horse");
        let cases = [
            ("127.0.0.1:9", vec![], true),
            ("[::1]:9", vec![], true),
            ("[::ffff:127.0.0.1]:9", vec![], true),
            ("10.0.0.1:9", vec![], false),
            ("127.0.0.1:9", vec![("x-forwarded-for", "10.0.0.1")], false),
            ("127.0.0.1:9", vec![("origin", "https://elsewhere.example")], false),
            ("10.0.0.1:9", vec![good], true),
            ("10.0.0.1:9", vec![("authorization", "bearer correct horse")], true),
            ("10.0.0.1:9", vec![("authorization", "Bearer correct hors")], false),
            ("10.0.0.1:9", vec![("authorization", "Basic correct horse")], false),
            ("10.0.0.1:9", vec![("authorization", "Bearer ")], false),
            // A wrong token is a wrong token, wherever it comes from.
            ("127.0.0.1:9", vec![("authorization", "Bearer wrong")], false),
            ("127.0.0.1:9", vec![good, ("x-forwarded-for", "10.0.0.1")], true),
        ];
        for (peer, headers, allowed) in cases {
            let peer = Some(peer.parse().unwrap());
            assert_eq!(may_reload(peer, &with(&headers), Some(&token)), allowed, "{headers:?}");
        }
        assert!(!may_reload(None, &HeaderMap::new(), None));
        let peer = Some("10.0.0.1:9".parse().unwrap());
        assert!(!may_reload(peer, &with(&[good]), None), "no token is configured");
        let empty = SecretString::from("");
        assert!(!may_reload(peer, &with(&[("authorization", "Bearer")]), Some(&empty)));
    }
}
