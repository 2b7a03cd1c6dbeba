//! What the rest of the program does for this room.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::model::{Incident, Judged, RegistryName, RoundLine, ShownRound, Snapshot};

/// A body with its exact `Content-Type`.
pub type Rendered = (&'static str, Vec<u8>);
/// A value that comes later.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What other rooms know and do.
pub trait Program: Send + Sync {
    /// The time of day.
    fn now(&self) -> DateTime<Utc>;
    /// `/metrics`, as an `Accept` header wants it.
    fn metrics(&self, accept: Option<&str>) -> Rendered;
    /// The JSON document of the status API.
    fn document(&self, snapshot: &Snapshot) -> serde_json::Value;
    /// The configuration in use, without secrets.
    fn configuration(&self) -> Pending<String>;
    /// One round of a configured registry now, to end within the given time; none if it did not.
    fn probe(&self, registry: RegistryName, within: Duration) -> Pending<Option<Arc<Judged>>>;
    /// The metrics of one probe: its round if it ended in time, how long it took, and `Accept`.
    fn probe_metrics(
        &self,
        judged: Option<&Arc<Judged>>,
        took: Duration,
        accept: Option<&str>,
    ) -> Rendered;
    /// All that a round measured and concluded, for people.
    fn probe_text(&self, judged: &Arc<Judged>) -> String;
    /// Takes the configuration again. The text says why the new one was refused; the old one goes
    /// on.
    fn reload(&self) -> Pending<Result<(), String>>;
    /// Every incident, the latest to open last.
    fn incidents(&self) -> Vec<Incident>;
    /// The last rounds, newest first.
    fn last_rounds(&self) -> Vec<RoundLine>;
    /// A round by its id; none if it is not kept, a text if it cannot be read.
    fn round(&self, id: String) -> Pending<Option<Result<ShownRound, String>>>;
}
