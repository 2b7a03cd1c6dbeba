//! The content of a distribution registry, after authorisation: manifests, blobs, tags.
//! Serves plain distribution nodes and the registry behind Harbor's core.

use http::{Method, Response};
use hyper::body::Bytes;
use serde_json::json;

use super::answer::{set, with_body};
use super::answers::{error, error_type, length_zero, location};
use super::call::Call;
use super::digest::digest;
use super::resource::Resource;
use super::upload;

/// Answers a request for content.
pub(super) fn serve(call: &mut Call<'_>) -> Response<Bytes> {
    let path = call.path().to_owned();
    serve_path(call, &path)
}

/// The same for a path that is not the client's.
pub(super) fn serve_path(call: &mut Call<'_>, path: &str) -> Response<Bytes> {
    let resource = Resource::of(path);
    if !call.settings.storage_up && resource != Resource::Base {
        let operation = if writes(call.method()) { "mkdir" } else { "open" };
        let detail = format!(
            r#"{{"DriverName":"filesystem","Enclosed":{{"Op":"{operation}","Path":"/registry","Err":20}}}}"#
        );
        return error(call, 500, "UNKNOWN", "unknown error", Some(&detail));
    }
    if writes(call.method()) && call.settings.read_only && resource != Resource::Base {
        let mut response = with_body(405, "text/plain; charset=utf-8", "Method not allowed\n");
        set(&mut response, "allow", "GET, HEAD");
        return response;
    }
    match resource {
        Resource::Base => with_body(200, json_type(call), "{}"),
        Resource::Catalog => catalog(call),
        Resource::Tags(repository) => tags(call, repository),
        Resource::Manifest(repository, reference) => manifest(call, repository, reference),
        Resource::Blob(repository, name) => blob(call, repository, name),
        Resource::UploadStart(repository) => upload::start(call, repository),
        Resource::Upload(repository, id) => upload::resume(call, repository, id),
        Resource::Unknown => with_body(404, "text/plain; charset=utf-8", "404 page not found\n"),
    }
}

fn writes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

fn catalog(call: &mut Call<'_>) -> Response<Bytes> {
    let number = call.settings.storage;
    let repositories: Vec<String> = call.stores.storage(number).tags.keys().cloned().collect();
    with_body(200, json_type(call), format!("{}\n", json!({"repositories": repositories})))
}

fn json_type(call: &Call<'_>) -> &'static str {
    error_type(call.settings.family)
}

fn tags(call: &mut Call<'_>, repository: &str) -> Response<Bytes> {
    let number = call.settings.storage;
    let Some(tags) = call.stores.storage(number).tags.get(repository) else {
        let detail = json!({"name": repository}).to_string();
        let message = "repository name not known to registry";
        return error(call, 404, "NAME_UNKNOWN", message, Some(&detail));
    };
    let tags: Vec<String> = tags.keys().cloned().collect();
    let body = format!("{{\"name\":{},\"tags\":{}}}\n", json!(repository), json!(tags));
    with_body(200, json_type(call), body)
}

fn manifest(call: &mut Call<'_>, repository: &str, reference: &str) -> Response<Bytes> {
    let number = call.settings.storage;
    match *call.method() {
        Method::PUT => return put_manifest(call, repository, reference),
        Method::DELETE => {
            let known = call.stores.storage(number).manifests.remove(reference).is_some();
            return if known { length_zero(202) } else { unknown(call, repository, reference) };
        }
        _ => {}
    }
    let storage = call.stores.storage(number);
    let name = if reference.starts_with("sha256:") {
        Some(reference.to_owned())
    } else {
        storage.tags.get(repository).and_then(|tags| tags.get(reference)).cloned()
    };
    let tag = format!("{repository}:{reference}");
    let (own, now, lag) = (call.settings.own, call.true_now, call.settings.storage_lag);
    let seen = |what: &str| storage.shows(what, own, now, lag);
    let name = name.filter(|name| seen(&tag) && seen(name));
    let found = name.and_then(|name| {
        storage.manifests.get(&name).map(|(kind, content)| (name, kind.clone(), content.clone()))
    });
    let Some((name, kind, content)) = found else {
        return unknown(call, repository, reference);
    };
    let mut response = with_body(200, &kind, content);
    set(&mut response, "docker-content-digest", &name);
    set(&mut response, "etag", &format!("\"{name}\""));
    response
}

fn unknown(call: &Call<'_>, repository: &str, reference: &str) -> Response<Bytes> {
    let detail = if reference.starts_with("sha256:") {
        json!({"Name": repository, "Revision": reference}).to_string()
    } else {
        json!({"Tag": reference}).to_string()
    };
    error(call, 404, "MANIFEST_UNKNOWN", "manifest unknown", Some(&detail))
}

fn put_manifest(call: &mut Call<'_>, repository: &str, reference: &str) -> Response<Bytes> {
    let kind = call.header("content-type").unwrap_or("application/json").to_owned();
    let content = call.request.body().clone();
    let name = digest(&content);
    let (storage, database) = (call.settings.storage, call.settings.database);
    let tags = call.stores.storage(storage);
    tags.manifests.insert(name.clone(), (kind, content));
    let (own, now) = (call.settings.own, call.true_now);
    tags.note(name.clone(), own, now);
    if !reference.starts_with("sha256:") {
        tags.note(format!("{repository}:{reference}"), own, now);
        let entry = (reference.to_owned(), name.clone());
        tags.tags.entry(repository.to_owned()).or_default().extend([entry.clone()]);
        let database = call.stores.database(database);
        let tags = database.tags.entry(repository.to_owned()).or_default();
        database.untagged.extend(tags.insert(entry.0, entry.1));
    }
    let mut response = length_zero(201);
    set(&mut response, "docker-content-digest", &name);
    let place = location(call, &format!("/v2/{repository}/manifests/{name}"));
    set(&mut response, "location", &place);
    response
}

fn blob(call: &mut Call<'_>, repository: &str, name: &str) -> Response<Bytes> {
    let number = call.settings.storage;
    let (own, now, lag) = (call.settings.own, call.true_now, call.settings.storage_lag);
    let storage = call.stores.storage(number);
    let known = storage.blobs.get(name).filter(|_| storage.shows(name, own, now, lag)).cloned();
    let lost = call.settings.blobs_lost && *call.method() == Method::GET;
    let Some(content) = known.filter(|_| !lost) else {
        let message = "blob unknown to registry";
        return error(call, 404, "BLOB_UNKNOWN", message, Some(&json!(name).to_string()));
    };
    if let Some(target) = &call.settings.blob_redirect {
        let mut response = with_body(307, "text/html; charset=utf-8", "");
        let place = format!("{target}/{repository}/{name}?X-Amz-Expires=1200");
        set(&mut response, "location", &place);
        return response;
    }
    let mut response = with_body(200, "application/octet-stream", content);
    set(&mut response, "accept-ranges", "bytes");
    set(&mut response, "cache-control", "max-age=31536000");
    set(&mut response, "docker-content-digest", name);
    set(&mut response, "etag", &format!("\"{name}\""));
    response
}
