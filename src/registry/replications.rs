//! Harbor's list of replications, their tasks and their logs
//! (captures/harbor-2.15.2/80-replication-shared-redis.http).

use chrono::{DateTime, Utc};
use serde_json::Value;

/// The most entries of a list that are read.
const MAX_ENTRIES: usize = 100;

/// An execution of a replication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replication {
    /// Its number.
    pub id: u64,
    /// When it ended; none while it goes on.
    pub ended: Option<DateTime<Utc>>,
    /// Whether it ended in failure.
    pub failed: bool,
}

/// The executions of a list, in its order.
///
/// # Errors
/// What the body is instead.
pub fn replications(body: &[u8]) -> Result<Vec<Replication>, &'static str> {
    let execution = |entry: &Value| {
        let end = entry.get("end_time").and_then(Value::as_str);
        let status = entry.get("status")?.as_str()?;
        Some(Replication {
            id: entry.get("id")?.as_u64()?,
            // Go writes the first day of year 1 for a time that is not yet known.
            ended: end
                .and_then(|text| text.parse().ok())
                .filter(|time: &DateTime<Utc>| time.timestamp() > 0),
            failed: status == "Failed",
        })
    };
    list(body, execution)
}

/// The numbers of an execution's failed tasks, in the list's order. One that could not be given to
/// a worker at all has the state `Error` and no log, and is not meant.
///
/// # Errors
/// What the body is instead.
pub fn failed_tasks(body: &[u8]) -> Result<Vec<u64>, &'static str> {
    let task = |entry: &Value| {
        Some((entry.get("id")?.as_u64()?, entry.get("status")?.as_str()? == "Failed"))
    };
    let tasks = list(body, task)?;
    Ok(tasks.into_iter().filter(|(_, failed)| *failed).map(|(id, _)| id).collect())
}

/// Whether a task's log tells of a refusal. Only the end is read: a worker gives up at the first.
pub fn tells_of_refusal(log: &[u8]) -> bool {
    const END: usize = 64 * 1024;
    let end = log.get(log.len().saturating_sub(END)..).unwrap_or(log);
    let text = String::from_utf8_lossy(end).to_ascii_lowercase();
    text.contains("http status code: 401") || text.contains("unauthorized")
}

fn list<T>(body: &[u8], read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, &'static str> {
    let value: Value = serde_json::from_slice(body).map_err(|_| "not JSON")?;
    let entries = match &value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(entries) => entries,
        _ => return Err("not a list"),
    };
    let all: Vec<T> = entries.iter().take(MAX_ENTRIES).filter_map(read).collect();
    if all.is_empty() && !entries.is_empty() {
        return Err("a list without id and status");
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bodies of a transcript that begin so.
    fn bodies(beginning: &str) -> Vec<&'static str> {
        let text =
            include_str!("../../tests/captures/harbor-2.15.2/80-replication-shared-redis.http");
        text.lines().filter(|line| line.starts_with(beginning)).collect()
    }

    #[test]
    fn captured_executions_and_tasks_are_read() {
        let executions = bodies("{\"end_time\"");
        let list = format!("[{}]", executions.join(","));
        let read = replications(list.as_bytes()).unwrap();
        let failed: Vec<u64> = read.iter().filter(|one| one.failed).map(|one| one.id).collect();
        assert_eq!((read.len(), failed), (8, vec![9, 10]));
        assert!(read.iter().all(|one| one.ended.is_some()));
        let tasks: Vec<Vec<u64>> = bodies("[{\"dst_resource\"")
            .iter()
            .map(|body| failed_tasks(body.as_bytes()).unwrap())
            .collect();
        assert_eq!(tasks.concat(), [9, 10], "{tasks:?}");
    }

    #[test]
    fn what_goes_on_has_not_ended() {
        let body = br#"[
            {"id": 1, "status": "InProgress", "end_time": "0001-01-01T00:00:00.000Z"},
            {"id": 2, "status": "InProgress"}]"#;
        let read = replications(body).unwrap();
        assert!(read.iter().all(|one| one.ended.is_none() && !one.failed), "{read:?}");
    }

    #[test]
    fn a_refusal_is_told_by_what_workers_write_of_it() {
        let refused = "2026-11-21T00:18:52Z [ERROR] [/x.go:1]: failed to pull: http status code: \
                       401, body: {\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}";
        for (log, expected) in [
            (refused.to_owned(), true),
            (format!("{}{refused}", "x".repeat(1_000_000)), true),
            ("dial tcp 192.0.2.7:443: i/o timeout, 401 artifacts left".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(tells_of_refusal(log.as_bytes()), expected);
        }
    }

    #[test]
    fn what_is_no_list_is_said() {
        assert_eq!(replications(b"null"), Ok(Vec::new()));
        assert_eq!(failed_tasks(b"[]"), Ok(Vec::new()));
        for body in ["", "<html>", "{}", r#"[{"id": -1, "status": "Failed"}]"#, "[1]"] {
            assert!(replications(body.as_bytes()).is_err(), "{body}");
            assert!(failed_tasks(body.as_bytes()).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_a_panic(body: Vec<u8>) {
            let _ = (replications(&body), failed_tasks(&body), tells_of_refusal(&body));
        }
    }
}
