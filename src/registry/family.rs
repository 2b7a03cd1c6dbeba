//! Which kind of server answered, from its answers alone (recorded in
//! `tests/captures/*/01-no-token.http`).

use serde_json::Value;

use crate::model::{Answer, AuthScheme, ComponentHealth, Family, Version, one_line};

/// The family of the server that gave this answer to `GET /v2/` without a token.
///
/// Harbor 2's core writes "unauthorized: unauthorized", distribution writes "authentication
/// required", the 3.x line without a charset in its content type, and Harbor 1 is a distribution
/// whose service is called `harbor-registry`.
pub fn family_of(answer: &Answer) -> Family {
    let bearer = answer.challenge.as_ref().filter(|c| c.scheme == AuthScheme::Bearer);
    let service = bearer.and_then(|challenge| challenge.service.as_deref());
    let message = answer.error_message.as_deref().unwrap_or_default();
    let content_type = answer.content_type.as_deref().unwrap_or_default();
    if answer.status != 401 || !answer.api_version {
        Family::Unknown
    } else if message.starts_with("unauthorized") && answer.request_id {
        Family::Harbor2
    } else if message == "authentication required" {
        match service {
            Some("harbor-registry") => Family::Harbor1,
            _ if content_type == "application/json" => Family::Distribution3,
            _ => Family::Distribution2,
        }
    } else {
        Family::Unknown
    }
}

/// The version in Harbor's `/api/v2.0/systeminfo`: `v2.10.3-…`. `Ok(None)` if the answer is
/// system information without a version, as it is from 2.13 on for the anonymous.
///
/// # Errors
/// What the body is instead.
pub fn harbor_version(body: &[u8]) -> Result<Option<Version>, &'static str> {
    let value: Value = serde_json::from_slice(body).map_err(|_| "not JSON")?;
    let map = value.as_object().ok_or("not a JSON object")?;
    if !map.contains_key("auth_mode") {
        return Err("JSON without auth_mode");
    }
    match map.get("harbor_version").and_then(Value::as_str) {
        None => Ok(None),
        Some(text) => version(text).map(Some).ok_or("a version that is not v<major>.<minor>…"),
    }
}

/// The components in Harbor's `/api/v2.0/health`, at most 32.
///
/// # Errors
/// What the body is instead.
pub fn harbor_health(body: &[u8]) -> Result<Vec<ComponentHealth>, &'static str> {
    let value: Value = serde_json::from_slice(body).map_err(|_| "not JSON")?;
    let list =
        value.get("components").and_then(Value::as_array).ok_or("JSON without components")?;
    let component = |entry: &Value| {
        let name = entry.get("name")?.as_str()?;
        let component = one_line(name, 40);
        Some(ComponentHealth { component, healthy: entry.get("status")?.as_str()? == "healthy" })
    };
    Ok(list.iter().take(32).filter_map(component).collect())
}

pub(super) fn version(text: &str) -> Option<Version> {
    let core = text.trim_start_matches('v').split(['-', '+']).next()?;
    let mut numbers = core.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    let patch = numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    Some(Version { major, minor, patch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_harbor_writes_them() {
        let version = |major, minor, patch| Ok(Some(Version { major, minor, patch }));
        for (body, expected) in [
            (r#"{"auth_mode":"db_auth","harbor_version":"v2.10.3-"}"#, version(2, 10, 3)),
            (r#"{"auth_mode":"x","harbor_version":"v2.9.0-a1b2c3"}"#, version(2, 9, 0)),
            (r#"{"auth_mode":"x","harbor_version":"v1.10"}"#, version(1, 10, 0)),
            (r#"{"auth_mode":"db_auth"}"#, Ok(None)),
        ] {
            assert_eq!(harbor_version(body.as_bytes()), expected, "{body}");
        }
        for body in ["", "<html>", "[]", "{}", r#"{"auth_mode":"x","harbor_version":"dev"}"#] {
            assert!(harbor_version(body.as_bytes()).is_err(), "{body}");
        }
    }
}
