//! Harbor's job service as its API tells of it: worker pools, queues, and replications, which are
//! run by whichever worker takes them.

use http::Response;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::super::answer::{rfc3339, with_body};
use super::super::call::Call;
use super::super::digest::hex;
use super::super::mac::hmac_sha256;
use super::super::world::SECOND;
use super::answers::{json_answer, json_error, not_found};

/// The first number of workers whose installation is not in the lab.
const ELSEWHERE: u32 = 900_000;

/// The number of replications that ended, one every half hour.
const EXECUTIONS: u32 = 8;
const BETWEEN: i64 = 1_800_000_000_000;

/// Every worker of the Redis that this core uses, whoever runs it.
fn workers(call: &Call<'_>) -> Vec<u32> {
    let redis = call.settings.redis;
    let own = call.pool_owners.iter().filter(|(_, uses)| *uses == redis).map(|(own, _)| *own);
    let foreign = (0..call.settings.foreign_workers).map(|number| ELSEWHERE + number);
    own.chain(foreign).collect()
}

/// Whether a worker has the secrets of this core's installation.
fn is_ours(call: &Call<'_>, worker: u32) -> bool {
    worker < ELSEWHERE && (worker == SECOND) == (call.settings.own == SECOND)
}

fn id_of(purpose: &[u8], number: u32) -> String {
    hex(hmac_sha256(purpose, &number.to_be_bytes()).get(..12).unwrap_or_default())
}

pub(super) fn pools(call: &Call<'_>) -> Response<Bytes> {
    let now = call.true_now;
    let pool = |owner: u32| {
        json!({
            "concurrency": 10,
            "heartbeat_at": rfc3339(now - now.rem_euclid(5_000_000_000), 0).replace('Z', ".000Z"),
            "pid": owner + 1,
            "start_at": rfc3339(call.began, 0).replace('Z', ".000Z"),
            "worker_pool_id": id_of(b"worker pool", owner),
        })
    };
    json_answer(&workers(call).into_iter().map(pool).collect())
}

pub(super) fn queues() -> Response<Bytes> {
    let kinds = [
        "AUDIT_LOGS_GDPR_COMPLIANT",
        "EXECUTION_SWEEP",
        "GARBAGE_COLLECTION",
        "IMAGE_SCAN",
        "P2P_PREHEAT",
        "PURGE_AUDIT_LOG",
        "REPLICATION",
        "RETENTION",
        "SCAN_DATA_EXPORT",
        "SCHEDULER",
        "SLACK",
        "SYSTEM_ARTIFACT_CLEANUP",
        "WEBHOOK",
    ];
    json_answer(&kinds.into_iter().map(|kind| json!({"job_type": kind, "paused": false})).collect())
}

/// A replication: its number, who ran it, and whether it failed.
struct Execution {
    number: u32,
    worker: u32,
    failed: bool,
}

/// What lies under `/replication/executions`: the list, one's tasks, a task's log.
pub(super) fn replication(call: &Call<'_>, path: &str) -> Response<Bytes> {
    let workers = workers(call);
    let execution = |number: u32| {
        let worker = *workers.get(usize::try_from(number).ok()? % workers.len().max(1))?;
        // With foreign secrets, it cannot even read what it has to copy.
        let failed = call.settings.replication_refused || !is_ours(call, worker);
        (1..=EXECUTIONS).contains(&number).then_some(Execution { number, worker, failed })
    };
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let named = parts.first().and_then(|number| execution(number.parse().ok()?));
    match (parts.as_slice(), named) {
        ([], _) => {
            let newest_first = (1..=EXECUTIONS).rev().filter_map(execution);
            json_answer(&newest_first.map(|one| listed(call, &one)).collect())
        }
        ([_], Some(one)) => json_answer(&listed(call, &one)),
        ([_, "tasks"], Some(one)) => json_answer(&json!([task(call, &one)])),
        ([_, "tasks", _, "log"], Some(one)) => log(call, &one),
        _ => not_found(),
    }
}

fn state(one: &Execution) -> &'static str {
    if one.failed { "Failed" } else { "Succeed" }
}

/// When it began and ended.
fn times(call: &Call<'_>, one: &Execution) -> (String, String) {
    let start = call.began - BETWEEN * i64::from(EXECUTIONS + 1 - one.number);
    let text = |time: i64| rfc3339(time - time.rem_euclid(1_000_000_000), 0).replace('Z', ".000Z");
    (text(start), text(start + 3_000_000_000))
}

fn listed(call: &Call<'_>, one: &Execution) -> Value {
    let (start, end) = times(call, one);
    json!({
        "end_time": end, "failed": u32::from(one.failed), "id": one.number, "in_progress": 0,
        "policy_id": 1, "start_time": start, "status": state(one), "status_text": "",
        "stopped": 0, "succeed": u32::from(!one.failed), "total": 1, "trigger": "manual",
    })
}

fn task(call: &Call<'_>, one: &Execution) -> Value {
    let (start, end) = times(call, one);
    json!({
        "dst_resource": "library/canary [1 item(s) in total]", "end_time": end,
        "execution_id": one.number, "id": one.number, "job_id": id_of(b"job", one.number),
        "operation": "copy", "resource_type": "artifact",
        "src_resource": "probe/canary [1 item(s) in total]", "start_time": start,
        "status": state(one),
    })
}

/// The log, where the worker that wrote it runs.
fn log(call: &Call<'_>, one: &Execution) -> Response<Bytes> {
    if one.worker != call.settings.own {
        let job = id_of(b"job", one.number);
        let found = json!({"code": 10010, "message": "object is not found", "details": job});
        return json_error(404, "NOT_FOUND", &found.to_string());
    }
    let line = if one.failed {
        "[ERROR] failed to push the manifest: http status code: 401, body: \
         {\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}"
    } else {
        "[INFO] copy completed"
    };
    with_body(200, "text/plain; charset=utf-8", format!("{} {line}\n", times(call, one).1))
}
