//! What each kind of client feels, as the JSON contract and the text say it.

use schemars::JsonSchema;
use serde::Serialize;

use super::wording::{micros, percent};
use crate::model::{ClientKind, ClientView, Estimate};

/// What users of one kind of client feel through the load balancer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ClientReport {
    /// The kind: `docker` opens a new connection for each request and gives up at the first 401
    /// (docker engines until early 2026); `podman` keeps one (podman and skopeo since 2023, docker
    /// since 2026); `containerd` keeps one and asks again (Kubernetes nodes, nerdctl, buildkit).
    pub client: ClientKind,
    /// Logins that ran: challenge, token and `/v2/`.
    pub flows: u32,
    /// How many of them failed, for whatever reason.
    pub failed: u32,
    /// The share of logins that fail. For `docker` the independent flows count as well where they
    /// show the same.
    pub failed_ratio: f64,
    /// Its 95 % interval: lower bound, upper bound.
    pub failed_ratio_interval: (f64, f64),
    /// Pulls of the canary's manifest and configuration after logins that passed.
    pub pulls: u32,
    /// How many of those failed.
    pub pulls_failed: u32,
    /// The share of pulls of an image of ten layers that fail, as matrix, shares and flows predict
    /// it; null where these are not known.
    pub pull_of_ten_layers: Option<Estimate>,
    /// The same for pushes.
    pub push_of_ten_layers: Option<Estimate>,
}

/// The contract's view of a kind of client.
pub(super) fn client(view: &ClientView) -> ClientReport {
    let rounded = |it: Estimate| Estimate {
        value: micros(it.value),
        lower: micros(it.lower),
        upper: micros(it.upper),
    };
    let login = rounded(view.login);
    ClientReport {
        client: view.run.client,
        flows: view.run.logins.trials,
        failed: view.run.logins.events,
        failed_ratio: login.value,
        failed_ratio_interval: (login.lower, login.upper),
        pulls: view.run.pulls.trials,
        pulls_failed: view.run.pulls.events,
        pull_of_ten_layers: view.pull.map(rounded),
        push_of_ten_layers: view.push.map(rounded),
    }
}

/// `docker: 53.0 % [95 %: 30.0 % to 70.0 %] of logins fail, 97.0 % […] of pulls of ten layers`.
pub(super) fn words(view: &ClientView) -> String {
    let share = |it: Estimate| {
        format!("{} [95 %: {} to {}]", percent(it.value), percent(it.lower), percent(it.upper))
    };
    let images = view.pull.zip(view.push).map_or(String::new(), |(pull, push)| {
        format!(", {} of pulls of ten layers, {} of pushes", share(pull), share(push))
    });
    format!("{}: {} of logins fail{images}", view.run.client.who(), share(view.login))
}
