//! Blob uploads: the signed `_state` that a client carries from request to request.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use http::{Method, Response};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::Family;
use super::answer::{rfc3339, rfc3339_nanos, set};
use super::answers::{error, length_zero, location};
use super::call::Call;
use super::digest::digest;
use super::mac::hmac_sha256;

/// Begins an upload.
pub(super) fn start(call: &mut Call<'_>, repository: &str) -> Response<Bytes> {
    let id = call.uuid();
    let number = call.settings.storage;
    let (own, now) = (call.settings.own, call.true_now);
    let storage = call.stores.storage(number);
    storage.uploads.insert(id.clone(), (repository.to_owned(), Vec::new()));
    storage.note(id.clone(), own, now);
    let started = rfc3339_nanos(call.now);
    progress(call, 202, repository, &id, 0, &started)
}

/// Continues, finishes or inspects one.
pub(super) fn resume(call: &mut Call<'_>, repository: &str, id: &str) -> Response<Bytes> {
    let number = call.settings.storage;
    let reads_state = call.settings.family != Family::Distribution3
        || !matches!(*call.method(), Method::GET | Method::HEAD);
    let state = call.query("_state").first().and_then(|text| unpack(call, text));
    let (offset, started) = match &state {
        Some(state) => (
            state.get("Offset").and_then(Value::as_u64),
            state.get("StartedAt").and_then(Value::as_str).map(whole_second),
        ),
        None if reads_state => return invalid(call, true),
        None => (None, None),
    };
    if state.as_ref().is_some_and(|state| state.get("UUID").and_then(Value::as_str) != Some(id)) {
        return invalid(call, false);
    }
    let started = started.unwrap_or_else(|| rfc3339(call.now, 0));
    let (own, now, lag) = (call.settings.own, call.true_now, call.settings.storage_lag);
    let storage = call.stores.storage(number);
    let known = storage.uploads.get(id).filter(|_| storage.shows(id, own, now, lag));
    let Some(size) = known.map(|(_, data)| data.len()) else {
        let message = "blob upload unknown to registry";
        let detail = if call.settings.family == Family::Distribution3 { "null" } else { "{}" };
        return error(call, 404, "BLOB_UPLOAD_UNKNOWN", message, Some(detail));
    };
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    if offset.is_some_and(|offset| offset != size) {
        return if call.settings.family == Family::Distribution3 {
            error(call, 416, "RANGE_INVALID", "invalid content range", None)
        } else {
            invalid(call, false)
        };
    }
    match *call.method() {
        Method::GET | Method::HEAD => progress(call, 204, repository, id, size, &started),
        Method::PATCH => {
            append(call, id);
            let sent = u64::try_from(call.request.body().len()).unwrap_or(0);
            progress(call, 202, repository, id, size + sent, &started)
        }
        Method::PUT => finish(call, repository, id),
        Method::DELETE => {
            call.stores.storage(number).uploads.remove(id);
            length_zero(204)
        }
        _ => error(call, 405, "UNSUPPORTED", "The operation is unsupported.", None),
    }
}

fn append(call: &mut Call<'_>, id: &str) {
    let number = call.settings.storage;
    let body = call.request.body().clone();
    if let Some((_, data)) = call.stores.storage(number).uploads.get_mut(id) {
        data.extend_from_slice(&body);
    }
}

fn finish(call: &mut Call<'_>, repository: &str, id: &str) -> Response<Bytes> {
    append(call, id);
    let wanted = call.query("digest").into_iter().next().unwrap_or_default();
    let number = call.settings.storage;
    let (own, now) = (call.settings.own, call.true_now);
    let storage = call.stores.storage(number);
    let content = storage.uploads.get(id).map(|(_, data)| data.clone()).unwrap_or_default();
    if digest(&content) != wanted {
        let detail = json!({"Digest": wanted, "Reason": {}}).to_string();
        let message = "provided digest did not match uploaded content";
        return error(call, 400, "DIGEST_INVALID", message, Some(&detail));
    }
    storage.uploads.remove(id);
    if storage.blobs.insert(wanted.clone(), Bytes::from(content)).is_none() {
        storage.note(wanted.clone(), own, now);
    }
    let database = call.settings.database;
    call.stores.database(database).blobs.insert(wanted.clone());
    let mut response = length_zero(201);
    set(&mut response, "docker-content-digest", &wanted);
    let place = location(call, &format!("/v2/{repository}/blobs/{wanted}"));
    set(&mut response, "location", &place);
    response
}

fn progress(
    call: &Call<'_>,
    status: u16,
    repository: &str,
    id: &str,
    offset: u64,
    started: &str,
) -> Response<Bytes> {
    let mut response = length_zero(status);
    let state = pack(call, repository, id, offset, started);
    let state: String = url::form_urlencoded::byte_serialize(state.as_bytes()).collect();
    let place = location(call, &format!("/v2/{repository}/blobs/uploads/{id}?_state={state}"));
    set(&mut response, "docker-upload-uuid", id);
    set(&mut response, "location", &place);
    set(&mut response, "range", &format!("0-{}", offset.saturating_sub(1)));
    response
}

/// HMAC and JSON, as the registry packs them.
fn pack(call: &Call<'_>, repository: &str, id: &str, offset: u64, started: &str) -> String {
    let json = format!(
        "{{\"Name\":{},\"UUID\":\"{id}\",\"Offset\":{offset},\"StartedAt\":\"{started}\"}}",
        json!(repository)
    );
    let mut packed = hmac_sha256(&secret(call), json.as_bytes()).to_vec();
    packed.extend_from_slice(json.as_bytes());
    URL_SAFE.encode(packed)
}

fn unpack(call: &Call<'_>, text: &str) -> Option<Value> {
    let packed = URL_SAFE.decode(text).ok()?;
    let (mac, json) = packed.split_at_checked(32)?;
    (hmac_sha256(&secret(call), json) == *mac).then(|| serde_json::from_slice(json).ok())?
}

fn secret(call: &Call<'_>) -> Vec<u8> {
    format!("http.secret {}", call.settings.http_secret).into_bytes()
}

/// The state after the first request carries whole seconds only.
fn whole_second(text: &str) -> String {
    text.split('.').next().unwrap_or_default().trim_end_matches('Z').to_owned() + "Z"
}

/// `BLOB_UPLOAD_INVALID`: with a detail if the state cannot be read, without if it does not fit.
fn invalid(call: &Call<'_>, unreadable: bool) -> Response<Bytes> {
    let detail = match (unreadable, call.settings.family) {
        (true, Family::Distribution3) => Some("\"invalid secret\""),
        (true, _) => Some("{}"),
        (false, _) => None,
    };
    error(call, 404, "BLOB_UPLOAD_INVALID", "blob upload invalid", detail)
}
