//! Harbor's list of worker pools (captures/harbor-2.15.2/30-api.http and
//! 80-replication-shared-redis.http).

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

/// The most pools that are read.
const MAX_POOLS: usize = 1_000;

/// A pool whose last sign of life is older than the newest of the list by more than this is dead:
/// pools give one every 5 s, and a stopped one stays listed until it is reaped.
const DEAD_AFTER: TimeDelta = TimeDelta::minutes(1);

/// The ids of the pools that live, by the list's own times.
///
/// # Errors
/// What the body is instead.
pub fn worker_pools(body: &[u8]) -> Result<Vec<String>, &'static str> {
    let value: Value = serde_json::from_slice(body).map_err(|_| "not JSON")?;
    let list = match &value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(list) => list,
        _ => return Err("not a list"),
    };
    let pool = |entry: &Value| {
        let id = entry.get("worker_pool_id")?.as_str().filter(|id| is_id(id))?;
        let beat = entry.get("heartbeat_at").and_then(Value::as_str);
        Some((id.to_owned(), beat.and_then(|text| text.parse::<DateTime<Utc>>().ok())))
    };
    let pools: Vec<_> = list.iter().take(MAX_POOLS).filter_map(pool).collect();
    if pools.is_empty() && !list.is_empty() {
        return Err("a list without worker_pool_id");
    }
    let newest = pools.iter().filter_map(|(_, beat)| *beat).max();
    let lives = |beat: &Option<DateTime<Utc>>| match (beat, newest) {
        (Some(beat), Some(newest)) => newest - *beat <= DEAD_AFTER,
        _ => true,
    };
    Ok(pools.into_iter().filter(|(_, beat)| lives(beat)).map(|(id, _)| id).collect())
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lists in a transcript.
    fn lists(text: &str) -> Vec<Vec<String>> {
        let bodies = text.lines().filter(|line| line.starts_with("[{\"concurrency\""));
        bodies.map(|body| worker_pools(body.as_bytes()).unwrap()).collect()
    }

    #[test]
    fn captured_lists_are_read() {
        let shared = lists(include_str!(
            "../../tests/captures/harbor-2.15.2/80-replication-shared-redis.http"
        ));
        let both = ["3f08ba6b6f7448ac47794245", "7485c9d4a6c9c6df926a5d14"];
        assert_eq!(shared, [both, both]);
        let three = lists(include_str!("../../tests/captures/harbor-2.15.2/30-api.http"));
        assert_eq!(three.first().map(Vec::len), Some(3));
    }

    #[test]
    fn a_pool_without_a_sign_of_life_for_a_minute_is_dead() {
        let body = br#"[
            {"worker_pool_id": "a", "heartbeat_at": "2026-11-21T00:18:36.000Z"},
            {"worker_pool_id": "b", "heartbeat_at": "2026-11-21T00:17:40.000Z"},
            {"worker_pool_id": "c", "heartbeat_at": "2026-11-21T00:17:30.000Z"},
            {"worker_pool_id": "d"}]"#;
        assert_eq!(worker_pools(body).unwrap(), ["a", "b", "d"]);
    }

    #[test]
    fn what_is_no_list_of_pools_is_said() {
        assert_eq!(worker_pools(b"null"), Ok(Vec::new()));
        assert_eq!(worker_pools(b"[]"), Ok(Vec::new()));
        for body in ["", "<html>", "{}", r#"[{"id":1}]"#, r#"[{"worker_pool_id":"a b"}]"#] {
            assert!(worker_pools(body.as_bytes()).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_a_panic(body: Vec<u8>) {
            let _ = worker_pools(&body);
        }
    }
}
